"""Arrays, used again: fresh memory costs a page fault every few kilobytes, a tenth of a training step.

What is lent comes back when nobody holds the loan any more.  Only what the latest shape needs is kept, and no more of
it than Memory.SPARE, so that memory grows neither with the number of shapes nor with what a user once held at a time.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from lstm_numba.cpu.target import LINE_BYTES

Arrays = dict[str, NDArray[Any]]
W = TypeVar("W")

LARGE_BYTES = 1 << 20  # smaller arrays get memory that the C library has at hand


def aligned(length: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    """An array with any contents that begins where a cache line does: registers across two lines are loaded twice."""
    memory = np.empty(length + LINE_BYTES // dtype.itemsize, dtype)
    begin = -memory.__array_interface__["data"][0] % LINE_BYTES // dtype.itemsize
    return memory[begin : begin + length]


class Pieces:
    """Named pieces of one array, one after the other, each from the start of a cache line."""

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self.dtype, self.length = dtype, 0
        self._line = LINE_BYTES // dtype.itemsize
        self._slices: dict[str, slice] = {}

    def add(self, name: str, length: int) -> int:
        """Where the piece begins."""
        begin = self.length
        self._slices[name] = slice(begin, begin + length)
        self.length += -(-length // self._line) * self._line
        return begin

    def copy(self) -> "Pieces":
        other = Pieces(self.dtype)
        other.length, other._slices = self.length, dict(self._slices)
        return other

    def make(self) -> "Whole":
        """Any numbers in it."""
        whole = aligned(self.length, self.dtype)
        return Whole(whole, {name: whole[piece] for name, piece in self._slices.items()})


@dataclass(frozen=True, eq=False, slots=True)
class Whole:
    """An array, and its pieces, flat, by the names of the kernels' arguments."""

    array: NDArray[Any]
    pieces: Arrays


class Memory(Generic[W]):
    """What `make(*key)` makes, for one borrower at a time."""

    # A training loop holds its last run until it has the next.  A module's name may be gone when the interpreter ends
    # and the last loans come back.
    SPARE = 2

    def __init__(self, make: Callable[..., W]) -> None:
        # The latest key with what is free of it, in one attribute: no lock is held when the garbage collector, at any
        # moment, gives a loan back.
        self._make = make
        self._kept: _Kept[W] = _Kept((), [])

    def lend(self, *key: Any) -> "Loan[W]":
        """With the contents that the last borrower left."""
        kept = self._kept
        try:
            work = kept.free.pop() if kept.key == key else self._make(*key)
        except IndexError:  # nothing is free
            work = self._make(*key)
        return Loan(self, key, work)

    def take_back(self, key: tuple[Any, ...], work: W) -> None:
        kept = self._kept
        if kept.key != key:
            self._kept = kept = _Kept(key, [])
        if len(kept.free) < self.SPARE:
            kept.free.append(work)


@dataclass(frozen=True, slots=True)
class _Kept(Generic[W]):
    key: tuple[Any, ...]
    free: list[W]


@dataclass(eq=False, slots=True)
class Loan(Generic[W]):
    """The right to work in something, as long as anybody holds this."""

    memory: Memory[W]
    key: tuple[Any, ...]
    work: W

    def __del__(self) -> None:
        self.memory.take_back(self.key, self.work)


class _Owner:
    """What an array refers to that lies in lent memory."""

    def __init__(self, loan: Loan[NDArray[Any]]) -> None:
        self.loan, self.__array_interface__ = loan, loan.work.__array_interface__


class Handed:
    """Arrays that a user gets: the memory of one is used again when its last view is gone."""

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self._dtype = dtype
        self._memories: dict[str, Memory[NDArray[Any]]] = {}

    def empty(self, name: str, length: int) -> NDArray[Any]:
        """Any numbers; what has a name of its own has memory of its own."""
        if length * self._dtype.itemsize < LARGE_BYTES:
            return np.empty(length, self._dtype)
        memory = self._memories.setdefault(name, Memory(lambda length: aligned(length, self._dtype)))
        return np.asarray(_Owner(memory.lend(length)))

    def zeros(self, name: str, length: int) -> NDArray[Any]:
        found = self.empty(name, length)
        found.fill(0)
        return found
