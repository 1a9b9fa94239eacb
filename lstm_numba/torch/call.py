"""One layer of a torch module: from its tensors to the operator and back."""

from collections.abc import Sequence

import torch
from torch import Tensor

from lstm_numba.errors import MixedTypesError
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
) -> list[Tensor]:
    """Outputs (T, B, space) and last states (B, space); under autocast in the parameters' type, on a CUDA device in
    autocast's, as torch's own layers.

    Raises:
        MixedTypesError: an input or a state has another type than the parameters.
    """
    primals = [*inputs, *state, *parameters]
    dtype = parameters[0].dtype if parameters else inputs[0].dtype
    if not torch._C._is_any_autocast_enabled():
        _require(dtype, plan, primals[: len(primals) - len(parameters)])
    elif inputs[0].is_cuda:
        dtype = _autocast(dtype)
    wide = dtype if dtype in (COMPUTED_ON_CUDA if inputs[0].is_cuda else COMPUTED) else torch.float32
    if any(tensor.dtype != wide for tensor in primals):
        primals = [tensor.to(wide) for tensor in primals]
    save = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in primals)
    *found, _ = eager.forward(eager.Call(plan, lengths, resets), primals, save)
    return found if wide == dtype else [tensor.to(dtype) for tensor in found]


def _autocast(dtype: torch.dtype) -> torch.dtype:
    lowered = torch.is_autocast_enabled("cuda") and dtype != torch.float64
    return torch.get_autocast_dtype("cuda") if lowered else dtype


def _require(dtype: torch.dtype, plan: Plan, tensors: Sequence[Tensor]) -> None:
    for k, tensor in enumerate(tensors):
        if tensor.dtype != dtype:
            name = (*plan.inputs, *plan.spec.states)[k]
            raise MixedTypesError(
                f"{name} must be {dtype}, the type of the parameters, got {tensor.dtype}: convert it with "
                f"{name}.to({dtype}), or the module with .to({tensor.dtype})."
            )
