"""The operators that torch's compiler sees: pure functions of their arguments, with fake forms and derivatives.

`primals` are all that a forward F reads: input sequences (T, B, space), first states (B, space), parameters; `tangents`
are directions of them.  `adjoints` belong to what F gives: outputs (T, B, space) and last states (B, space).

    forward     F(primals), and a reserve for the backward (see tapes.py)
    backward    B(adjoints, primals), the adjoints pulled back to the primals
    tangent     J(tangents, primals), the tangents pushed forward to outputs and last states
    second      S(tangents, adjoints, primals), the change of B along the tangents

    d <a, F> = B(a)        d <t, B(a)> = J(t) for a, S(t, a) for the primals        d <a, J(t)> = B(a) for t, S(t, a)

An argument `plan` is the key of a `Plan`; `lengths` (B,) and `resets` (T, B) are as in `Layer.forward`.  `needed` says
which primals' gradients are, None all of them; in the place of another there is an empty tensor.
"""

from collections.abc import Sequence
from types import ModuleType
from typing import Any, Optional

import torch
from torch import Tensor

from lstm_numba.errors import DeviceError, UnsupportedDerivativeError
from lstm_numba.torch import cpu, cuda
from lstm_numba.torch import plan as plans
from lstm_numba.torch.each import each

Tensors = Sequence[Tensor]
Mark = Optional[Tensor]  # noqa: UP045  (torch reads a schema from it, and knows this spelling in every version)
Needed = Optional[Sequence[bool]]  # noqa: UP045

# Kind of device -> what runs there.
RUNTIMES: dict[str, ModuleType] = {"cpu": cpu, "cuda": cuda}


def runtime(*groups: Tensors) -> ModuleType:
    """What runs on the tensors' device.

    Raises:
        DeviceError: the tensors lie on several devices, or on one that has no kernels.
    """
    for group in groups:
        for tensor in group:
            if not tensor.is_cpu:
                return _runtime_of(device_of(*groups).type)
    return cpu  # most calls, and found out in a loop, which costs half of what a generator does


def _runtime_of(kind: str) -> ModuleType:
    if kind not in RUNTIMES:
        raise DeviceError(
            f"there are no kernels for {kind} tensors, only for {', '.join(RUNTIMES)}: "
            "move the module and its inputs with .to('cpu')."
        )
    return RUNTIMES[kind]


def device_of(*groups: Tensors) -> torch.device:
    """The one device of all tensors.

    Raises:
        DeviceError: they lie on several.
    """
    devices = {tensor.device for group in groups for tensor in group}
    if len(devices) > 1:
        raise DeviceError(f"all tensors must be on one device, got {', '.join(sorted(map(str, devices)))}.")
    return devices.pop()


def no_third_order(*_: Any) -> Any:
    raise UnsupportedDerivativeError("there are derivatives of first and second order; a third was asked for.")


# --- forward


@torch.library.custom_op("lstm_numba::forward", mutates_args=())
def forward(primals: Tensors, lengths: Mark, resets: Mark, plan: str, save: bool) -> list[Tensor]:
    return runtime(primals).forward(plans.find(plan), primals, lengths, resets, save)


@forward.register_fake
def _(primals: Tensors, lengths: Mark, resets: Mark, plan: str, save: bool) -> list[Tensor]:
    device_of(primals)
    return [*like_results(primals, plan), torch.empty(1, dtype=torch.int64, device="cpu")]


def _keep_forward(ctx: Any, inputs: tuple[Any, ...], output: list[Tensor]) -> None:
    primals, lengths, resets, ctx.plan, _ = inputs
    ctx.save_for_backward(output[-1], lengths, resets, *primals)


def _pull_forward(ctx: Any, adjoints: list[Tensor]) -> tuple[Any, ...]:
    reserve, lengths, resets, *primals = ctx.saved_tensors
    needed: list[bool] = list(ctx.needs_input_grad[0])
    found = backward(adjoints[:-1], primals, reserve, lengths, resets, ctx.plan, needed)
    return [one if is_needed else None for one, is_needed in zip(found, needed, strict=True)], None, None, None, None


# --- backward


@torch.library.custom_op("lstm_numba::backward", mutates_args=())
def backward(
    adjoints: Tensors, primals: Tensors, reserve: Tensor, lengths: Mark, resets: Mark, plan: str, needed: Needed
) -> list[Tensor]:
    found, run = plans.find(plan), runtime(adjoints, primals).backward
    needed = _all_or(needed, primals)
    gradients = run(found, adjoints, primals, reserve, lengths, resets, *found.wanted(tuple(needed)))
    return _or_empty(gradients, needed, primals)


