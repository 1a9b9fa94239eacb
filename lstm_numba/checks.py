"""What a user hands in, checked before any kernel runs.

Every message: the rule, what came, where the size was read, the cure.
"""

import difflib
from collections.abc import Collection, Iterable, Mapping
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lstm_numba.errors import ArgumentError, DtypeError, OptionError, ShapeError, SizeError, UnknownNameError

DTYPES = ("float32", "float64")
DEVICES = ("cpu", "cuda")
FORWARD = ("state", "lengths", "resets", "save")
LARGEST = 2**62
# Layers on top of each other: each takes memory, and all of it would be gone before anything is refused.
DEEPEST = 10_000
# Numbers that a process can address at all: 2**48 bytes.
ADDRESSABLE = 2**46


def dtype_of(dtype: Any) -> np.dtype[Any]:
    try:
        found = np.dtype(dtype)
    except (TypeError, ValueError):
        found = None
    if found is None or dtype is None or found.name not in DTYPES or not found.isnative:
        raise DtypeError(f"dtype must be 'float32' or 'float64', in native byte order; got {dtype!r}.")
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


def depth(name: str, value: Any) -> int:
    """A number of layers on top of each other."""
    count = positive(name, value)
    if count > DEEPEST:
        raise SizeError(f"{name} = {count}: a stack has at most {DEEPEST} layers; choose fewer.")
    return count


def flag(name: str, value: Any) -> bool:
    if not isinstance(value, (bool, np.bool_)):
        raise ArgumentError(f"{name} must be True or False, got {value!r}.")
    return bool(value)


def among(name: str, value: Any, offered: tuple[str, ...]) -> str:
    """One of a few words."""
    if not isinstance(value, str) or value not in offered:
        raise OptionError(f"{name} must be one of {', '.join(map(repr, offered))}; got {value!r}.")
    return str(value)


def saving(value: Any) -> bool | str:
    """What a forward keeps: everything, nothing, or "states"."""
    if isinstance(value, str) and value == "states":
        return value
    if not isinstance(value, (bool, np.bool_)):
        raise ArgumentError(f'save must be True, False or "states", got {value!r}.')
    return bool(value)


def countable(what: str, *sizes: int) -> None:
    """Refuse a product of sizes that no process can address: Python's integers do not wrap."""
    total = prod(map(int, sizes))
    if total > ADDRESSABLE:
        factors = " x ".join(map(str, sizes))
        raise SizeError(
            f"{what} would hold {total} numbers ({factors}), more than a process can address ({ADDRESSABLE}): "
            "choose smaller sizes."
        )


def array(name: str, value: Any, dtype: np.dtype[Any], shape: tuple[int | None, ...], read_from: str) -> NDArray[Any]:
    """A C-contiguous array of this type and shape; None in the shape is any size.

    Anything with `__array__` or DLPack that is already such an array is taken without a copy; a strided one is copied.
    """
    if is_sound(value, dtype, shape):
        found: NDArray[Any] = value
        return found
    found = as_array(name, value)
    if found.dtype != dtype:
        possible = found.dtype.isnative and found.dtype.name in DTYPES
        other = f", or make the layer with dtype='{found.dtype}'" if possible else ""
        raise DtypeError(
            f"{name} must be {dtype.name}, the layer's dtype, got {found.dtype}: "
            f"convert it with np.asarray({name}, '{dtype.name}'){other}."
        )
    fitting(name, found.shape, shape, read_from)
    return np.ascontiguousarray(found)


def is_sound(value: Any, dtype: np.dtype[Any], shape: tuple[int | None, ...]) -> bool:
    """Whether `array` returns it as it is: most calls, found out before any message is put together."""
    return type(value) is np.ndarray and value.dtype == dtype and value.shape == shape and value.flags.c_contiguous


def fitting(name: str, found: tuple[int, ...], shape: tuple[int | None, ...], read_from: str) -> None:
    """Refuse another shape; None is any size."""
    if len(found) != len(shape) or any(want not in (None, have) for want, have in zip(shape, found, strict=True)):
        wanted = ", ".join("any" if size is None else str(size) for size in shape)
        raise ShapeError(f"{name} has shape {found}, expected ({wanted}): {read_from}.")


def optional(name: str, value: Any, dtype: np.dtype[Any], shape: tuple[int, ...], read_from: str) -> NDArray[Any]:
    """As `array`; zeros where None is given."""
    return np.zeros(shape, dtype) if value is None else array(name, value, dtype, shape, read_from)


