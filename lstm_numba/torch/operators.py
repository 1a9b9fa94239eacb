"""The operators that torch sees: pure functions of their arguments, each with a fake form, derivatives and a vmap rule.

`primals` are all that a forward reads: input sequences (T, B, space), first states (B, space), parameters.  `adjoints`
belong to outputs (T, B, space) and last states (B, space).  An argument `plan` is the key of a `Plan`; `lengths` (B,)
and `resets` (T, B) are as in `Layer.forward`.

    forward     F(primals), and a reserve for the backward (see tapes.py)
    backward    B(adjoints, primals): adjoints pulled back to the primals
"""

from collections.abc import Sequence
from types import ModuleType
from typing import Any, Optional

import torch
from torch import Tensor

from lstm_numba.errors import DeviceError
from lstm_numba.torch import cpu
from lstm_numba.torch import plan as plans

Tensors = Sequence[Tensor]
Mark = Optional[Tensor]  # noqa: UP045  (torch reads a schema from it, and knows this spelling in every version)

# Kind of device -> what runs there.
RUNTIMES: dict[str, ModuleType] = {"cpu": cpu}


def runtime(*groups: Tensors) -> ModuleType:
    """What runs on the tensors' device.

    Raises:
        DeviceError: the tensors lie on several devices, or on one that has no kernels.
    """
    devices = {tensor.device for group in groups for tensor in group}
    if len(devices) > 1:
        raise DeviceError(f"all tensors must be on one device, got {', '.join(sorted(map(str, devices)))}.")
    kind = devices.pop().type
    if kind not in RUNTIMES:
        raise DeviceError(
            f"there are no kernels for {kind} tensors, only for {', '.join(RUNTIMES)}: "
            "move the module and its inputs with .to('cpu')."
        )
    return RUNTIMES[kind]


# --- forward


@torch.library.custom_op("lstm_numba::forward", mutates_args=())
def forward(primals: Tensors, lengths: Mark, resets: Mark, plan: str, save: bool) -> list[Tensor]:
    return runtime(primals).forward(plans.find(plan), primals, lengths, resets, save)


@forward.register_fake
def _(primals: Tensors, lengths: Mark, resets: Mark, plan: str, save: bool) -> list[Tensor]:
    found, x = plans.find(plan), primals[0]
    spec = found.spec
    spaces = dict(zip(spec.spaces, found.spaces(primals), strict=True))
    outputs = [x.new_empty(*x.shape[:2], spaces[spec.states[name]]) for name in spec.outputs]
    last = [x.new_empty(x.shape[1], spaces[space]) for space in spec.states.values()]
    return [*outputs, *last, x.new_empty(1, dtype=torch.int64)]


def _keep_primals(ctx: Any, inputs: tuple[Any, ...], output: list[Tensor]) -> None:
    primals, lengths, resets, ctx.plan, _ = inputs
    ctx.save_for_backward(output[-1], lengths, resets, *primals)


def _pull_forward(ctx: Any, adjoints: list[Tensor]) -> tuple[Any, ...]:
    reserve, lengths, resets, *primals = ctx.saved_tensors
    return backward(adjoints[:-1], primals, reserve, lengths, resets, ctx.plan), None, None, None, None


forward.register_autograd(_pull_forward, setup_context=_keep_primals)


# --- backward


@torch.library.custom_op("lstm_numba::backward", mutates_args=())
def backward(
    adjoints: Tensors, primals: Tensors, reserve: Tensor, lengths: Mark, resets: Mark, plan: str
) -> list[Tensor]:
    return runtime(adjoints, primals).backward(plans.find(plan), adjoints, primals, reserve, lengths, resets)


@backward.register_fake
def _(
    adjoints: Tensors, primals: Tensors, reserve: Tensor, lengths: Mark, resets: Mark, plan: str
) -> list[Tensor]:
    return [torch.empty_like(tensor, memory_format=torch.contiguous_format) for tensor in primals]
