"""A block in which parameters stay as they are: the same results, without a look at the parameters."""

import numpy as np
import pytest

import lstm_numba as ln
from lstm_numba.cpu.kernels import pack
from lstm_numba.errors import FixedParametersError
from tests.layers import random_layer

T, B, N, H = 3, 2, 4, 5
X = np.random.default_rng(0).normal(size=(T, B, N))


def changed_inside(layer, then=lambda: None):
    """What is computed in a block after a change."""
    with layer.fixed():
        layer.parameters["b_i"] += 1
        then()


def outputs(layer):
    """Of a stream, read step by step."""
    state, found = None, []
    for x in X:
        run = layer.forward(x[None], state, save=False)
        state = run.state
        found.append(run.output)
    return np.concatenate(found)


@pytest.fixture
def looks(monkeypatch):
    """How often parameters were looked at."""
    found, same_bits = [], pack.same_bits

    def noted(*given):
        found.append(1)
        return same_bits(*given)

    monkeypatch.setattr(pack, "same_bits", noted)
    return found


@pytest.mark.parametrize("layer", [random_layer("lstm", N, H), ln.Stack("gru", N, H, layers=2, dtype="float64")])
def test_inference_in_the_block_gives_the_same_bits_and_does_not_look(layer, looks):
    expected = outputs(layer)
    with layer.fixed(), layer.fixed():
        looks.clear()
        found = outputs(layer)
        assert looks == []
    assert np.array_equal(found, expected)


def test_parameters_that_change_in_the_block_are_told_of_when_it_ends_and_seen_after_it():
    layer = random_layer("lstm", N, H)
    found = [outputs(layer)]
    with pytest.raises(FixedParametersError, match=r"lstm were changed inside fixed\(\)"):
        changed_inside(layer, lambda: found.append(outputs(layer)))
    assert np.array_equal(*found)
    after = random_layer("lstm", N, H)
    after.parameters["b_i"] += 1
    assert np.array_equal(outputs(layer), outputs(after))


def test_a_training_step_in_the_block_reads_what_the_parameters_are():
    layer = random_layer("lstm", N, H)
    expected = layer.forward(X).backward(X[:, :, :1] * np.ones(H)).parameters.flat
    with layer.fixed():
        assert np.array_equal(layer.forward(X).backward(X[:, :, :1] * np.ones(H)).parameters.flat, expected)


def test_an_error_in_the_block_passes_and_ends_it():
    layer = random_layer("lstm", N, H)
    with pytest.raises(KeyError):
        changed_inside(layer, lambda: {}["nothing"])
    assert not np.array_equal(outputs(layer), outputs(random_layer("lstm", N, H)))
