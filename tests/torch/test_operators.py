"""What torch asks of an operator: pure, traceable, differentiable as often as the equations say, in every direction."""

import gc

import pytest
import torch
import torch.func as F
from torch._dynamo.testing import CompileCounterWithBackend
from torch.autograd import forward_ad, functional, gradcheck, gradgradcheck

import lstm_numba.torch as lt
from lstm_numba.torch import operators
from lstm_numba.torch.tapes import RUNS

# torch warns of itself when forward mode is first used, and of the loop that is held against us under vmap
pytestmark = [
    pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:There is a performance drop:UserWarning"),
]
T, B, N, H = 4, 2, 3, 3
STRICT = {"eps": 1e-6, "atol": 1e-8, "rtol": 1e-6, "nondet_tol": 0.0}
LENGTHS, RESETS = torch.tensor([4, 2]), torch.tensor([[0, 0], [0, 1], [1, 0], [0, 0]], dtype=torch.bool)
SOME = [False, True, False, *[True, False, True, True] * 3]  # of x, h, c, and W, U, b of four gates
CELLS = ["gru", "lstm", "peephole", "depth_gated"]


def module(cell="lstm", **options):
    torch.manual_seed(2)
    return lt.Recurrent(cell, N, H, dtype=torch.float64, **options)


def draw(*sizes, **options):
    return torch.randn(*sizes, dtype=torch.float64, **options)


def function_of(layer, marks=True):
    """Outputs and last states of x, first states and parameters; and these."""
    names = [name for name, _ in layer.named_parameters()]
    states = layer.states

    def function(x, *tensors):
        state = dict(zip(states, tensors[: len(states)], strict=True))
        weights = dict(zip(names, tensors[len(states) :], strict=True))
        given = {"lengths": LENGTHS, "resets": RESETS} if marks else {}
        output, last = F.functional_call(layer, weights, (x, state), given)
        return output, *last.values()

    primals = [draw(T, B, N), *[draw(B, H) for _ in states], *[draw(*p.shape) / 2 for p in layer.parameters()]]
    return function, tuple(primal.requires_grad_() for primal in primals)


# --- what an operator must be


@pytest.fixture
def arguments():
    """Of the four operators, by their names."""
    plan, weights = module().plans[0]
    primals = [draw(T, B, N), draw(B, H), draw(B, H), *weights]
    primals = [primal.detach().requires_grad_() for primal in primals]
    adjoints = [draw(T, B, H, requires_grad=True), draw(B, H, requires_grad=True), draw(B, H, requires_grad=True)]
    tangents = [draw(*primal.shape, requires_grad=True) for primal in primals]
    where = LENGTHS, RESETS, plan.key
    fixed = [[tensor.detach() for tensor in tensors] for tensors in (tangents, adjoints, primals)]
    return {
        "forward": (primals, *where, True),
        "backward": (adjoints, primals, operators.nothing_kept(primals), *where, None),
        "backward to some": (adjoints, primals, operators.nothing_kept(primals), *where, SOME),
        "tangent": (tangents, primals, *where),
        "second": (*fixed, *where),
    }


@pytest.mark.parametrize("name", ["forward", "backward", "backward to some", "tangent", "second"])
def test_opcheck_finds_nothing(name, arguments):
    torch.library.opcheck(getattr(operators, name.split()[0]), arguments[name])


def test_a_backward_may_be_asked_for_again_and_finds_the_same_bits(arguments):
    primals = arguments["forward"][0]
    *results, reserve = operators.forward(*arguments["forward"])
    first = torch.autograd.grad(results[0].sum(), primals, retain_graph=True)
    again = torch.autograd.grad(results[0].sum(), primals, retain_graph=True)
    adjoints = [torch.ones(T, B, H, dtype=torch.float64), *[torch.zeros(B, H, dtype=torch.float64)] * 2]
    copied = operators.backward(adjoints, primals, reserve.clone(), *arguments["forward"][1:4], None)
    for one, two, three in zip(first, again, copied, strict=True):
        assert torch.equal(one, two)
        assert torch.equal(one, three)


def test_what_a_forward_keeps_is_freed_with_the_graph():
    layer, x = lt.LSTM(N, H), torch.randn(T, B, N)
    gc.collect()
    before = len(RUNS)
    output, _ = layer(x)
    assert len(RUNS) == before + 1
    output.sum().backward()
    assert len(RUNS) == before
    output, _ = layer(x)
    del output, _
    assert len(RUNS) == before
    with torch.no_grad():
        kept = layer(x)
    assert len(RUNS) == before
    del kept


def test_nothing_is_copied_between_torch_and_the_kernels():
    layer, x = lt.LSTM(8, 8, bias=False), torch.randn(T, B, 8)
    plan, weights = layer.plans[0]
    *_, reserve = operators.forward([x, torch.zeros(B, 8), torch.zeros(B, 8), *weights], None, None, plan.key, True)
    run = RUNS[reserve.data_ptr()]
    output = operators.forward([x, torch.zeros(B, 8), torch.zeros(B, 8), *weights], None, None, plan.key, False)[0]
    assert run._tape.arrays["seq_x"].ctypes.data == x.data_ptr()
    assert output.storage_offset() == 0
    assert output.is_contiguous()


