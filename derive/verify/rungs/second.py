"""Second order, on numbers: tangents of steps, of runs and of gradients.

steps        step_jvp and step_vjp_jvp against the complex step of step and step_vjp, on the values that a run meets
jvp, hvp     an implementation against the complex step of the equations, and of the generated gradient
differences  its hvp against six-point central differences of its own gradient
symmetry     <u, H v> = <v, H u>, for cells without stop(); relative to |u| |H v|
same bits    a second run, poisoned memory, threads
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np

from derive.emit.scalar import StepFunction
from derive.functions import stop
from derive.verify.analytic import Array
from derive.verify.comparisons import same_gradient
from derive.verify.curvature import Along, change
from derive.verify.derivative import KINK_SHARE, SPACING, STENCIL, STEP, Gradient
from derive.verify.driver import Driver
from derive.verify.kernel import Kernel
from derive.verify.memory import poisoned_memory
from derive.verify.oracle import Interpreter
from derive.verify.problem import Problem
from derive.verify.report import Measurement, Place, compare, describe
from derive.verify.rungs.adjoint import Pushing
from derive.verify.rungs.numeric import quantity
from derive.verify.sequence import Named
from derive.verify.subject import Subject

RUNG, STEPPED = "second", "complex step"
STEPS = 2  # of a run, whose values the step functions are given


class Curved(Subject, Pushing, Protocol):
    """A subject that runs along directions, too."""

    def curvature(self, along: Along) -> Gradient: ...


# --- Step functions


def steps(driver: Driver, planted: Driver, problem: Problem, allowed: float) -> Iterator[Measurement]:
    """Compare the tangent functions of `planted`, on the values of its runs, with complex steps by `driver`."""
    rng = np.random.default_rng(problem.seed)
    for known in planted.forward(problem).steps[:STEPS]:
        for step in driver.generated.values():
            shape = problem.batch, problem.size[step.stage.space]
            for function, tangent in ((step.forward, step.tangent), (step.backward, step.backward_tangent)):
                drawn = {name: rng.normal(size=shape) for name in tangent.arguments if name not in known}
                given: dict[str, Any] = {**known, **drawn, "dot_stop": 1}
                found, expected = planted.call(tangent, given), _stepped(driver, function, given)
                for name, value in found.items():
                    sides, what = ("text", STEPPED), f"{name} of {tangent.name}"
                    wide = np.broadcast_to(value, shape), np.broadcast_to(expected[name], shape)
                    yield compare(RUNG, what, sides, *wide, allowed, problem)


def _stepped(driver: Driver, function: StepFunction, given: dict[str, Any]) -> Named:
    """What a function returns, and how it changes with those of its arguments that have a tangent."""
    moved = {name: given[name] + 1j * STEP * given.get(f"dot_{name}", 0) for name in function.arguments}
    results = driver.call(function, moved)
    return {name: np.real(v) for name, v in results.items()} | {f"dot_{name}": change(v) for name, v in results.items()}


# --- Runs


def jvp(subject: Curved, along: Along, allowed: float, rung: str = RUNG) -> Iterator[Measurement]:
    """Compare the changes of outputs and final states."""
    found, sides = subject.tangent(along.problem, along.direction), (subject.name, STEPPED)
    for kind, ours, truth in zip(("", "final "), found, along.jvp, strict=True):
        for name, expected in truth.items():
            yield compare(rung, f"change of {kind}{name}", sides, ours[name], expected, allowed, along.problem)


def hvp(
    subject: Curved, along: Along, expected: Gradient, allowed: float, rung: str = RUNG, against: str = STEPPED
) -> Iterator[Measurement]:
    """Compare the change of every tensor of the gradient."""
    found = subject.curvature(along)
    for (group, name), values in expected.items():
        what, sides = f"change of {quantity(group, name)}", (subject.name, against)
        yield compare(rung, what, sides, found[group, name], values, allowed, along.problem)


def differences(subject: Curved, along: Along, allowed: float) -> Iterator[Measurement]:
    """Compare with central differences of the subject's own gradient."""
    base = Interpreter(along.problem.periods or (1,))
    along.problem.forward(base)
    spacing = min(SPACING, KINK_SHARE * base.near)
    ends = {k: (subject.gradient(along.at(k * spacing)), subject.gradient(along.at(-k * spacing))) for k in STENCIL}
    expected = {key: _slope(ends, key) / spacing for key in along.direction}
    yield from hvp(subject, along, expected, allowed, against="finite difference")


def _slope(ends: dict[int, tuple[Gradient, Gradient]], key: tuple[str, str]) -> Array:
    return sum(weight * (ends[k][0][key] - ends[k][1][key]) for k, weight in STENCIL.items())  # type: ignore[return-value]


def symmetry(subject: Curved, problem: Problem, allowed: float) -> Iterator[Measurement]:
    """Measure how far <u, H v> is from <v, H u>."""
    if any(equation.rhs.has(stop) for equation in problem.cell.equations):
        return
    u, v = (Along.random(problem, seed) for seed in (1, 2))
    pulled_u, pulled_v = (subject.curvature(along.still(along.direction)) for along in (u, v))
    left, right = _product(u.direction, pulled_v), _product(v.direction, pulled_u)
    scale = np.sqrt(_product(u.direction, u.direction) * _product(pulled_v, pulled_v))
    error = abs(left - right) / scale if scale > 0 else abs(left - right)
    place = None if error <= allowed else Place((), left, right)
    sides = subject.name, "v and u exchanged"
    yield Measurement(RUNG, "<u, H v>", sides, float(error), allowed, describe(problem), place)


def same_bits(kernel: Kernel, along: Along) -> Iterator[Measurement]:
    """A second run, fresh memory full of NaN, and any number of threads give the same bits."""
    expected, problem = kernel.curvature(along), along.problem
    with poisoned_memory():
        yield from same_gradient("runs repeat", kernel, kernel.curvature(along), expected, problem, RUNG)
    for count in (2, 3, 7):
        threaded = kernel.with_threads(count)
        found = threaded.curvature(along)
        yield from same_gradient(f"{count} threads", threaded, found, expected, problem, RUNG)


def _product(one: Gradient, other: Gradient) -> float:
    return float(sum(np.sum(values * other[key]) for key, values in one.items()))
