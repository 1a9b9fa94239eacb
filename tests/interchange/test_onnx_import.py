"""LSTM, GRU and RNN nodes of ONNX models as layers.  Truth: onnxruntime on the same model."""

import contextlib
import os
import re
import warnings

import ml_dtypes
import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from lstm_numba import Layer, LstmNumbaError, Stack, interchange
from lstm_numba.errors import ForeignWeightsError, NotExpressibleError, ShapeError
from tests.interchange.foreign import B, H, N, T, close, draw, layer, same, stack
from tests.interchange.onnx_sessions import session

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
# Operator, what a node says besides its sizes, and whether there are peepholes -> our cell and what its repr says.
NODES = [
    ("LSTM", {}, False, "'lstm'"),
    ("LSTM", {}, True, "'peephole'.*peepholes='ifo'"),
    ("LSTM", {"input_forget": 1}, False, "'coupled'"),
    ("GRU", {}, False, "'gru'"),
    ("GRU", {"linear_before_reset": 1}, False, "'gru_reset_after'"),
    ("RNN", {}, False, "'rnn'.*activation='tanh'"),
    ("RNN", {"activations": ["Relu"]}, False, "'rnn'.*activation='relu'"),
]
# The same, with activations that the cell does not have by itself, and clip.
CHANGED = [
    ("LSTM", {"clip": 1.25}, True, r"'peephole'.*clip=1\.25"),
    ("LSTM", {"input_forget": 1}, True, "'peephole'.*peepholes='io', coupled={'f': 'i'}"),
    ("LSTM", {"activations": ["HardSigmoid", "Softsign", "Relu"], "clip": 0.6, "input_forget": 1}, True,
     "'peephole'.*'i': 'hard_sigmoid.*'o': 'hard_sigmoid.*'g': 'softsign'"),
    ("LSTM", {"activations": ["HardSigmoid", "Tanh", "Relu"], "clip": 0.3, "input_forget": 1}, False,
     r"'coupled'.*'i': 'hard_sigmoid.*'o': 'hard_sigmoid.*'h': 'relu'.*clip=0\.3"),
    (
        "LSTM",
        {"activations": ["HardSigmoid", "ScaledTanh", "LeakyRelu"], "activation_alpha": [0.3, 0.9, 0.2],
         "activation_beta": [0.4, 1.3], "clip": 0.8},
        False,
        r"'lstm'.*'i': 'hard_sigmoid\(alpha=0\.3, beta=0\.4\)'.*'h': 'leaky_relu\(alpha=0\.2\)'.*clip=0\.8",
    ),
    ("LSTM", {"activations": ["softsign", "Affine", "TANH"], "activation_alpha": [0.2], "activation_beta": [-1.0]},
     False, r"'f': 'softsign'.*'g': 'affine\(alpha=0\.2, beta=-1\.0\)'}"),
    ("GRU", {"clip": 0.5}, False, r"'gru'.*clip=0\.5"),
    ("GRU", {"activations": ["HardSigmoid", "Elu"], "linear_before_reset": 1, "clip": 0.9}, False,
     r"'gru_reset_after'.*'r': 'hard_sigmoid\(alpha=0\.2, beta=0\.5\)'.*'n': 'elu\(alpha=1\.0\)'"),
    ("GRU", {"activations": ["Sigmoid", "Softplus"]}, False, "'n': 'softplus'"),
    ("RNN", {"activations": ["Relu"], "clip": 0.7}, False, r"activation='relu', clip=0\.7"),
    ("RNN", {"activations": ["ThresholdedRelu"], "activation_alpha": [0.3]}, False, r"thresholded_relu\(alpha=0\.3\)"),
]  # fmt: skip


def graph(kind, attributes, arrays, inputs=()):
    """A model of one node, with states and lengths as inputs of the model unless `arrays` has them."""
    states = ["initial_h", "initial_c"] if kind == "LSTM" else ["initial_h"]
    known = {**dict.fromkeys(["X", "W", "R", "B", "sequence_lens", *states]), **({"P": None} if kind == "LSTM" else {})}
    names = [key if key in arrays or key in inputs or key == "X" else "" for key in known]
    outputs = ["Y", "Y_h", "Y_c"][: 1 + len(states)]
    node = helper.make_node(kind, names, outputs, name="cell", hidden_size=H, **attributes)
    kinds = {"sequence_lens": (TensorProto.INT32, [None])}

    def info(name):
        return helper.make_tensor_value_info(name, *kinds.get(name, (TensorProto.FLOAT, [None] * 3)))

    given = [info(name) for name in ("X", *inputs)]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]
    constants = [numpy_helper.from_array(array, name) for name, array in arrays.items()]
    made = helper.make_graph([node], "one", given, values, constants)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)


