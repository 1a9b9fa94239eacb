"""A forward that keeps states only: the same results, in memory that grows with the square root of T.

Truth: the run that keeps everything.  Only sums over steps may be rounded in another order.
"""

import gc
import tracemalloc

import numpy as np
import pytest

import lstm_numba as ln
from tests.layers import (
    everything,
    farther_apart,
    forward,
    numbers_for,
    other_bits,
    parameter_gradients,
    random_layer,
    sequence_gradients,
    values,
)

T, B, N, H = 37, 5, 3, 12
LENGTHS, RESETS = np.array([37, 0, 20, 36, 5]), np.random.default_rng(3).random((T, B)) < 0.1
OPTIONS = {"clockwork": {"periods": (1, 2, 4)}}


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("cell", ["lstm", "gru", "clockwork", "depth_gated"])
@pytest.mark.parametrize("rows", [{}, {"lengths": LENGTHS, "resets": RESETS}], ids=["whole", "ragged"])
def test_the_results_are_those_of_a_run_that_keeps_everything(cell, reverse, rows):
    layer = random_layer(cell, N, H, reverse=reverse, threads=2, **OPTIONS.get(cell, {}))
    numbers = numbers_for(layer, T, B)
    kept, again = forward(layer, numbers, **rows), forward(layer, numbers, save="states", **rows)
    assert other_bits(values(again), values(kept)) == []
    expected, found = (run.backward(numbers.d_output, numbers.d_state) for run in (kept, again))
    assert all(np.array_equal(found.inputs[name], array) for name, array in expected.inputs.items())
    assert farther_apart(sequence_gradients(found), sequence_gradients(expected), 1e-14) == []
    assert farther_apart(parameter_gradients(found), parameter_gradients(expected), 1e-14) == []


def test_a_backward_repeats_and_sees_the_weights_of_its_forward():
    layer = random_layer("lstm", N, H)
    numbers = numbers_for(layer, T, B)
    run = forward(layer, numbers, save="states")
    first = parameter_gradients(run.backward(numbers.d_output))
    layer.parameters.flat[...] += 1
    assert other_bits(parameter_gradients(run.backward(numbers.d_output)), first) == []


@pytest.mark.parametrize("steps", [0, 1, 2])
@pytest.mark.parametrize("batch", [0, 1])
def test_short_and_empty_sequences(steps, batch):
    layer = random_layer("peephole", N, H)
    numbers = numbers_for(layer, steps, batch)
    assert other_bits(everything(layer, numbers, save="states"), everything(layer, numbers)) == []


def held(layer, x, save):
    """Bytes that stay in use with a run, its output not counted."""
    gc.collect()
    tracemalloc.start()
    run = layer.forward(x, save=save)
    gc.collect()
    size = tracemalloc.get_traced_memory()[0] - run.output.nbytes
    tracemalloc.stop()
    return size


def test_memory_grows_with_the_square_root_of_the_steps():
    layer = ln.Layer("lstm", 2, 16)
    short, long = (np.zeros((steps, 4, 2), "float32") for steps in (1024, 16 * 1024))
    layer.forward(short, save="states")
    fixed = held(layer, short[:1], "states")
    few, many = held(layer, short, "states") - fixed, held(layer, long, "states") - fixed
    assert many < 6 * few
    assert many < held(layer, long, save=True) / 20


def test_a_stack_keeps_states_only_too():
    stack = ln.Stack("gru", N, H, layers=2, bidirectional=True, dtype="float64")
    x = np.random.default_rng(0).normal(size=(T, B, N))
    kept, again = stack.forward(x), stack.forward(x, save="states")
    np.testing.assert_array_equal(again.output, kept.output)
    expected, found = (run.backward(np.ones_like(kept.output)) for run in (kept, again))
    np.testing.assert_allclose(found.x, expected.x, rtol=1e-13, atol=1e-13)


def test_derivatives_along_a_direction_need_everything():
    run = ln.Layer("rnn", N, H).forward(np.zeros((3, 1, N), "float32"), save="states")
    with pytest.raises(ln.LstmNumbaError, match=r"states only.*save=True"):
        run.jvp({})


def test_inference_sees_every_change_of_a_parameter():
    """Weights are packed once and again after a change, also one through another name or of a sign of zero."""
    layer = random_layer("lstm", N, H)
    numbers = numbers_for(layer, 4, 2)
    for change in (lambda p: p["W_i"].__imul__(2), lambda p: p.flat.__setitem__(-1, 7.0), lambda p: None):
        change(layer.parameters)
        found = values(forward(layer, numbers, save=False))
        assert other_bits(found, values(forward(layer, numbers))) == []
