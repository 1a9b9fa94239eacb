"""Memory: the kernels read and write inside their arrays only.

The generated module is run as plain Python with words that check every place first.  What the compiled kernels do with
raw memory is the same text with the same places.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from types import FunctionType, ModuleType
from typing import Any

import numpy as np

from derive.cell import Cell
from derive.verify.analytic import Array
from derive.verify.curvature import Along
from derive.verify.kernel import Kernel
from derive.verify.problem import Problem
from derive.verify.report import Measurement, describe


class OutsideError(Exception):
    """A kernel asked for a place that its array does not have."""


def inside(cell: Cell, module: ModuleType, problems: Iterable[Problem]) -> Iterator[Measurement]:
    """Run every problem forward and back, and along a direction; error 1 and the place if one is outside."""
    from lstm_numba.cpu.interpreted import PlainLayer

    for threads in (1, 2):
        kernel = Kernel(cell, partial(PlainLayer, checked(module)), threads=threads)
        for problem in problems:
            note = _outside(kernel, problem)
            words = f"{describe(problem)}, {threads} threads"
            sides = "kernel text", "sizes of arrays"
            yield Measurement("bounds", "places", sides, float(bool(note)), 0.0, words, note=note)


def _outside(kernel: Kernel, problem: Problem) -> str:
    try:
        with np.errstate(all="ignore"):  # padding may hold anything
            kernel.gradient(problem)
            kernel.curvature(Along.random(problem))
    except OutsideError as error:
        return str(error)
    return ""


def checked(module: ModuleType) -> ModuleType:
    """The module with words that refuse a place outside the array."""
    from lstm_numba import words

    copied = ModuleType(module.__name__)
    names = vars(module) | {name: guard(getattr(words, name)) for name, guard in GUARDS.items() if name in vars(module)}
    vars(copied).update(names)
    for name, value in names.items():
        if isinstance(value, FunctionType) and value.__module__ == module.__name__:
            setattr(copied, name, FunctionType(value.__code__, vars(copied), name, value.__defaults__))
    return copied


def _register(word: Callable[..., Any]) -> Callable[..., Any]:
    """load(array, index), store(array, index, value): a whole register."""

    def guarded(array: Array, index: int, *value: Any) -> Any:
        from lstm_numba.words import lanes

        _require(word.__name__, array, index, lanes(array))
        return word(array, index, *value)

    return guarded


def _first(word: Callable[..., Any]) -> Callable[..., Any]:
    """load_first(array, index, count), store_first(array, index, value, count): at most `count` numbers."""

    def guarded(array: Array, index: int, *rest: Any) -> Any:
        from lstm_numba.words import lanes

        length = min(max(int(rest[-1]), 0), lanes(array))
        if length:
            _require(word.__name__, array, index, length)
        return word(array, index, *rest)

    return guarded


def _require(word: str, array: Array, index: int, length: int) -> None:
    if index < 0 or index + length > array.size:
        raise OutsideError(f"{word} at {index} .. {index + length - 1} of an array of {array.size} numbers")


GUARDS: dict[str, Callable[[Callable[..., Any]], Callable[..., Any]]] = {
    "load": _register,
    "store": _register,
    "load_first": _first,
    "store_first": _first,
}