def weights(kind, directions, peepholes, bias=True):
    k = GATES[kind]
    shapes = {"W": (k * H, N), "R": (k * H, H)}
    shapes |= {"B": (2 * k * H,)} if bias else {}
    shapes |= {"P": (3 * H,)} if peepholes else {}
    return {key: draw(directions, *shape).astype("float32") for key, shape in shapes.items()}


def attributes_of(extra, direction):
    """For both directions the lists stand twice."""
    lists = {key: value * 2 for key, value in extra.items() if isinstance(value, list) and direction == "bidirectional"}
    return {**extra, **lists, "direction": direction}


def agree(ours, model, kind, directions):
    """Outputs and final states, from states that are not 0 and with lengths."""
    states = ["h", "c"] if kind == "LSTM" else ["h"]
    x, lengths = draw(T, B, N).astype("float32"), np.array([T, 2, 4])
    first = {s: draw(directions, B, H, seed=k).astype("float32") for k, s in enumerate(states)}
    feed = {"X": x, "sequence_lens": lengths.astype(np.int32), **{f"initial_{s}": array for s, array in first.items()}}
    expected, *last = session(model).run(None, feed)
    prefixes = ["0.", "0.reverse."] if directions == 2 else [""]
    run = ours.forward(x, {f"{p}{s}": first[s][d] for d, p in enumerate(prefixes) for s in states}, lengths, save=False)
    assert close(run.output, np.concatenate(list(expected.transpose(1, 0, 2, 3)), axis=2), 5e-6)
    for s, array in zip(states, last, strict=True):
        assert close(np.stack([run.state[f"{p}{s}"] for p in prefixes]), array, 5e-6)


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize(("kind", "extra", "peepholes", "said"), [*NODES, *CHANGED])
def test_a_node_becomes_the_cell_that_computes_the_same(kind, extra, peepholes, said, direction):
    directions = 2 if direction == "bidirectional" else 1
    arrays = weights(kind, directions, peepholes)
    inputs = ["sequence_lens", "initial_h", "initial_c"][: 3 if kind == "LSTM" else 2]
    model = graph(kind, attributes_of(extra, direction), arrays, inputs)
    ours = interchange.from_onnx(model)
    assert isinstance(ours, Stack if directions == 2 else Layer)
    first = ours.layers[0] if directions == 2 else ours
    assert re.search(said, repr(first))
    agree(ours, model, kind, directions)


# Nodes of which each direction applies functions of its own.
UNLIKE = [
    ("RNN", {"activations": ["Tanh", "Relu"]}, {"activation": "relu"}),
    ("RNN", {"activations": ["Relu", "Softsign"]}, {"activation": "tanh", "activations": {"h": "softsign"}}),
    ("GRU", {"activations": ["Sigmoid", "Elu", "Sigmoid", "Elu"], "activation_alpha": [0.7, 0.4], "clip": 1.5},
     {"activations": {"n": "elu(alpha=0.4)"}}),
    ("LSTM", {"activations": ["Sigmoid", "Tanh", "Relu", "Sigmoid", "Tanh", "Tanh"]}, {"activations": None}),
    ("LSTM", {"activations": ["Sigmoid", "Tanh", "Tanh", "Sigmoid", "Affine", "Tanh"], "activation_alpha": [0.5],
              "activation_beta": [0.1], "input_forget": 1}, {"activations": {"g": "affine(alpha=0.5, beta=0.1)"}}),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "extra", "changed"), UNLIKE)
def test_each_direction_may_apply_its_own_functions(kind, extra, changed):
    inputs = ["sequence_lens", "initial_h", "initial_c"][: 3 if kind == "LSTM" else 2]
    model = graph(kind, {**extra, "direction": "bidirectional"}, weights(kind, 2, False), inputs)
    ours = interchange.from_onnx(model)
    assert ours.reverse_options == changed
    agree(ours, model, kind, 2)
    exported = interchange.to_onnx(ours)
    assert [node.op_type for node in exported.graph.node if node.op_type in (*GATES, "Scan")] == [kind]
    assert same(interchange.from_onnx(exported), ours)


