"""Any cell as an ONNX model.  Truth: our kernels, beside the model under onnxruntime."""

import numpy as np
import onnx
import pytest
from onnx import helper

import derive
import lstm_numba as ln
from lstm_numba import functions, interchange
from lstm_numba.errors import NotExpressibleError
from lstm_numba.interchange import onnx_graph
from tests.derive.user_cells import CELLS as USER_CELLS
from tests.interchange.foreign import T, draw, filled, layer, same, stack
from tests.interchange.onnx_sessions import both, differing, session

TOLERANCE = {"float32": 5e-6, "float64": 1e-13}
LENGTHS = [T, 0, 3]
RESETS = np.random.default_rng(5).random((T, 3)) < 0.4
VARIANTS = [
    *((name, {}) for name in ln.cells()),
    ("rnn", {"activation": "relu"}),
    ("lstm1997", {"truncated": True}),
    ("clockwork", {"periods": (1, 3)}),
    *(("peephole", {"peepholes": gates}) for gates in ("i", "f", "o", "if", "io", "fo")),
]
OPERATORS = ("rnn", "lstm", "peephole", "coupled", "gru", "gru_reset_after")


def named(case):
    return "-".join([case[0], *map(str, case[1].values())])


def kinds(model):
    return [node.op_type for node in model.graph.node if node.op_type in ("LSTM", "GRU", "RNN", "Scan")]


def agree(made, model, dtype, **given):
    ours, theirs = both(made, model, **given)
    assert differing(ours, theirs, TOLERANCE[dtype]) == []


@pytest.mark.parametrize("case", VARIANTS, ids=named)
def test_a_scan_of_any_cell_computes_what_the_kernels_do(case):
    for dtype, reverse in (("float32", True), ("float64", False)):
        made = layer(case[0], dtype, reverse=reverse, **case[1])
        model = interchange.to_onnx(made, form="scan")
        assert kinds(model) == ["Scan"]
        agree(made, model, dtype)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("cell", ln.cells())
def test_lengths_and_resets_mean_in_a_scan_what_they_mean_in_a_layer(cell, reverse):
    made = layer(cell, reverse=reverse)
    model = interchange.to_onnx(made, lengths=True, resets=True)
    agree(made, model, "float64", lengths=LENGTHS, resets=RESETS)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("case", [case for case in VARIANTS if case[0] in OPERATORS], ids=named)
def test_a_cell_that_onnx_knows_is_its_operator(case, reverse):
    made = layer(case[0], "float32", reverse=reverse, **case[1])
    model = interchange.to_onnx(made, lengths=True)
    assert kinds(model) == [{"rnn": "RNN", "gru": "GRU", "gru_reset_after": "GRU"}.get(made.name, "LSTM")]
    agree(made, model, "float32", lengths=LENGTHS)
    agree(made, interchange.to_onnx(made), "float32")


@pytest.mark.parametrize("form", ["scan", None])
@pytest.mark.parametrize("cell", ln.cells())
def test_a_stack_is_one_model(cell, form):
    made = stack(cell, "float32", bidirectional=cell != "depth_gated")
    agree(made, interchange.to_onnx(made, lengths=True, form=form), "float32", lengths=LENGTHS)


@pytest.mark.parametrize("name", [name for name in USER_CELLS if name != "plain"])
def test_a_cell_of_ones_own_is_exported_like_ours(name):
    made = filled(derive.build(USER_CELLS[name])(4, 6, dtype="float64", **({"P": 3} if name == "projected" else {})))
    agree(made, interchange.to_onnx(made, lengths=True), "float64", lengths=LENGTHS)


def test_equations_decide_which_operator_it_is_and_not_a_users_name():
    def mine(text):
        cell = derive.parse(f"name: rnn\nstates: h\nparameters: W[H,N] U[H,H] b\nh = {text}(W @ x + U @ h_prev + b)")
        return derive.build(cell)(2, 3)

    assert kinds(interchange.to_onnx(mine("sigmoid"))) == ["Scan"]
    assert kinds(interchange.to_onnx(mine("tanh"))) == ["RNN"]


HARD = "hard_sigmoid(alpha=0.3, beta=0.4)"
LSTM = {"i": HARD, "f": HARD, "o": HARD, "g": "scaled_tanh(alpha=0.9, beta=1.3)", "h": "leaky_relu(alpha=0.2)"}
CHANGED = [
    ("lstm", {"activations": LSTM, "clip": 0.8}, "LSTM"),
    ("peephole", {"clip": 1.25}, "LSTM"),
    ("coupled", {"activations": {"i": "hard_sigmoid", "o": "hard_sigmoid", "h": "relu"}, "clip": 0.3}, "LSTM"),
    ("peephole", {"peepholes": "io", "coupled": {"f": "i"}, "activations": {"h": "relu"}}, "LSTM"),
    ("lstm", {"coupled": {"o": "i"}}, "Scan"),
    ("gru", {"clip": 0.5}, "GRU"),
    ("gru_reset_after", {"activations": {"r": "hard_sigmoid", "z": "hard_sigmoid", "n": "elu"}, "clip": 0.9}, "GRU"),
    ("rnn", {"activation": "relu", "clip": 0.7}, "RNN"),
    ("lstm", {"activations": {"i": "softsign"}}, "Scan"),
]


@pytest.mark.parametrize(("cell", "options", "kind"), CHANGED, ids=str)
def test_other_activations_and_clipped_sums_are_the_operators_where_it_has_them(cell, options, kind):
    made = layer(cell, "float32", **options)
    model = interchange.to_onnx(made)
    assert kinds(model) == [kind]
    agree(made, model, "float32")
    if kind != "Scan":
        assert same(interchange.from_onnx(model), made)
        agree(made, interchange.to_onnx(made, form="scan"), "float32")


