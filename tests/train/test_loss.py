"""The ends of a model and the losses, each gradient against central differences in float64."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstm_numba.train import Embedding, Readout, cross_entropy, log_probabilities, squared_error

STEP, TOLERANCE = 1e-6, 1e-8


def differences(function, array):
    """Central differences of a scalar function by every element of an array, which is changed and put back."""
    gradient = np.empty_like(array)
    for place in np.ndindex(array.shape):
        kept = array[place]
        array[place] = kept + STEP
        above = function()
        array[place] = kept - STEP
        gradient[place] = (above - function()) / (2 * STEP)
        array[place] = kept
    return gradient


@pytest.fixture
def rng():
    return np.random.default_rng(7)


def test_the_gradient_of_cross_entropy_is_its_difference_quotient(rng):
    scores, targets = rng.standard_normal((3, 2, 5)), rng.integers(5, size=(3, 2))
    _, gradient = cross_entropy(scores.copy(), targets)
    expected = differences(lambda: cross_entropy(scores.copy(), targets)[0], scores)
    np.testing.assert_allclose(gradient, expected, atol=TOLERANCE)


def test_cross_entropy_is_the_mean_of_the_log_probabilities(rng):
    scores, targets = rng.standard_normal((4, 3, 7)), rng.integers(7, size=(4, 3))
    loss, _ = cross_entropy(scores.copy(), targets)
    assert loss == pytest.approx(-log_probabilities(scores.copy(), targets).mean())


def test_log_probabilities_of_all_symbols_sum_to_one(rng):
    scores = rng.standard_normal(6)
    total = sum(np.exp(log_probabilities(scores[None].copy(), np.array([symbol])))[0] for symbol in range(6))
    assert total == pytest.approx(1)


@given(st.sampled_from([np.float32, np.float64]), st.floats(0, 3e4), st.integers(0, 3))
def test_huge_scores_neither_overflow_nor_lose_the_gradient(dtype, size, target):
    scores = np.array([[size, -size, 0, 1]], dtype)
    loss, gradient = cross_entropy(scores, np.array([target]))
    assert np.isfinite(loss)
    assert gradient.sum() == pytest.approx(0, abs=1e-6)


def test_uniform_scores_cost_the_logarithm_of_the_number_of_symbols():
    assert cross_entropy(np.zeros((5, 256), np.float32), np.arange(5))[0] == pytest.approx(np.log(256))


def test_the_gradient_of_squared_error_is_its_difference_quotient(rng):
    output, targets = rng.standard_normal((4, 2)), rng.standard_normal((4, 2))
    expected = differences(lambda: squared_error(output, targets)[0], output)
    np.testing.assert_allclose(squared_error(output, targets)[1], expected, atol=TOLERANCE)


def test_gradients_of_the_readout_are_difference_quotients(rng):
    readout = Readout.random(3, 4, rng, "float64")
    hidden, d_output = rng.standard_normal((5, 2, 4)), rng.standard_normal((5, 2, 3))
    gradients = readout.backward(hidden, d_output)
    for gradient, array in zip(gradients, (hidden, readout.weights, readout.bias), strict=True):
        expected = differences(lambda: np.vdot(readout.forward(hidden), d_output), array)
        np.testing.assert_allclose(gradient, expected, atol=1e-7)


def test_the_gradient_of_the_embedding_is_its_difference_quotient(rng):
    embedding = Embedding.random(6, 3, rng, "float64")
    symbols, d_vectors = rng.integers(5, size=(4, 2)).astype(np.uint8), rng.standard_normal((4, 2, 3))
    expected = differences(lambda: np.vdot(embedding.forward(symbols), d_vectors), embedding.table)
    gradient = embedding.backward(symbols, d_vectors)
    np.testing.assert_allclose(gradient, expected, atol=1e-7)
    assert (gradient[5] == 0).all()  # a symbol that did not occur


def test_an_empty_window_has_a_gradient_of_zero(rng):
    embedding = Embedding.random(6, 3, rng)
    assert not embedding.backward(np.zeros((0, 2), np.uint8), np.zeros((0, 2, 3), np.float32)).any()
