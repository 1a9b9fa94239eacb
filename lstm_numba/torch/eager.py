"""The same four functions without torch's dispatcher: what runs outside of torch.compile, at a fraction of the cost.

These are `torch.autograd.Function`s, so they have forward-mode derivatives too, which operators cannot have, and work
under the transforms of `torch.func`.  The letters are those of operators.py.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn import Parameter

from lstm_numba.torch import operators
from lstm_numba.torch.each import each, each_older, is_batched
from lstm_numba.torch.operators import Tensors, like_results, no_third_order, nothing_kept, runtime
from lstm_numba.torch.plan import Plan

PLAIN = {Tensor, Parameter}


@dataclass(frozen=True, slots=True)
class Call:
    """What is the same in a forward and its derivatives, and is not differentiated."""

    plan: Plan
    lengths: Tensor | None
    resets: Tensor | None

    @property
    def last_arguments(self) -> tuple[Tensor | None, Tensor | None, str]:
        """Of an operator."""
        return self.lengths, self.resets, self.plan.key


def is_eager(tensors: Tensors) -> bool:
    """Whether real tensors are to be computed now: nobody traces, and they are not fake, meta or other stand-ins."""
    if torch.compiler.is_compiling() or torch._C._len_torch_dispatch_stack():
        return False
    return {type(tensor) for tensor in tensors} <= PLAIN and not (tensors and tensors[0].is_meta)


def is_transformed() -> bool:
    """Whether a transform of torch.func or forward mode is at work."""
    return torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0


def is_plain(tensors: Sequence[Tensor | None]) -> bool:
    """Whether only numbers are wanted of a backward: nobody differentiates it, transforms it or traces it."""
    given = [tensor for tensor in tensors if tensor is not None]
    return not torch.is_grad_enabled() and not is_transformed() and is_eager(given) and not is_batched(given)


def applied(function: Any) -> Callable[..., tuple[Tensor, ...]]:
    """`function.apply`; where no transform of torch.func is at work in the older form, which costs less."""

    def forward(ctx: Any, *arguments: Any) -> tuple[Tensor, ...]:
        output = function.forward(*arguments)
        function.setup_context(ctx, arguments, output)
        return output

    methods = {"forward": staticmethod(forward), "backward": staticmethod(function.backward)}
    older: Any = type(function.__name__, (torch.autograd.Function,), {**methods, "jvp": staticmethod(function.jvp)})

    def apply(*arguments: Any) -> tuple[Tensor, ...]:
        if function is not Forward and is_batched(arguments):  # a Forward's primals never are
            return each_older(apply, *arguments)
        transformed = torch._C._are_functorch_transforms_active()
        return (function if transformed else older).apply(*arguments)

    function.vmap = staticmethod(each(apply))
    return apply


def _zeros_for_none(tensors: Sequence[Tensor | None], like: Tensors) -> list[Tensor]:
    return [torch.zeros_like(other) if t is None else t for t, other in zip(tensors, like, strict=True)]


# --- forward


def forward(call: Call, primals: Tensors, save: bool) -> Sequence[Tensor]:
    """Outputs, last states, reserve; in a graph that is being traced, as an operator."""
    if is_eager(primals):
        plain = not save and not is_transformed()
        return (Forward.forward if plain else apply_forward)(call, save, *primals)
    return operators.forward(primals, *call.last_arguments, save)


class Forward(torch.autograd.Function):
    """F(primals), and a reserve for the backward."""

    @staticmethod
    def forward(call: Call, save: bool, *primals: Tensor) -> tuple[Tensor, ...]:
        return tuple(runtime(primals).forward(call.plan, primals, call.lengths, call.resets, save))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.call, _, *primals = inputs
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(output[-1])
        ctx.save_for_backward(output[-1], *primals)
        if is_transformed():
            ctx.save_for_forward(output[-1], *primals)

    @staticmethod
    def backward(ctx: Any, *adjoints: Tensor | None) -> tuple[Any, ...]:
        reserve, *primals = ctx.saved_tensors
        *arrived, _ = adjoints
        if is_plain(arrived):  # without zeros for what did not arrive
            call, run = ctx.call, runtime(primals).backward
            wanted = call.plan.wanted(ctx.needs_input_grad[2:])
            return None, None, *run(call.plan, arrived, primals, reserve, call.lengths, call.resets, *wanted)
        like = like_results(primals, ctx.call.plan.key)
        return None, None, *backward(ctx.call, _zeros_for_none(arrived, like), primals, reserve)

    @staticmethod
    def jvp(ctx: Any, _call: None, _save: None, *tangents: Tensor | None) -> tuple[Tensor | None, ...]:
        _, *primals = ctx.saved_tensors
        return *tangent(ctx.call, _zeros_for_none(tangents, primals), primals), None


# --- backward


def backward(call: Call, adjoints: Tensors, primals: Tensors, reserve: Tensor) -> Sequence[Tensor]:
    if is_eager(adjoints):
        plain = is_plain(adjoints)
        return (Backward.forward if plain else apply_backward)(call, len(adjoints), reserve, *adjoints, *primals)
    return operators.backward(adjoints, primals, reserve, *call.last_arguments, None)


class Backward(torch.autograd.Function):
    """B(adjoints, primals)."""

    @staticmethod
    def forward(call: Call, count: int, reserve: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
        adjoints, primals, run = tensors[:count], tensors[count:], runtime(tensors).backward
        return tuple(run(call.plan, adjoints, primals, reserve, call.lengths, call.resets))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:  # noqa: ARG004
        ctx.call, ctx.count, _, *tensors = inputs
        ctx.save_for_backward(*tensors)
        ctx.save_for_forward(*tensors)

    @staticmethod
    def backward(ctx: Any, *tangents: Tensor) -> tuple[Any, ...]:
        adjoints, primals = _halves(ctx)
        ctx.call.plan.require_symmetry()
        change = second(ctx.call, tangents, adjoints, primals)
        return None, None, None, *tangent(ctx.call, tangents, primals), *change

    @staticmethod
    def jvp(ctx: Any, _call: None, _count: None, _reserve: None, *tangents: Tensor | None) -> tuple[Tensor, ...]:
        adjoints, primals = _halves(ctx)
        changes = _zeros_for_none(tangents, ctx.saved_tensors)
        by_primals = second(ctx.call, changes[ctx.count :], adjoints, primals)
        by_adjoints = backward(ctx.call, changes[: ctx.count], primals, nothing_kept(primals))
        return tuple(one + other for one, other in zip(by_primals, by_adjoints, strict=True))


def _halves(ctx: Any) -> tuple[Tensors, Tensors]:
    """Adjoints or tangents, and primals."""
    return ctx.saved_tensors[: ctx.count], ctx.saved_tensors[ctx.count :]


# --- tangent


def tangent(call: Call, tangents: Tensors, primals: Tensors) -> Sequence[Tensor]:
    return apply_tangent(call, *tangents, *primals)


class TangentOf(torch.autograd.Function):
    """J(tangents, primals)."""

    @staticmethod
    def forward(call: Call, *tensors: Tensor) -> tuple[Tensor, ...]:
        count, run = len(tensors) // 2, runtime(tensors).tangent
        return tuple(run(call.plan, tensors[:count], tensors[count:], call.lengths, call.resets))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:  # noqa: ARG004
        ctx.call, *tensors = inputs
        ctx.count = len(tensors) // 2
        ctx.save_for_backward(*tensors)

    @staticmethod
    def backward(ctx: Any, *adjoints: Tensor) -> tuple[Any, ...]:
        tangents, primals = _halves(ctx)
        ctx.call.plan.require_symmetry()
        pulled = backward(ctx.call, adjoints, primals, nothing_kept(primals))
        return None, *pulled, *second(ctx.call, tangents, adjoints, primals)

    jvp = staticmethod(no_third_order)


# --- second


def second(call: Call, tangents: Tensors, adjoints: Tensors, primals: Tensors) -> Sequence[Tensor]:
    return apply_second(call, len(adjoints), *adjoints, *tangents, *primals)


class Second(torch.autograd.Function):
    """S(tangents, adjoints, primals)."""

    @staticmethod
    def forward(call: Call, count: int, *tensors: Tensor) -> tuple[Tensor, ...]:
        both, run = tensors[count:], runtime(tensors).second
        tangents, primals = both[: len(both) // 2], both[len(both) // 2 :]
        return tuple(run(call.plan, tangents, tensors[:count], primals, call.lengths, call.resets))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        """Nothing is kept: no derivative reads it."""

    backward = jvp = staticmethod(no_third_order)


apply_forward, apply_backward, apply_tangent, apply_second = map(applied, (Forward, Backward, TangentOf, Second))
