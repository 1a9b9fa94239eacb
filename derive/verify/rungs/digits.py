"""L0, on long numbers: the generated text over T = 3 steps of H = 2 units is the derivative of the unrolled equations.

Both sides are computed with 50 digits: the text by the driver, the derivative by complex step through the oracle.  Of
rounding nothing is left at the fortieth digit, of a wrong formula everything: what agrees there is the same expression.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import mpmath
import numpy as np

from derive.functions import TABLE
from derive.program import Program
from derive.verify.analytic import Array
from derive.verify.derivative import loss, spread
from derive.verify.driver import Driver
from derive.verify.oracle import Interpreter
from derive.verify.problem import Problem, make
from derive.verify.report import Measurement, describe
from derive.verify.rungs.numeric import quantity

DIGITS, ALLOWED = 50, 1e-40
STEP = mpmath.mpf(10) ** -60

# On numbers with an imaginary part that is a complex step: the real part decides on which side of a kink they are.
SCALAR: dict[str, Callable[..., Any]] = {
    "sigmoid": lambda u: 1 / (1 + mpmath.exp(-u)),
    "tanh": mpmath.tanh,
    "relu": lambda u: u if u.real > 0 else 0 * u,
    "exp": mpmath.exp,
    "log": mpmath.log,
    "sqrt": mpmath.sqrt,
    "sin": mpmath.sin,
    "cos": mpmath.cos,
    "softplus": lambda u: mpmath.log(1 + mpmath.exp(u)),
    "absolute": lambda u: u if u.real > 0 else -u if u.real < 0 else 0 * u,
    "maximum": lambda a, b: a if a.real >= b.real else b,
    "minimum": lambda a, b: a if a.real <= b.real else b,
    "positive": lambda u: mpmath.mpf(u.real > 0),
    "where": lambda c, a, b: a if c.real != 0 else b,
    "stop": lambda u: mpmath.mpf(u.real),
}
FUNCTIONS = {name: np.frompyfunc(function, len(TABLE[name].rule.partials), 1) for name, function in SCALAR.items()}


def hold(program: Program) -> Iterator[Measurement]:
    """Compare every element of the gradient; the error is relative to the tensor's largest element."""
    driver = Driver(program, FUNCTIONS, mpmath.mpf)
    with mpmath.workdps(DIGITS):
        problem = long_numbers(make(program.cell, steps=3, batch=2, inputs=1, hidden=2, lengths=True, resets=True))
        found = driver.gradient(problem)
        for group, name, values in problem.tensors():
            expected, slope = np.ravel(complex_step(problem, group, name, values)), np.ravel(found[group, name])
            scale = max(map(abs, expected), default=0)
            error = max((abs(a - b) for a, b in zip(slope, expected, strict=True)), default=0)
            relative = float(error / scale) if scale else float(error)
            sides = f"text, {DIGITS} digits", f"complex step, {DIGITS} digits"
            yield Measurement("digits", quantity(group, name), sides, relative, ALLOWED, describe(problem))


def long_numbers(problem: Problem) -> Problem:
    """The same problem in mpmath's numbers."""
    converted = np.frompyfunc(mpmath.mpf, 1, 1)
    return problem.mapped(lambda values: np.asarray(converted(values), object))  # a scalar stays an array


def complex_step(problem: Problem, group: str, name: str, values: Array) -> Array:
    """The derivative by every element of a tensor, one copy of it an element."""
    each = np.eye(values.size).reshape(-1, *values.shape)
    moved = problem.with_tensor(group, name, spread(group, values + mpmath.mpc(0, STEP) * each))
    oracle = Interpreter(problem.periods or (1,), functions=FUNCTIONS, quotient=lambda p, q: mpmath.mpf(p) / q)
    slopes = np.frompyfunc(lambda number: mpmath.mpc(number).imag / STEP, 1, 1)(loss(moved, oracle))
    return np.broadcast_to(slopes, (values.size,))