def test_weights_changed_between_forward_and_backward_are_noticed():
    layer = lt.LSTM(N, H)
    output, _ = layer(torch.randn(T, B, N))
    with torch.no_grad():
        layer.weight_hh_l0.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        output.sum().backward()


# --- derivatives


@pytest.mark.parametrize("cell", CELLS)
def test_gradients_equal_finite_differences_backwards_and_forwards(cell):
    function, primals = function_of(module(cell))
    assert gradcheck(function, primals, check_forward_ad=True, **STRICT)


@pytest.mark.slow
@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_second_derivatives_equal_finite_differences(cell):
    function, primals = function_of(module(cell))
    assert gradgradcheck(function, primals, **STRICT)


def test_the_drop_in_lstm_has_second_derivatives_where_cudnn_has_none():
    layer = lt.LSTM(2, 2, dtype=torch.float64)
    x = draw(3, 1, 2, requires_grad=True)
    assert gradgradcheck(lambda x: layer(x)[0], (x,), check_fwd_over_rev=True, **STRICT)


class Loop(torch.nn.Module):
    """A GRU as torch.nn has it, step by step: torch's transforms work on it."""

    def __init__(self, module):
        super().__init__()
        self.cell = torch.nn.GRUCell(N, H, dtype=torch.float64)
        for theirs, ours in zip(self.cell.parameters(), module.parameters(), strict=True):
            theirs.data = ours.data

    def forward(self, x):
        h, outputs = x.new_zeros(x.shape[1], H), []
        for step in x:
            h = self.cell(step, h)
            outputs.append(h)
        return torch.stack(outputs)


TRANSFORMS = {
    "grad": lambda f, x: F.grad(lambda x: f(x).pow(2).sum())(x),
    "grad of grad": lambda f, x: F.grad(lambda y: F.grad(lambda x: f(x).pow(2).sum())(y).pow(2).sum())(x),
    "vjp": lambda f, x: F.vjp(f, x)[1](f(x))[0],
    "jvp": lambda f, x: F.jvp(f, (x,), (x.sin(),))[1],
    "jacrev": lambda f, x: F.jacrev(f)(x),
    "jacfwd": lambda f, x: F.jacfwd(f)(x),
    "hessian": lambda f, x: F.hessian(lambda x: f(x).pow(2).sum())(x),
    "grad of jvp": lambda f, x: F.grad(lambda y: F.jvp(f, (y,), (x.sin(),))[1].pow(2).sum())(x),
    "vmap": lambda f, x: F.vmap(f)(torch.stack([x, x.sin()])),
    "vmap of grad": lambda f, x: F.vmap(F.grad(lambda x: f(x).pow(2).sum()))(torch.stack([x, x.sin()])),
}


@pytest.mark.parametrize("name", TRANSFORMS)
def test_the_transforms_of_torch_func_give_what_they_give_of_a_loop(name):
    torch.manual_seed(4)
    ours = lt.GRU(N, H, dtype=torch.float64)
    theirs, x = Loop(ours), draw(T, B, N)
    expected, found = (TRANSFORMS[name](f, x) for f in (theirs, lambda x: ours(x)[0]))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


EVERY = torch.eye(T * B * H, dtype=torch.float64).view(-1, T, B, H)
OLDER = {  # of torch.autograd, which maps in a way of its own
    "grads batched": lambda f, x: torch.autograd.grad(f(x), x, EVERY, is_grads_batched=True),
    "jacobian": lambda f, x: functional.jacobian(f, x, vectorize=True),
    "jacobian forwards": lambda f, x: functional.jacobian(f, x, vectorize=True, strategy="forward-mode"),
    "hessian": lambda f, x: functional.hessian(lambda x: f(x).pow(2).sum(), x, vectorize=True),
    "hessian forwards": lambda f, x: functional.hessian(
        lambda x: f(x).pow(2).sum(), x, vectorize=True, outer_jacobian_strategy="forward-mode"
    ),
}


@pytest.mark.parametrize("name", OLDER)
def test_what_autograd_maps_by_itself_is_what_it_is_of_a_loop(name):
    torch.manual_seed(4)
    ours = lt.GRU(N, H, dtype=torch.float64)
    theirs, x = Loop(ours), draw(T, B, N, requires_grad=True)
    expected = OLDER[name.removesuffix(" forwards")](theirs, x)  # forwards torch's cell has no rule
    found = OLDER[name](lambda x: ours(x)[0], x)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_gradients_of_every_example_are_those_of_examples_one_by_one():
    ours, x = lt.GRU(N, H, dtype=torch.float64), draw(T, 5, N)
    weights = {name: value.detach() for name, value in ours.named_parameters()}

    def loss_of(weights, row):
        return F.functional_call(ours, weights, (row,))[0].pow(2).sum()

    found = F.vmap(F.grad(loss_of), in_dims=(None, 1))(weights, x)
    for k in range(5):
        alone = F.grad(loss_of)(weights, x[:, k])
        for name, value in alone.items():
            torch.testing.assert_close(found[name][k], value, rtol=0, atol=1e-12)