def test_both_directions_have_their_activations():
    made = stack("lstm", "float32", layers=1, activations=LSTM, clip=0.8)
    model = interchange.to_onnx(made)
    assert kinds(model) == ["LSTM"]
    agree(made, model, "float32")
    assert same(interchange.from_onnx(model), made)


@pytest.mark.parametrize("changed", [{"clip": 0.5}, {"activations": {"i": "hard_sigmoid"}}])
def test_directions_that_no_node_can_tell_apart_are_scans(changed):
    made = stack("lstm", "float32", layers=1, reverse_options=changed)
    model = interchange.to_onnx(made)
    assert kinds(model) == ["Scan", "Scan"]
    agree(made, model, "float32")


def test_onnx_calls_a_linear_unit_affine():
    made = layer("rnn", "float32", activations={"h": "linear"})
    model = interchange.to_onnx(made)
    agree(made, model, "float32")
    assert interchange.from_onnx(model).options["activations"] == {"h": "affine(alpha=1.0, beta=0.0)"}


def test_without_states_they_are_zero():
    made, x = layer("lstm"), draw(T, 3, 4)
    model = interchange.to_onnx(made, state=False)
    (output, *_) = session(model).run(None, {"x": x})
    assert np.allclose(output, made.forward(x).output, rtol=0, atol=1e-14)


def test_steps_and_rows_are_free():
    made = layer("gru", "float32")
    for form in ("operator", "scan"):
        model = interchange.to_onnx(made, form=form)
        for steps, batch in ((1, 1), (9, 2)):
            agree(made, model, "float32", steps=steps, batch=batch)


def test_no_steps_and_no_lengths_leave_the_state_in_an_operator_with_lengths():
    made = layer("gru_reset_after", "float32")
    agree(made, interchange.to_onnx(made, lengths=True), "float32", steps=0, lengths=[0, 0, 0])


def test_weights_below_the_blocks_of_a_clockwork_are_left_out_as_in_the_kernels():
    made = layer("clockwork", hidden_size=8)
    made.parameters["U"][...] = 1
    agree(made, interchange.to_onnx(made), "float64")


NUMBERS = np.array([-700, -30, -1.5, -1e-9, 0, 1e-9, 0.5, 2, 40, np.nan])
ARGUMENTS = {"maximum": 2, "minimum": 2, "where": 3}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", sorted(onnx_graph.functions(onnx_graph.Graph(np.dtype("float32")))))
def test_every_function_of_a_step_is_ours_at_large_and_small_numbers_and_loses_no_nan(name, dtype):
    grid = np.stack(np.meshgrid(*[NUMBERS] * ARGUMENTS.get(name, 1))).reshape(ARGUMENTS.get(name, 1), -1).astype(dtype)
    graph = onnx_graph.Graph(np.dtype(dtype))
    given = [graph.input(f"a{k}", [None]) for k in range(len(grid))]
    graph.output("y", onnx_graph.functions(graph)[name](*given), [None])
    model = helper.make_model(graph.proto(name), opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    (found,) = session(model).run(None, {f"a{k}": row for k, row in enumerate(grid)})
    with np.errstate(all="ignore"):
        expected = getattr(functions, name)(*grid)
    # onnxruntime's Sigmoid is exact beside 1, not beside its own small values
    least = np.finfo(dtype).eps if name == "sigmoid" else 1e-40
    assert np.allclose(found, expected, rtol=2e-6 if dtype == "float32" else 1e-14, atol=least, equal_nan=True)


def test_a_nan_stays_in_its_row():
    made, x = filled(derive.build(USER_CELLS["slstm"])(4, 6)), draw(T, 3, 4).astype("float32")
    x[1, 1] = np.nan
    (output, *_) = session(interchange.to_onnx(made, state=False)).run(None, {"x": x})
    assert np.array_equal(np.isnan(output).any(axis=(0, 2)), [False, True, False])


def test_the_model_says_what_it_is_and_keeps_our_names():
    model = interchange.to_onnx(layer("clockwork"))
    facts = {entry.key: entry.value for entry in model.metadata_props}
    assert facts["equations"] == layer("clockwork").spec.equations_hash
    assert {"W", "U", "b"} <= {tensor.name for tensor in model.graph.initializer}
    assert [one.name for one in model.graph.input] == ["x", "h_0"]
    assert [one.name for one in model.graph.output] == ["output", "h_T"]


def test_the_same_layer_gives_the_same_bytes():
    first, second = (interchange.to_onnx(stack("peephole")).SerializeToString(deterministic=True) for _ in range(2))
    assert first == second


def test_a_planted_change_of_the_step_is_seen():
    """The comparison can fail: the model of another activation is another model."""
    made = layer("rnn")
    other = layer("rnn", activation="relu")
    ours, theirs = both(made, interchange.to_onnx(other))
    assert differing(ours, theirs, 1e-3) == ["output", "h_T"]


@pytest.mark.parametrize(("cell", "options"), [("lstm1997", {}), ("lstm", {"resets": True})])
def test_an_operator_that_there_is_not_is_refused(cell, options):
    with pytest.raises(NotExpressibleError, match=r"no operator for this.*form='scan'"):
        interchange.to_onnx(layer(cell), form="operator", **options)


def test_float64_is_a_scan_for_onnxruntime_has_no_such_operator_but_one_may_ask():
    assert kinds(interchange.to_onnx(layer("lstm"))) == ["Scan"]
    asked = interchange.to_onnx(layer("lstm"), form="operator")
    assert kinds(asked) == ["LSTM"]
    onnx.checker.check_model(asked, full_check=True)
