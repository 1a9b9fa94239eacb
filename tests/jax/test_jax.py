"""Cells as JAX functions.  Truth: the same cells as a lax.scan that JAX itself differentiates, in float64."""

import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

jax = pytest.importorskip("jax")
jnp = jax.numpy

import derive
import lstm_numba as ln
from lstm_numba.errors import ArgumentError, DtypeError, OptionError, ShapeError
from lstm_numba.jax import Recurrent
from tests.derive.user_cells import CELLS as USER_CELLS
from tests.oracles import jax_cells

T, B, N, H = 5, 3, 4, 6
LENGTHS = np.array([T, 0, 3])
RESETS = np.random.default_rng(9).random((T, B)) < 0.4
CASES = [
    *((name, {}) for name in ("rnn", "lstm", "peephole", "coupled", "gru", "gru_reset_after", "depth_gated", "esn")),
    ("rnn", {"activation": "relu"}),
    ("lstm1997", {"truncated": True}),
]


@pytest.fixture(autouse=True)
def wide():
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", before)


def named(case):
    return "-".join([case[0], *map(str, case[1].values())])


def draw(*shape, seed=0):
    return jnp.asarray(np.random.default_rng((seed, *shape)).normal(0, 0.6, shape))


class Problem:
    """A cell with random parameters, and the arrays of one call."""

    def __init__(self, name, options):
        self.cell = Recurrent(name, **options)
        shapes = self.cell.initial(N, H, dtype="float64").items()
        self.parameters = {key: draw(*array.shape, seed=k) for k, (key, array) in enumerate(shapes)}
        self.x, self.d_output = draw(T, B, N), draw(T, B, H, seed=20)
        states = list(self.cell.spec.states)
        self.state = {key: draw(B, H, seed=30 + k) for k, key in enumerate(states)}
        self.d_state = {key: draw(B, H, seed=40 + k) for k, key in enumerate(states)}
        self.extra = draw(T, B, H, seed=50) if "c_lower" in self.cell.spec.inputs else None

    def ours(self, p, x, state, extra, lengths=None, resets=None):
        further = {} if extra is None else {"c_lower": extra}
        result = self.cell(p, x, state, lengths, resets, **further)
        return result.output, result.state

    def theirs(self, name, options, p, x, state, extra, lengths=None, resets=None):
        fixed = {key: jax.lax.stop_gradient(p[key]) for key in self.cell.spec.constants}
        return jax_cells.cell(name, p | fixed, x, state, lengths, resets, extra, **options)

    def loss(self, function, *arguments):
        output, state = function(*arguments)
        return jnp.sum(output * self.d_output) + sum(jnp.sum(state[key] * d) for key, d in self.d_state.items())

    @property
    def arguments(self):
        return self.parameters, self.x, self.state, self.extra


def differing(ours, theirs, tolerance=1e-13):
    """Places in the tree where they are apart, norm-wise."""
    pairs = zip(jax.tree_util.tree_leaves_with_path(ours), jax.tree.leaves(theirs), strict=True)
    found = [(jax.tree_util.keystr(path), np.asarray(a), np.asarray(b)) for (path, a), b in pairs]
    return [path for path, a, b in found if not np.linalg.norm(a - b) <= tolerance * max(np.linalg.norm(b), 1)]


@pytest.mark.parametrize("case", CASES, ids=named)
def test_outputs_states_and_every_gradient_equal_those_of_a_scan_with_lengths_and_resets(case):
    check(*case, {"lengths": LENGTHS, "resets": RESETS})


@pytest.mark.parametrize("name", ["lstm", "depth_gated"])
def test_and_without_them(name):
    check(name, {}, {})


def check(name, options, marks):
    problem = Problem(name, options)

    def ours(*arguments):
        return problem.ours(*arguments, **marks)

    def theirs(*arguments):
        return problem.theirs(name, options, *arguments, **marks)

    assert differing(ours(*problem.arguments), theirs(*problem.arguments)) == []
    every = (0, 1, 2, 3) if problem.extra is not None else (0, 1, 2)
    gradients = [
        jax.jit(jax.grad(lambda *arguments, f=f: problem.loss(f, *arguments), every))(*problem.arguments)
        for f in (ours, theirs)
    ]
    assert differing(*gradients) == []


def test_under_jit_the_bits_are_the_same_and_lengths_are_arguments():
    problem = Problem("lstm", {})

    def results(p, x, s, lengths):
        output, pull = jax.vjp(lambda *arguments: problem.ours(*arguments, None, lengths), p, x, s)
        return output, pull((problem.d_output, problem.d_state))

    here, compiled = (f(*problem.arguments[:3], jnp.asarray(LENGTHS)) for f in (results, jax.jit(results)))
    assert differing(here, compiled, 0) == []


