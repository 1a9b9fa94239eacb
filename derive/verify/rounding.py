"""What a result is a sum of: how far one rounding of every number on the way to it moves it, in units of a rounding.

Where everything cancels the result itself is no measure of its error: of (M - M.T) @ h with one unit, exactly 0, a
kernel leaves a rounding of M h.  The equations are run again with every weight of a product, and every value that is
computed, changed by up to a unit of the last place.  What is 0 because nothing leads to it does not move.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from derive.symbols import Matrix, Product, Vector
from derive.verify.analytic import Array
from derive.verify.derivative import complex_step, each_element
from derive.verify.oracle import Interpreter, Named
from derive.verify.problem import Problem

RUNS, ULP = 3, 2.0**-52


class Rounded(Interpreter):
    """Evaluates expressions with a rounding of its own in every number."""

    def __init__(self, problem: Problem, seed: int) -> None:
        super().__init__(problem.periods or (1,))
        self.random = np.random.default_rng(seed)

    def rounded(self, value: Array) -> Array:
        return value * (1 + ULP * self.random.uniform(-1, 1, np.shape(value)))

    def masked(self, matrix: Matrix, value: Array) -> Array:
        return self.rounded(super().masked(matrix, value))

    def evaluate(self, expression: Any, names: Named) -> Any:
        value = super().evaluate(expression, names)
        is_read = isinstance(expression, (Vector, Product)) or not expression.args
        return value if is_read else self.rounded(value)


def of_gradient(problem: Problem, group: str, name: str) -> float:
    """The norm of what a tensor of the gradient is a sum of."""

    def slope(interpreter: Interpreter) -> Array:
        return each_element(problem, group, name, partial(complex_step, interpreter=interpreter))

    return _moved(problem, slope)


def of_run(problem: Problem, name: str, final: bool) -> float:
    """The norm of what an output, or a final state, is a sum of."""
    return _moved(problem, lambda interpreter: problem.forward(interpreter)[final][name])


def _moved(problem: Problem, result: Callable[[Interpreter], Array]) -> float:
    exact = result(Interpreter(problem.periods or (1,)))
    runs = (result(Rounded(problem, seed)) for seed in range(RUNS))
    return max(float(np.linalg.norm(np.ravel(moved - exact))) for moved in runs) / ULP
