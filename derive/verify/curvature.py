"""Derivatives along a direction that no tangent text has touched.

    jvp    the complex step of the equations, interpreted
    hvp    the complex step of backpropagation: the generated text of the *first* order, run on complex numbers

What moves along dot_v is v + i s dot_v; the change of anything computed from it is its imaginary part / s.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, TypeVar

import numpy as np

from derive.verify.analytic import Array
from derive.verify.derivative import STEP, Gradient, random_directions
from derive.verify.driver import Driver
from derive.verify.problem import Problem, conditions
from derive.verify.report import norm_error
from derive.verify.sequence import Named

K = TypeVar("K", bound=Hashable)
NUDGES, ULP, ROUNDINGS, WORST = 3, 2.0**-52, 50, 1e-9


@dataclass(frozen=True)
class Along:
    """A problem, a direction of all that it reads, and the changes of its cotangents.

    Args:
        direction: (group, name) -> as the tensor.
        d_outputs, d_state: by name.
    """

    problem: Problem
    direction: Gradient
    d_outputs: Named
    d_state: Named

    @classmethod
    def random(cls, problem: Problem, seed: int = 0) -> Along:
        """A direction of length 1, of everything but of what must stay 0 or 1."""
        drawn, rng = random_directions(problem, 1, problem.seed + 3 + seed), np.random.default_rng(problem.seed + seed)
        fixed = conditions(problem.cell)
        free = {key: np.zeros_like(u[0]) if key[1] in fixed else u[0] for key, u in drawn.items()}
        length = np.sqrt(sum(np.sum(u**2) for u in free.values()))
        direction = each(free, lambda u: u / length)
        cotangents = (problem.d_outputs, problem.d_state)
        d_outputs, d_state = (each(group, lambda v: rng.normal(size=v.shape)) for group in cotangents)
        return cls(problem, direction, d_outputs, d_state)

    def cast(self, dtype: Any) -> Along:
        """The same with every array rounded."""
        changes = (each(group, lambda v: v.astype(dtype)) for group in (self.direction, self.d_outputs, self.d_state))
        return Along(self.problem.cast(dtype), *changes)

    def only(self, key: tuple[str, str]) -> Along:
        """The direction of one tensor alone; the cotangents stay."""
        alone = {other: u if other == key else np.zeros_like(u) for other, u in self.direction.items()}
        return self.still(alone)

    def still(self, direction: Gradient) -> Along:
        """Another direction, along which the cotangents stay."""
        return Along(self.problem, direction, *(each(group, np.zeros_like) for group in (self.d_outputs, self.d_state)))

    def at(self, distance: complex) -> Problem:
        """The problem, moved."""
        found, along = self.problem, self.direction
        for group, name, values in found.tensors():
            found = found.with_tensor(group, name, values + distance * along[group, name])
        d_outputs = {name: values + distance * self.d_outputs[name] for name, values in found.d_outputs.items()}
        d_state = {name: values + distance * self.d_state[name] for name, values in found.d_state.items()}
        return replace(found, d_outputs=d_outputs, d_state=d_state)

    @cached_property
    def jvp(self) -> tuple[Named, Named]:
        """The changes of outputs and final states."""
        outputs, state = self.at(1j * STEP).forward()
        return each(outputs, change), each(state, change)

    def hvp(self, driver: Driver) -> Gradient:
        """The change of the gradient."""
        return each(driver.gradient(self.at(1j * STEP)), change)

    def allowed(self, driver: Driver, truth: Gradient, exact: float) -> float:
        """`exact`, or a few times what the last place of the problem's numbers means to an ill-conditioned truth."""
        rng, found = np.random.default_rng(self.problem.seed), []
        for _ in range(NUDGES):
            nudged = self.problem.mapped(lambda v: v * (1 + ULP * rng.choice((-1, 1), v.shape)))
            found.append(replace(self, problem=nudged).hvp(driver))
        condition = max(norm_error(other[key], values) for other in found for key, values in truth.items())
        return max(exact, min(ROUNDINGS * condition, WORST))


def each(group: Mapping[K, Array], made: Callable[[Array], Array]) -> dict[K, Array]:
    return {name: made(values) for name, values in group.items()}


def change(value: Array) -> Array:
    return np.imag(value) / STEP
