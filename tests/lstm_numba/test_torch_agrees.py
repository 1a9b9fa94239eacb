"""Foreign truth: float64 forward and every gradient against torch, both torch.nn and loops under autograd.

Weights are random and not symmetric, N differs from H, T >= 3, the first state is not 0: constant weights would not see
a swapped gate or a transposed matrix.
"""

import numpy as np
import pytest
import torch

import lstm_numba as ln
from tests.oracles import torch_cells
from tests.oracles.fused_steps import CELLS, modules

T, B, N, H = 5, 3, 4, 6
TOLERANCE = 1e-13
PERIODS = (1, 2, 4)
CASES = [
    *((name, {}) for name in CELLS if name not in ("peephole", "clockwork")),
    ("rnn", {"activation": "relu"}),
    ("lstm1997", {"truncated": True}),
    *(("peephole", {"peepholes": gates}) for gates in ("i", "f", "o", "if", "io", "fo", "ifo")),
    ("clockwork", {"periods": PERIODS}),
]
MODULES = {
    "rnn": (torch.nn.RNN, [""]),
    "lstm": (torch.nn.LSTM, ["_i", "_f", "_g", "_o"]),
    "gru_reset_after": (torch.nn.GRU, ["_r", "_z", "_n"]),
}


def named(case):
    name, options = case
    return "-".join([name, *(f"{key}={value}" for key, value in options.items())])


class Problem:
    """A layer with random weights, the arrays of one training step, and what the layer makes of them."""

    def __init__(self, name, options, seed):
        rng = np.random.default_rng(seed)
        self.layer = ln.Layer(name, input_size=N, hidden_size=H, dtype="float64", **options)
        for array in (*self.layer.parameters.values(), *self.layer.constants.values()):
            array[...] = rng.normal(size=array.shape)
        self.x = rng.normal(size=(T, B, N))
        self.inputs = {key: rng.normal(size=(T, B, H)) for key in self.layer.spec.inputs if key != "x"}
        self.state, self.d_state = ({key: rng.normal(size=(B, H)) for key in self.layer.spec.states} for _ in range(2))
        self.d_output = rng.normal(size=(T, B, H))
        self.run = self.layer.forward(self.x, self.state, **self.inputs)
        self.gradients = self.run.backward(self.d_output, self.d_state)


def leaves(arrays):
    return {key: torch.tensor(array, requires_grad=True) for key, array in arrays.items()}


def unrolled(ours, name, options):
    """The same step in torch: leaves of inputs, parameters and first states, then outputs and final states."""
    p, s, inputs = leaves(ours.layer.parameters), leaves(ours.state), leaves({"x": ours.x, **ours.inputs})
    fixed = {key: torch.tensor(array) for key, array in ours.layer.constants.items()}
    extra = inputs.get("c_lower")
    if periods := options.get("periods"):
        extra, fixed["mask"] = map(torch.tensor, modules(H, periods, T))
    steps = {key: value for key, value in options.items() if key != "periods"}
    output, final = torch_cells.cell(name, inputs["x"], p | fixed, s, extra, **steps)
    return inputs, p, s, output, final


def agree(ours, theirs):
    """Norm-wise; torch says None where no gradient flows."""
    theirs = np.zeros_like(ours) if theirs is None else theirs.detach().numpy()
    return np.linalg.norm(ours - theirs) <= TOLERANCE * np.sqrt(T) * max(np.linalg.norm(theirs), 1)


def differing(ours, leaves_of_theirs):
    return [key for key, leaf in leaves_of_theirs.items() if not agree(ours[key], leaf.grad)]


@pytest.mark.parametrize("case", CASES, ids=named)
def test_forward_and_every_gradient_equal_autograd_of_a_torch_loop(case):
    name, options = case
    ours = Problem(name, options, seed=1)
    inputs, p, s, output, final = unrolled(ours, name, options)
    adjoints = [ours.d_output, *(ours.d_state[key] for key in final)]
    torch.autograd.backward([output, *final.values()], list(map(torch.tensor, adjoints)))

    assert agree(ours.run.output, output), "output"
    assert [key for key in final if not agree(ours.run.state[key], final[key])] == []
    assert differing(ours.gradients.inputs, inputs) == []
    assert differing(ours.gradients.parameters, p) == []
    assert differing(ours.gradients.state, s) == []


@pytest.mark.parametrize("name", MODULES)
def test_forward_and_every_gradient_equal_the_torch_module(name):
    ours, (kind, gates) = Problem(name, {}, seed=2), MODULES[name]
    module = kind(N, H, dtype=torch.float64)
    module.load_state_dict(torch_layout(ours.layer.parameters, gates))
    x, s = torch.tensor(ours.x, requires_grad=True), leaves(ours.state)
    first = tuple(value[None] for value in s.values())
    output, final = module(x, first if len(first) > 1 else first[0])
    final = final if isinstance(final, tuple) else (final,)
    adjoints = [ours.d_output, *(ours.d_state[key][None] for key in s)]
    torch.autograd.backward([output, *final], list(map(torch.tensor, adjoints)))

    expected = torch_layout(ours.gradients.parameters, gates)
    assert agree(ours.run.output, output), "output"
    assert differing({"x": ours.gradients.x, **ours.gradients.state}, {"x": x, **s}) == []
    theirs = dict(module.named_parameters())
    # torch has two biases for what is one sum; ours has the second only where the reset stands between them
    theirs["bias_hh_l0"].grad *= expected["bias_hh_l0"] != 0
    assert differing({key: array.numpy() for key, array in expected.items()}, theirs) == []


def torch_layout(arrays, gates):
    """Parameters, or their gradients, as a torch module keeps them: gates stacked, a second bias for the GRU's b_hn."""
    weight_ih, weight_hh, bias = (np.concatenate([arrays[letter + gate] for gate in gates]) for letter in "WUb")
    second = np.zeros_like(bias)
    if "b_hn" in arrays:
        second[-H:] = arrays["b_hn"]
    layout = {"weight_ih_l0": weight_ih, "weight_hh_l0": weight_hh, "bias_ih_l0": bias, "bias_hh_l0": second}
    return {key: torch.tensor(array) for key, array in layout.items()}
