"""Forecast a series with any cell and with an echo state network, one and several steps ahead.

A recurrent model reads the last 33 years, three solar cycles, and starts each time from the zero state, so that it
judges late years as it learnt early ones. Like an echo state network's, its readout sees the input beside the state.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

import lstm_numba as ln
from lstm_numba.echo_state import EchoState
from lstm_numba.train import Adam, Readout, clip_by_norm, cosine, squared_error
from scripts.main_job.sunspots import CYCLE, Series

HORIZONS = (1, 5)
WINDOW = 3 * CYCLE
Forecasts = dict[int, NDArray[np.float64]]  # by horizon; each shaped as the series, see sunspots.py


@dataclass(frozen=True)
class Effort:
    """How long to learn; the forecasts of several models, each from another seed, are averaged."""

    hidden_size: int = 16
    epochs: int = 300
    seeds: int = 3
    rate: float = 2e-2


class Forecaster:
    """y_t = W [h_t; x_t] + b: at year t, what the series will be ``HORIZONS`` years later, in standard units."""

    def __init__(self, cell: str, hidden_size: int, seed: int) -> None:
        self.layer = ln.Layer(cell, input_size=1, hidden_size=hidden_size, seed=seed)
        self.readout = Readout.random(len(HORIZONS), hidden_size + 1, np.random.default_rng(seed))
        ends = {"readout.W": self.readout.weights, "readout.b": self.readout.bias}
        self.parameters = dict(self.layer.parameters) | ends

    def predict(self, x: NDArray) -> NDArray:
        """Forecasts (windows, horizons) at the end of each window of x (T, windows, 1)."""
        hidden = self.layer.forward(x, save=False).output
        return self.readout.forward(np.concatenate([hidden[-1], x[-1]], axis=1))

    def gradients(self, x: NDArray, targets: NDArray) -> dict[str, NDArray]:
        """Of the mean squared error over the known targets (T, windows, horizons); NaN marks the others."""
        run = self.layer.forward(x)
        features = np.concatenate([run.output, x], axis=2)
        output = self.readout.forward(features)
        _, d_output = squared_error(output, np.where(np.isnan(targets), output, targets))
        d_features, d_weights, d_bias = self.readout.backward(features, d_output)
        grads = run.backward(np.ascontiguousarray(d_features[..., :-1]), inputs=())
        return dict(grads.parameters) | {"readout.W": d_weights, "readout.b": d_bias}


def recurrent(series: Series, cell: str, effort: Effort) -> Forecasts:
    """Average the forecasts of models trained from several seeds."""
    models = [trained(series, cell, effort, seed) for seed in range(effort.seeds)]
    return _forecasts(series, np.mean([model.predict(windows(series.standard)) for model in models], axis=0))


def trained(series: Series, cell: str, effort: Effort, seed: int) -> Forecaster:
    """Learn on the first years; keep the weights that did best on the years set aside to choose by."""
    model = Forecaster(cell, effort.hidden_size, seed)
    x, kept, least = windows(series.standard), {}, np.inf
    for _ in _epochs(model, series, effort):
        error = _error(series, model.predict(x), series.choose)
        if error < least:
            kept, least = {name: array.copy() for name, array in model.parameters.items()}, error
    for name, array in kept.items():
        model.parameters[name][...] = array
    return model


def _epochs(model: Forecaster, series: Series, effort: Effort) -> Iterator[int]:
    """Update once an epoch, on all windows of the years that are learnt from; yield every fifth epoch."""
    optimizer = Adam(model.parameters)
    x, targets = windows(series.standard), windows(_targets(series, series.learn))
    targets[:CYCLE] = np.nan  # too early in a window to know better
    known = ~np.isnan(targets).all((0, 2))
    x, targets = np.ascontiguousarray(x[:, known]), targets[:, known]
    for epoch in range(effort.epochs):
        gradients = model.gradients(x, targets)
        clip_by_norm(gradients, 1.0)
        optimizer.update(gradients, cosine(epoch, effort.epochs, effort.rate, warmup=10))
        if epoch % 5 == 4:
            yield epoch


# --- echo state network

RIDGES = (1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0)


def echo_state(series: Series, units: int = 200, seeds: int = 5) -> Forecasts:
    """Average the forecasts of several reservoirs; the strength of the ridge is chosen by the same years."""
    return _forecasts(series, np.mean([_echo_state_output(series, units, seed) for seed in range(seeds)], axis=0))


def _echo_state_output(series: Series, units: int, seed: int) -> NDArray:
    network = EchoState(1, units, spectral_radius=0.9, leak=0.7, input_scale=0.5, washout=WINDOW - 1, seed=seed)
    candidates = [_ridge_output(network, series, ridge) for ridge in RIDGES]
    return min(candidates, key=lambda output: _error(series, output, series.choose))


def _ridge_output(network: EchoState, series: Series, ridge: float) -> NDArray:
    """(windows, horizons); one readout a horizon, for each learns from all the years whose target is known."""
    x, targets, outputs = _column(series.standard), _targets(series, series.learn), []
    for target in targets.T:
        years = np.flatnonzero(~np.isnan(target))[-1] + 1
        network.fit(x[:years], target[:years, None, None], ridge=ridge)
        outputs.append(network.predict(x)[WINDOW - 1 :, 0, 0])
    return np.stack(outputs, 1)


# --- arrays


def windows(values: NDArray) -> NDArray[np.float32]:
    """Cut (years, ...) into all windows side by side: (33, windows, columns), C-contiguous."""
    columns = values.reshape(len(values), -1)
    return np.ascontiguousarray(sliding_window_view(columns, WINDOW, axis=0).transpose(2, 0, 1), np.float32)


def _column(values: NDArray) -> NDArray[np.float32]:
    return np.ascontiguousarray(values, np.float32)[:, None, None]


def _targets(series: Series, years: NDArray[np.bool_]) -> NDArray[np.float32]:
    """(years, horizons): at year t the value at t + horizon, if that year is among those given, else NaN."""
    values = np.where(years, series.standard, np.nan).astype(np.float32)
    return np.stack([np.append(values[h:], np.full(h, np.nan, np.float32)) for h in HORIZONS], 1)


def _forecasts(series: Series, output: NDArray) -> Forecasts:
    """Move each forecast (windows, horizons) from the year it was made to the year it is about."""
    made = series.original(output)
    unsaid = np.full(WINDOW - 1, np.nan)
    return {h: np.concatenate([unsaid, np.full(h, np.nan), made[:-h, column]]) for column, h in enumerate(HORIZONS)}


def _error(series: Series, output: NDArray, years: NDArray[np.bool_]) -> float:
    """Mean squared error in standard units over the forecasts about the given years."""
    return float(np.nanmean(np.square(output - _targets(series, years)[WINDOW - 1 :])))
