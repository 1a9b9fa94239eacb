"""Since when a gradient is wrong: the shortest sequence that shows it.

A tensor that is wrong with one step has a wrong formula or product; one that is right with one step and wrong with two
has a wrong recursion in time.  That is worth more to whoever looks for the bug than the values after seven steps.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from derive.verify.derivative import gradient
from derive.verify.problem import Problem
from derive.verify.report import Measurement, norm_error
from derive.verify.rungs.numeric import quantity
from derive.verify.slices import steps
from derive.verify.subject import Subject


def with_history(subject: Subject, problem: Problem, measured: Iterable[Measurement]) -> Iterator[Measurement]:
    """Add to each failed gradient how many steps it takes to go wrong."""
    keys = {quantity(group, name): (group, name) for group, name, _ in problem.tensors()}
    for measurement in measured:
        if measurement.ok or measurement.quantity not in keys:
            yield measurement
        else:
            yield replace(measurement, note=_since(subject, problem, keys[measurement.quantity], measurement.allowed))


def _since(subject: Subject, problem: Problem, key: tuple[str, str], allowed: float) -> str:
    for count in range(1, problem.steps + 1):
        shorter = steps(problem, 0, count)
        if not norm_error(subject.gradient(shorter)[key], gradient(shorter)[key]) <= allowed:
            return (
                "wrong with a single step" if count == 1 else f"right with {_steps(count - 1)}, wrong from {count} on"
            )
    return ""


def _steps(count: int) -> str:
    return "1 step" if count == 1 else f"{count} steps"
