"""Shared memory, threads and tensor-core fragments, in Numba's CUDA simulator: it is chosen when Numba is imported."""

import os
import subprocess
import sys

import pytest

from scripts.sizes import ROOT

pytest.importorskip("numba_cuda")


@pytest.mark.slow
def test_simulated_kernels_give_what_the_cpu_gives():
    environment = {**os.environ, "NUMBA_ENABLE_CUDASIM": "1"}
    command = [sys.executable, "-m", "tests.cuda.simulated"]
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=200)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "cases agree" in run.stdout
