"""The examples run, and what they say comes true."""

import runpy

import numpy as np
import pytest

import derive
from derive.build import module_of
from lstm_numba.cpu.interpreted import PlainLayer
from scripts.sizes import ROOT

EXAMPLES = ROOT / "examples"


@pytest.mark.slow
def test_a_cell_of_ones_own_learns_the_adding_problem():
    train = runpy.run_path(str(EXAMPLES / "train_own_cell.py"))["train"]
    assert train(steps=600) < 0.02  # remembering only one of the two numbers leaves 0.083


def test_the_example_cell_has_one_gate():
    cell = derive.load(EXAMPLES / "minimal_gated_unit.py")
    assert "f" in cell.gates
    assert list(cell.parameters) == ["W_f", "U_f", "b_f", "W_n", "U_n", "b_n"]


def test_the_layer_normalised_lstm_is_what_torch_makes_of_layer_norm():
    torch = pytest.importorskip("torch")
    T, B, N, H = 4, 2, 3, 5
    layer = PlainLayer(module_of(derive.load(EXAMPLES / "layer_norm_lstm.py")), N, H, S=1, dtype="float64")
    rng = np.random.default_rng(0)
    for values in layer.parameters.values():
        values[...] = rng.normal(0, 0.5, values.shape)
    x, d_y = rng.normal(size=(T, B, N)), rng.normal(size=(T, B, H))
    run = layer.forward(x)
    found = run.backward(d_y)

    p = {name: torch.tensor(values, requires_grad=True) for name, values in layer.parameters.items()}
    given, h, c, ys = torch.tensor(x, requires_grad=True), torch.zeros(B, H), torch.zeros(B, H), []

    def norm(a, name):
        return torch.nn.functional.layer_norm(a, (H,), p[f"k_{name}"], p[f"b_{name}"], 1e-5)

    for t in range(T):
        i, f, g, o = (norm(given[t] @ p[f"W_{k}"].T + h.double() @ p[f"U_{k}"].T, k) for k in "ifgo")
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(norm(c, "n"))
        ys.append(h)
    output = torch.stack(ys)
    (output * torch.tensor(d_y)).sum().backward()

    assert run.output == pytest.approx(output.detach().numpy(), abs=1e-14)
    assert found.x == pytest.approx(given.grad.numpy(), abs=1e-13)
    for name, tensor in p.items():
        assert found.parameters[name] == pytest.approx(tensor.grad.numpy(), abs=1e-13)
