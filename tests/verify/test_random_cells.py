"""Whatever the equations are: derivation, text and sequence kernels against the oracle, in first and second order.

Truth: the equations, interpreted in complex numbers.  The kernels run as the text that they are, uncompiled.
"""

from contextlib import suppress
from functools import partial
from random import Random

import pytest

from derive.build import module_of
from derive.errors import CellError
from derive.parse import parse
from derive.verify.curvature import Along
from derive.verify.derivative import gradient
from derive.verify.driver import Driver
from derive.verify.kernel import Kernel
from derive.verify.problem import ProblemError, make
from derive.verify.rungs import numeric, second
from lstm_numba.cpu.interpreted import PlainLayer
from tests.verify.random_cells import random_cell

ALLOWED = 1e-12
NOTHING = 1e-15  # what is exactly 0 may be the difference of two equal numbers, rounded
SEEDS = (0, 3, 6, 7, 11, 15, 19, 25, 30, 44, 53, 76)  # each has sums, spaces or stops of another kind


def drawn(random):
    """The next cell that has an input and a problem: SymPy may find that nothing is left of an equation."""
    while True:
        with suppress(CellError, ProblemError):
            cell = parse(random_cell(random))
            marks = {"lengths": bool(random.randrange(2)), "resets": bool(random.randrange(2))}
            if cell.inputs:
                return cell, make(cell, 3, 2, random.randint(1, 3), random.randint(1, 4), **marks)


def is_wrong(measurement):
    found = measurement.place is not None and abs(measurement.place.found - measurement.place.expected)
    return not measurement.ok and (measurement.place is None or found > NOTHING)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_random_cell_is_what_its_equations_say(seed):
    cell, problem = drawn(Random(seed))
    kernel, driver, along = Kernel(cell, partial(PlainLayer, module_of(cell))), Driver.of(cell), Along.random(problem)
    truth = along.hvp(driver)
    measured = [
        *numeric.forward(kernel, problem, ALLOWED),
        *numeric.full(driver, problem, gradient(problem), ALLOWED),
        *numeric.full(kernel, problem, gradient(problem), ALLOWED),
        *second.jvp(kernel, along, ALLOWED),
        *second.hvp(kernel, along, truth, along.allowed(driver, truth, ALLOWED)),
    ]
    assert [measurement for measurement in measured if is_wrong(measurement)] == [], cell.canonical
