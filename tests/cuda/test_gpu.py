"""On a CUDA device: the ladder of ./scripts/gpu_check, one test for each rung."""

import pytest

import lstm_numba as ln
from scripts.gpu_checks import rungs

RUNGS = [name for name, _ in rungs.rungs("lstm")]


@pytest.mark.gpu
@pytest.mark.parametrize("rung", RUNGS)
@pytest.mark.parametrize("cell", ln.cells())
def test_the_ladder_holds_on_the_device(cell, rung):
    assert dict(rungs.rungs(cell))[rung]() == []