def test_float32_is_computed_in_float32():
    problem = Problem("gru", {})
    narrow = jax.tree.map(lambda array: array.astype("float32"), problem.arguments[:3])
    output, _ = problem.ours(*narrow, None)
    assert output.dtype == np.float32
    assert differing(output.astype("float64"), problem.ours(*problem.arguments)[0], 5e-6) == []


@pytest.mark.parametrize("axes", [(None, 0, None), (0, None, None), (0, 0, 0)], ids=["x", "parameters", "all"])
def test_vmap_runs_one_call_after_the_other(axes):
    problem = Problem("peephole", {})

    def gradient(p, x, s):
        return jax.grad(lambda *arguments: problem.loss(problem.ours, *arguments, None), (0, 1, 2))(p, x, s)

    def two(tree, axis):
        return jax.tree.map(lambda array: jnp.stack([array, array / 2]), tree) if axis == 0 else tree

    given = [two(tree, axis) for tree, axis in zip(problem.arguments, axes, strict=False)]
    together = jax.vmap(gradient, axes)(*given)
    for k in range(2):
        alone = [jax.tree.map(lambda a, k=k: a[k], g) if axis == 0 else g for g, axis in zip(given, axes, strict=True)]
        assert differing(jax.tree.map(lambda a, k=k: a[k], together), gradient(*alone), 0) == []


def test_inside_a_scan_of_jaxs_own_state_is_carried_on():
    problem = Problem("gru", {})
    longer = draw(2 * T, B, N, seed=3)
    _, outputs = jax.lax.scan(
        lambda state, x: problem.ours(problem.parameters, x, state, None)[::-1],
        problem.state,
        longer.reshape(2, T, B, N),
    )
    whole, _ = problem.ours(problem.parameters, longer, problem.state, None)
    assert differing(outputs.reshape(2 * T, B, H), whole, 0) == []


def test_reading_backwards_is_the_layers():
    problem = Problem("lstm", {})
    layer = ln.Layer("lstm", N, H, dtype="float64", reverse=True)
    for name, array in problem.parameters.items():
        layer.parameters[name] = array
    expected = layer.forward(np.asarray(problem.x), None, LENGTHS).output
    for backwards in (Recurrent("lstm", reverse=True), Recurrent(layer)):
        assert np.array_equal(backwards(problem.parameters, problem.x, lengths=LENGTHS).output, expected)


def test_every_output_is_there_and_differentiable():
    problem = Problem("depth_gated", {})
    result = problem.cell(problem.parameters, problem.x, c_lower=problem.extra)
    assert result.outputs.keys() == {"h", "c"}
    assert np.array_equal(result.output, result.outputs["h"])
    gradient = jax.grad(lambda x: problem.cell(problem.parameters, x, c_lower=problem.extra).outputs["c"].sum())(
        problem.x
    )
    assert jnp.linalg.norm(gradient) > 0


def test_a_cell_of_ones_own_and_a_clockwork():
    mine = Recurrent(derive.build(USER_CELLS["projected"])(N, H, dtype="float64", P=2))
    parameters = mine.initial(N, H, dtype="float64", P=2)
    assert mine(parameters, draw(T, B, N)).output.shape == (T, B, 2)
    clock = Recurrent("clockwork", periods=[1, 3])
    parameters = clock.initial(N, H, dtype="float64")
    gradient = jax.grad(lambda p: clock(p, draw(T, B, N)).output.sum())(parameters)["U"]
    assert not gradient[H // 2 :, : H // 2].any()
    with pytest.raises(OptionError, match="not a multiple"):
        clock(Recurrent("clockwork").initial(N, 5, dtype="float64"), draw(T, B, N))


def test_a_cell_with_other_activations_by_name_and_by_layer():
    changes = {"activations": {"h": "elu(0.5)"}, "clip": 0.7}
    named = Recurrent("rnn", **changes)
    parameters, x = named.initial(N, H, dtype="float64"), draw(T, B, N)
    layer = ln.Layer("rnn", N, H, dtype="float64", **changes)
    for name, array in parameters.items():
        layer.parameters[name] = np.asarray(array)
    for cell in (named, Recurrent(layer)):
        assert np.array_equal(cell(parameters, x).output, layer.forward(x).output)


def test_no_steps_and_no_rows_are_legal():
    problem = Problem("lstm", {})
    for shape in ((0, B, N), (T, 0, N)):
        output, _, _ = problem.cell(problem.parameters, jnp.zeros(shape))
        assert output.shape == (*shape[:2], H)
    gradient = jax.grad(lambda p: problem.cell(p, jnp.zeros((0, B, N))).output.sum())(problem.parameters)
    assert not any(array.any() for array in gradient.values())


def test_calls_from_several_threads_do_not_mix(monkeypatch):
    problem, forward = Problem("lstm", {}), ln.Layer.forward

    def slow(*arguments, **options):
        time.sleep(0.005)  # between setting the parameters and reading them
        return forward(*arguments, **options)

    monkeypatch.setattr(ln.Layer, "forward", slow)
    each = [jax.tree.map(lambda array, k=k: array * (k + 1) / 4, problem.parameters) for k in range(4)]
    alone = [problem.cell(p, problem.x).output for p in each]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda p: problem.cell(p, problem.x).output, each))
    assert all(np.array_equal(a, b) for a, b in zip(together, alone, strict=True))


