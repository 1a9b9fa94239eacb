"""The drop-in modules against torch.nn in float64: outputs, last states and every gradient, for every option."""

from itertools import product

import pytest
import torch
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pack_sequence
from torch.utils._pytree import tree_leaves

import lstm_numba.torch as lt

T, B, N, H = 5, 3, 4, 6
LENGTHS = torch.tensor([2, 5, 3])
KINDS = {
    "LSTM": ("LSTM", {}),
    "LSTM with projection": ("LSTM", {"proj_size": 2}),
    "GRU": ("GRU", {}),
    "RNN tanh": ("RNN", {}),
    "RNN relu": ("RNN", {"nonlinearity": "relu"}),
}
SHAPES = [
    {},
    {"bias": False},
    {"bidirectional": True},
    {"num_layers": 2},
    {"num_layers": 2, "bidirectional": True, "bias": False},
    {"num_layers": 3, "bidirectional": True, "dropout": 0.4},
]
kinds = pytest.mark.parametrize("kind", KINDS)
shapes = pytest.mark.parametrize("shape", SHAPES, ids=lambda s: "-".join(s) or "plain")


def both(kind, **options):
    """torch's module and ours with the same seed."""
    name, settings = KINDS[kind]
    for package in (torch.nn, lt):
        torch.manual_seed(1)
        yield getattr(package, name)(N, H, **{"dtype": torch.float64, **settings, **options})


def leaves(module, batched):
    """x and the first states."""
    directions = module.num_layers * (1 + module.bidirectional)
    sizes = [module.proj_size or H, H] if module.mode == "LSTM" else [H]
    state = [torch.randn(directions, *[B] * batched, size, dtype=torch.float64) for size in sizes]
    return torch.randn(T, *[B] * batched, N, dtype=torch.float64), state


def step(module, x, state, form):
    """Outputs, last states and all gradients of one training step, with dropout's numbers fixed."""
    read = [tensor.clone().requires_grad_() for tensor in (x, *(state or ()))]
    given = read[0]
    if form == "packed":
        given = pack_padded_sequence(given, LENGTHS, module.batch_first, enforce_sorted=False)
    first = None if state is None else tuple(read[1:]) if module.mode == "LSTM" else read[1]
    torch.manual_seed(3)
    output, last = module(given, first)
    results = [output.data if form == "packed" else output, *(last if module.mode == "LSTM" else [last])]
    loss = sum((result * torch.randn_like(result)).sum() for result in results)
    return results, torch.autograd.grad(loss, [*read, *module.parameters()])


@kinds
@shapes
def test_outputs_states_and_every_gradient_are_torchs(kind, shape):
    for form, given, batch_first in product(("batched", "one row", "packed"), (False, True), (False, True)):
        theirs, ours = both(kind, batch_first=batch_first, **shape)
        x, state = leaves(theirs, form != "one row")
        x = x.transpose(0, 1).contiguous() if batch_first and form != "one row" else x
        expected, found = (step(module, x, state if given else None, form) for module in (theirs, ours))
        for one, other in zip((*expected[0], *expected[1]), (*found[0], *found[1]), strict=True):
            torch.testing.assert_close(other, one, rtol=0, atol=1e-12, msg=f"{form}, {given=}, {batch_first=}")


@kinds
@shapes
def test_the_same_seed_gives_the_same_numbers_names_and_text(kind, shape):
    theirs, ours = both(kind, **shape)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert all(torch.equal(ours.state_dict()[name], value) for name, value in theirs.state_dict().items())
    assert repr(ours) == repr(theirs)


@kinds
def test_a_checkpoint_goes_both_ways(kind, tmp_path):
    theirs, ours = both(kind, num_layers=2, bidirectional=True)
    x = torch.randn(T, B, N, dtype=torch.float64)
    for source, target in ((theirs, ours), (ours, theirs)):
        source.reset_parameters()
        torch.save(source.state_dict(), tmp_path / "weights.pt")
        target.load_state_dict(torch.load(tmp_path / "weights.pt"))
        torch.testing.assert_close(target(x)[0], source(x)[0], rtol=0, atol=1e-12)


