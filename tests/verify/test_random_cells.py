"""Whatever the equations are: derivation, text and sequence kernels against the oracle, in first and second order.

Truth: the equations, interpreted in complex numbers.  The kernels run as the text that they are, uncompiled.
"""

from functools import partial

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

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
repeatable = settings(
    derandomize=True, database=None, deadline=None, max_examples=25, suppress_health_check=list(HealthCheck)
)


def drawn(random):
    """A cell and a problem, or no example: SymPy may find that nothing is left of an equation."""
    try:
        cell = parse(random_cell(random))
        assume(cell.inputs)
        marks = {"lengths": bool(random.randrange(2)), "resets": bool(random.randrange(2))}
        return cell, make(cell, 3, 2, random.randint(1, 3), random.randint(1, 4), **marks)
    except (CellError, ProblemError):
        assume(False)


def is_wrong(measurement):
    found = measurement.place is not None and abs(measurement.place.found - measurement.place.expected)
    return not measurement.ok and (measurement.place is None or found > NOTHING)


@repeatable
@given(random=st.randoms(use_true_random=False))
def test_a_random_cell_is_what_its_equations_say(random):
    cell, problem = drawn(random)
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