@backward.register_fake
def _(
    adjoints: Tensors, primals: Tensors, reserve: Tensor, lengths: Mark, resets: Mark, plan: str, needed: Needed
) -> list[Tensor]:
    device_of(adjoints, primals)
    return _or_empty(_like(primals), _all_or(needed, primals), primals)


def _keep_backward(ctx: Any, inputs: tuple[Any, ...], output: list[Tensor]) -> None:
    adjoints, primals, _, lengths, resets, ctx.plan, needed = inputs
    ctx.count, ctx.needed = len(adjoints), _all_or(needed, primals)
    ctx.save_for_backward(lengths, resets, *adjoints, *primals)


def _pull_backward(ctx: Any, tangents: list[Tensor]) -> tuple[Any, ...]:
    adjoints, primals, where = _kept(ctx)
    plans.find(ctx.plan).require_symmetry()
    along = [t if known else torch.zeros_like(p) for t, known, p in zip(tangents, ctx.needed, primals, strict=True)]
    return tangent(along, primals, *where), second(along, adjoints, primals, *where), None, None, None, None, None


# --- tangent


@torch.library.custom_op("lstm_numba::tangent", mutates_args=())
def tangent(tangents: Tensors, primals: Tensors, lengths: Mark, resets: Mark, plan: str) -> list[Tensor]:
    return runtime(tangents, primals).tangent(plans.find(plan), tangents, primals, lengths, resets)


@tangent.register_fake
def _(tangents: Tensors, primals: Tensors, lengths: Mark, resets: Mark, plan: str) -> list[Tensor]:
    device_of(tangents, primals)
    return like_results(primals, plan)


def _keep_tangent(ctx: Any, inputs: tuple[Any, ...], output: list[Tensor]) -> None:
    tangents, primals, lengths, resets, ctx.plan = inputs
    ctx.count = len(tangents)
    ctx.save_for_backward(lengths, resets, *tangents, *primals)


def _pull_tangent(ctx: Any, adjoints: list[Tensor]) -> tuple[Any, ...]:
    tangents, primals, where = _kept(ctx)
    plans.find(ctx.plan).require_symmetry()
    pulled = backward(adjoints, primals, nothing_kept(primals), *where, None)
    return pulled, second(tangents, adjoints, primals, *where), None, None, None


# --- second


@torch.library.custom_op("lstm_numba::second", mutates_args=())
def second(
    tangents: Tensors, adjoints: Tensors, primals: Tensors, lengths: Mark, resets: Mark, plan: str
) -> list[Tensor]:
    run = runtime(tangents, adjoints, primals).second
    return run(plans.find(plan), tangents, adjoints, primals, lengths, resets)


@second.register_fake
def _(tangents: Tensors, adjoints: Tensors, primals: Tensors, lengths: Mark, resets: Mark, plan: str) -> list[Tensor]:
    device_of(tangents, adjoints, primals)
    return _like(primals)


forward.register_autograd(_pull_forward, setup_context=_keep_forward)
backward.register_autograd(_pull_backward, setup_context=_keep_backward)
tangent.register_autograd(_pull_tangent, setup_context=_keep_tangent)
second.register_autograd(no_third_order)
for operator in (forward, backward, tangent, second):
    operator.register_vmap(each(operator))


# --- shapes, and what was kept


def _like(tensors: Tensors) -> list[Tensor]:
    return [torch.empty_like(tensor, memory_format=torch.contiguous_format) for tensor in tensors]


def _all_or(needed: Needed, primals: Tensors) -> Sequence[bool]:
    return [True] * len(primals) if needed is None else needed


def _or_empty(gradients: Sequence[Any], needed: Sequence[bool], primals: Tensors) -> list[Tensor]:
    found = zip(gradients, needed, primals, strict=True)
    return [gradient if is_needed else primal.new_empty(0) for gradient, is_needed, primal in found]


def like_results(primals: Tensors, plan: str) -> list[Tensor]:
    """Outputs and last states."""
    found, x = plans.find(plan), primals[0]
    spec, spaces = found.spec, dict(zip(found.spec.spaces, found.spaces(primals), strict=True))
    outputs = [x.new_empty(*x.shape[:2], spaces[spec.states[name]]) for name in spec.outputs]
    return outputs + [x.new_empty(x.shape[1], spaces[space]) for space in spec.states.values()]


def nothing_kept(primals: Tensors) -> Tensor:
    """A reserve that finds nothing."""
    return torch.zeros(1, dtype=torch.int64, device=primals[0].device)


def _kept(ctx: Any) -> tuple[list[Tensor], list[Tensor], tuple[Mark, Mark, str]]:
    """Adjoints or tangents, primals, and the last arguments of an operator."""
    lengths, resets, *tensors = ctx.saved_tensors
    return tensors[: ctx.count], tensors[ctx.count :], (lengths, resets, ctx.plan)
