"""A cell written by hand in torch: an eager loop over time with fused gates, or the same loop under torch.compile."""

from collections.abc import Callable

import torch

from scripts.benchmarks.candidate import Candidate
from scripts.benchmarks.cases import Data
from scripts.benchmarks.peers.torch_common import candidate, tensors
from tests.oracles.fused_steps import CELLS, unfuse
from tests.oracles.torch_cells import OPS, fuse, unroll


def build(data: Data, name: str = "torch loop", compiler: Callable = lambda function: function) -> Candidate | None:
    """The loop with our weights laid side by side ahead of time."""
    cell = data.case.cell
    if cell not in CELLS:
        return None
    fused = fuse(OPS, cell, tensors(data.layer.parameters))
    leaves = {key: value.contiguous().requires_grad_() for key, value in fused.items()}
    state, options = tensors(data.state), dict(data.case.options)
    extra = next(iter(tensors(data.inputs, trained=data.case.mode == "train").values()), None)
    loop = compiler(lambda x: unroll(cell, x, leaves, state, extra, **options)[0])
    return candidate(name, data, loop, leaves, lambda found: unfuse(cell, found))


def build_compiled(data: Data) -> Candidate | None:
    """The same under torch.compile, which unrolls the loop: minutes of compilation before the first step."""
    return build(data, "torch.compile", torch.compile)
