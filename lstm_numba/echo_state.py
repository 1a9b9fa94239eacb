"""Echo state network (Jaeger 2001; leaky: Jaeger et al. 2007): a fixed random reservoir; only the readout learns.

x_t = (1 - alpha) x_{t-1} + alpha tanh(W_in u_t + W x_{t-1} + b)        the cell `esn`; W, W_in, b drawn once
y_t = V [u_t; x_t] + c                                          V, c by ridge regression over all steps at once
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lstm_numba import checks
from lstm_numba.errors import DtypeError, NotFittedError, OptionError, ShapeError
from lstm_numba.layer import Layer
from lstm_numba.train import Readout, arguments


class EchoState:
    """A reservoir and its ridge readout.

    Args:
        input_size, units: N and H.
        spectral_radius: |largest eigenvalue| that W is scaled to. Below 1 is the custom for a memory that fades; only a
            largest *singular* value below 1 guarantees it.
        input_scale: W_in and b are uniform in +- this.
        leak: alpha in (0, 1]; 1 is no leak.
        density: the share of W that is not zero.
        washout: first steps of every sequence that the readout does not learn from.
        seed, dtype, threads: as in Layer.
    """

    def __init__(
        self,
        input_size: int,
        units: int,
        *,
        spectral_radius: float = 0.9,
        input_scale: float = 1.0,
        leak: float = 1.0,
        density: float = 0.1,
        washout: int = 100,
        seed: int = 0,
        dtype: str = "float32",
        threads: int = 1,
    ) -> None:
        _check_share("leak", leak)
        _check_share("density", density)
        spectral_radius = arguments.number("spectral_radius", spectral_radius, 0)
        input_scale = arguments.number("input_scale", input_scale, 0)
        self.washout = checks.positive("washout", washout, least=0)
        self.layer = Layer("esn", input_size=input_size, hidden_size=units, dtype=dtype, threads=threads)
        rng = np.random.default_rng(checks.positive("seed", seed, least=0))
        constants = self.layer.constants
        constants["W_in"][...] = rng.uniform(-input_scale, input_scale, (units, input_size))
        constants["W"][...] = scaled(sparse(rng, units, density), spectral_radius)
        constants["b"][...] = rng.uniform(-input_scale, input_scale, units)
        constants["alpha"][...] = leak
        self.readout: Readout | None = None

    def states(self, u: NDArray, state: Mapping[str, NDArray] | None = None) -> NDArray:
        """Run the reservoir: u (T, B, N) -> x (T, B, H)."""
        return self.layer.forward(u, state, save=False).output

    def fit(self, u: NDArray, y: ArrayLike, ridge: float = 1e-6) -> EchoState:
        """Learn the readout from u (T, B, N) and y (T, B, O), past the washout; the intercept is not penalised.

        Raises:
            ShapeError: y is not (T, B, O), or there is no step past the washout.
            DtypeError: y is not real numbers.
            OptionError: u or y holds NaN or infinity past the washout, or ridge is no number from 0 on, or so small
                that the readout is not determined.
        """
        ridge = arguments.number("ridge", ridge, 0)
        y = checks.as_array("y", y)
        if y.dtype.kind not in "biuf":
            raise DtypeError(f"y must be real numbers, got {y.dtype}.")
        checks.fitting("y", y.shape, (None, None, None), "it is (T, B, O)")
        features, targets = self._features(u)[self.washout :], y.astype(np.float64)[self.washout :]
        if features.shape[:2] != targets.shape[:2] or not features.size:
            raise ShapeError(
                f"The readout learns from T - washout = {len(features)} steps, but the targets have {len(targets)}.\n"
                f"    T was read from u {u.shape}, washout = {self.washout}; give y as (T, B, O), and T > washout."
            )
        if not (np.isfinite(features).all() and np.isfinite(targets).all()):
            raise OptionError("u and y must be finite past the washout: leave out or fill in what is missing.")
        self.readout = solve_ridge(_rows(features), _rows(targets), ridge)
        return self

    def predict(self, u: NDArray, state: Mapping[str, NDArray] | None = None) -> NDArray[np.float64]:
        """y (T, B, O) at every step of u, the washout included."""
        if self.readout is None:
            raise NotFittedError("The readout has learnt nothing yet: call fit(u, y) before predict(u).")
        return self.readout.forward(self._features(u, state))

    def _features(self, u: NDArray, state: Mapping[str, NDArray] | None = None) -> NDArray[np.float64]:
        return np.concatenate([u, self.states(u, state)], axis=-1).astype(np.float64)


def sparse(rng: np.random.Generator, units: int, density: float) -> NDArray[np.float64]:
    """Draw a matrix with uniform elements, most of them 0; never all, so that it has a spectral radius."""
    matrix = rng.uniform(-1, 1, (units, units)) * (rng.random((units, units)) < density)
    np.fill_diagonal(matrix, rng.uniform(-1, 1, units))
    return matrix


def scaled(matrix: NDArray[np.float64], spectral_radius: float) -> NDArray[np.float64]:
    """Return W * target / max |eigenvalue of W|."""
    return matrix * (spectral_radius / np.abs(np.linalg.eigvals(matrix)).max())


def solve_ridge(features: NDArray[np.float64], targets: NDArray[np.float64], ridge: float) -> Readout:
    """Minimise |X V' + c - Y|^2 + ridge |V|^2 by V (O, F) and c (O,), for rows X (R, F) and Y (R, O).

    (X' X + ridge I) V' = X' Y   with the means of X and Y taken off,      c = mean Y - V mean X
    """
    from scipy.linalg import LinAlgError, solve  # SciPy is slow to import, and only this needs it

    mean_x, mean_y = features.mean(0), targets.mean(0)
    x, y = features - mean_x, targets - mean_y
    try:
        weights = solve(x.T @ x + ridge * np.eye(x.shape[1]), x.T @ y, assume_a="pos").T
    except LinAlgError:
        raise OptionError(f"With ridge = {ridge} the steps do not determine the readout: take more.") from None
    return Readout(weights, mean_y - weights @ mean_x)


def _rows(array: NDArray) -> NDArray:
    return array.reshape(-1, array.shape[-1])


def _check_share(name: str, value: Any) -> None:
    if not isinstance(value, (int, float, np.number)) or not 0 < value <= 1:
        raise OptionError(f"{name} must be above 0 and at most 1, but {value!r} came.")
