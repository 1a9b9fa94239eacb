"""The CUDA side in plain Python: the generated text and the engine around it give what the CPU's kernels give."""

import copy
import inspect
import pickle
import re
from types import SimpleNamespace

import numpy as np
import pytest

import derive
import lstm_numba as ln
from derive import language
from lstm_numba.errors import TapeError
from lstm_numba.gpu import shapes, sweeps
from lstm_numba.gpu.interpreted import Interpreter
from lstm_numba.gpu.plan import Limits, Method, _divisions
from tests import layers
from tests.cuda.devices import H100, Blocks, along, made, on, twin
from tests.derive import user_cells

STEP_BY_STEP, AT_ONCE = Interpreter(), Interpreter(H100)
WAYS = pytest.mark.parametrize("way", [STEP_BY_STEP, AT_ONCE], ids=["step by step", "at once"])
RESETS = np.random.default_rng(3).random((5, 3)) < 0.4
CELLS = [cell for cell in vars(user_cells).values() if isinstance(cell, derive.Cell) and cell.inputs]


def carried():
    """A sum over P that is read two products later, and beside which there is no scalar mathematics."""
    h, h_prev = language.state("h")
    q, q_prev = language.state("q", "P")
    a, x = language.value("a", "P"), language.x
    (W,), (U,), (V, R) = (language.matrices(*given) for given in (("W", "H", "N"), ("U", "H", "H"), ("V R", "P", "H")))
    equations = {a: V @ h_prev, h: language.tanh(W @ x + U @ h_prev), q: language.tanh(R @ h) * a + q_prev / 2}
    equations = [language.Eq(name, value) for name, value in equations.items()]
    return derive.Cell(name="carried", title="carried", year=2024, reference="test", equations=equations)


def agree(layer, way, steps=5, rows=3, tolerance=1e-12, **options):
    numbers = layers.numbers_for(layer, steps, rows)
    found = layers.everything(twin(layer, way), numbers, **options)
    assert layers.farther_apart(found, layers.everything(layer, numbers, **options), tolerance) == []


@WAYS
@pytest.mark.parametrize("cell", ln.cells())
def test_every_cell_gives_what_the_cpu_gives(cell, way):
    agree(layers.random_layer(cell, 3, 4), way)
    agree(layers.random_layer(cell, 3, 4, reverse=True), way, lengths=[4, 2, 0], resets=RESETS)


@WAYS
@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.name)
def test_unusual_cells_give_what_the_cpu_gives(cell, way):
    agree(made(cell, **({"P": 6} if cell.name == "projected" else {})), way, lengths=[4, 2, 0], resets=RESETS)


@WAYS
def test_a_number_that_units_of_two_spaces_read_has_the_gradient_of_both(way):
    """Held against a difference of the same runs."""
    (h, h_prev), (q, q_prev), (alpha,) = language.state("h"), language.state("q", "P"), language.scalars("alpha")
    W, V = language.matrix("W", "H", "N"), language.matrix("V", "P", "H")
    equations = {h: language.tanh(W @ language.x + alpha * h_prev), q: language.tanh(V @ h_prev) + alpha * q_prev}
    equations = [language.Eq(name, value) for name, value in equations.items()]
    own = twin(made(derive.Cell(name="two", title="two", year=2024, reference="test", equations=equations), P=6), way)
    x, ones = np.random.default_rng(0).normal(size=(3, 2, 3)), {"h": np.ones((2, 4)), "q": np.ones((2, 6))}
    found = own.forward(x).backward(None, ones).parameters["alpha"]

    def loss(change):
        own.parameters["alpha"] = own.parameters["alpha"] + change
        return sum(state.sum() for state in own.forward(x).state.values())

    slope = (loss(1e-5) - loss(-2e-5)) / 2e-5
    assert abs(found - slope) < 1e-7 * abs(slope)


def divided(parts, groups, least_span=False):
    """Instead of `plan`: this division, as many columns laid down at once as can be, or as few."""

    def chosen(held, sizes, batch, limits, kinds):
        every = _divisions(held, max(sizes), batch, limits, kinds, Method.of(kinds))
        found = [p for p in every if (p.parts, p.groups) == (parts, groups)]
        return min(found, key=lambda p: p.span) if least_span else found[0]

    return chosen


def test_a_sum_that_a_later_stage_reads_is_carried_there():
    layer = made(carried(), P=6)
    assert "slot = " in inspect.getsource(layer._module.sweep_forward)
    agree(layer, AT_ONCE, lengths=[4, 2, 0], resets=RESETS)


