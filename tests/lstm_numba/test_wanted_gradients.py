"""A backward that is asked for some inputs or parameters only: no product for the others, every other bit the same.

`derive.verify` holds every cell to it (properties.inputs_are_left_out, parameters_are_left_out); here: stacks, states
only, torch, bad names.
"""

import numpy as np
import pytest
import torch

import lstm_numba as ln
import lstm_numba.torch as lt
from lstm_numba.cpu.after import ROWS, After
from tests.layers import numbers_for, other_bits, parameter_gradients, random_layer

T, B, N, H = 5, 3, 4, 6
rng = np.random.default_rng(0)
X, D = rng.normal(size=(T, B, N)), rng.normal(size=(T, B, 2 * H))


@pytest.fixture
def products(monkeypatch):
    """The inputs to which adjoints are pulled through products, in the order in which they are."""
    found, rows = [], After.rows

    def noted(self, batch, names):
        made = rows(self, batch, names)
        found.extend(name.removeprefix(ROWS) for name in made)
        return made

    monkeypatch.setattr(After, "rows", noted)
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


@pytest.fixture
def operands(monkeypatch):
    """The operands whose packed matrices got gradients, in the order in which they did."""
    found, outer = [], After.outer

    def noted(self, batch, arrays, keys):
        found.extend(sorted(keys))
        return outer(self, batch, arrays, keys)

    monkeypatch.setattr(After, "outer", noted)
    return found


WANTED = {(): [], ("b_i",): ["1_x"], ("U_f",): ["1_h_prev"], ("W_i", "U_o"): ["1_h_prev", "1_x"], ("p_o",): []}


@pytest.mark.parametrize("save", [True, "states"])
@pytest.mark.parametrize("wanted", WANTED)
def test_frozen_parameters_cost_no_product(save, wanted, operands):
    layer = random_layer("peephole", N, H, threads=2)
    numbers = numbers_for(layer, T, B)
    run = layer.forward(numbers.inputs["x"], save=save)
    every = run.backward(numbers.d_output)
    operands.clear()
    some = run.backward(numbers.d_output, parameters=wanted)
    assert sorted(set(operands)) == WANTED[wanted]
    assert np.array_equal(some.x, every.x)
    for name, array in some.parameters.items():
        assert np.array_equal(array, every.parameters[name] if name in wanted else 0 * array)


def test_a_stack_leaves_out_what_is_frozen():
    run = ln.Stack("lstm", N, H, layers=2, bidirectional=True, dtype="float64").forward(X)
    every, wanted = run.backward(D), ("0.b_f", "1.reverse.W_i")
    some = run.backward(D, parameters=wanted)
    for name, array in some.parameters.items():
        assert np.array_equal(array, every.parameters[name] if name in wanted else 0 * array)


@pytest.mark.parametrize("what", ["inputs", "parameters"])
@pytest.mark.parametrize("wanted", ["x", ["y"], 3])
def test_names_of_nothing(what, wanted):
    run = random_layer("lstm", N, H).forward(X)
    with pytest.raises(ln.errors.ArgumentError, match=what):
        run.backward(D[..., :H], **{what: wanted})


def test_names_may_come_as_an_array():
    layer = random_layer("depth_gated", N, H)
    numbers = numbers_for(layer, T, B)
    run = layer.forward(numbers.inputs["x"])
    inputs, parameters = np.array(["x", "c_lower"]), np.array(list(layer.parameters))
    found = run.backward(numbers.d_output, inputs=inputs, parameters=parameters)
    assert other_bits(parameter_gradients(found), parameter_gradients(run.backward(numbers.d_output))) == []


EAGER_AND_COMPILED = {"eager": lambda module: module, "compiled": torch.compile(backend="aot_eager", fullgraph=True)}
ways = pytest.mark.parametrize("way", EAGER_AND_COMPILED.values(), ids=EAGER_AND_COMPILED)


@ways
def test_torch_asks_for_what_it_needs(way, products):
    module, x = lt.LSTM(N, H, num_layers=2), torch.randn(T, B, N)
    run = way(module)
    run(x)[0].sum().backward()
    assert products == ["x"]  # the upper layer's
    found = {name: parameter.grad for name, parameter in module.named_parameters()}
    module.zero_grad()
    run(x.requires_grad_())[0].sum().backward()
    assert products == ["x"] * 3
    assert x.grad is not None
    assert all(torch.equal(p.grad, found[name]) for name, p in module.named_parameters())


@ways
def test_torch_spares_what_is_frozen(way, operands):
    module, x = lt.LSTM(N, H), torch.randn(T, B, N, requires_grad=True)
    run = way(module)
    run(x)[0].sum().backward()
    found = {name: parameter.grad for name, parameter in module.named_parameters()}
    module.zero_grad()
    module.weight_hh_l0.requires_grad_(False)
    operands.clear()
    run(x)[0].sum().backward()
    assert operands == ["1_x"]
    assert module.weight_hh_l0.grad is None
    trained = [(name, p.grad) for name, p in module.named_parameters() if p.requires_grad]
    assert all(torch.equal(gradient, found[name]) for name, gradient in trained)


def test_a_mask_of_ones_own_has_its_gradient():
    module, x = lt.Recurrent("lstm", N, H, recurrent_dropout=0.2, zoneout=0.1), torch.randn(T, B, N, requires_grad=True)
    mask = torch.rand(T, B, H, requires_grad=True)
    module(x, keep_h=mask)[0].sum().backward()
    assert x.grad is not None
    assert mask.grad is not None
