"""L5, properties of rows and steps: what must hold between runs of one implementation, whatever the formulas are.

Each property takes a subject and a problem, and yields measurements.  Rows do not influence each other, so they are
compared bit for bit if the subject claims as much; sums taken in another order are compared to rounding.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from math import lcm

import numpy as np

from derive.verify.analytic import Array
from derive.verify.comparisons import EXACT, rounding, same, same_gradient, same_runs
from derive.verify.derivative import Gradient
from derive.verify.problem import Problem
from derive.verify.report import Measurement
from derive.verify.rungs.numeric import quantity
from derive.verify.slices import ending, rows, starting, steps
from derive.verify.subject import Subject

BATCH, TIME = 1, 0  # axes of a sequence


def batch_splits(subject: Subject, problem: Problem) -> Iterator[Measurement]:
    """Two parts of a batch give what the whole batch gives; gradients of parameters add up."""
    cut = problem.batch // 2
    parts = rows(problem, slice(0, cut)), rows(problem, slice(cut, None))
    found, whole = [subject.forward(part) for part in parts], subject.forward(problem)
    for name, values in whole.outputs.items():
        joined = np.concatenate([part.outputs[name] for part in found], axis=BATCH)
        allowed = EXACT if subject.exact else rounding(values)
        yield same("batch splits", name, subject, joined, values, problem, allowed)
    yield from _adds_up("batch splits", subject, [subject.gradient(part) for part in parts], problem, BATCH)


def sequence_splits(subject: Subject, problem: Problem) -> Iterator[Measurement]:
    """Two parts of a sequence, the state carried over and its adjoint carried back, give what the whole gives."""
    problem = replace(problem, resets=None)  # a reset returns to the state that its own run was given
    cut = _whole_turns(problem)
    first, second = steps(problem, 0, cut), steps(problem, cut, problem.steps)
    early = subject.forward(first)
    second = starting(second, early.state)
    late, whole = subject.forward(second), subject.forward(problem)
    for name, values in whole.outputs.items():
        joined = np.concatenate([early.outputs[name], late.outputs[name]])
        yield same("sequence splits", name, subject, joined, values, problem)
    pulled = subject.gradient(second)
    carried = subject.gradient(ending(first, {name: pulled["state", name] for name in problem.state}))
    pulled = {key: np.zeros_like(v) if key[0] == "state" else v for key, v in pulled.items()}
    yield from _adds_up("sequence splits", subject, [carried, pulled], problem, TIME)


def resets_restart(subject: Subject, problem: Problem) -> Iterator[Measurement]:
    """A reset of all rows makes two runs, both from the initial states."""
    cut = _whole_turns(problem)
    plain = replace(problem, lengths=None, resets=None)
    marks = np.arange(problem.steps)[:, None] == np.full(problem.batch, cut)
    whole, second = replace(plain, resets=marks), steps(plain, cut, problem.steps)
    first = ending(steps(plain, 0, cut), {name: np.zeros_like(values) for name, values in problem.d_state.items()})
    parts, run = [subject.forward(first), subject.forward(second)], subject.forward(whole)
    for name, values in run.outputs.items():
        joined = np.concatenate([part.outputs[name] for part in parts])
        yield same("resets restart", name, subject, joined, values, whole)
    if cut < problem.steps:  # else no step has a reset before it
        pulled = [subject.gradient(first), subject.gradient(second)]
        yield from _adds_up("resets restart", subject, pulled, whole, TIME)


def padding_is_ignored(subject: Subject, problem: Problem) -> Iterator[Measurement]:
    """What stands past a row's end, NaN even, changes nothing; outputs and dL/dx are 0 there."""
    lengths = (np.arange(problem.batch) * 2 + 1) % (problem.steps + 1)
    past = np.arange(problem.steps)[:, None] >= lengths
    clean = replace(problem, lengths=lengths)
    spoiled = {
        group: {name: np.where(past[..., None], np.nan, values).astype(values.dtype) for name, values in given.items()}
        for group, given in (("inputs", problem.inputs), ("d_outputs", problem.d_outputs))
    }
    dirty = replace(clean, inputs=spoiled["inputs"], d_outputs=spoiled["d_outputs"])
    yield from same_runs("padding is ignored", subject, dirty, clean)
    found = dict(subject.forward(clean).outputs)
    found |= {f"dL/d{name}": v for (group, name), v in subject.gradient(clean).items() if group == "inputs"}
    for name, values in found.items():
        yield same("padding is ignored", f"{name} past the end", subject, values[past], 0 * values[past], clean)


def gradient_is_linear(subject: Subject, problem: Problem) -> Iterator[Measurement]:
    """Twice the cotangents give twice the gradient, bit for bit; none give zeros."""
    base = subject.gradient(problem)
    for factor in (2, 0):
        scaled = replace(
            problem,
            d_outputs={name: factor * values for name, values in problem.d_outputs.items()},
            d_state={name: factor * values for name, values in problem.d_state.items()},
        )
        for (group, name), values in subject.gradient(scaled).items():
            what = f"{quantity(group, name)} of {factor} L"
            yield same("gradient is linear", what, subject, values, factor * base[group, name], problem)


def inputs_are_left_out(subject: Subject, problem: Problem) -> Iterator[Measurement]:
    """A gradient that is asked for some of the inputs only has these, and changes no bit of anything."""
    whole = subject.gradient(problem)
    for wanted in [(), *((name,) for name in problem.inputs)]:
        some = subject.gradient(problem, wanted)
        expected = {key: values for key, values in whole.items() if key[0] != "inputs" or key[1] in wanted}
        yield from same_gradient("inputs are left out", subject, some, expected, problem)
        for _, name in some.keys() - expected.keys():
            yield same("inputs are left out", name, subject, some["inputs", name], np.zeros(0), problem)


def parameters_are_left_out(subject: Subject, problem: Problem) -> Iterator[Measurement]:
    """A gradient that is asked for one of the parameters, or none, has 0 for the others and changes no other bit."""
    whole = subject.gradient(problem)
    for wanted in [(), *((name,) for name in problem.parameters)]:
        some = subject.gradient(problem, parameters=wanted)
        idle = {key: np.zeros_like(v) for key, v in whole.items() if key[0] == "parameters" and key[1] not in wanted}
        yield from same_gradient("parameters are left out", subject, some, whole | idle, problem)


# --- Parts and wholes


def _adds_up(claim: str, subject: Subject, parts: list[Gradient], problem: Problem, axis: int) -> Iterator[Measurement]:
    """Sequences are laid side by side along `axis`, everything that the parts share is added."""
    for (group, name), values in subject.gradient(problem).items():
        joined = _joined(group, [part[group, name] for part in parts], axis)
        yield same(claim, quantity(group, name), subject, joined, values, problem, rounding(values))


def _joined(group: str, parts: list[Array], axis: int) -> Array:
    if group == "inputs":
        return np.concatenate(parts, axis)
    if group == "state" and axis == BATCH:
        return np.concatenate(parts)
    return parts[0] + parts[1]


def _whole_turns(problem: Problem) -> int:
    """Where a sequence may be cut: anywhere, but with a clock at a step at which all its modules tick."""
    turn = lcm(*(problem.periods or (1,)))
    return problem.steps // 2 // turn * turn
