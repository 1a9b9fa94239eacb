"""Adam against its formula worked out one number at a time, and its state."""

from itertools import pairwise
from math import sqrt

import numpy as np
import pytest

from lstm_numba.errors import CheckpointError, GradientNamesError, OptionError
from lstm_numba.train import Adam, cosine


def by_hand(weight, gradients, rate, beta1=0.9, beta2=0.999, epsilon=1e-8):
    """The algorithm as the paper prints it."""
    m = v = 0.0
    for t, g in enumerate(gradients, 1):
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        weight -= rate * (m / (1 - beta1**t)) / (sqrt(v / (1 - beta2**t)) + epsilon)
    return weight


def test_updates_are_those_of_the_paper():
    rng = np.random.default_rng(0)
    weights, gradients = rng.standard_normal(5), rng.standard_normal((20, 5))
    expected = [by_hand(w, gradients[:, k], 0.1) for k, w in enumerate(weights)]
    optimizer = Adam({"w": weights}, rate=0.1)
    for gradient in gradients:
        optimizer.update({"w": gradient})
    np.testing.assert_allclose(weights, expected, rtol=1e-13)


def test_parameters_change_in_place_and_gradients_do_not():
    weights, gradient = np.ones(3, np.float32), np.ones(3, np.float32)
    Adam({"w": weights}).update({"w": gradient}, rate=0.5)
    assert weights == pytest.approx(0.5, abs=1e-6)
    assert (gradient == 1).all()
    assert weights.dtype == np.float32


def test_a_restored_optimiser_goes_on_to_the_same_bits():
    gradients = np.random.default_rng(1).standard_normal((10, 4))
    straight, parted = np.ones(4), np.ones(4)
    first, whole = Adam({"w": parted}), Adam({"w": straight})
    for gradient in gradients[:4]:
        first.update({"w": gradient})
    second = Adam({"w": parted})
    second.restore({name: array.copy() for name, array in first.arrays().items()}, first.steps)
    for gradient in gradients[4:]:
        second.update({"w": gradient})
    for gradient in gradients:
        whole.update({"w": gradient})
    assert parted.tobytes() == straight.tobytes()


def test_state_of_another_model_is_refused():
    with pytest.raises(CheckpointError, match="another model"):
        Adam({"w": np.ones(3)}).restore({"mean.w": np.ones(4), "square.w": np.ones(4)}, 1)


def test_a_missing_gradient_is_named():
    with pytest.raises(GradientNamesError, match=r"missing \['U'\], unknown \['V'\]"):
        Adam({"W": np.ones(1), "U": np.ones(1)}).update({"W": np.ones(1), "V": np.ones(1)})


def test_the_rate_rises_to_its_peak_and_falls_to_its_floor():
    rates = [cosine(step, 100, peak=2.0, warmup=10, floor=0.5) for step in range(101)]
    assert rates[0] == pytest.approx(0.2)
    assert rates[10] == max(rates) == 2
    assert rates[100] == 0.5
    assert all(later < earlier for earlier, later in pairwise(rates[10:]))


def test_no_rate_before_the_first_step():
    with pytest.raises(OptionError, match=r"step must be a number in \[0, inf\), got -1"):
        cosine(-1, 100, peak=2.0)