PLAIN = [(cell, {}) for cell in ("lstm", "coupled", "gru", "gru_reset_after", "rnn")]


@pytest.mark.parametrize("case", [*PLAIN, ("rnn", {"activation": "relu"}), ("peephole", {"peepholes": "io"})], ids=str)
def test_what_was_exported_comes_back_to_the_bit(case):
    cell, options = case
    single = [layer(cell, "float32", reverse=reverse, **options) for reverse in (False, True)]
    for made in (*single, stack(cell, "float32", layers=1, **options)):
        assert same(interchange.from_onnx(interchange.to_onnx(made)), made)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_nodes_named_from_the_lowest_up_are_a_stack(bidirectional):
    made = stack("lstm", "float32", layers=3, bidirectional=bidirectional)
    model = interchange.to_onnx(made)
    assert same(interchange.from_onnx(model, node=["0.LSTM", "1.LSTM", "2.LSTM"]), made)
    with pytest.raises(ForeignWeightsError, match=r"exactly one .* LSTM '0\.LSTM', LSTM '1\.LSTM'.*choose one"):
        interchange.from_onnx(model)
    with pytest.raises(ShapeError, match="layer 1 has N = 4 and H = 6, expected N ="):
        interchange.from_onnx(model, node=["1.LSTM", "0.LSTM"])


def test_a_file_is_read_like_a_model(tmp_path):
    made = layer("gru", "float32")
    onnx.save(interchange.to_onnx(made), tmp_path / "gru.onnx")
    assert same(interchange.from_onnx(tmp_path / "gru.onnx"), made)
    assert same(interchange.from_onnx(str(tmp_path / "gru.onnx")), made)


def test_without_b_the_biases_are_zero_and_constant_nodes_are_constants():
    arrays = weights("GRU", 1, False, bias=False)
    model = graph("GRU", {}, arrays)
    ours = interchange.from_onnx(model)
    assert not any(ours.parameters[name].any() for name in ("b_r", "b_z", "b_n"))
    held = [tensor for tensor in model.graph.initializer if tensor.name == "R"]
    model.graph.initializer.remove(held[0])
    model.graph.node.insert(0, helper.make_node("Constant", [], ["R"], value=held[0]))
    assert same(interchange.from_onnx(model), ours)


def test_peepholes_of_zeros_are_none_and_zero_states_are_as_good_as_none():
    arrays = weights("LSTM", 1, True)
    arrays["P"][:, :H] = arrays["P"][:, 2 * H :] = 0
    assert interchange.from_onnx(graph("LSTM", {}, arrays)).options == {"peepholes": "o"}
    arrays["P"][...] = 0
    ours = interchange.from_onnx(graph("LSTM", {}, {**arrays, "initial_h": np.zeros((1, B, H), np.float32)}))
    assert ours.name == "lstm"


@pytest.mark.parametrize(
    ("kind", "extra", "constants", "words"),
    [
        ("LSTM", {"scale": 1.0}, {}, "LSTM 'cell' has scale=1.0, and no cell here does that"),
        ("GRU", {}, {"initial_h": np.ones((1, B, H), np.float32)}, r"fixed initial_h.*forward\(state=...\)"),
        ("GRU", {}, {"sequence_lens": np.ones(B, np.int32)}, r"fixed sequence_lens.*forward\(lengths=...\)"),
    ],
)
def test_what_no_cell_here_does_is_refused(kind, extra, constants, words):
    with pytest.raises(NotExpressibleError, match=words):
        interchange.from_onnx(graph(kind, extra, {**weights(kind, 1, False), **constants}))


@pytest.mark.parametrize(
    ("kind", "extra", "words"),
    [
        ("LSTM", {"activations": ["Sigmoid", "Tanh"]}, "has 2 activations, expected 3 for each direction"),
        ("RNN", {"activations": ["Swish"]}, "has the activation 'Swish'; ONNX knows Sigmoid, Tanh, Relu"),
        ("RNN", {"activations": ["Affine"], "activation_alpha": [2.0]}, "Affine has no beta: write it"),
        ("RNN", {"activations": ["ThresholdedRelu"]}, "ThresholdedRelu has no alpha"),
        (
            "LSTM",
            {"activations": ["HardSigmoid", "Tanh", "LeakyRelu"], "activation_alpha": [0.3, 0.0, 0.2]},
            "activation_alpha has 3 numbers, and of its activations HardSigmoid, Tanh, LeakyRelu only 2 take one",
        ),
        ("GRU", {"direction": "sideways"}, "direction='sideways' is not one of forward, reverse, bidirectional"),
    ],
)  # fmt: skip
def test_attributes_that_do_not_fit_the_operator_are_refused(kind, extra, words):
    with pytest.raises(ForeignWeightsError, match=words):
        interchange.from_onnx(graph(kind, extra, weights(kind, 1, False)))


