"""The operators on CPU tensors: the same memory as NumPy arrays, in and out."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lstm_numba.run import Run
from lstm_numba.torch import tapes
from lstm_numba.torch.plan import Plan

Tensors = Sequence[Tensor]


def forward(plan: Plan, primals: Tensors, lengths: Any, resets: Any, save: bool) -> list[Tensor]:
    run = run_of(plan, primals, lengths, resets, save)
    found = [*run.outputs.values(), *run.state.values()]
    return [*map(torch.from_numpy, found), tapes.reserve(run if save else None)]


def backward(
    plan: Plan, adjoints: Tensors, primals: Tensors, reserve: Tensor, lengths: Any, resets: Any
) -> list[Tensor]:
    run = tapes.kept(reserve) or run_of(plan, primals, lengths, resets, True)
    arrays, spec = list(map(array, adjoints)), plan.spec
    d_outputs = dict(zip(spec.outputs, arrays, strict=False))
    d_state = dict(zip(spec.states, arrays[len(spec.outputs) :], strict=True))
    found = run.backward(d_outputs=d_outputs, d_state=d_state)
    ordered = [found.inputs[name] for name in plan.inputs] + [found.state[name] for name in spec.states]
    return list(map(torch.from_numpy, [*ordered, *found.parameters]))


def run_of(plan: Plan, primals: Tensors, lengths: Any, resets: Any, save: bool) -> Run:
    """The run of one forward."""
    inputs, state, theta = plan.split([array(tensor) for tensor in primals])
    layer = plan.layer(plan.spaces(primals), inputs[0].dtype, torch.get_num_threads())
    further, first = dict(zip(plan.further, inputs[1:], strict=True)), dict(zip(plan.spec.states, state, strict=True))
    marks = [None if mark is None else array(mark) for mark in (lengths, resets)]
    return layer.run(theta, inputs[0], further, first, *marks, save)


def array(tensor: Tensor) -> np.ndarray:
    """The tensor's memory."""
    return tensor.detach().numpy()