# --- what is refused


def test_lengths_are_checked_where_they_have_values_and_give_nan_where_they_have_none():
    problem = Problem("lstm", {})
    wrong = np.array([T, T + 1, 0])
    with pytest.raises(OptionError, match=r"lengths\[1\] = 6"):
        problem.ours(*problem.arguments, lengths=wrong)
    inside = jax.jit(lambda lengths: problem.loss(problem.ours, *problem.arguments, lengths))
    assert np.isfinite(inside(jnp.asarray(LENGTHS)))
    assert np.isnan(inside(jnp.asarray(wrong)))
    gradient = jax.jit(
        jax.grad(lambda x, lengths: problem.ours(problem.parameters, x, problem.state, None, lengths)[0].sum())
    )
    assert np.isnan(gradient(problem.x, jnp.asarray(wrong))).all()


def shaped(*shape, dtype="float64"):
    return np.zeros(shape, dtype)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"x": shaped(T, B)}, ShapeError, r"x has shape \(5, 3\), expected \(T, B, N\)"),
        ({"x": shaped(T, B, N + 1)}, ShapeError, r"parameters\['W_i'\] has shape \(6, 4\).*N = 5 was read from x"),
        ({"x": shaped(T, B, N, dtype="int32")}, DtypeError, "x must be float32, or float64.*got int32"),
        ({"x": shaped(T, B, N, dtype="float32")}, DtypeError, r"parameters\['W_i'\].*float32 was read from the first"),
        ({"x": "abc"}, ArgumentError, "x must be an array, got str"),
        ({"parameters": [1]}, ArgumentError, "parameters must be a dict of arrays, got list"),
        ({"parameters": {}}, ArgumentError, "parameters lacks 'W_i'.*see `initial`"),
        ({"state": {"h": shaped(B, H + 1)}}, ShapeError, r"state\['h'\] has shape \(3, 7\).*H = 6 was read from"),
        ({"state": {"k": shaped(B, H)}}, ArgumentError, "state has no entry 'k'"),
        ({"lengths": shaped(B)}, DtypeError, "lengths must be integers"),
        ({"lengths": shaped(B + 1, dtype=int)}, ShapeError, r"lengths has shape \(4,\), expected \(3,\)"),
        ({"resets": shaped(T, B)}, DtypeError, "resets must be bool"),
        ({"resets": shaped(B, T, dtype=bool)}, ShapeError, r"expected \(T, B\) = \(5, 3\)"),
        ({"c_lower": shaped(T, B, H)}, ArgumentError, "neither an argument nor an input"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_runs_traced_or_not(change, error, words):
    problem = Problem("lstm", {})
    given = {"parameters": problem.parameters, "x": problem.x, **change}
    with pytest.raises(error, match=f"(?s){words}"):
        problem.cell(**given)
    traced = {key: value for key, value in given.items() if key in ("lengths", "resets")}
    with pytest.raises(error, match=f"(?s){words}"):
        jax.jit(lambda traced: problem.cell(**{**given, **traced}).output)(traced)


def test_x64_in_one_thread_is_not_enough_for_callbacks_run_in_others():
    jax.config.update("jax_enable_x64", False)
    with jax.enable_x64(True):
        problem = Problem("rnn", {})
        with pytest.raises(DtypeError, match=r"in every thread.*jax\.config\.update"):
            problem.ours(*problem.arguments)


def test_an_unknown_parameter_is_refused():
    problem = Problem("rnn", {})
    with pytest.raises(ArgumentError, match="parameters has no entry 'V'"):
        problem.cell({**problem.parameters, "V": problem.x}, problem.x)


def test_second_derivatives_and_forward_mode_are_jaxs_own_clear_errors():
    problem = Problem("rnn", {})

    def total(x):
        return problem.cell(problem.parameters, x).output.sum()

    with pytest.raises(TypeError, match="forward-mode"):
        jax.jvp(total, (problem.x,), (problem.x,))
    with pytest.raises(ValueError, match="do not support JVP"):
        jax.jacfwd(jax.grad(total))(problem.x)
