"""Our own torch module of a cell: the same kernels behind torch's autograd."""

from scripts.benchmarks.candidate import Candidate
from scripts.benchmarks.cases import Data
from scripts.benchmarks.peers.torch_common import candidate, tensors


def build(data: Data) -> Candidate:
    """The module with our weights."""
    from lstm_numba.torch import Recurrent

    case = data.case
    _, _, N, H = case.size
    module = Recurrent(case.cell, N, H, **dict(case.options))
    module.load_state_dict(tensors(dict(data.layer.parameters)))
    state, leaves = tensors(data.state), dict(module.named_parameters())
    return candidate("own torch", data, lambda x: module(x, state)[0], leaves, lambda found: found)
