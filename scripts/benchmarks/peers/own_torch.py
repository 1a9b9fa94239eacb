"""Our own torch modules of a cell: the same kernels behind torch's autograd; and the least that could stand there."""

from typing import Any

import torch

from scripts.benchmarks.candidate import Candidate
from scripts.benchmarks.cases import Data
from scripts.benchmarks.peers.torch_common import candidate, tensors
from scripts.benchmarks.peers.torch_modules import MODULES, named, weights


def build(data: Data) -> Candidate:
    """The module of any cell, a tensor for each parameter."""
    from lstm_numba.torch import Recurrent

    case = data.case
    _, _, N, H = case.size
    module = Recurrent(case.cell, N, H, **dict(case.options))
    module.load_state_dict(tensors(dict(data.layer.parameters)))
    state, leaves = tensors(data.state), dict(module.named_parameters())
    return candidate("Recurrent", data, lambda x: module(x, state)[0], leaves, lambda found: found)


def build_drop_in(data: Data) -> Candidate:
    """The module in torch.nn's place, with its four tensors."""
    from lstm_numba import torch as ours

    theirs, gates = MODULES[data.case.cell]
    _, _, N, H = data.case.size
    module = getattr(ours, theirs.__name__)(N, H)
    module.load_state_dict(tensors(weights(data.layer.parameters, gates)))
    state = tuple(tensor[None] for tensor in tensors(data.state).values())
    first, leaves = state if len(state) > 1 else state[0], dict(module.named_parameters())
    return candidate("drop-in", data, lambda x: module(x, first)[0], leaves, lambda found: named(found, gates))


def build_least(data: Data) -> Candidate:
    """The layer's call in an autograd.Function of the same tensors: no checks, no transforms, no second derivatives."""
    layer, state = data.layer, data.state
    leaves = tensors(dict(layer.parameters), trained=True)

    class Least(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: torch.Tensor, *primals: torch.Tensor) -> tuple[torch.Tensor, ...]:
            ctx.save_for_backward(x, *primals)
            ctx.run = layer.forward(x.detach().numpy(), state)
            return tuple(map(torch.from_numpy, [ctx.run.output, *ctx.run.state.values()]))

        @staticmethod
        def backward(ctx: Any, *adjoints: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
            _ = ctx.saved_tensors
            found = ctx.run.backward(adjoints[0].numpy())
            gradients = map(torch.from_numpy, found.parameters.values())
            return torch.from_numpy(found.x), *[None] * len(state), *gradients

    first = tensors(state).values()
    return candidate(
        "least wrapper", data, lambda x: Least.apply(x, *first, *leaves.values())[0], leaves, lambda found: found
    )


ALL = {"least wrapper": build_least, "Recurrent": build, "drop-in": build_drop_in}
