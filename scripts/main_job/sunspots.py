"""The series: mean sunspot number of every year from 1700 to 2008 (SIDC; shipped with statsmodels).

The years are split in order: learn, choose (when to stop, which ridge), judge. Nothing is fitted or scaled on the years
that judge.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

LEARN_UNTIL, CHOOSE_UNTIL = 1919, 1949
CYCLE = 11  # years, the length of the solar cycle to the nearest year


@dataclass(frozen=True)
class Series:
    """Years and values, and the scale that the values are learnt on."""

    years: NDArray[np.int64]
    values: NDArray[np.float64]

    @cached_property
    def learn(self) -> NDArray[np.bool_]:
        return self.years <= LEARN_UNTIL

    @cached_property
    def choose(self) -> NDArray[np.bool_]:
        return (self.years > LEARN_UNTIL) & (self.years <= CHOOSE_UNTIL)

    @cached_property
    def judge(self) -> NDArray[np.bool_]:
        return self.years > CHOOSE_UNTIL

    @cached_property
    def scale(self) -> tuple[float, float]:
        """Mean and standard deviation over the years that are learnt from."""
        return float(self.values[self.learn].mean()), float(self.values[self.learn].std())

    @property
    def standard(self) -> NDArray[np.float64]:
        mean, deviation = self.scale
        return (self.values - mean) / deviation

    def original(self, standard: NDArray) -> NDArray[np.float64]:
        mean, deviation = self.scale
        return mean + deviation * standard.astype(np.float64)


def sunspots() -> Series:
    from statsmodels.datasets import sunspots as dataset

    table = dataset.load_pandas().data
    return Series(table["YEAR"].to_numpy(np.int64), table["SUNACTIVITY"].to_numpy(np.float64))


# A forecast is an array like the values: at year t, what was said of t at t - horizon; NaN where nothing was said.


def rmse(series: Series, forecast: NDArray[np.float64], years: NDArray[np.bool_]) -> float:
    """Root of the mean squared error over the chosen years, in sunspots."""
    return float(np.sqrt(np.square(forecast - series.values)[years].mean()))


def naive(series: Series, horizon: int) -> NDArray[np.float64]:
    """As it was when last seen: y_t = y_{t - horizon}."""
    return _later(series.values, horizon)


def seasonal(series: Series, horizon: int) -> NDArray[np.float64]:
    """As it was one solar cycle ago: y_t = y_{t - 11}; for horizons up to a cycle."""
    return _later(series.values, max(CYCLE, horizon))


def autoregression(series: Series, horizon: int, lags: int = 9) -> NDArray[np.float64]:
    """y_t = b + sum_k a_k y_{t - horizon - k + 1}, least squares over the years that are learnt from.

    Nine lags is what the literature on this series settled on.
    """
    past = np.stack([_later(series.values, horizon + k) for k in range(lags)], 1)
    terms = np.concatenate([np.ones((len(past), 1)), past], 1)
    known = series.learn & ~np.isnan(past).any(1)
    weights = np.linalg.lstsq(terms[known], series.values[known])[0]
    return terms @ weights


def _later(values: NDArray[np.float64], steps: int) -> NDArray[np.float64]:
    return np.concatenate([np.full(steps, np.nan), values[:-steps]])
