"""What the helpers of training are handed, checked before anything is changed: NumPy alone would broadcast or wrap."""

from collections.abc import Mapping
from math import inf
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lstm_numba import checks
from lstm_numba.errors import ArgumentError, DtypeError, OptionError

NOT_FLOATING = "biucOSU"  # kinds; bfloat16 is none of them, nor one of NumPy's own


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


def floats(name: str, given: Any, shape: tuple[int | None, ...] | None = None, read_from: str = "") -> NDArray:
    """Floating numbers, of one shape where that is said; None in it is any size."""
    found = checks.as_array(name, given)
    if found.dtype.kind in NOT_FLOATING:
        raise DtypeError(f"{name} must be floating numbers, got {found.dtype}: convert with np.asarray({name}, float).")
    if shape is not None:
        checks.fitting(name, found.shape, shape, read_from)
    return found


def in_place(name: str, given: Any) -> NDArray:
    """A writable array of floating numbers: what is changed where it lies."""
    if not isinstance(given, np.ndarray) or given.dtype.kind in NOT_FLOATING:
        raise DtypeError(f"{name} must be an array of floating numbers, got {given!r:.60}.")
    if not given.flags.writeable:
        raise ArgumentError(f"{name} is read-only, and it is changed in place: hand in a copy, {name}.copy().")
    return given


def number(name: str, given: Any, least: float, below: float = inf) -> float:
    """A number in [least, below)."""
    if not isinstance(given, (int, float, np.integer, np.floating)) or not least <= given < below:
        raise OptionError(f"{name} must be a number in [{least}, {below}), got {given!r}.")
    return float(given)


def named(name: str, given: Any) -> Mapping[str, Any]:
    """Arrays by name."""
    if not isinstance(given, Mapping):
        raise ArgumentError(f"{name} must be a mapping from names to arrays, got {type(given).__name__}.")
    return given
