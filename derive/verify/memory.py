"""L5, properties of memory: what a run leaves alone, and what it does not depend on.

Bit for bit: a second run, another layout of the same numbers, and fresh memory full of NaN change nothing; nothing that
is handed in is written to; a NaN reaches its own row and no other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import numpy as np

from derive.verify.analytic import Array
from derive.verify.comparisons import same, same_forward, same_gradient, same_runs
from derive.verify.problem import Problem
from derive.verify.report import Measurement, describe
from derive.verify.rungs.numeric import quantity
from derive.verify.subject import Subject


def runs_repeat(subject: Subject, problem: Problem) -> Iterator[Measurement]:
    """A second run gives the same bits."""
    yield from same_runs("runs repeat", subject, problem, problem)


def poison_does_not_show(subject: Subject, problem: Problem) -> Iterator[Measurement]:
    """Every number that leaves is written: fresh memory full of NaN changes nothing."""
    forward, gradient = subject.forward(problem), subject.gradient(problem)
    with poisoned_memory():
        yield from same_forward("poison does not show", subject, subject.forward(problem), forward, problem)
        yield from same_gradient("poison does not show", subject, subject.gradient(problem), gradient, problem)


def inputs_stay(subject: Subject, problem: Problem) -> Iterator[Measurement]:
    """Read-only arrays do, and hold the same bits afterwards."""
    groups = problem.inputs, problem.state, problem.d_outputs, problem.d_state
    given = [(name, values) for group in groups for name, values in group.items()]
    before = [values.copy() for _, values in given]
    with _read_only([values for _, values in given]):
        subject.forward(problem)
        subject.gradient(problem)
    for (name, values), kept in zip(given, before, strict=True):
        yield same("inputs stay", name, subject, values, kept, problem)


def layout_does_not_matter(subject: Subject, problem: Problem) -> Iterator[Measurement]:
    """Strided and Fortran-ordered arrays of the same numbers give the same bits."""
    other = replace(
        problem,
        inputs=_each(problem.inputs, _strided),
        state=_each(problem.state, np.asfortranarray),
        d_outputs=_each(problem.d_outputs, np.asfortranarray),
        d_state=_each(problem.d_state, _strided),
    )
    yield from same_runs("layout does not matter", subject, other, problem)


def nan_stays_in_its_row(subject: Subject, problem: Problem) -> Iterator[Measurement]:
    """A NaN in one row's input reaches that row's output, and changes no bit of another row."""
    if not problem.inputs or problem.batch < 2 or problem.steps < 1:
        return
    problem = replace(problem, lengths=None, resets=None)
    name, values = next(iter(problem.inputs.items()))
    spoiled, bad, others = values.copy(), 1, np.arange(problem.batch) != 1
    spoiled[0, bad] = np.nan
    dirty = problem.with_tensor("inputs", name, spoiled)
    run, clean = subject.forward(dirty), subject.forward(problem)
    yield _reaches(subject, problem, any(np.isnan(out[:, bad]).any() for out in run.outputs.values()))
    for output, expected in clean.outputs.items():
        found = run.outputs[output][:, others]
        yield same("NaN stays in its row", output, subject, found, expected[:, others], problem)
    pulled = subject.gradient(dirty)
    for (group, tensor), expected in subject.gradient(problem).items():
        if group != "parameters":
            axis = 1 if group == "inputs" else 0
            found, kept = (np.compress(others, array, axis) for array in (pulled[group, tensor], expected))
            yield same("NaN stays in its row", quantity(group, tensor), subject, found, kept, problem)


def _reaches(subject: Subject, problem: Problem, reached: bool) -> Measurement:
    note = "" if reached else "the NaN was lost on its way: a wrong number looks like a right one"
    sides = subject.name, "another run"
    what = "NaN stays in its row: the row itself"
    return Measurement("properties", what, sides, float(not reached), 0.0, describe(problem), note=note)


# --- Memory in unusual states


@contextmanager
def poisoned_memory() -> Iterator[None]:
    """Let np.empty and np.empty_like give NaN, so that what is not written shows; nothing may be compiled inside."""
    with patch.object(np, "empty", _filled(np.empty)), patch.object(np, "empty_like", _filled(np.empty_like)):
        yield


def _filled(allocate: Callable[..., Array]) -> Callable[..., Array]:
    def poisoned(*arguments: Any, **options: Any) -> Array:
        fresh = allocate(*arguments, **options)
        if fresh.dtype.kind == "f":
            fresh.fill(np.nan)
        return fresh

    return poisoned


@contextmanager
def _read_only(arrays: list[Array]) -> Iterator[None]:
    for array in arrays:
        array.flags.writeable = False
    try:
        yield
    finally:
        for array in arrays:
            array.flags.writeable = True


def _each(group: Any, layout: Callable[[Array], Array]) -> dict[str, Array]:
    return {name: layout(values) for name, values in group.items()}


def _strided(values: Array) -> Array:
    """The same numbers, every other place of a larger array."""
    wide = np.zeros((*values.shape[:-1], 2 * values.shape[-1]), values.dtype)
    wide[..., ::2] = values
    return wide[..., ::2]
