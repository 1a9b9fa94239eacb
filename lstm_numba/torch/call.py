"""One layer of a torch module: from its tensors to the operator and back."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.fx import Proxy

from lstm_numba.errors import MixedTypesError, NotRecordableError
from lstm_numba.torch import eager
from lstm_numba.torch.plan import Plan

# The kernels compute in these; narrower numbers are widened for them.
COMPUTED = (torch.float32, torch.float64)
COMPUTED_ON_CUDA = (*COMPUTED, torch.bfloat16, torch.float16)


def run(
    plan: Plan,
    inputs: Sequence[Tensor],
    state: Sequence[Tensor],
    parameters: Sequence[Tensor],
    lengths: Tensor | None = None,
    resets: Tensor | None = None,
    promoted: bool = False,
) -> list[Tensor]:
    """Outputs (T, B, space) and last states (B, space); under autocast in its type, as torch's own layers, though
    computed in the parameters' type on a CPU.

    Args:
        promoted: under autocast on a CPU no narrower than the states, as `torch.nn.GRU`.

    Raises:
        MixedTypesError: an input or a state has another type than the parameters.
    """
    primals = [*inputs, *state, *parameters]
    dtype = parameters[0].dtype if parameters else inputs[0].dtype
    kinds = {tensor.dtype for tensor in primals}
    if torch._C._is_any_autocast_enabled() and _is_lowered(inputs[0].device.type):
        dtype = _autocast(dtype, state[0], promoted)
    elif kinds != {dtype}:
        _require(dtype, plan, primals[: len(primals) - len(parameters)])
    wide = dtype if dtype in (COMPUTED_ON_CUDA if inputs[0].is_cuda else COMPUTED) else torch.float32
    if kinds != {wide}:
        primals = [tensor.to(wide) for tensor in primals]
    save = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in primals)
    *found, _ = eager.forward(eager.Call(plan, lengths, resets), primals, save)
    return found if wide == dtype else [tensor.to(dtype) for tensor in found]


def _is_lowered(device: str) -> bool:
    """Whether autocast is at work on this kind of device; there is none for meta tensors."""
    return torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)


def _autocast(dtype: torch.dtype, state: Tensor, promoted: bool) -> torch.dtype:
    """The type of the results; float64 stays, as everywhere in autocast."""
    if dtype == torch.float64:
        return dtype
    lowered = torch.get_autocast_dtype(state.device.type)
    return torch.promote_types(lowered, state.dtype) if promoted and state.is_cpu else lowered


def recorded(module: torch.nn.Module, *arguments: Any, **named: Any) -> Proxy:
    """The module as one call in the graph of torch.fx.symbolic_trace, which does so by itself for torch's modules only.

    Raises:
        NotRecordableError: the module is all that is traced.
    """
    tracer: Any = arguments[0].tracer
    if module is tracer.root:
        kind = type(module).__name__
        raise NotRecordableError(f"torch.fx records {kind} as one call of a model that has it, and nothing inside it.")
    return tracer.create_proxy("call_module", tracer.path_of_module(module), arguments, named)


def leaves_torch() -> bool:
    """Whether what is recorded shall run elsewhere: torch.jit.trace or torch.onnx.export is at work."""
    return torch.jit.is_tracing() or (torch.compiler.is_compiling() and torch.onnx.is_in_onnx_export())


def scanned(*arguments: Any) -> list[Tensor]:
    """As `run`, in torch's own operations; for a layout with one parameter in each tensor."""
    from lstm_numba.torch.scanned import Scanned

    return Scanned(*arguments).run()


def not_recordable(cell: str) -> NotRecordableError:
    return NotRecordableError(
        f"torch.jit cannot record the kernels of {cell}: use torch.export or torch.compile; to run it elsewhere, "
        "torch.onnx.export(..., dynamo=True) or lstm_numba.interchange.to_onnx."
    )


def _require(dtype: torch.dtype, plan: Plan, tensors: Sequence[Tensor]) -> None:
    for k, tensor in enumerate(tensors):
        if tensor.dtype != dtype:
            name = (*plan.inputs, *plan.spec.states)[k]
            raise MixedTypesError(
                f"{name} must be {dtype}, the type of the parameters, got {tensor.dtype}: convert it with "
                f"{name}.to({dtype}), or the module with .to({tensor.dtype})."
            )
