"""The cells as eager torch loops, differentiated by autograd: the foreign oracle of every gradient."""

import torch

from tests.oracles.fused_steps import CELLS, Ops, fuse

OPS = Ops(
    sigmoid=torch.sigmoid,
    tanh=torch.tanh,
    relu=torch.relu,
    concatenate=torch.cat,
    split=lambda array, parts: array.chunk(parts, -1),
    constant=torch.Tensor.detach,
)


def unroll(name, x, fused, state, extra=None, **options):
    """Run a cell over x (T, B, N): h at every step (T, B, H) and the final state, from fused parameters."""
    step, outputs = CELLS[name].step, []
    ahead = x @ fused["W"] + fused["b"]
    for t in range(len(x)):
        state = step(OPS, fused, ahead[t], state, None if extra is None else extra[t], **options)
        outputs.append(state["h"])
    return torch.stack(outputs), state


def cell(name, x, parameters, state, extra=None, **options):
    """The same, from parameters under the names of the equations."""
    return unroll(name, x, fuse(OPS, name, parameters), state, extra, **options)
