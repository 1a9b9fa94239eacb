"""Recurrent and Stack are the NumPy layers with the same names; masks are inputs of derived equations."""

import numpy as np
import pytest
import torch

import derive
import lstm_numba as ln
import lstm_numba.torch as lt
from derive.masked import dropped, zoned
from lstm_numba.errors import OptionError
from tests import reference_cells

T, B, N, H = 5, 3, 4, 8
OPTIONS = {"clockwork": {"periods": (1, 2, 4, 8)}, "lstm_projected": {"P": 3}}
LENGTHS = [5, 2, 0]


def draw(*sizes, **options):
    return torch.randn(*sizes, dtype=torch.float64, **options)


def twin(cell, **options):
    """A torch module, and the NumPy layer with its numbers."""
    torch.manual_seed(1)
    module = lt.Recurrent(cell, N, H, dtype=torch.float64, **options)
    layer = ln.Layer(cell, N, H, dtype="float64", **options)
    for name, tensor in module.state_dict().items():
        layer._theta[name] = tensor.numpy()
    return module, layer


def arrays(tensors):
    return {name: tensor.detach().numpy() for name, tensor in tensors.items()}


def grads(tensors):
    return {name: tensor.grad.numpy() for name, tensor in tensors.items()}


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("cell", ln.cells())
def test_a_module_is_the_layer_bit_by_bit(cell, reverse):
    module, layer = twin(cell, reverse=reverse, **OPTIONS.get(cell, {}))
    x, resets = draw(T, B, N, requires_grad=True), torch.rand(T, B) < 0.3
    state = {name: draw(B, layer.spaces[s], requires_grad=True) for name, s in layer.spec.states.items()}
    further = {name: draw(T, B, H, requires_grad=True) for name in layer.spec.inputs if name != "x"}
    outputs, last = module.run(x, state, LENGTHS, resets, **further)
    run = layer.forward(x.detach().numpy(), arrays(state), LENGTHS, resets.numpy(), **arrays(further))
    assert_same(arrays(outputs), run.outputs)
    assert_same(arrays(last), run.state)

    d_outputs, d_last = ({name: draw(*t.shape) for name, t in group.items()} for group in (outputs, last))
    torch.autograd.backward([*outputs.values(), *last.values()], [*d_outputs.values(), *d_last.values()])
    gradients = run.backward(d_outputs=arrays(d_outputs), d_state=arrays(d_last))
    assert_same(grads({"x": x, **further}), gradients.inputs)
    assert_same(grads(state), gradients.state)
    assert_same(grads(dict(module.named_parameters())), dict(gradients.parameters))


STACKS = [
    ("depth_gated", {"bidirectional": True}),
    ("gru", {}),
    ("rnn", {"bidirectional": True, "reverse_options": {"activation": "relu"}}),
]


@pytest.mark.parametrize(("cell", "options"), STACKS)
def test_a_stack_is_the_stack_of_layers_bit_by_bit(cell, options):
    module = lt.Stack(cell, N, H, num_layers=3, dtype=torch.float64, **options)
    stack = ln.Stack(cell, N, H, layers=3, dtype="float64", **options)
    assert {name for name, _ in module.named_parameters()} == set(stack.parameters)
    for name, tensor in module.state_dict().items():
        stack.parameters[name] = tensor.numpy()
    x, state = draw(T, B, N, requires_grad=True), {"1.h": draw(B, H)}
    output, last = module(x, state, lengths=LENGTHS)
    run = stack.forward(x.detach().numpy(), arrays(state), lengths=LENGTHS)
    np.testing.assert_array_equal(output.detach().numpy(), run.output)
    assert_same(arrays(last), run.state)
    d_output = draw(*output.shape)
    output.backward(d_output)
    gradients = run.backward(d_output.numpy())
    assert_same(grads({"x": x}), {"x": gradients.x})
    assert_same(grads(dict(module.named_parameters())), dict(gradients.parameters))


def test_batch_first_turns_every_sequence():
    module, x, c_lower = lt.Recurrent("depth_gated", N, H, dtype=torch.float64), draw(T, B, N), draw(T, B, H)
    resets = torch.rand(T, B) < 0.3
    expected, _ = module(x, resets=resets, c_lower=c_lower)
    module.batch_first = True
    found, _ = module(x.transpose(0, 1), resets=resets.T, c_lower=c_lower.transpose(0, 1))
    assert torch.equal(found, expected.transpose(0, 1))
    stack = lt.Stack("gru", N, H, num_layers=2, dtype=torch.float64)
    expected, _ = stack(x, resets=resets)
    stack.batch_first = True
    assert torch.equal(stack(x.transpose(0, 1), resets=resets.T)[0], expected.transpose(0, 1))


def test_the_seed_of_torch_decides_the_numbers():
    def numbers():
        torch.manual_seed(7)
        return lt.Recurrent("peephole", N, H).state_dict()

    one, two = numbers(), numbers()
    assert all(torch.equal(one[name], two[name]) for name in one)
    module = lt.Recurrent("peephole", N, H)
    torch.manual_seed(7)
    module.reset_parameters()
    assert all(torch.equal(one[name], value) for name, value in module.state_dict().items())
    assert one["W_i"].abs().max() <= H**-0.5
    assert not one["b_i"].any()
    assert torch.equal(one["b_f"], torch.ones(H))


# --- masks