def test_dual_numbers_pass_through_a_module():
    layer, x = lt.GRU(N, H, dtype=torch.float64), draw(T, B, N)
    with forward_ad.dual_level():
        output, _ = layer(forward_ad.make_dual(x, x.sin()))
        found = forward_ad.unpack_dual(output).tangent
    torch.testing.assert_close(found, F.jvp(Loop(layer), (x,), (x.sin(),))[1], rtol=0, atol=1e-12)


# --- torch.compile


class Model(torch.nn.Module):
    """Embedding, layers, readout."""

    def __init__(self, inner):
        super().__init__()
        self.embedding, self.inner, self.readout = torch.nn.Embedding(7, N), inner, torch.nn.Linear(H, 7)

    def forward(self, symbols):
        return self.readout(self.inner(self.embedding(symbols))[0])


def compiled_equals_eager(model, *inputs, backend):
    torch._dynamo.reset()
    compiled, results = torch.compile(model, fullgraph=True, backend=backend), []
    for call in (model, compiled):
        torch.manual_seed(5)
        output = call(*inputs)
        results.append([output, *torch.autograd.grad(output.sum(), list(model.parameters()))])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(other, one, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    "inner",
    [
        lambda: lt.LSTM(N, H, num_layers=2, dropout=0.5),
        lambda: lt.RNN(N, H, batch_first=True),
        lambda: lt.Recurrent("lstm", N, H, recurrent_dropout=0.2, zoneout=0.1),
        lambda: lt.Stack("depth_gated", N, H, num_layers=2),
    ],
    ids=["LSTM", "RNN", "masked LSTM", "stack"],
)
def test_a_compiled_model_has_no_graph_break_and_computes_the_same(inner):
    compiled_equals_eager(Model(inner()), torch.randint(7, (T, B)), backend="aot_eager")


def test_a_compiled_model_serves_other_lengths_without_being_compiled_each_time():
    model = Model(lt.GRU(N, H))
    torch._dynamo.reset()
    counter = CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(model, fullgraph=True, backend=counter, dynamic=True)
    counts = []
    for steps in (5, 7, 9, 4):
        symbols = torch.randint(7, (steps, B))
        torch.testing.assert_close(compiled(symbols), model(symbols))
        counts.append(counter.frame_count)
    assert counts[1:] == counts[:-1]


# --- what is shared by the calls of one plan


def test_a_plan_first_used_in_inference_mode_trains_afterwards():
    layer, x = lt.LSTM(3, 11), torch.randn(T, B, 3)
    with torch.inference_mode():
        inferred = layer(x)[0]
    output = layer(x)[0]
    output.sum().backward()
    assert torch.equal(inferred, output)
    assert layer.weight_ih_l0.grad.abs().sum() > 0


@pytest.mark.parametrize("turned", [lambda w: w.t().contiguous().t(), lambda w: torch.complex(w, -w).conj().imag])
def test_parameters_may_lie_in_memory_in_any_way(turned):
    layer, x = lt.Recurrent("lstm", N, H), torch.randn(T, B, N)
    expected = layer(x)[0]
    moved = {name: turned(w) for name, w in layer.named_parameters() if w.dim() == 2}
    assert not any(w.is_contiguous() and not w.is_neg() for w in moved.values())
    assert torch.equal(torch.func.functional_call(layer, moved, (x,))[0], expected)


def test_weights_that_change_between_inferences_are_noticed():
    layer, other, x = lt.GRU(N, H), lt.GRU(N, H), torch.randn(T, B, N)
    with torch.no_grad():
        before = layer(x)[0]
        assert not torch.equal(other(x)[0], before)
        assert torch.equal(layer(x)[0], before)
        layer.weight_hh_l0[0, 0] += 1
        assert not torch.equal(layer(x)[0], before)


@pytest.mark.parametrize("create_graph", [False, True])
def test_an_adjoint_that_does_not_arrive_is_zero(create_graph):
    layer, x = lt.LSTM(N, H, dtype=torch.float64), torch.randn(T, B, N, dtype=torch.float64, requires_grad=True)
    output, (h, c) = layer(x)
    (found,) = torch.autograd.grad(c.sum(), x, create_graph=create_graph, retain_graph=True)
    (expected,) = torch.autograd.grad((c.sum() + 0 * output.sum() + 0 * h.sum()), x, create_graph=create_graph)
    assert torch.equal(found, expected)
    assert found.requires_grad == create_graph
