"""What the helpers of training are handed by mistake: one error, and nothing has changed."""

import numpy as np
import pytest

import lstm_numba as ln
from lstm_numba.errors import ArgumentError, DtypeError, GradientNamesError, OptionError, ShapeError
from lstm_numba.train import (
    Adam,
    Embedding,
    Readout,
    clip_by_norm,
    cosine,
    cross_entropy,
    log_probabilities,
    squared_error,
    vanishing_penalty,
)

ROWS = np.zeros((4, 3), np.float32)
RNG = np.random.default_rng(0)
FIXED = np.broadcast_to(ROWS[:1], (1, 3))
READOUT, EMBEDDING = Readout.random(2, 3, RNG), Embedding.random(5, 3, RNG)


@pytest.mark.parametrize(
    ("wrong", "error", "said"),
    [
        (lambda: squared_error(ROWS[:, :1], ROWS[:, 0]), ShapeError, "expected (4, 1): the shape of the output"),
        (lambda: squared_error(ROWS[:0], ROWS[:0]), ShapeError, "of no element there is no mean"),
        (lambda: cross_entropy(ROWS.copy(), np.array([0, 1, 2, 3])), OptionError, "[0, 3), 3 read from the scores'"),
        (lambda: cross_entropy(ROWS.copy(), np.array([0, 1, 2, -1])), OptionError, "they go from -1 to 2"),
        (lambda: cross_entropy(ROWS.copy(), np.array([0])), ShapeError, "one symbol for each row"),
        (lambda: cross_entropy(ROWS.copy(), np.zeros(4)), DtypeError, "must be integers"),
        (lambda: cross_entropy(ROWS[:0].copy(), np.zeros(0, int)), ShapeError, "there is no mean"),
        (lambda: log_probabilities(ROWS.copy(), np.array([0])), ShapeError, "one symbol for each row"),
        (lambda: EMBEDDING.forward(np.array([-1])), OptionError, "[0, 5), 5 the rows of the table"),
        (lambda: EMBEDDING.forward(np.array([True])), DtypeError, "must be integers"),
        (lambda: EMBEDDING.backward(np.array([1]), np.zeros((1, 2))), ShapeError, "expected (1, 3)"),
        (lambda: READOUT.forward(np.zeros((4, 2), np.float32)), ShapeError, "hidden has shape (4, 2), expected (4, 3)"),
        (lambda: READOUT.backward(ROWS, np.zeros((2, 4))), ShapeError, "d_output has shape (2, 4), expected (4, 2)"),
        (lambda: Readout.random(0, 3, RNG), OptionError, "outputs must be at least 1"),
        (lambda: clip_by_norm({"a": ROWS}, "1"), OptionError, "must be a positive number"),
        (lambda: clip_by_norm(ROWS, 1.0), ArgumentError, "a mapping from names to arrays"),
        (lambda: Adam([ROWS]), ArgumentError, "a mapping from names to arrays"),
        (lambda: Adam({"a": np.zeros(3, int)}), DtypeError, "parameter a must be an array of floating numbers"),
        (lambda: Adam({"a": 0.5}), DtypeError, "parameter a must be an array of floating numbers"),
        (lambda: Adam({}, betas=(0.9, 1)), OptionError, "beta2 must be a number in [0, 1)"),
        (lambda: Adam({}, betas=0.9), OptionError, "betas must be two numbers"),
        (lambda: Adam({"a": FIXED}), ArgumentError, "parameter a is read-only"),
        (lambda: Adam({"a": ROWS * 1j}), DtypeError, "parameter a must be an array of floating numbers"),
        (lambda: Adam({}).restore({}, -1), OptionError, "steps must be at least 0"),
        (lambda: clip_by_norm({"a": np.ones(3, int)}, 1.0), DtypeError, "gradient a must be an array of floating"),
        (lambda: cross_entropy(FIXED, np.array([0])), ArgumentError, "scores is read-only"),
        (lambda: cross_entropy(np.ones((1, 3), int), np.array([0])), DtypeError, "scores must be an array of floating"),
        (lambda: cross_entropy(np.array(1.0), np.array(0)), ShapeError, "one score for each symbol"),
        (lambda: squared_error(np.zeros(2, np.uint8), np.ones(2)), DtypeError, "output must be floating numbers"),
        (lambda: Readout.random(1, 3, RNG, "int32"), DtypeError, "'float32' or 'float64'"),
        (lambda: Embedding.random(1, 3, RNG, "int32"), DtypeError, "'float32' or 'float64'"),
        (lambda: cosine(1, 3, "fast"), OptionError, "peak must be a number"),
        (lambda: vanishing_penalty(None, ROWS, ROWS), ArgumentError, "must be a Layer"),
        (lambda: Adam({}, rate=float("nan")), OptionError, "rate must be a number"),
    ],
)
def test_a_mistake_is_one_error(wrong, error, said):
    with pytest.raises(error) as caught:
        wrong()
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("gradients", "rate", "error"),
    [
        ({"a": np.ones(3), "b": np.ones(1)}, None, ShapeError),  # NumPy would broadcast it
        ({"a": np.ones(3)}, None, GradientNamesError),
        ({"a": np.ones(3), "b": np.ones(2)}, float("nan"), OptionError),
        ({"a": np.ones(3), "b": np.ones(2)}, -0.1, OptionError),
        ({"a": np.ones(3), "b": np.ones(2) * 1j}, None, DtypeError),
        ([np.ones(3)], None, ArgumentError),
    ],
)
def test_a_refused_update_has_changed_nothing(gradients, rate, error):
    optimizer = Adam({"a": np.zeros(3), "b": np.zeros(2)})
    with pytest.raises(error):
        optimizer.update(gradients, rate)
    assert optimizer.steps == 0
    assert not any(array.any() for array in (*optimizer.parameters.values(), *optimizer.arrays().values()))


def test_the_mapping_of_parameters_cannot_be_replaced_by_one_that_no_kernel_reads():
    layer = ln.Layer("esn", 2, 3)
    for name in ("parameters", "constants"):
        with pytest.raises(AttributeError, match=f"'{name}' of 'Layer' object has no setter"):
            setattr(layer, name, {})