def test_a_packed_sequence_keeps_its_order_and_its_states_come_in_the_callers():
    _, module = both("LSTM")
    rows = [torch.randn(length, N, dtype=torch.float64) for length in LENGTHS]
    output, (h, c) = module(pack_sequence(rows, enforce_sorted=False))
    assert isinstance(output, PackedSequence)
    for k, row in enumerate(rows):
        alone, (h_alone, c_alone) = module(row)
        assert torch.equal(h[:, k], h_alone)
        assert torch.equal(c[:, k], c_alone)
        padded, lengths = torch.nn.utils.rnn.pad_packed_sequence(output)
        assert torch.equal(padded[: lengths[k], k], alone)


def test_no_steps_give_the_first_state_and_no_gradients():
    _, module = both("GRU")
    h = torch.randn(1, B, H, dtype=torch.float64, requires_grad=True)
    output, last = module(torch.zeros(0, B, N, dtype=torch.float64), h)
    assert output.shape == (0, B, H)
    assert torch.equal(last, h)
    last.sum().backward()
    assert torch.equal(h.grad, torch.ones_like(h))
    assert not any(p.grad.any() for p in module.parameters())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_narrower_numbers_are_near_float64(dtype):
    _, wide = both("LSTM")
    _, narrow = both("LSTM", dtype=dtype)
    narrow.load_state_dict(wide.state_dict())
    x = torch.randn(T, B, N, dtype=torch.float64)
    output, (h, c) = narrow(x.to(dtype))
    output.sum().backward()
    assert {output.dtype, h.dtype, c.dtype, narrow.weight_ih_l0.grad.dtype} == {dtype}
    torch.testing.assert_close(output.double(), wide(x)[0], rtol=0, atol=10 * torch.finfo(dtype).eps)


@pytest.mark.filterwarnings("ignore:LSTM with projections")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@kinds
def test_under_autocast_the_results_have_torchs_types_and_are_computed_in_the_parameters(kind, dtype):
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    theirs, ours = both(kind, dtype=wide, num_layers=2)
    x = torch.randn(T, B, N, dtype=dtype)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        expected, found = (tree_leaves(module(x)) for module in (theirs, ours))
    alike = slice(2 if "projection" in kind else None)  # of these torch alone leaves c as wide as it came
    assert [leaf.dtype for leaf in found[alike]] == [leaf.dtype for leaf in expected[alike]]
    plain = tree_leaves(ours(x.to(wide)))
    if dtype == torch.float32:  # the lower layer's output is rounded, then what comes of it
        allowed = 2 * torch.finfo(torch.bfloat16).eps
        assert all((leaf - exact).abs().max() < allowed for leaf, exact in zip(found, plain, strict=True))
    sum(leaf.float().sum() for leaf in found).backward()
    assert all(parameter.grad.dtype == wide for parameter in ours.parameters())


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_a_compiled_model_under_autocast_gives_the_same_types(kind):
    _, module = both(kind, dtype=torch.float32)
    compiled, x = torch.compile(module, fullgraph=True, backend="eager"), torch.ones(T, B, N)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        expected, found = tree_leaves(module(x)), tree_leaves(compiled(x))
    assert all(torch.equal(one, other) and one.dtype == other.dtype for one, other in zip(found, expected, strict=True))


def test_weight_norm_and_functional_calls_read_the_weights_that_they_put_in_place():
    theirs, ours = both("GRU")
    x = torch.randn(T, B, N, dtype=torch.float64)
    other = {name: torch.randn_like(value) for name, value in theirs.state_dict().items()}
    expected, found = (torch.func.functional_call(module, other, (x,))[0] for module in (theirs, ours))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    normed = [torch.nn.utils.parametrizations.weight_norm(module, "weight_hh_l0") for module in (theirs, ours)]
    expected, found = (module(x)[0] for module in normed)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_frozen_weights_get_no_gradient_and_the_others_theirs():
    theirs, ours = both("LSTM", num_layers=2)
    x = torch.randn(T, B, N, dtype=torch.float64)
    for module in (theirs, ours):
        module.weight_hh_l0.requires_grad_(False)
        module(x)[0].square().sum().backward()
    assert ours.weight_hh_l0.grad is None
    torch.testing.assert_close(ours.weight_ih_l0.grad, theirs.weight_ih_l0.grad, rtol=0, atol=1e-12)