@pytest.mark.parametrize("cell", ["lstm", "gru", "depth_gated", "clockwork", "lstm_projected", "carried"])
@pytest.mark.parametrize(("parts", "groups"), [(2, 1), (4, 1), (2, 3), (1, 2), (8, 1)])
def test_blocks_that_share_the_units_wait_where_they_must(cell, parts, groups, monkeypatch):
    monkeypatch.setattr(sweeps, "plan", divided(parts, groups))
    layer = made(carried(), P=8) if cell == "carried" else layers.random_layer(cell, 3, 8)
    agree(layer, Blocks(Limits((9, 0), parts * groups, 0)), steps=3, lengths=[3, 2, 0], resets=RESETS[:3])


WAITS = re.compile(r"(now > 0|True)(?=,?\s*\))")


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("sweep", ["sweep_forward", "sweep_backward"])
def test_a_product_that_does_not_wait_is_noticed(sweep, which, monkeypatch):
    """A planted bug."""
    monkeypatch.setattr(sweeps, "plan", divided(2, 1))
    layer = layers.random_layer("lstm_projected", 3, 8)
    numbers, own = layers.numbers_for(layer, 3, 2), twin(layer, Blocks(Limits((9, 0), 2, 0)))
    module = vars(own._placed.engine.module).copy()
    text = inspect.getsource(module[sweep])
    first, last = [found.span() for found in WAITS.finditer(text)][which]
    exec(text[:first] + "False" + text[last:], module)
    own._placed.engine.sweeps.module = SimpleNamespace(**module)
    try:
        found = layers.everything(own, numbers)
    except RuntimeError:  # a NaN of unwritten bits was handed on
        return
    assert layers.farther_apart(found, layers.everything(layer, numbers), 1e-12) != []


def test_a_gate_that_stop_holds_back_is_written_for_those_who_wait(monkeypatch):
    """Its adjoint is 0; if nobody wrote that, a backward would never end."""
    monkeypatch.setattr(sweeps, "plan", divided(2, 1))
    h, h_prev = language.state("h")
    W, U, V, R = (language.matrix(name, "H", space) for name, space in zip("WUVR", "NHNH", strict=True))
    held = language.stop(language.sigmoid(V @ language.x + R @ h_prev))
    equations = [language.Eq(h, language.tanh(W @ language.x + U @ h_prev) * held)]
    layer = made(derive.Cell(name="held", title="held", year=2024, reference="test", equations=equations))
    agree(layer, Blocks(Limits((9, 0), 2, 0)), steps=3, lengths=[3, 2, 0], resets=RESETS[:3])


def test_blocks_that_wait_for_a_number_that_nobody_writes_are_noticed(monkeypatch):
    monkeypatch.setattr(sweeps, "plan", divided(2, 1))
    layer = layers.random_layer("rnn", 3, 8)
    own = twin(layer, Blocks(Limits((9, 0), 2, 0)))
    module = vars(own._placed.engine.module).copy()
    exec(inspect.getsource(module["unit_forward_1"]).replace("put_both(", "print("), module)
    exec(inspect.getsource(module["sweep_forward"]), module)
    own._placed.engine.sweeps.module = SimpleNamespace(**module)
    with pytest.raises(RuntimeError, match="wait for ever"):
        layers.forward(own, layers.numbers_for(layer, 3, 2))


@WAYS
@pytest.mark.parametrize(("steps", "rows"), [(0, 3), (4, 0), (0, 0), (1, 1)])
@pytest.mark.parametrize("cell", ["gru", "peephole", "depth_gated"])
def test_no_steps_and_no_rows_are_legal(cell, steps, rows, way):
    agree(layers.random_layer(cell, 3, 4), way, steps, rows)


@WAYS
def test_what_stands_past_a_rows_end_is_ignored_even_a_nan(way):
    layer, lengths = layers.random_layer("gru", 3, 4), [4, 2, 0]
    numbers = layers.numbers_for(layer, 5, 3)
    expected = layers.everything(layer, numbers, lengths=lengths)
    for row, length in enumerate(lengths):
        numbers.inputs["x"][length:, row] = numbers.d_output[length:, row] = np.nan
    found = layers.everything(twin(layer, way), numbers, lengths=lengths)
    assert layers.farther_apart(found, expected, 1e-12) == []


@WAYS
def test_without_a_tape_results_are_the_same_and_there_is_no_backward(way, monkeypatch):
    layer = layers.random_layer("lstm", 3, 4)
    numbers, own = layers.numbers_for(layer, 70, 2), twin(layer, way)
    each = 2 * 4 * 4 * 8  # bytes of a step's slots
    monkeypatch.setattr(shapes, "AHEAD", 30 * each)
    assert own._placed.engine.shapes.at_once(70, 2, save=False) == 30  # projected in three parts
    run = layers.forward(own, numbers, save=False)
    assert layers.farther_apart(layers.values(run), layers.values(layers.forward(layer, numbers)), 1e-12) == []
    with pytest.raises(TapeError, match="save=False"):
        run.backward(numbers.d_output)


