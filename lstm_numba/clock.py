"""Periods of units: which panels of units are awake at which step, and where block-triangular matrices begin."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lstm_numba.checks import LARGEST
from lstm_numba.errors import ArgumentError, OptionError


def default_periods(units: int) -> tuple[int, ...]:
    """1, 2, 4 ... for at most 8 modules of equal size."""
    modules = next(m for m in range(min(8, units), 0, -1) if units % m == 0)
    return tuple(2**k for k in range(modules))


def module_periods(periods: Sequence[int] | None, units: int) -> tuple[int, ...]:
    """The period of every module, in the order given; modules are of equal size."""
    chosen = default_periods(units) if periods is None else _checked(periods)
    if units % len(chosen):
        raise OptionError(
            f"periods names {len(chosen)} modules, and hidden_size {units} is not a multiple of it: choose a "
            f"hidden_size divisible by {len(chosen)}, or another number of periods."
        )
    return chosen


def _checked(periods: Any) -> tuple[int, ...]:
    try:
        given = tuple(periods)
        chosen = tuple(int(period) for period in given)
    except (TypeError, ValueError, OverflowError):
        raise ArgumentError(f"periods must be integers, one for each module, got {periods!r}.") from None
    if not chosen or min(chosen) < 1 or max(chosen) > LARGEST or chosen != given:
        raise OptionError(f"periods must be integers from 1 to {LARGEST}, one for each module, got {given!r}.")
    return chosen


def module_starts(modules: int, units: int) -> NDArray[np.int64]:
    """Unit -> the first unit of its module."""
    size = units // modules
    return np.arange(units) // size * size


def masks(names: Iterable[str], modules: int, units: int) -> dict[str, NDArray[np.bool_]]:
    """Block-triangular matrix -> where it is zero by its structure."""
    starts = module_starts(modules, units)
    return {name: np.arange(units)[None, :] < starts[:, None] for name in names}


def awake(periods: NDArray[np.int64], steps: int, panel_units: int) -> NDArray[np.uint8]:
    """(T, panels): whether any unit of the panel is active at the step."""
    panels = [np.unique(periods[first : first + panel_units]) for first in range(0, len(periods), panel_units)]
    time = np.arange(steps)
    table = np.zeros((steps, len(panels)), np.uint8)
    for column, panel in enumerate(panels):
        table[:, column] = np.any(time[:, None] % panel == 0, axis=1)
    return table


def runs(flags: NDArray[np.uint8]) -> list[tuple[int, int]]:
    """The (first, stop) runs of ones."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flags.astype(np.int8), [0]])))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))
