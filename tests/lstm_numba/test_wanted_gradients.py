"""A backward that is asked for some inputs only: no product for the others, every other bit the same.

`derive.verify` holds every cell to it (properties.inputs_are_left_out); here: stacks, states only, torch, bad names.
"""

import numpy as np
import pytest
import torch

import lstm_numba as ln
import lstm_numba.torch as lt
from lstm_numba.cpu.after import After
from tests.layers import numbers_for, other_bits, parameter_gradients, random_layer

T, B, N, H = 5, 3, 4, 6
rng = np.random.default_rng(0)
X, D = rng.normal(size=(T, B, N)), rng.normal(size=(T, B, 2 * H))


@pytest.fixture
def products(monkeypatch):
    """The inputs to which adjoints are pulled through products, in the order in which they are."""
    found, through = [], After._through_products

    def noted(self, batch, arrays, name, shape):
        found.append(name)
        return through(self, batch, arrays, name, shape)

    monkeypatch.setattr(After, "_through_products", noted)
    return found


@pytest.mark.parametrize("save", [True, "states"])
def test_a_layer_leaves_out_what_nobody_wants(save, products):
    layer = random_layer("lstm", N, H, reverse=True)
    numbers = numbers_for(layer, T, B)
    run = layer.forward(numbers.inputs["x"], save=save)
    every = run.backward(numbers.d_output, inputs=["x"])
    products.clear()
    some = run.backward(numbers.d_output, inputs=())
    assert products == []
    assert some.x is None
    assert some.inputs == {}
    assert np.array_equal(every.x, run.backward(numbers.d_output).x)
    assert other_bits(parameter_gradients(some), parameter_gradients(every)) == []


@pytest.mark.parametrize("cell", ["gru", "depth_gated"])
def test_a_stack_leaves_out_what_its_lowest_layer_reads(cell, products):
    run = ln.Stack(cell, N, H, layers=2, bidirectional=True, dtype="float64").forward(X)
    every = run.backward(D)
    products.clear()
    some = run.backward(D, inputs=())
    assert products.count("x") == 2  # the upper layer's two directions
    assert some.x is None
    assert some.inputs == {}
    assert all(np.array_equal(array, every.parameters[name]) for name, array in some.parameters.items())
    assert all(np.array_equal(array, every.state[name]) for name, array in some.state.items())


@pytest.mark.parametrize("wanted", ["x", ["y"], 3])
def test_names_of_no_inputs(wanted):
    run = random_layer("lstm", N, H).forward(X)
    with pytest.raises(ln.errors.ArgumentError, match="inputs"):
        run.backward(D[..., :H], inputs=wanted)


def test_torch_asks_for_what_it_needs(products):
    module, x = lt.LSTM(N, H, num_layers=2), torch.randn(T, B, N)
    module(x)[0].sum().backward()
    assert products == ["x"]  # the upper layer's
    found = {name: parameter.grad for name, parameter in module.named_parameters()}
    module.zero_grad()
    module(x.requires_grad_())[0].sum().backward()
    assert products == ["x"] * 3
    assert x.grad is not None
    assert all(torch.equal(p.grad, found[name]) for name, p in module.named_parameters())


def test_a_mask_of_ones_own_has_its_gradient():
    module, x = lt.Recurrent("lstm", N, H, recurrent_dropout=0.2, zoneout=0.1), torch.randn(T, B, N, requires_grad=True)
    mask = torch.rand(T, B, H, requires_grad=True)
    module(x, keep_h=mask)[0].sum().backward()
    assert x.grad is not None
    assert mask.grad is not None
