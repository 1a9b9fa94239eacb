"""Weights of Keras layers in and out.  Truth: Keras's formulas in NumPy, and Keras itself where it is installed."""

import os

import ml_dtypes
import numpy as np
import pytest

from lstm_numba import Layer, Stack, interchange
from tests.interchange.foreign import B, H, N, T, close, draw, layer, same, stack
from tests.interchange.formulas import KERAS, unroll

GATES = {"lstm": 4, "gru_reset_after": 3, "gru": 3, "rnn": 1}


def weights_of(cell, seed=0):
    k = GATES[cell]
    bias = (2, k * H) if cell == "gru_reset_after" else (k * H,)
    return [draw(*shape, seed=seed) for shape in ((N, k * H), (H, k * H), bias)]


def states_of(made):
    return [draw(B, H, seed=7 + k) for k in range(len(made.spec.states))]


def run(made, x, first):
    found = made.forward(x, dict(zip(made.spec.states, first, strict=True)), save=False)
    return found.output, list(found.state.values())


def agree(ours, cell, weights):
    x, first = draw(T, B, N), states_of(ours)
    (output, last), (expected, expected_last) = run(ours, x, first), unroll(KERAS[cell], weights, x, first)
    assert close(output, expected, 1e-14)
    assert all(close(a, b, 1e-14) for a, b in zip(last, expected_last, strict=True))


@pytest.mark.parametrize("cell", KERAS)
def test_what_comes_in_computes_what_keras_writes(cell):
    weights = weights_of(cell)
    ours = interchange.from_keras(weights)
    assert (type(ours), ours.name, ours.dtype) == (Layer, cell, np.float64)
    agree(ours, cell, weights)


@pytest.mark.parametrize("cell", KERAS)
def test_what_goes_out_computes_the_same_by_kerass_formulas(cell):
    ours = layer(cell)
    agree(ours, cell, interchange.to_keras(ours))


@pytest.mark.parametrize("cell", KERAS)
def test_there_and_back_changes_no_bit(cell):
    for made in (layer(cell), stack(cell, layers=1)):
        assert same(interchange.from_keras(interchange.to_keras(made)), made)


def test_both_directions_are_a_stack_of_one_level():
    forwards, backwards = weights_of("lstm"), weights_of("lstm", seed=1)
    ours, x = interchange.from_keras([*forwards, *backwards]), draw(T, B, N)
    zeros = [np.zeros((B, H))] * 2
    there, back = (
        unroll(KERAS["lstm"], forwards, x, zeros)[0],
        unroll(KERAS["lstm"], backwards, x[::-1], zeros)[0][::-1],
    )
    assert isinstance(ours, Stack)
    assert close(ours.forward(x, save=False).output, np.concatenate([there, back], axis=2), 1e-14)


def test_without_a_bias_a_gru_is_kerass_default_unless_the_caller_says_otherwise():
    without = weights_of("gru")[:2]
    assert interchange.from_keras(without).name == "gru_reset_after"
    assert interchange.from_keras(without, reset_after=False).name == "gru"
    assert len(interchange.to_keras(interchange.from_keras(without), use_bias=False)) == 2


@pytest.mark.slow  # in one test, so that one worker imports Keras
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Keras's own, under NumPy 2
def test_keras_itself_agrees(monkeypatch):
    monkeypatch.setitem(os.environ, "KERAS_BACKEND", "torch")
    keras = pytest.importorskip("keras")
    cases = [(cell, both) for cell in KERAS for both in (False, True)]
    assert [case for case in cases if not agrees_with_keras(keras, *case)] == []
    for name, ours in {"hard_sigmoid": "hard_sigmoid(1/6, 0.5)", "leaky_relu": "leaky_relu(0.2)"}.items():
        theirs, x = keras_layer(keras.layers.LSTM(H, return_sequences=True, activation=name)), draw(T, B, N, seed=9)
        x = x.astype("float32")
        found = interchange.from_keras(theirs.get_weights(), activations={"g": ours, "h": ours})
        assert close(found.forward(x, save=False).output, keras_outputs(keras, theirs, x), 5e-6)


def keras_layer(made):
    """With random weights."""
    made.build((B, T, N))
    made.set_weights([draw(*array.shape, seed=k) for k, array in enumerate(made.get_weights())])
    return made


def agrees_with_keras(keras, cell, both):
    """A Keras layer's weights here, and back in a Keras layer: the outputs stay what they were."""
    options = {"reset_after": cell == "gru_reset_after"} if cell.startswith("gru") else {}
    kind = {"lstm": keras.layers.LSTM, "rnn": keras.layers.SimpleRNN}.get(cell, keras.layers.GRU)
    theirs = kind(H, return_sequences=True, **options)
    theirs = keras_layer(keras.layers.Bidirectional(theirs) if both else theirs)
    x = draw(T, B, N).astype("float32")
    expected, ours = keras_outputs(keras, theirs, x), interchange.from_keras(theirs.get_weights())
    theirs.set_weights(interchange.to_keras(ours))
    again, found = keras_outputs(keras, theirs, x), ours.forward(x, save=False).output
    return close(found, expected, 5e-6) and close(again, expected, 5e-6)


def keras_outputs(keras, layer, x):
    """(T, B, H), of a layer that is batch-major."""
    return keras.ops.convert_to_numpy(layer(x.transpose(1, 0, 2))).transpose(1, 0, 2)


def test_bfloat16_is_read_as_float32():
    given = [array.astype(ml_dtypes.bfloat16) for array in interchange.to_keras(layer("lstm"))]
    ours = interchange.from_keras(given)
    assert ours.dtype == np.float32
    assert np.array_equal(ours.parameters["W_i"], given[0][:, :H].T.astype("float32"))
