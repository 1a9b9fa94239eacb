"""The examples run, and what they say comes true."""

import runpy

import pytest

import derive
from scripts.sizes import ROOT

EXAMPLES = ROOT / "examples"


@pytest.mark.slow
def test_a_cell_of_ones_own_learns_the_adding_problem():
    train = runpy.run_path(str(EXAMPLES / "train_own_cell.py"))["train"]
    assert train(steps=600) < 0.02  # remembering only one of the two numbers leaves 0.083


def test_the_example_cell_has_one_gate():
    cell = derive.load(EXAMPLES / "minimal_gated_unit.py")
    assert "f" in cell.gates
    assert list(cell.parameters) == ["W_f", "U_f", "b_f", "W_n", "U_n", "b_n"]
