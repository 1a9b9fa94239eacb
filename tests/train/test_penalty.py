"""The penalty against vanishing gradients: v and w by plain backpropagation, its derivative by differences."""

import numpy as np
import pytest

import lstm_numba as ln
from lstm_numba.errors import OptionError
from lstm_numba.train.penalty import vanishing_penalty

T, B, N, H = 5, 3, 2, 4
SQUASH = {"tanh": (np.tanh, lambda h: 1 - h**2), "relu": (lambda a: np.maximum(a, 0), lambda h: 1.0 * (h > 0))}
OMEGA = {"paper": lambda ratio: (ratio - 1) ** 2, "code": lambda ratio: (ratio**2 - 1) ** 2}


@pytest.fixture
def rng():
    return np.random.default_rng(2)


def rows_of(layer, x, d_output, start):
    """(v, w) of every step and row, by a loop."""
    W, U, b = (layer.parameters[name] for name in ("W", "U", "b"))
    squash, slope = SQUASH[layer.options["activation"]]
    states, h = [], start
    for x_t in x:
        h = squash(x_t @ W.T + h @ U.T + b)
        states.append(h)
    found, u = [], np.zeros_like(h)
    for h, d_h in zip(reversed(states), d_output[::-1], strict=True):
        v = d_h + u
        w = slope(h) * v
        u = w @ U
        found += list(zip(v, w, strict=True))
    return found


def omega_of(rows, U, form):
    ratios = [np.linalg.norm(U.T @ w) / np.linalg.norm(v) for v, w in rows if np.linalg.norm(U.T @ w) > 0]
    return np.mean([OMEGA[form](ratio) for ratio in ratios])


@pytest.mark.parametrize("form", OMEGA)
@pytest.mark.parametrize("activation", SQUASH)
def test_the_penalty_and_its_immediate_derivative_are_those_of_the_paper(rng, form, activation):
    layer = ln.Layer("rnn", N, H, dtype="float64", seed=1, activation=activation)
    layer.parameters["b"] = rng.standard_normal(H)
    x, d_output, start = rng.standard_normal((T, B, N)), rng.standard_normal((T, B, H)), rng.standard_normal((B, H))
    omega, d_U = vanishing_penalty(layer, x, d_output, {"h": start}, weight=0.5, form=form)
    rows, U = rows_of(layer, x, d_output, start), layer.parameters["U"].copy()
    assert omega == pytest.approx(omega_of(rows, U, form), rel=1e-12)
    for place in np.ndindex(U.shape):
        nudge = np.zeros_like(U)
        nudge[place] = 1e-6
        slope = (omega_of(rows, U + nudge, form) - omega_of(rows, U - nudge, form)) / 2e-6
        assert d_U[place] == pytest.approx(0.5 * slope, abs=1e-8)


def test_steps_without_a_gradient_count_for_nothing(rng):
    layer = ln.Layer("rnn", N, H, dtype="float64")
    x, d_output = rng.standard_normal((T, B, N)), np.zeros((T, B, H))
    omega, d_U = vanishing_penalty(layer, x, d_output)
    assert omega == 0
    assert not d_U.any()
    d_output[1] = 1  # the steps after it have none
    assert vanishing_penalty(layer, x, d_output)[0] == pytest.approx(vanishing_penalty(layer, x[:2], d_output[:2])[0])


def test_an_orthogonal_matrix_on_linear_units_keeps_every_gradient(rng):
    layer = ln.Layer("rnn", N, H, dtype="float64", activation="relu")
    layer.parameters["U"] = np.linalg.qr(rng.standard_normal((H, H)))[0]
    layer.parameters["b"] = np.full(H, 100.0)  # all units stay on the line
    omega, _ = vanishing_penalty(layer, 0.1 * rng.standard_normal((2, B, N)), rng.standard_normal((2, B, H)))
    assert omega == pytest.approx(0, abs=1e-20)


def test_descending_it_brings_the_ratios_to_one(rng):
    layer = ln.Layer("rnn", N, H, dtype="float64")
    x, d_output = rng.standard_normal((T, B, N)), rng.standard_normal((T, B, H))
    before, _ = vanishing_penalty(layer, x, d_output)
    for _ in range(100):
        layer.parameters["U"] -= 0.1 * vanishing_penalty(layer, x, d_output)[1]
    assert vanishing_penalty(layer, x, d_output)[0] < 0.2 * before


@pytest.mark.parametrize(("cell", "form"), [("lstm", "paper"), ("rnn", "other")])
def test_it_is_refused_for_what_it_is_not_defined_for(cell, form):
    layer = ln.Layer(cell, N, H, dtype="float64")
    with pytest.raises(OptionError, match="rnn" if cell == "lstm" else "one of 'paper', 'code'"):
        vanishing_penalty(layer, np.zeros((T, B, N)), np.zeros((T, B, H)), form=form)


def test_a_layer_that_reads_backwards_is_refused_instead_of_measured_forwards():
    layer = ln.Layer("rnn", N, H, dtype="float64", reverse=True)
    with pytest.raises(OptionError, match="reverse=True came"):
        vanishing_penalty(layer, np.zeros((T, B, N)), np.zeros((T, B, H)))
