"""Other processors' kernels on this one: narrower registers, other tiles, other padding.

Truth: differences of the loss, and the same layers with this processor's own registers.
"""

import os
import subprocess
import sys

import numpy as np
import pytest

from lstm_numba.cpu import target
from scripts.sizes import ROOT
from tests.layers import everything, farther_apart, numbers_for, random_layer, slopes

CELLS = ("rnn", "gru", "lstm")
SIZES = ((3, 5, 1), (2, 33, 7))  # N, H, B
NARROWER = [
    name for name, (width, _) in target.INSTRUCTION_SETS.items() if width < target.REGISTER_BYTES and name != "neon"
]


def results():
    """Everything of a few layers by cell, size and name; and how far their gradients are from differences."""
    found, errors = {}, {}
    for cell in CELLS:
        for sizes in SIZES:
            layer = random_layer(cell, *sizes[:2])
            numbers = numbers_for(layer, 4, sizes[2])
            found |= {f"{cell} {sizes} {name}": array for name, array in everything(layer, numbers).items()}
            difference, pulled = slopes(layer, numbers)
            errors[f"{cell} {sizes}"] = abs(pulled / difference - 1)
    return found, errors


@pytest.mark.parametrize("name", NARROWER)
def test_narrower_registers_give_the_same_numbers(name, tmp_path):
    command = [sys.executable, "-m", "tests.lstm_numba.test_instruction_sets", str(tmp_path / "found.npz")]
    run = subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, env=os.environ | {"LSTM_NUMBA_SIMD": name}, check=False
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.split() == [name]
    expected, _ = results()
    assert farther_apart(dict(np.load(tmp_path / "found.npz")), expected, 1e-13) == []


def test_this_processors_registers_give_the_gradient():
    assert {name: error for name, error in results()[1].items() if not error < 1e-8} == {}


@pytest.mark.parametrize("name", ["avx1024", "", "SSE"])
def test_an_instruction_set_that_there_is_not(name):
    command, variables = [sys.executable, "-c", "import lstm_numba"], os.environ | {"LSTM_NUMBA_SIMD": name}
    run = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=variables, check=False)
    assert run.returncode == 1
    assert "OptionError: LSTM_NUMBA_SIMD must be one of avx512, avx2, neon, sse" in run.stderr
    assert "unset it or choose a narrower set" in run.stderr


def main():
    found, errors = results()
    too_far = {name: error for name, error in errors.items() if not error < 1e-8}
    assert not too_far, too_far
    np.savez(sys.argv[1], **found)
    sys.stdout.write(target.NAME)


if __name__ == "__main__":
    main()
