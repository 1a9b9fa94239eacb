"""Checks of the ladder that are about torch: its modules on the device, a graph that it records; and directions."""

from typing import Any

import numpy as np

from scripts.gpu_checks import ladder
from tests import layers


def along(cell: str, kinds: Any) -> list[str]:
    """jvp and hvp against the CPU's."""
    apart = []
    for size in ladder.SIZES[:2]:
        both = ladder.pair(cell, kinds, size)
        expected = _along(both.exact, both.numbers)
        found = ladder.on_host(_along(both.own, ladder.on_device(both.own, both.numbers)))
        apart += [f"{size} {name}" for name in layers.farther_apart(found, expected, both.tolerance)]
    return apart


def _along(layer: Any, numbers: layers.Numbers) -> dict[str, Any]:
    run = layers.forward(layer, numbers)
    direction = {**numbers.inputs, "state": numbers.state}  # of the same types and shapes
    pushed = run.jvp(direction)
    pulled = run.hvp(direction, numbers.d_output, numbers.d_state)
    found = {"dot output": pushed.output, **{f"dot {name}": array for name, array in pushed.state.items()}}
    names = dict(pulled.parameters) if isinstance(pulled.parameters, dict) else {"parameters": pulled.parameters.flat}
    return found | {f"change of d {name}": array for name, array in {**pulled.inputs, **names}.items()}


def module(storage: str) -> list[str]:
    """`lstm_numba.torch.LSTM` on the device against itself on the CPU in float64, with unequal lengths."""
    import torch

    from lstm_numba.torch import LSTM

    torch.manual_seed(0)
    exact = LSTM(6, 34, 2, bidirectional=True, dtype=torch.float64)
    exact.load_state_dict({name: t.to(getattr(torch, storage)) for name, t in exact.state_dict().items()})
    own = LSTM(6, 34, 2, bidirectional=True, device="cuda", dtype=getattr(torch, storage))
    own.load_state_dict(exact.state_dict())
    x = torch.randn(9, 5, 6).to(getattr(torch, storage))
    expected, found = _everything(exact, x.double()), _everything(own, x.cuda())
    tolerance = ladder.TOLERANCE["tf32" if storage == "float32" else storage]
    return layers.farther_apart(ladder.on_host(found), ladder.on_host(expected), tolerance)


def _everything(module: Any, x: Any) -> dict[str, Any]:
    import torch
    from torch.nn.utils.rnn import pack_padded_sequence

    x = x.detach().requires_grad_()
    packed, (h, c) = module(pack_padded_sequence(x, torch.tensor([9, 9, 5, 2, 1])))
    loss = packed.data.double().square().sum() + h.double().sum() + c.double().sin().sum()
    names = ["x", *(name for name, _ in module.named_parameters())]
    gradients = torch.autograd.grad(loss, [x, *module.parameters()])
    return {"output": packed.data, "h": h, "c": c, **dict(zip(names, gradients, strict=True))}


def recorded() -> list[str]:
    """A forward and backward of a module in a graph that torch records: replayed on new numbers, the same bits."""
    import torch

    from lstm_numba.torch import GRU

    module, x = GRU(8, 64, device="cuda"), torch.randn(7, 4, 8, device="cuda")

    def step() -> list[Any]:
        output, last = module(x)
        return [output, last, *torch.autograd.grad(output.sum() + last.sum(), list(module.parameters()))]

    beside = torch.cuda.Stream()
    beside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(beside):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(beside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        held = step()
    x.copy_(torch.randn_like(x))
    graph.replay()
    pairs = zip(held, step(), strict=True)
    return [f"result {k}" for k, (one, other) in enumerate(pairs) if not torch.equal(one, other)]


def lowered() -> list[str]:
    """Under autocast a float32 module gives float16, as torch's own."""
    import torch

    from lstm_numba.torch import LSTM

    module = LSTM(8, 64, device="cuda")
    with torch.autocast("cuda", torch.float16):
        output, _ = module(torch.randn(7, 4, 8, device="cuda"))
    output.float().sum().backward()
    finite = all(bool(np.isfinite(p.grad.float().cpu().numpy()).all()) for p in module.parameters())
    return [] if output.dtype == torch.float16 and finite else [f"{output.dtype}, finite gradients: {finite}"]
