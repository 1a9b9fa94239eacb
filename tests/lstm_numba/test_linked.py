"""Functions that compiled kernels call by name: whoever takes a kernel from the cache gets what it calls too.

Truth: the kernel's number, and what Numba says it took from the cache, each time in a process of its own.
"""

import os
import subprocess
import sys

import numpy as np
import pytest

from lstm_numba.cpu import linked
from scripts.sizes import ROOT
from tests.lstm_numba.adding import adding, make_add


def test_a_kernel_from_the_cache_finds_what_it_calls_or_compiles_it(tmp_path):
    command = [sys.executable, "-c", "from tests.lstm_numba.adding import report; report()"]
    environment = os.environ | {"LSTM_NUMBA_CACHE_DIR": str(tmp_path)}

    def process():
        return subprocess.check_output(command, text=True, cwd=ROOT, env=environment).split()

    assert process() == ["6.0", "0", "0"]
    assert process() == ["6.0", "1", "1"]
    (entry,) = tmp_path.glob("*/*make_add*.nbc")
    entry.write_bytes(b"<html>404</html>")
    assert process() == ["6.0", "1", "0"]


def test_kernels_share_what_they_call():
    for times in (2, 5):
        array = np.zeros(1)
        adding(times)(array)
        assert array[0] == 3 * times
    assert len(linked._dispatcher(make_add, (3,)).overloads) == 1


def test_only_compiled_code_calls_it():
    with pytest.raises(TypeError, match="compiled code only"):
        linked.linked(make_add, 3)(np.zeros(1))
