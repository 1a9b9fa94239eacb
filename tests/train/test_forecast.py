"""Forecasts look only back, are compared on the years they were not learnt from, and learn what can be learnt."""

import numpy as np
import pytest

from scripts.main_job import forecast
from scripts.main_job.forecast import HORIZONS, WINDOW, Effort, echo_state, recurrent
from scripts.main_job.report import forecast_lines, table
from scripts.main_job.sunspots import Series, autoregression, naive, rmse, seasonal, sunspots

SMALL = Effort(hidden_size=6, epochs=30, seeds=1)
METHODS = {
    "naive": naive,
    "seasonal": seasonal,
    "AR": autoregression,
    "esn": lambda series, horizon: echo_state(series, units=20, seeds=1)[horizon],
    "gru": lambda series, horizon: recurrent(series, "gru", SMALL)[horizon],
}


@pytest.fixture
def series():
    return sunspots()


def test_the_series_is_the_one_it_says(series):
    assert (series.years[0], series.years[-1], len(series.years)) == (1700, 2008, 309)
    assert (series.values >= 0).all()
    parts = np.stack([series.learn, series.choose, series.judge])
    assert (parts.sum(0) == 1).all()
    assert list(parts.sum(1)) == [220, 30, 59]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("horizon", HORIZONS)
def test_a_forecast_depends_on_no_later_value(series, method, horizon):
    now = 280  # 1980, among the years that judge
    later = series.values.copy()
    later[now:] += 50
    before, after = (METHODS[method](s, horizon) for s in (series, Series(series.years, later)))
    np.testing.assert_array_equal(before[: now + horizon], after[: now + horizon])


@pytest.mark.parametrize("method", METHODS)
def test_every_year_that_judges_has_a_forecast(series, method):
    for horizon in HORIZONS:
        assert np.isfinite(METHODS[method](series, horizon)[series.judge]).all()


def test_naive_forecasts_repeat(series):
    assert naive(series, 5)[100] == series.values[95]
    assert seasonal(series, 5)[100] == series.values[89]
    assert rmse(series, naive(series, 1), series.judge) == pytest.approx(np.std(np.diff(series.values[249:])), rel=0.01)


def test_autoregression_finds_a_linear_law():
    years = np.arange(1700, 2009)
    wave = 40 + 30 * np.sin(2 * np.pi * years / 11)
    series = Series(years, wave)
    assert rmse(series, autoregression(series, 5), series.judge) < 1e-9


@pytest.mark.slow
@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_recurrent_models_learn_a_wave_far_better_than_the_naive_forecast(cell):
    years = np.arange(1700, 2009)
    series = Series(years, 40 + 30 * np.sin(2 * np.pi * years / 11))
    said = recurrent(series, cell, Effort(hidden_size=8, epochs=200, seeds=1, rate=2e-2))
    assert rmse(series, said[1], series.judge) < 0.2 * rmse(series, naive(series, 1), series.judge)


@pytest.mark.slow
def test_on_sunspots_the_models_beat_the_naive_forecast(series):
    said = {"rnn": recurrent(series, "rnn", Effort(epochs=150, seeds=1)), "esn": echo_state(series, seeds=2)}
    for by_horizon in said.values():
        for horizon in HORIZONS:
            error = rmse(series, by_horizon[horizon], series.judge)
            assert error < 0.8 * rmse(series, naive(series, horizon), series.judge)


def test_a_forecast_stands_at_the_year_it_is_about(series):
    made = np.arange(len(series.years) - WINDOW + 1)[:, None] * np.ones(len(HORIZONS))
    mean, deviation = series.scale
    for horizon, about in forecast._forecasts(series, made).items():
        first = WINDOW - 1 + horizon
        assert np.isnan(about[:first]).all()
        np.testing.assert_allclose((about[first:] - mean) / deviation, made[: len(made) - horizon, 0], atol=1e-9)


def test_the_table_compares_with_the_naive_forecast(series):
    methods = {"naive": naive, "one cycle ago": seasonal}
    said = {name: {h: method(series, h) for h in HORIZONS} for name, method in methods.items()}
    lines = forecast_lines(table(series, said))
    assert lines[0].startswith("| naive | 33.2 (+0%)")
    assert lines[1].endswith("37.4 (-62%) |")