def test_a_dropped_and_zoned_lstm_is_the_papers_loop():
    module = lt.Recurrent("lstm", N, H, recurrent_dropout=0.4, zoneout={"h": 0.3, "c": 0.5}, dtype=torch.float64)
    x = draw(T, B, N)
    masks = {"keep_h": (torch.rand(B, H) < 0.6) / 0.6, **{f"zone_{s}": torch.rand(T, B, H) < 0.4 for s in "hc"}}
    masks = {name: mask.double() for name, mask in masks.items()}
    output, last = module(x, **masks)
    p, m = arrays(module.state_dict()), arrays(masks)
    for row in range(B):
        h, c = np.zeros(H), np.zeros(H)
        for t in range(T):
            new = reference_cells.lstm(p, {"h": m["keep_h"][row] * h, "c": c}, x[t, row].numpy(), t)
            z_h, z_c = m["zone_h"][t, row], m["zone_c"][t, row]
            h, c = z_h * h + (1 - z_h) * new["h"], z_c * c + (1 - z_c) * new["c"]
            np.testing.assert_allclose(output[t, row].detach(), h, rtol=0, atol=1e-14)
        np.testing.assert_allclose(last["c"][row].detach(), c, rtol=0, atol=1e-14)


def seen(module, x, *names):
    """The masks that a forward hands to the equations."""
    given = module._inputs(x, {})
    return [given[module.inputs.index(name)] for name in names]


def test_masks_are_drawn_from_torchs_generator_one_for_all_steps_or_one_for_each():
    module = lt.Recurrent("gru", 40, 50, input_dropout=0.5, recurrent_dropout=0.25, zoneout=0.1)
    ones = torch.ones(T, 30, 40)
    torch.manual_seed(2)
    x, keep, zone = seen(module, ones, "x", "keep_h", "zone_h")
    assert set(x.unique().tolist()) == {0.0, 2.0}
    assert set(keep.unique().tolist()) == {0.0, torch.tensor(1 / 0.75).item()}
    assert set(zone.unique().tolist()) == {0.0, 1.0}
    assert torch.equal(x[0], x[-1])
    assert torch.equal(keep[0], keep[-1])
    assert not torch.equal(zone[0], zone[1])
    assert abs(keep.mean() - 1) < 0.05
    assert abs(zone.mean() - 0.1) < 0.02
    torch.manual_seed(2)
    assert all(map(torch.equal, (x, keep, zone), seen(module, ones, "x", "keep_h", "zone_h")))


def test_in_evaluation_masks_are_their_means():
    module = lt.Recurrent("gru", N, H, recurrent_dropout=0.25, zoneout=0.1).eval()
    keep, zone = seen(module, torch.ones(T, B, N), "keep_h", "zone_h")
    assert set(keep.unique().tolist()) == {1.0}
    assert set(zone.unique().tolist()) == {torch.tensor(0.1).item()}


def test_masks_that_change_nothing_give_the_cell_without_masks():
    plain = lt.Recurrent("lstm", N, H, dtype=torch.float64)
    masked = lt.Recurrent("lstm", N, H, dtype=torch.float64, recurrent_dropout=0.4, zoneout=0.3)
    masked.load_state_dict(plain.state_dict())
    x, zone, keep = draw(T, B, N), torch.zeros(B, H).double(), torch.ones(B, H).double()
    found, _ = masked(x, keep_h=keep, zone_h=zone, zone_c=zone)
    torch.testing.assert_close(found, plain(x)[0], rtol=0, atol=1e-14)


def test_a_cell_of_ones_own_takes_masks_too():
    cell = derive.load("examples/minimal_gated_unit.py")
    for given in (cell, zoned(dropped(cell))):
        module = lt.Recurrent(given, N, H, recurrent_dropout=0.5, zoneout=0.5)
        assert sorted(module.inputs) == ["keep_h", "x", "zone_h"]
        output, _ = module(torch.randn(T, B, N))
        output.sum().backward()
        assert all(p.grad.any() for p in module.parameters())


# --- biases that remember


@pytest.mark.parametrize(
    ("cell", "keeping", "sign"), [("lstm", "b_f", 1), ("gru", "b_z", 1), ("coupled", "b_i", -1), ("peephole", "b_f", 1)]
)
def test_chrono_spreads_what_units_remember_over_all_lags(cell, keeping, sign):
    torch.manual_seed(4)
    module = lt.Recurrent(cell, N, 4000, chrono=100)
    lags = (sign * getattr(module, keeping)).detach().exp()
    assert lags.min() >= 1
    assert lags.max() <= 99
    assert abs(lags.mean() - 50) < 2  # uniform in [1, 99]
    if keeping == "b_f":
        assert torch.equal(module.b_i, -module.b_f)


def test_a_forget_bias_is_set_in_every_layer_also_where_torch_has_two():
    module = lt.LSTM(N, H, 2, bidirectional=True)
    lt.forget_bias_(module, 3.0)
    for layer in ("l0", "l0_reverse", "l1", "l1_reverse"):
        forget = (getattr(module, f"bias_ih_{layer}") + getattr(module, f"bias_hh_{layer}")).chunk(4)[1]
        assert torch.equal(forget, torch.full((H,), 3.0))
    stack = lt.Stack("coupled", N, H, num_layers=2, forget_bias=2.0)
    assert torch.equal(getattr(stack, "1").b_i, torch.full((H,), -2.0))


def pointwise(parameter):
    """A cell in which nothing has N numbers."""
    return derive.parse(f"""
        name: pointwise
        title: Pointwise recurrence
        year: 2026
        reference: nobody
        inputs: x[H]
        states: h
        parameters: {parameter}[H]
        h = sigmoid({parameter}) * h_prev + x
    """)


def test_x_may_have_as_many_numbers_as_units():
    module = lt.Recurrent(pointwise("a"), H, H, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: module(x)[0], draw(T, B, H, requires_grad=True))


@pytest.mark.parametrize("name", ["half", "training", "plans"])
def test_a_parameter_is_not_called_like_what_every_module_has(name):
    with pytest.raises(OptionError, match=f"pointwise has a parameter '{name}'"):
        lt.Recurrent(pointwise(name), H, H)
