"""What the properties share: exactness, and comparisons of two runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from derive.verify.analytic import Array
from derive.verify.derivative import Gradient
from derive.verify.problem import Problem
from derive.verify.report import Measurement, compare
from derive.verify.rungs.numeric import quantity
from derive.verify.subject import Result, Subject

Property = Callable[[Subject, Problem], Iterator[Measurement]]

EXACT = 0.0
# sums taken in another order, in units of the last place
ROUNDINGS = 50


def rounding(values: Array) -> float:
    return ROUNDINGS * float(np.finfo(values.dtype).eps)


def same(
    claim: str,
    what: str,
    subject: Subject,
    found: Array,
    expected: Array,
    problem: Problem,
    allowed: float = EXACT,
    rung: str = "properties",
) -> Measurement:
    """Compare two runs of one subject; NaN equals NaN."""
    both = np.isnan(found) & np.isnan(expected) if found.shape == expected.shape else np.zeros(())
    if both.any():
        found, expected = np.where(both, 0, found), np.where(both, 0, expected)
    return compare(rung, f"{claim}: {what}", (subject.name, "another run"), found, expected, allowed, problem)


def same_forward(
    claim: str, subject: Subject, found: Result, expected: Result, problem: Problem, rung: str = "properties"
) -> Iterator[Measurement]:
    for name, values in expected.outputs.items():
        yield same(claim, name, subject, found.outputs[name], values, problem, rung=rung)
    for name, values in expected.state.items():
        yield same(claim, f"final {name}", subject, found.state[name], values, problem, rung=rung)


def same_gradient(
    claim: str, subject: Subject, found: Gradient, expected: Gradient, problem: Problem, rung: str = "properties"
) -> Iterator[Measurement]:
    for (group, name), values in expected.items():
        yield same(claim, quantity(group, name), subject, found[group, name], values, problem, rung=rung)


def same_runs(claim: str, subject: Subject, other: Problem, problem: Problem) -> Iterator[Measurement]:
    """Run two problems and compare everything bit for bit."""
    yield from same_forward(claim, subject, subject.forward(other), subject.forward(problem), problem)
    yield from same_gradient(claim, subject, subject.gradient(other), subject.gradient(problem), problem)
