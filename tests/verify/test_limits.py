"""What verification makes of cells at the limits of its methods: on kinks, and too deep to expand.

Truth: the rule that is stated for a kink; a fault that is put in on purpose.
"""

from functools import partial

import numpy as np
import pytest

from derive.build import module_of
from derive.functions import NUMPY
from derive.parse import parse
from derive.program import split
from derive.verify.analytic import FUNCTIONS
from derive.verify.derivative import gradient
from derive.verify.kernel import Kernel
from derive.verify.problem import CLEARANCE, make
from derive.verify.rungs import digits, numeric, symbolic
from lstm_numba.cpu.interpreted import PlainLayer

# half of the units of a relu are 0, where the next function has its kink
ON_KINKS = {
    "relu of relu": "h = relu(relu(W @ x + U @ h_prev))",
    "absolute of relu": "h = tanh(W @ x) + absolute(relu(U @ h_prev))",
    "a tie": "h = maximum(relu(W @ x + U @ h_prev), relu(h_prev)) + h_prev / 2",
}
DEEP = "h_prev"
for _ in range(12):
    DEEP = f"tanh({DEEP} * a + b)"


@pytest.mark.parametrize("name", ["relu", "absolute", "positive", "maximum", "minimum"])
def test_a_complex_step_on_a_kink_has_the_slope_that_is_stated(name):
    zeros = [np.zeros(1)] * (1 if name in ("relu", "absolute", "positive") else 2)
    stated = [1, 0] if len(zeros) == 2 else [0]
    for table in (NUMPY, FUNCTIONS, digits.FUNCTIONS):
        for k, slope in enumerate(stated):
            moved = [zero + 1e-30j * (j == k) for j, zero in enumerate(zeros)]
            assert complex(table[name](*moved)[0]).imag == pytest.approx(1e-30 * slope, abs=0)


@pytest.mark.parametrize("equation", ON_KINKS.values(), ids=ON_KINKS)
def test_a_cell_that_lies_on_kinks_whatever_its_numbers_are(equation):
    cell = parse(f"states: h\nparameters: W[H,N] U[H,H]\n{equation}")
    problem = make(cell, clearance=CLEARANCE)
    kernel = Kernel(cell, partial(PlainLayer, module_of(cell)))
    measured = [*numeric.full(kernel, problem, gradient(problem), 1e-13), *numeric.differences(kernel, problem, 1e-6)]
    measured += digits.hold(split(cell))
    assert [measurement for measurement in measured if not measurement.ok] == []


def deep():
    return split(parse(f"states: h\nparameters: W[H,N] a b\nh = W @ x + {DEEP}"))


def test_a_derivation_too_deep_to_expand_holds_on_numbers():
    measured = list(symbolic.derivation_is_the_derivative(deep()))
    assert all(measurement.ok for measurement in measured)
    assert {measurement.problem for measurement in measured} == {"on symbols", "on numbers"}


def test_a_fault_in_a_derivation_too_deep_to_expand_is_found(monkeypatch):
    composed = symbolic.composed
    monkeypatch.setattr(
        symbolic, "composed", lambda *given: {v: e * (2 if v.name == "d_a" else 1) for v, e in composed(*given).items()}
    )
    failed = [m.quantity for m in symbolic.derivation_is_the_derivative(deep()) if not m.ok]
    assert "d_a" in failed
