"""L1 and L2, on numbers: values and gradients of an implementation against the oracle's.

forward      outputs and final states of the equations, evaluated slowly
gradient     every element of the gradient by complex step, on a small problem
directions   eight random directions by complex step, on a larger one: |<g, u> - dL/du| <= allowed |g| for |u| = 1
differences  every element by six-point central differences of real numbers
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np

from derive.verify.derivative import Gradient, central_difference, directional, gradient, random_directions
from derive.verify.problem import Problem, conditions
from derive.verify.report import Measurement, Place, compare, describe
from derive.verify.rounding import of_gradient, of_run
from derive.verify.subject import Subject

WIDE = np.float64
DIRECTIONS = 8


def forward(subject: Subject, problem: Problem, allowed: float, rung: str = "forward") -> Iterator[Measurement]:
    """Compare outputs and final states."""
    found, (outputs, state) = subject.forward(problem), problem.cast(WIDE).forward()
    sides, wide = (subject.name, "equations"), problem.cast(WIDE)
    for name, expected in outputs.items():
        terms = partial(of_run, wide, name, final=False)
        yield compare(rung, name, sides, found.outputs[name], expected, allowed, problem, terms)
    for name, expected in state.items():
        terms = partial(of_run, wide, name, final=True)
        yield compare(rung, f"final {name}", sides, found.state[name], expected, allowed, problem, terms)


def full(
    subject: Subject, problem: Problem, expected: Gradient, allowed: float, rung: str = "gradient"
) -> Iterator[Measurement]:
    """Compare every tensor of the gradient with one that was found by complex step."""
    yield from compare_all(rung, (subject.name, "complex step"), subject.gradient(problem), expected, allowed, problem)


def differences(subject: Subject, problem: Problem, allowed: float) -> Iterator[Measurement]:
    """Compare every tensor of the gradient with finite differences, but for what must be 0 or 1."""
    fixed = conditions(problem.cell)
    expected = {key: slope for key, slope in gradient(problem, central_difference).items() if key[1] not in fixed}
    found, sides = subject.gradient(problem), (subject.name, "finite difference")
    yield from compare_all("differences", sides, found, expected, allowed, problem)


def directions(subject: Subject, problem: Problem, allowed: float) -> Iterator[Measurement]:
    """Compare the slopes along random joint directions."""
    along, found = unit_directions(problem), subject.gradient(problem)
    slopes = sum(np.reshape(u * found[key], (DIRECTIONS, -1)).sum(1) for key, u in along.items())
    size = np.sqrt(sum(float(np.sum(values.astype(WIDE) ** 2)) for values in found.values()))
    expected = directional(problem, along)
    for k, (slope, true) in enumerate(zip(np.atleast_1d(slopes), expected, strict=True)):
        error = float(abs(slope - true) / size) if size > 0 else float(abs(slope - true))
        place = None if error <= allowed else Place((), float(slope), float(true))
        sides = (subject.name, "complex step")
        yield Measurement("directions", f"slope {k}", sides, error, allowed, describe(problem), place)


def unit_directions(problem: Problem) -> Gradient:
    """Random directions over all tensors at once, each of length 1."""
    along = random_directions(problem, DIRECTIONS, problem.seed + 1)
    length = np.sqrt(sum(np.sum(np.reshape(u, (DIRECTIONS, -1)) ** 2, 1) for u in along.values()))
    return {key: u / np.reshape(length, (-1, *[1] * (u.ndim - 1))) for key, u in along.items()}


def compare_all(
    rung: str, sides: tuple[str, str], found: Gradient, expected: Gradient, allowed: float, problem: Problem
) -> Iterator[Measurement]:
    for (group, name), slope in expected.items():
        terms = partial(of_gradient, problem.cast(WIDE), group, name)
        yield compare(rung, quantity(group, name), sides, found[group, name], slope, allowed, problem, terms)


def quantity(group: str, name: str) -> str:
    """dL/dU_f, and dL/dh[-1] for the initial state h: the one before step 0."""
    return f"dL/d{name} before step 0" if group == "state" else f"dL/d{name}"
