"""Large work arrays, used again: fresh memory costs a page fault every few kilobytes, a tenth of a training step.

An array comes back when the tape that holds it is no longer used.  Only sizes of the latest batch are kept, so that a
layer's memory is what its last shape needs.
"""

import threading
from collections import defaultdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lstm_numba.cpu.target import LINE_BYTES


def aligned(length: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    """An array with any contents that begins where a cache line does: registers across two lines are loaded twice."""
    memory = np.empty(length + LINE_BYTES // dtype.itemsize, dtype)
    begin = -memory.__array_interface__["data"][0] % LINE_BYTES // dtype.itemsize
    return memory[begin : begin + length]


def zeros(length: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    """The same filled with zeros."""
    array = aligned(length, dtype)
    array[...] = 0
    return array


class Memory:
    """Arrays of one type by their length."""

    def __init__(self, dtype: np.dtype[Any]) -> None:
        # Reentrant: a tape that the garbage collector finds while the lock is held gives its arrays back right there.
        self._dtype, self._lock = dtype, threading.RLock()
        self._free: dict[int, list[NDArray[Any]]] = defaultdict(list)

    def take(self, length: int) -> NDArray[Any]:
        """An array with any contents."""
        with self._lock:
            found = self._free.get(length)
            if found:
                return found.pop()
        return aligned(length, self._dtype)

    def give(self, arrays: list[NDArray[Any]]) -> None:
        """Arrays that nobody reads any more; those of other lengths are dropped."""
        lengths = {array.size for array in arrays}
        with self._lock:
            for length in set(self._free) - lengths:
                self._free.pop(length, None)
            for array in arrays:
                self._free[array.size].append(array)

    def __getstate__(self) -> dict[str, Any]:
        return {"dtype": self._dtype}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["dtype"])  # type: ignore[misc]