def as_array(name: str, value: Any) -> NDArray[Any]:
    """An array of any type and shape."""
    if isinstance(value, np.ma.MaskedArray):
        raise ArgumentError(f"{name} is a masked array, and its mask would be ignored: fill it with {name}.filled(0).")
    if value is None or isinstance(value, (str, bytes, Mapping)):
        raise ArgumentError(f"{name} must be an array, got {type(value).__name__}.")
    try:
        foreign = hasattr(value, "__dlpack__") and not isinstance(value, np.ndarray)
        return np.from_dlpack(value) if foreign else np.asarray(value)
    except (TypeError, ValueError, RuntimeError, BufferError) as error:
        kind = type(value).__name__
        raise ArgumentError(f"{name} must be an array that NumPy can read, got {kind}: {error}") from None


def lengths(value: Any, steps: int, batch: int) -> NDArray[np.int64] | None:
    """Valid steps of each row, in [0, T]."""
    if value is None:
        return None
    found = as_array("lengths", value)
    if found.size and found.dtype.kind not in "iu":  # an empty list is an array of floats
        raise DtypeError(f"lengths must be integers, got {found.dtype}: convert them with np.asarray(lengths, int).")
    if found.shape != (batch,):
        raise ShapeError(f"lengths has shape {found.shape}, expected ({batch},): one for each row of x.")
    wrong = np.flatnonzero((found < 0) | (found > steps))
    if wrong.size:
        first = f"lengths[{wrong[0]}] = {found[wrong[0]]}"
        raise OptionError(f"lengths must lie in [0, T] = [0, {steps}], T read from x; {first}.")
    return found.astype(np.int64)


def resets(value: Any, steps: int, batch: int) -> NDArray[np.uint8] | None:
    """Which rows start again before which steps."""
    if value is None:
        return None
    found = as_array("resets", value)
    if found.size and found.dtype != np.bool_:
        raise DtypeError(f"resets must be bool, got {found.dtype}: convert them with np.asarray(resets, bool).")
    if found.shape != (steps, batch):
        raise ShapeError(f"resets has shape {found.shape}, expected (T, B) = ({steps}, {batch}), read from x.")
    return np.ascontiguousarray(found, np.bool_).view(np.uint8)


def only(what: str, given: Mapping[str, Any] | None, known: tuple[str, ...]) -> Mapping[str, Any]:
    """A mapping whose names are all known."""
    if given is None:
        return {}
    if type(given) is dict and given.keys() <= frozenset(known):
        return given
    if not isinstance(given, Mapping):
        raise ArgumentError(f"{what} must be a dict with keys from {', '.join(known)}, got {type(given).__name__}.")
    _all_known(what, given, known)
    return given


def _all_known(what: str, given: Iterable[Any], known: tuple[str, ...]) -> None:
    for name in given:
        if name not in known:
            raise ArgumentError(f"{what} has no entry {name!r}: it takes {', '.join(known) or 'nothing'}.")


def further(given: Iterable[str], known: tuple[str, ...]) -> None:
    """Input sequences that are given by name, beside a forward's own arguments."""
    for name in given:
        if name not in known:
            raise ArgumentError(
                f"{name!r} is neither an argument nor an input of this cell{meant(name, (*FORWARD, *known))}; inputs "
                f"that are given by name: {', '.join(known) or 'none'}."
            )


def some(what: str, given: Collection[str] | None, known: tuple[str, ...]) -> tuple[str, ...]:
    """Those of the known names that are given, in their own order; None is all of them."""
    if given is None:
        return known
    if isinstance(given, str) or not isinstance(given, Collection):
        raise ArgumentError(f"{what} must be a list of names from {', '.join(known)}, got {given!r}.")
    if type(given) is tuple and given == known:  # an array of names would compare name by name
        return known
    _all_known(what, given, known)
    return tuple(name for name in known if name in given)


def meant(name: Any, known: Iterable[str]) -> str:
    """" (did you mean 'W_i'?)" where something known is near; the same letters in another case are nearest."""
    names = list(known)
    same = [one for one in names if one.lower() == str(name).lower()]
    close = same or difflib.get_close_matches(str(name), names, n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def unknown(name: Any, known: Iterable[str]) -> UnknownNameError:
    """What to raise for a parameter that does not exist."""
    names = list(known)
    there = ", ".join(names) or "none"
    return UnknownNameError(f"there is no parameter {name!r}{meant(name, names)}; there are {there}.")
