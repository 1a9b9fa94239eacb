"""The operators on CUDA tensors: over DLPack to the CUDA kernels, on torch's current stream and without copies.

A half tensor stores sequences and what products multiply; states and parameters are computed with in float32 and given
back in the tensors' own type.  float32 products are rounded to tf32 where those of `torch.nn.LSTM` would be.
"""

from collections.abc import Collection, Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from lstm_numba.gpu import device as devices
from lstm_numba.gpu.layer import Bound
from lstm_numba.gpu.run import CudaRun
from lstm_numba.torch import tapes
from lstm_numba.torch.plan import Plan
from lstm_numba.types import Types

Tensors = Sequence[Tensor]


def forward(plan: Plan, primals: Tensors, lengths: Any, resets: Any, save: bool) -> list[Tensor]:
    run = run_of(plan, primals, lengths, resets, save)
    return [*_results(primals, run), tapes.reserve(run if save else None)]


def backward(
    plan: Plan,
    adjoints: Sequence[Tensor | None],
    primals: Tensors,
    reserve: Tensor,
    lengths: Any,
    resets: Any,
    inputs: Collection[str] | None = None,
    parameters: Collection[str] | None = None,
) -> list[Any]:
    """As on the CPU: of the named inputs and parameters, None being all, and of first states."""
    run = tapes.kept(reserve) or run_of(plan, primals, lengths, resets, True)
    return _gradients(plan, primals, run.backward(**_adjoints(plan, adjoints), inputs=inputs, parameters=parameters))


def tangent(plan: Plan, tangents: Tensors, primals: Tensors, lengths: Any, resets: Any) -> list[Tensor]:
    return _results(primals, run_of(plan, primals, lengths, resets, True).jvp(_direction(plan, tangents)))


def second(
    plan: Plan, tangents: Tensors, adjoints: Tensors, primals: Tensors, lengths: Any, resets: Any
) -> list[Tensor]:
    run = run_of(plan, primals, lengths, resets, True)
    return _gradients(plan, primals, run.hvp(_direction(plan, tangents), **_adjoints(plan, adjoints)))


# --- one forward


def run_of(plan: Plan, primals: Tensors, lengths: Any, resets: Any, save: bool) -> CudaRun:
    """The run of one forward."""
    inputs, state, theta = _split(plan, primals)
    place, kinds = inputs[0].device, _types(inputs[0].dtype)
    layer = _layer(plan, plan.spaces(primals), kinds, place.index)
    further, first = dict(zip(plan.further, inputs[1:], strict=True)), dict(zip(plan.spec.states, state, strict=True))
    return layer.run(theta, inputs[0], first, lengths, resets, save, further)


@lru_cache(maxsize=64)
def _layer(plan: Plan, spaces: tuple[int, ...], kinds: Types, number: int) -> Bound:
    sizes = dict(zip(plan.spec.spaces, spaces, strict=True))
    device = devices.numbered(number)
    return Bound(plan.module, device, sizes, kinds, plan.layout, plan.reverse, plan.periods)


def _types(dtype: torch.dtype) -> Types:
    return Types(str(dtype).removeprefix("torch."), "tf32" if dtype == torch.float32 and _rounds_to_tf32() else "exact")


def _rounds_to_tf32() -> bool:
    """Whether torch lets cuDNN round the products of its own recurrent layers."""
    cudnn: Any = torch.backends.cudnn
    if hasattr(cudnn, "rnn"):  # of this and later versions, beside which the older flag must not be read
        return cudnn.rnn.fp32_precision == "tf32"
    return bool(cudnn.allow_tf32)


# --- between a list of tensors and names


def _wide(tensors: Sequence[Tensor | None]) -> list[Any]:
    """States and parameters as the arithmetic takes them."""
    return [t if t is None or t.dtype == torch.float64 else t.float() for t in tensors]


def _split(plan: Plan, tensors: Tensors) -> tuple[Tensors, list[Tensor], list[Tensor]]:
    inputs, state, theta = plan.split([tensor.detach() for tensor in tensors])
    return inputs, _wide(state), _wide(theta)


def _adjoints(plan: Plan, adjoints: Sequence[Tensor | None]) -> dict[str, Any]:
    count = len(plan.spec.outputs)
    d_outputs = dict(zip(plan.spec.outputs, adjoints, strict=False))
    return {"d_outputs": d_outputs, "d_state": dict(zip(plan.spec.states, _wide(adjoints[count:]), strict=True))}


def _direction(plan: Plan, tangents: Tensors) -> dict[str, Any]:
    inputs, state, theta = _split(plan, tangents)
    named = dict(zip(plan.inputs, inputs, strict=True))
    return {**named, "state": dict(zip(plan.spec.states, state, strict=True)), "parameters": theta}


def _results(primals: Tensors, found: Any) -> list[Tensor]:
    """Outputs and last states, or their changes, in the type of the sequences."""
    return [tensor.to(primals[0].dtype) for tensor in (*found.outputs.values(), *found.state.values())]


def _gradients(plan: Plan, primals: Tensors, found: Any) -> list[Any]:
    """In the order and types of the primals; None for an input that was left out."""
    ordered = [found.inputs.get(name) for name in plan.inputs] + [found.state[name] for name in plan.spec.states]
    pairs = zip([*ordered, *found.parameters], primals, strict=True)
    return [None if gradient is None else gradient.to(primal.dtype) for gradient, primal in pairs]