@WAYS
@pytest.mark.parametrize("cell", ["gru", "depth_gated", "clockwork"])
def test_what_is_computed_again_is_the_same(cell, way):
    layer = layers.random_layer(cell, 3, 4, reverse=True)
    numbers = layers.numbers_for(layer, 11, 3)
    resets = np.random.default_rng(4).random((11, 3)) < 0.4
    resets[[4, 8]] = True  # where segments begin, and past the end of two rows
    options = {"lengths": [11, 6, 0], "resets": resets}
    found = layers.everything(twin(layer, way), numbers, save="states", **options)
    assert layers.farther_apart(found, layers.everything(layer, numbers, **options), 1e-12) == []


@WAYS
def test_a_second_backward_is_exact_too_and_leaves_the_outputs_alone(way):
    layer = layers.random_layer("gru", 3, 4)
    numbers = layers.numbers_for(layer, 5, 3)
    run = layers.forward(twin(layer, way), numbers)
    output = run.output.copy()
    first, second = (layers.parameter_gradients(layers.backward(run, numbers)) for _ in range(2))
    assert layers.other_bits(second, first) == []
    assert np.array_equal(run.output, output)


def test_half_storage_keeps_states_and_parameters_in_float32():
    exact = layers.random_layer("gru", 3, 4)
    own = twin(exact, AT_ONCE, dtype="float16")
    numbers = layers.numbers_for(exact, 5, 3)
    low, full = numbers.cast("float16"), numbers.cast("float32")
    mixed = layers.Numbers(low.inputs, full.state, low.d_output, full.d_state)
    found = layers.everything(own, mixed)
    assert layers.farther_apart(found, layers.everything(exact, numbers), 5e-3) == []
    kinds = {name: found[name].dtype.name for name in ("h", "final h", "d x", "d U_r")}
    assert kinds == {"h": "float16", "final h": "float32", "d x": "float16", "d U_r": "float32"}


def agree_along(layer, way):
    numbers, further = layers.numbers_for(layer, 4, 3), layers.numbers_for(layer, 4, 3, seed=7)
    for options in ({}, {"lengths": [4, 2, 0], "resets": RESETS[:4]}):
        found = along(twin(layer, way), numbers, further, **options)
        assert layers.farther_apart(found, along(layer, numbers, further, **options), 1e-12) == []


@pytest.mark.parametrize("cell", ln.cells())
def test_along_a_direction_every_cell_gives_what_the_cpu_gives(cell):
    agree_along(layers.random_layer(cell, 3, 4, reverse=cell == "gru"), STEP_BY_STEP)


@pytest.mark.parametrize("cell", ["half_held", "odd", "mut3", "fast_grnn"])
def test_along_a_direction_unusual_cells_give_what_the_cpu_gives(cell):
    agree_along(made(user_cells.CELLS[cell]), AT_ONCE)


def test_a_truncated_gradient_changes_as_it_is_computed():
    agree_along(layers.random_layer("lstm1997", 3, 4, truncated=True), STEP_BY_STEP)


def test_after_a_direction_a_backward_is_exact_and_where_states_only_were_kept_there_is_none():
    layer = layers.random_layer("gru", 3, 4)
    numbers, own = layers.numbers_for(layer, 5, 3), twin(layer, AT_ONCE)
    run = layers.forward(own, numbers)
    first = layers.parameter_gradients(layers.backward(run, numbers))
    run.hvp({"x": numbers.inputs["x"]}, numbers.d_output)
    assert layers.other_bits(layers.parameter_gradients(layers.backward(run, numbers)), first) == []
    with pytest.raises(TapeError, match="states only"):
        layers.forward(own, numbers, save="states").jvp({})


@WAYS
def test_no_steps_are_legal_where_states_only_are_kept_and_along_a_direction(way):
    layer = layers.random_layer("gru", 3, 4)
    numbers, own = layers.numbers_for(layer, 0, 3), twin(layer, way)
    assert layers.forward(own, numbers, save="states").output.shape == (0, 3, 4)
    assert layers.forward(own, numbers).jvp({}).output.shape == (0, 3, 4)


def test_copies_have_parameters_of_their_own():
    layer = twin(layers.random_layer("lstm", 3, 4), STEP_BY_STEP)
    with on(STEP_BY_STEP):
        copies = copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))  # noqa: S301  (our own)
    for other in copies:
        assert np.array_equal(other.parameters.flat, layer.parameters.flat)
        other.parameters["b_f"] = np.zeros(4)
        assert layer.parameters["b_f"].any()


def test_the_first_parameters_are_those_of_a_cpu_layer():
    with on(STEP_BY_STEP):
        own = ln.Layer("clockwork", 3, 8, device="cuda", seed=5)
    assert np.array_equal(own.parameters.flat, ln.Layer("clockwork", 3, 8, seed=5).parameters.flat)
