"""L3, the adjoint identity: <v, J u> = <J' v, u>, with J u from the generated tangent text and J' v from the subject.

The two sides share no code but the forward text: a transposed weight, a lost sum or a step too early in either one
breaks the identity.  u is random over all tensors, then over each one alone; the error is relative to |v| |J u|.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np

from derive.verify.derivative import Gradient, random_directions
from derive.verify.problem import Problem
from derive.verify.report import Measurement, Place, describe, norm
from derive.verify.rungs.numeric import quantity
from derive.verify.subject import Named, Subject


class Pushing(Protocol):
    """What pushes a direction forward."""

    def tangent(self, problem: Problem, directions: Gradient) -> tuple[Named, Named]: ...


def identity(
    subject: Subject, driver: Pushing, problem: Problem, allowed: float, rung: str = "adjoint"
) -> Iterator[Measurement]:
    """Measure the identity for all tensors together and for each one alone."""
    pulled = subject.gradient(problem)
    everywhere = {key: u[0] for key, u in random_directions(problem, 1, problem.seed + 2).items()}
    sides = subject.name, "tangent"
    yield _measured(rung, "all tensors", sides, driver, problem, pulled, everywhere, allowed)
    for key in everywhere:
        alone = {other: u if other == key else np.zeros_like(u) for other, u in everywhere.items()}
        yield _measured(rung, quantity(*key), sides, driver, problem, pulled, alone, allowed)


def _measured(
    rung: str,
    what: str,
    sides: tuple[str, str],
    driver: Pushing,
    problem: Problem,
    pulled: Gradient,
    u: Gradient,
    allowed: float,
) -> Measurement:
    outputs, state = driver.tangent(problem, u)
    pairs = [(problem.d_outputs[name], pushed) for name, pushed in outputs.items()]
    pairs += [(problem.d_state[name], pushed) for name, pushed in state.items()]
    pushed_side = float(sum(np.sum(v * pushed) for v, pushed in pairs))
    pulled_side = float(sum(np.sum(pulled[key] * direction) for key, direction in u.items()))
    scale = np.sqrt(sum(norm(v) ** 2 for v, _ in pairs)) * np.sqrt(sum(norm(pushed) ** 2 for _, pushed in pairs))
    difference = abs(pushed_side - pulled_side)
    error = difference / scale if scale > 0 else difference
    place = None if error <= allowed else Place((), pulled_side, pushed_side)
    return Measurement(rung, f"<v, J u>, u in {what}", sides, float(error), allowed, describe(problem), place)
