"""Foreign truth: float32 inference against onnxruntime, which has peepholes, coupled gates and both resets."""

import numpy as np
import pytest

import lstm_numba as ln
from tests.oracles import onnx_models

T, B, N, H = 6, 4, 3, 5
TOLERANCE = 5e-6
CASES = [
    *((name, {}) for name in onnx_models.CELLS),
    ("rnn", {"activation": "relu"}),
    *(("peephole", {"peepholes": gates}) for gates in ("i", "f", "o", "if", "io", "fo")),
]


def named(case):
    return "-".join([case[0], *case[1].values()])


def random_layer(name, options):
    rng = np.random.default_rng(3)
    layer = ln.Layer(name, input_size=N, hidden_size=H, dtype="float32", **options)
    for array in layer.parameters.values():
        array[...] = rng.normal(size=array.shape)
    x = rng.normal(size=(T, B, N)).astype(np.float32)
    return layer, x, {key: rng.normal(size=(B, H)).astype(np.float32) for key in layer.spec.states}


def session(layer, name, options):
    return onnx_models.Session(name, layer.parameters, activation=options.get("activation", "tanh"))


def differences(ours, theirs):
    """Tensors whose norm-wise relative difference is too large."""
    return [key for key in theirs if np.linalg.norm(ours[key] - theirs[key]) > TOLERANCE * np.linalg.norm(theirs[key])]


@pytest.mark.parametrize("case", CASES, ids=named)
def test_inference_equals_onnxruntime(case):
    name, options = case
    layer, x, state = random_layer(name, options)
    run = layer.forward(x, state, save=False)
    output, final = session(layer, name, options).forward(x, state)
    assert differences({"output": run.output, **run.state}, {"output": output, **final}) == []


@pytest.mark.parametrize("name", onnx_models.CELLS)
def test_lengths_mean_what_they_mean_to_onnxruntime(name):
    layer, x, state = random_layer(name, {})
    lengths = np.array([T, 1, 3, 2])
    run = layer.forward(x, state, lengths=lengths, save=False)
    output, final = session(layer, name, {}).forward(x, state, lengths)
    assert differences({"output": run.output, **run.state}, {"output": output, **final}) == []
    assert not run.output[np.arange(T)[:, None] >= lengths].any()
