"""The two pictures of the report."""

from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

import lstm_numba as ln
from scripts.main_job.forecast import Forecasts
from scripts.main_job.sunspots import CHOOSE_UNTIL, Series

SMOOTHING = 50  # steps whose training losses are averaged for the eye


def learning_curve(path: Path, losses: list[float], curve: list[list[float]], baselines: dict[str, float]) -> None:
    """Draw training and held-out bits per byte over the steps, the baselines as lines across."""
    figure, axes = _plot("step", "bits per byte")
    smooth = np.convolve(losses, np.ones(SMOOTHING) / SMOOTHING, "valid") if len(losses) >= SMOOTHING else losses
    axes.plot(np.arange(len(smooth)) + len(losses) - len(smooth), smooth, color="0.7", label="training")
    axes.plot(*zip(*curve, strict=True), "o-", color="C0", label="held out")
    for color, (name, bits) in zip(("C1", "C2"), baselines.items(), strict=True):
        axes.axhline(bits, color=color, linestyle="--", label=f"{name}: {bits:.3f}")
    axes.set_ylim(min(1.5, *losses), min(5, max(losses)))
    _save(figure, path)


def forecasts(path: Path, series: Series, horizon: int, said: dict[str, Forecasts]) -> None:
    """Draw the series over the years that judge, and what each model had said of them."""
    figure, axes = _plot("year", f"sunspot number, forecast {horizon} year{'s' if horizon > 1 else ''} ahead")
    years = series.judge
    axes.plot(series.years[years], series.values[years], "k", linewidth=2.5, label="observed")
    axes.set_prop_cycle(color=colormaps["tab20"](range(20)))
    for name, by_horizon in said.items():
        style = "-" if name in ln.cells() else ":"
        axes.plot(series.years[years], by_horizon[horizon][years], style, linewidth=1, label=name)
    axes.set_xlim(CHOOSE_UNTIL + 1, series.years[-1])
    _save(figure, path)



def _plot(x: str, y: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(9, 5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(alpha=0.3)
    return figure, axes


def _save(figure: Figure, path: Path) -> None:
    figure.legend(loc="outside right upper")
    figure.savefig(path, dpi=120, metadata={"Software": None})
