"""Clipping keeps what its definition promises: direction, limit, and every bit where nothing is to be done."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lstm_numba.errors import LstmNumbaError, NonFiniteGradientError, OptionError
from lstm_numba.train import clip_by_norm, clip_by_value, global_norm

elements = st.floats(-1e3, 1e3, allow_subnormal=False)
gradient_sets = st.fixed_dictionaries(
    {"U": arrays(np.float64, (3, 2), elements=elements), "b": arrays(np.float64, 4, elements=elements)}
)
limits = st.floats(1e-3, 1e3)


def copied(gradients):
    return {name: gradient.copy() for name, gradient in gradients.items()}


def flat(gradients):
    return np.concatenate([gradient.ravel() for gradient in gradients.values()])


@given(gradient_sets, limits)
def test_clipping_by_norm_keeps_the_direction_and_ends_at_the_limit(gradients, limit):
    before = flat(gradients)
    norm = clip_by_norm(gradients, limit)
    assert norm == pytest.approx(np.linalg.norm(before), rel=1e-12)
    np.testing.assert_allclose(flat(gradients), before * min(1, limit / norm if norm else 1), rtol=1e-12)


@given(gradient_sets)
def test_below_the_limit_not_one_bit_changes(gradients):
    before = copied(gradients)
    clip_by_norm(gradients, 1.01 * np.linalg.norm(flat(before)) + 1e-9)
    assert all(gradients[name].tobytes() == before[name].tobytes() for name in before)


def test_the_norm_is_taken_over_all_arrays_together():
    gradients = {"U": np.array([[3.0]]), "b": np.array([4.0])}
    assert clip_by_norm(gradients, 1.0) == 5.0
    assert (gradients["U"][0, 0], gradients["b"][0]) == pytest.approx((0.6, 0.8))


@pytest.mark.parametrize("size", [1e-200, 1e-30, 1e30, 1e200])
def test_the_norm_neither_overflows_nor_underflows(size):
    assert global_norm({"U": np.full(4, size)}) == pytest.approx(2 * size)


def test_float32_gradients_are_summed_in_float64():
    assert global_norm({"U": np.full(1_000_000, 1e30, np.float32)}) == pytest.approx(1e33, rel=1e-6)


def test_no_gradient_at_all_has_norm_zero():
    assert clip_by_norm({}, 1.0) == 0
    assert clip_by_norm({"U": np.zeros((0, 3)), "b": np.zeros(2)}, 1.0) == 0


@given(gradient_sets, limits)
def test_clipping_by_value_cuts_each_element(gradients, limit):
    before = flat(gradients)
    clip_by_value(gradients, limit)
    np.testing.assert_array_equal(flat(gradients), np.clip(before, -limit, limit))


@pytest.mark.parametrize("clip", [clip_by_norm, clip_by_value])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_gradient_that_is_not_finite_is_named_and_nothing_is_scaled(clip, bad):
    gradients = {"W_i": np.array([100.0]), "U_f": np.array([1.0, bad])}
    with pytest.raises(NonFiniteGradientError, match="U_f") as error:
        clip(gradients, 1.0)
    assert gradients["W_i"][0] == 100
    assert isinstance(error.value, FloatingPointError)


@pytest.mark.parametrize("clip", [clip_by_norm, clip_by_value])
@pytest.mark.parametrize("limit", [0, -1, np.nan, np.inf])
def test_a_limit_must_be_a_positive_number(clip, limit):
    with pytest.raises(OptionError, match="positive"):
        clip({}, limit)
    assert issubclass(OptionError, LstmNumbaError)
