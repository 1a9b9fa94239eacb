"""Memory: no kernel reads or writes outside its arrays, and none reads what nobody has written.

Truth: the processor's own page tables, in a process of its own, so that a fault is a failed test.
"""

import signal
import subprocess
import sys

import pytest

from scripts.sizes import ROOT

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="pages are protected through mprotect")
sides = pytest.mark.parametrize("side", ["end", "begin"])


def guarded(*arguments):
    command = [sys.executable, "-m", "tests.guard_pages", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)


@sides
def test_every_array_may_stand_against_an_inaccessible_page(side):
    run = guarded(side)
    assert run.returncode == 0, run.stderr[-1000:]


@sides
def test_a_kernel_that_reads_one_number_too_far_is_caught(side):
    assert -guarded(side, "overrun").returncode in (signal.SIGSEGV, signal.SIGBUS)
