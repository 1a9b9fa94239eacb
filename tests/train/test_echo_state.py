"""The echo state property, the reservoir's scaling, and the readout against two other ways to the same ridge."""

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from lstm_numba.echo_state import EchoState, scaled, solve_ridge, sparse
from lstm_numba.errors import DtypeError, NotFittedError, OptionError, ShapeError


@pytest.fixture
def rng():
    return np.random.default_rng(5)


def network(**options):
    return EchoState(2, 30, **{"washout": 10, "dtype": "float64", **options})


def test_the_states_are_those_of_the_equation(rng):
    net = network(leak=0.3)
    u = rng.standard_normal((6, 1, 2))
    W_in, W, b = (net.layer.constants[name] for name in ("W_in", "W", "b"))
    x = np.zeros(30)
    for u_t, x_t in zip(u[:, 0], net.states(u)[:, 0], strict=True):
        x = 0.7 * x + 0.3 * np.tanh(W_in @ u_t + W @ x + b)
        np.testing.assert_allclose(x_t, x, atol=1e-13)


@pytest.mark.parametrize("leak", [1.0, 0.5])
def test_with_a_largest_singular_value_below_one_two_starts_converge(rng, leak):
    net = network(leak=leak)
    W = net.layer.constants["W"]
    W *= 0.9 / np.linalg.svd(W)[1][0]
    u = rng.standard_normal((200, 1, 2))
    one, other = (net.states(u, {"h": start}) for start in rng.uniform(-1, 1, (2, 1, 30)))
    distance = np.linalg.norm(one - other, axis=(1, 2))
    contraction = (1 - leak) + leak * 0.9
    assert (distance[1:] <= contraction * distance[:-1] + 1e-15).all()
    assert distance[-1] < 1e-4 * distance[0]


@pytest.mark.parametrize("radius", [0.1, 0.9, 1.25])
def test_the_reservoir_has_the_spectral_radius_asked_for(radius):
    net = network(spectral_radius=radius, density=0.2)
    eigenvalues = np.linalg.eigvals(net.layer.constants["W"])
    assert np.abs(eigenvalues).max() == pytest.approx(radius)


def test_the_reservoir_is_as_sparse_as_asked_and_never_empty(rng):
    assert np.mean(sparse(rng, 200, 0.1) != 0) == pytest.approx(0.1, abs=0.02)
    assert np.isfinite(scaled(sparse(rng, 1, 1e-9), 0.9)).all()


def test_the_seed_decides_the_reservoir():
    assert (network(seed=1).layer.constants["W"] == network(seed=1).layer.constants["W"]).all()
    assert (network(seed=1).layer.constants["W"] != network(seed=2).layer.constants["W"]).any()


def test_nothing_in_the_reservoir_is_trained(rng):
    run = network().layer.forward(rng.standard_normal((5, 3, 2)))
    gradients = run.backward(np.ones((5, 3, 30)))
    assert list(gradients.parameters) == []
    assert gradients.x.any()


@pytest.mark.parametrize("ridge", [1e-6, 1e-2, 10.0])
def test_ridge_is_the_closed_form_and_scikit_learns(rng, ridge):
    X, Y = rng.standard_normal((50, 7)) + 3, rng.standard_normal((50, 2)) - 1
    readout = solve_ridge(X, Y, ridge)
    # the intercept as one more, unpenalised, column of ones
    ones = np.concatenate([X, np.ones((50, 1))], 1)
    closed = np.linalg.solve(ones.T @ ones + ridge * np.diag([1] * 7 + [0]), ones.T @ Y)
    np.testing.assert_allclose(readout.weights, closed[:7].T, atol=1e-9)
    np.testing.assert_allclose(readout.bias, closed[7], atol=1e-9)
    other = Ridge(alpha=ridge).fit(X, Y)
    np.testing.assert_allclose(readout.weights, other.coef_, atol=1e-9)
    np.testing.assert_allclose(readout.bias, other.intercept_, atol=1e-9)


def test_it_learns_to_remember_and_the_washout_is_left_out(rng):
    u = rng.uniform(-0.5, 0.5, (600, 1, 2))
    y = np.roll(u[:, :, :1], 2, axis=0)  # the first two targets are wrong: they fall into the washout
    net = network(input_scale=0.2, density=0.5).fit(u[:500], y[:500], ridge=1e-8)
    error = net.predict(u)[500:] - y[500:]
    assert np.sqrt(np.mean(error**2)) < 0.1 * y.std()


def test_predicting_before_fitting_is_a_clear_error(rng):
    with pytest.raises(NotFittedError, match="fit"):
        network().predict(rng.standard_normal((5, 1, 2)))


def test_too_few_steps_and_a_wrong_length_are_clear_errors(rng):
    u = rng.standard_normal((10, 1, 2))
    with pytest.raises(ShapeError, match="T > washout"):
        network().fit(u, u)
    with pytest.raises(ShapeError, match="washout"):
        network(washout=2).fit(u, u[:-1])


@pytest.mark.parametrize("option", ["leak", "density"])
@pytest.mark.parametrize("value", [0, -0.1, 1.5, np.nan])
def test_a_share_outside_its_range_is_refused(option, value):
    with pytest.raises(OptionError, match=option):
        network(**{option: value})


@pytest.mark.parametrize(
    "option",
    [{"spectral_radius": float("nan")}, {"input_scale": -1}, {"washout": -5}, {"leak": "half"}, {"seed": -1}],
)
def test_an_option_of_a_reservoir_that_is_out_of_range_is_refused(option):
    with pytest.raises(OptionError):
        EchoState(1, 4, **option)


@pytest.mark.parametrize(
    ("y", "ridge", "error"),
    [
        (np.zeros((20, 2)), 1e-6, ShapeError),
        (np.full((20, 2, 1), np.nan), 1e-6, OptionError),
        (np.zeros((20, 2, 1)), -1.0, OptionError),
        (np.zeros((20, 2, 1)), float("nan"), OptionError),
        (np.zeros((20, 2, 1)), 0.0, OptionError),  # the reservoir is at rest, so no readout is better than another
        (np.zeros((20, 2, 1)) * 1j, 1e-6, DtypeError),
    ],
)
def test_targets_that_nothing_can_be_learnt_from_are_refused(y, ridge, error):
    with pytest.raises(error):
        EchoState(1, 4, washout=5).fit(np.zeros((20, 2, 1), np.float32), y, ridge)
