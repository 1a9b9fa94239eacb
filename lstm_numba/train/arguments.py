"""What the helpers of training are handed, checked before anything is changed: NumPy alone would broadcast or wrap."""

from collections.abc import Mapping
from math import inf
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lstm_numba import checks
from lstm_numba.errors import ArgumentError, DtypeError, OptionError


def symbols(name: str, given: Any, count: int, read_from: str) -> NDArray[np.integer]:
    """Whole numbers in [0, count): -1 would be the last symbol."""
    found = checks.as_array(name, given)
    if found.size and found.dtype.kind not in "iu":  # an empty list is an array of floats
        raise DtypeError(f"{name} must be integers, got {found.dtype}: convert them with np.asarray({name}, int).")
    if found.size and not (found.min() >= 0 and found.max() < count):
        raise OptionError(
            f"{name} must lie in [0, {count}), {count} {read_from}; they go from {found.min()} to {found.max()}."
        )
    return found if found.size else found.astype(np.intp)


def floats(name: str, given: Any, shape: tuple[int | None, ...], read_from: str) -> NDArray:
    """Floating numbers of one shape; None is any size."""
    found = checks.as_array(name, given)
    if found.dtype.kind in "biuOSU":
        raise DtypeError(f"{name} must be floating numbers, got {found.dtype}: convert with np.asarray({name}, float).")
    checks.fitting(name, found.shape, shape, read_from)
    return found


def number(name: str, given: Any, least: float, below: float = inf) -> float:
    """A number in [least, below)."""
    if not isinstance(given, (int, float, np.number)) or not least <= given < below:
        raise OptionError(f"{name} must be a number in [{least}, {below}), got {given!r}.")
    return float(given)


def named(name: str, given: Any) -> Mapping[str, Any]:
    """Arrays by name."""
    if not isinstance(given, Mapping):
        raise ArgumentError(f"{name} must be a mapping from names to arrays, got {type(given).__name__}.")
    return given
