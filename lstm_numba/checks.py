"""What a user hands in, checked before any kernel runs.  Every message: the rule, what came, where the size was read, the cure."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lstm_numba.errors import ArgumentError, DtypeError, LayoutError, OptionError, ShapeError, SizeError

DTYPES = ("float32", "float64")
LARGEST = 2**62


def dtype_of(dtype: Any) -> np.dtype[Any]:
    try:
        found = np.dtype(dtype)
    except TypeError:
        raise DtypeError(f"dtype must be float32 or float64, got {dtype!r}.") from None
    if found.name not in DTYPES or not found.isnative:
        raise DtypeError(f"dtype must be float32 or float64 in native byte order, got {found!r}.")
    return found


def positive(name: str, value: Any, least: int = 1) -> int:
    """An integer size or count."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise ArgumentError(f"{name} must be an integer, got {value!r} of type {type(value).__name__}.")
    if value < least:
        raise OptionError(f"{name} must be at least {least}, got {value}.")
    if value > LARGEST:
        raise SizeError(f"{name} = {value} is more than an index can count ({LARGEST}).")
    return int(value)


def countable(what: str, *sizes: int) -> None:
    """Refuse a product of sizes that an index cannot count: Python's integers do not wrap."""
    total = 1
    for size in sizes:
        total *= int(size)
    if total > LARGEST:
        raise SizeError(f"{what} would hold {total} numbers ({' x '.join(map(str, sizes))}), more than an index can count ({LARGEST}).")


def array(name: str, value: Any, dtype: np.dtype[Any], shape: tuple[int | None, ...], read_from: str) -> NDArray[Any]:
    """A C-contiguous array of this type and shape; None in the shape is any size.

    Anything with `__array__` or DLPack that is already such an array is taken without a copy; a strided one is copied.
    """
    found = value if isinstance(value, np.ndarray) else _from_foreign(name, value)
    if found.dtype != dtype:
        raise DtypeError(
            f"{name} must be {dtype.name}, the layer's dtype, got {found.dtype}: convert it with {name}.astype('{dtype.name}'), "
            f"or make the layer with dtype='{found.dtype}'."
        )
    if found.ndim != len(shape) or any(want not in (None, have) for want, have in zip(shape, found.shape, strict=True)):
        wanted = ", ".join("any" if size is None else str(size) for size in shape)
        raise ShapeError(f"{name} has shape {found.shape}, expected ({wanted}): {read_from}.")
    return np.ascontiguousarray(found)


def _from_foreign(name: str, value: Any) -> NDArray[Any]:
    if value is None or isinstance(value, (str, bytes, Mapping)):
        raise ArgumentError(f"{name} must be an array, got {type(value).__name__}.")
    try:
        if hasattr(value, "__dlpack__"):
            return np.from_dlpack(value)
        return np.asarray(value)
    except (TypeError, ValueError, RuntimeError, BufferError) as error:
        raise ArgumentError(f"{name} must be an array that NumPy can read, got {type(value).__name__}: {error}") from None


def lengths(value: Any, steps: int, batch: int) -> NDArray[np.int64] | None:
    """Valid steps of each row, in [0, T]."""
    if value is None:
        return None
    found = np.asarray(value)
    if found.dtype.kind not in "iu":
        raise DtypeError(f"lengths must be integers, got {found.dtype}.")
    if found.shape != (batch,):
        raise ShapeError(f"lengths has shape {found.shape}, expected ({batch},): one for each row of x.")
    wrong = np.flatnonzero((found < 0) | (found > steps))
    if wrong.size:
        first = wrong[0]
        raise OptionError(f"lengths must lie in [0, T] = [0, {steps}], T read from x; lengths[{first}] = {found[first]}.")
    return found.astype(np.int64)


def resets(value: Any, steps: int, batch: int) -> NDArray[np.uint8] | None:
    """Which rows start again before which steps."""
    if value is None:
        return None
    found = np.asarray(value)
    if found.dtype != np.bool_:
        raise DtypeError(f"resets must be bool, got {found.dtype}.")
    if found.shape != (steps, batch):
        raise ShapeError(f"resets has shape {found.shape}, expected (T, B) = ({steps}, {batch}), read from x.")
    return np.ascontiguousarray(found).view(np.uint8)


def only(what: str, given: Mapping[str, Any] | None, known: tuple[str, ...]) -> Mapping[str, Any]:
    """A mapping whose names are all known."""
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise ArgumentError(f"{what} must be a dict with keys from {', '.join(known)}, got {type(given).__name__}.")
    unknown = [name for name in given if name not in known]
    if unknown:
        raise ArgumentError(f"{what} has no entry {unknown[0]!r}: it takes {', '.join(known) or 'nothing'}.")
    return given


def writable(name: str, value: NDArray[Any]) -> None:
    if not value.flags.writeable:
        raise LayoutError(f"{name} is read-only: the call would write to it.")
