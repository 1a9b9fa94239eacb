"""torch.nn.LSTM, GRU and RNN: oneDNN for the LSTM in float32, ATen's own loops for the rest."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from scripts.benchmarks.candidate import Candidate
from scripts.benchmarks.cases import Arrays, Data
from scripts.benchmarks.peers.torch_common import candidate, tensors

# cell -> module, its gates in torch's order
MODULES = {
    "rnn": (torch.nn.RNN, ("",)),
    "lstm": (torch.nn.LSTM, ("_i", "_f", "_g", "_o")),
    "gru_reset_after": (torch.nn.GRU, ("_r", "_z", "_n")),
}


def weights(parameters: Arrays, gates: tuple[str, ...]) -> Arrays:
    """Our parameters in torch's layout.  torch's second bias is 0 except for the GRU's b_hn."""
    arrays = {
        "weight_ih_l0": np.concatenate([parameters[f"W{gate}"] for gate in gates]),
        "weight_hh_l0": np.concatenate([parameters[f"U{gate}"] for gate in gates]),
        "bias_ih_l0": np.concatenate([parameters[f"b{gate}"] for gate in gates]),
    }
    arrays["bias_hh_l0"] = np.zeros_like(arrays["bias_ih_l0"])
    if "b_hn" in parameters:
        arrays["bias_hh_l0"][-len(parameters["b_hn"]) :] = parameters["b_hn"]
    return arrays


def named(gradients: Arrays, gates: tuple[str, ...]) -> Arrays:
    """The way back."""
    layout = {"W": "weight_ih_l0", "U": "weight_hh_l0", "b": "bias_ih_l0"}
    ours = {
        letter + gate: part
        for letter, theirs in layout.items()
        for gate, part in zip(gates, np.split(gradients[theirs], len(gates)), strict=True)
    }
    if gates[0] == "_r":
        ours["b_hn"] = np.split(gradients["bias_hh_l0"], 3)[2]
    return ours


def module_of(data: Data) -> tuple[torch.nn.Module, Any]:
    """The module with our weights, and the first state as it takes it."""
    kind, gates = MODULES[data.case.cell]
    _, _, N, H = data.case.size
    module = kind(N, H, dtype=getattr(torch, data.case.dtype))
    module.load_state_dict(tensors(weights(data.layer.parameters, gates)))
    state = tuple(tensor[None] for tensor in tensors(data.state).values())
    return module, state if len(state) > 1 else state[0]


def forward(data: Data) -> Callable[[int], torch.Tensor]:
    """A call for the output of the first steps that keeps what a backward needs."""
    module, initial = module_of(data)
    x = torch.tensor(data.x, requires_grad=True)
    return lambda steps: module(x[:steps], initial)[0]


def backward(data: Data) -> Callable[[torch.Tensor], None]:
    """A call for the backward of such an output."""
    d_output = torch.tensor(data.d_output)
    return lambda output: output.backward(d_output[: len(output)])


def build(data: Data) -> Candidate | None:
    """The module as a candidate."""
    if data.case.cell not in MODULES or data.case.options:
        return None
    module, initial = module_of(data)
    leaves, gates = dict(module.named_parameters()), MODULES[data.case.cell][1]
    return candidate("torch.nn", data, lambda x: module(x, initial)[0], leaves, lambda found: named(found, gates))