def test_half_precision_is_read_as_float32():
    arrays = {key: array.astype("float16") for key, array in weights("RNN", 1, False).items()}
    ours = interchange.from_onnx(graph("RNN", {}, arrays))
    assert ours.dtype == np.float32
    assert np.array_equal(ours.parameters["W"], arrays["W"][0].astype("float32"))


def test_bfloat16_is_read_as_float32():
    arrays = {key: array.astype(ml_dtypes.bfloat16) for key, array in weights("GRU", 1, False).items()}
    model = graph("GRU", {}, {})
    model.graph.node[0].input[1:4] = ["W", "R", "B"]
    for key, array in arrays.items():
        tensor = helper.make_tensor(key, TensorProto.BFLOAT16, array.shape, array.view(np.uint16).tobytes(), raw=True)
        model.graph.initializer.append(tensor)
    ours = interchange.from_onnx(model)
    assert ours.dtype == np.float32
    assert np.array_equal(ours.parameters["W_z"], arrays["W"][0, :H].astype("float32"))


def test_one_of_two_arrays_with_the_same_numbers_comes_through_an_identity():
    arrays = weights("RNN", 1, False)
    model = graph("RNN", {}, arrays)
    model.graph.node[0].input[2] = "again"
    model.graph.node.insert(0, helper.make_node("Identity", ["R"], ["again"]))
    assert same(interchange.from_onnx(model), interchange.from_onnx(graph("RNN", {}, arrays)))


def test_torchs_older_exporter_keeps_equal_arrays_once(tmp_path):
    module = torch.nn.LSTM(N, H, 2)
    for name, array in module.named_parameters():
        torch.nn.init.constant_(array, 0.0 if "bias" in name else 0.125)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(module, torch.zeros(T, B, N), tmp_path / "model", dynamo=False)
    model = onnx.load(tmp_path / "model")
    names = [node.output[0] for node in model.graph.node if node.op_type == "LSTM"]
    ours = interchange.from_onnx(model, node=names)
    assert same(ours, interchange.from_torch(module.state_dict()))


def test_another_hidden_size_than_the_arrays_have_is_refused():
    model = graph("RNN", {}, weights("RNN", 1, False))
    next(a for a in model.graph.node[0].attribute if a.name == "hidden_size").i = H + 1
    with pytest.raises(ForeignWeightsError, match=rf"hidden_size={H + 1}, and R has shape \(1, {H}, {H}\)"):
        interchange.from_onnx(model)


def test_every_cut_off_or_changed_file_is_read_or_is_one_clear_error(tmp_path):
    content, path = graph("LSTM", {}, weights("LSTM", 1, True)).SerializeToString(), tmp_path / "model"
    random = np.random.default_rng(0)
    for _ in range(200):
        damaged = bytearray(content[: random.integers(1, len(content) + 1)])
        for place in random.integers(0, len(damaged), 3):
            damaged[place] = random.integers(256)
        path.write_bytes(bytes(damaged))
        with contextlib.suppress(LstmNumbaError):
            interchange.from_onnx(path)


def test_arrays_of_other_shapes_are_one_clear_error():
    for key, wrong in (("W", draw(H)), ("R", draw(1, 3, 2)), ("B", draw(1, 3)), ("R", draw(0, H, H))):
        arrays = weights("RNN", 1, False) | {key: wrong.astype("float32")}
        with pytest.raises(LstmNumbaError):
            interchange.from_onnx(graph("RNN", {}, arrays))


def test_a_folder_a_pipe_and_a_device_are_no_models(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe", "/dev/zero"):
        with pytest.raises(ForeignWeightsError, match="a folder, a pipe or a device"):
            interchange.from_onnx(path)
    with pytest.raises(ForeignWeightsError, match="is not an ONNX model"):
        interchange.from_onnx(tmp_path / ("n" * 300))
