"""The operators on CPU tensors: the same memory as NumPy arrays, in and out."""

from collections.abc import Collection, Sequence
from typing import Any

import torch
from torch import Tensor

from lstm_numba.run import Run
from lstm_numba.torch import tapes
from lstm_numba.torch.plan import Plan
from lstm_numba.torch.tensors import array

Tensors = Sequence[Tensor]
Adjoints = Sequence[Tensor | None]  # None is 0


def forward(plan: Plan, primals: Tensors, lengths: Any, resets: Any, save: bool) -> list[Tensor]:
    run = run_of(plan, primals, lengths, resets, save)
    found = [*run.outputs.values(), *run.state.values()]
    return [*map(torch.from_numpy, found), tapes.reserve(run if save else None)]


def backward(
    plan: Plan,
    adjoints: Adjoints,
    primals: Tensors,
    reserve: Tensor,
    lengths: Any,
    resets: Any,
    inputs: Collection[str] | None = None,
    parameters: Collection[str] | None = None,
) -> list[Any]:
    """Of the named inputs and parameters, None being all, and of first states; None for an input left out."""
    run = tapes.kept(reserve) or run_of(plan, primals, lengths, resets, True)
    return gradients(plan, run, run.backward(**named_adjoints(plan, adjoints), inputs=inputs, parameters=parameters))


def tangent(plan: Plan, tangents: Tensors, primals: Tensors, lengths: Any, resets: Any) -> list[Tensor]:
    found = run_of(plan, primals, lengths, resets, True).jvp(direction(plan, tangents))
    return list(map(torch.from_numpy, [*found.outputs.values(), *found.state.values()]))


def second(
    plan: Plan, tangents: Tensors, adjoints: Tensors, primals: Tensors, lengths: Any, resets: Any
) -> list[Tensor]:
    run = run_of(plan, primals, lengths, resets, True)
    return gradients(plan, run, run.hvp(direction(plan, tangents), **named_adjoints(plan, adjoints)))


# --- between a list of tensors and names


def named_adjoints(plan: Plan, adjoints: Adjoints) -> dict[str, Any]:
    arrays, spec = [None if tensor is None else array(tensor) for tensor in adjoints], plan.spec
    d_outputs = dict(zip(spec.outputs, arrays, strict=False))
    return {"d_outputs": d_outputs, "d_state": dict(zip(spec.states, arrays[len(d_outputs) :], strict=True))}


def direction(plan: Plan, tangents: Tensors) -> dict[str, Any]:
    inputs, state, theta = plan.split([array(tensor) for tensor in tangents])
    named = dict(zip(plan.inputs, inputs, strict=True))
    return {**named, "state": dict(zip(plan.spec.states, state, strict=True)), "parameters": theta}


def gradients(plan: Plan, run: Run, found: Any) -> list[Any]:
    """In the order of the primals; None where an input's was left out."""
    inputs = [torch.from_numpy(found.inputs[name]) if name in found.inputs else None for name in plan.inputs]
    layer: Any = run.layer
    return [*inputs, *map(torch.from_numpy, found.state.values()), *layer.split(found.parameters)]


def run_of(plan: Plan, primals: Tensors, lengths: Any, resets: Any, save: bool) -> Run:
    """The run of one forward."""
    layer, fit = plan.fitting(primals, torch.get_num_threads())
    inputs, state, theta = plan.split(primals)
    x, *others = map(array, inputs)
    further = dict(zip(plan.further, others, strict=True))
    first = dict(zip(plan.spec.states, map(array, state), strict=True))
    ends, marks = (None if mark is None else array(mark) for mark in (lengths, resets))
    return layer.run_with(theta, fit, x, further, first, ends, marks, save)
