"""Kernels whose every array stands against an inaccessible page.   python -m tests.guard_pages SIDE [overrun]

A copy of each array is placed so that it ends (SIDE = end) or begins (SIDE = begin) exactly at a page that may not be
touched: one number read or written too far ends the process with a segmentation fault, or bus error.  Fresh memory is
full of NaN, so a number that is read before it was written shows in the result.
"""

import ctypes
import mmap
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import product
from typing import Any
from unittest.mock import patch

import numpy as np
from numba import njit

from lstm_numba.cpu import kernels
from tests.layers import Arrays, everything, forward, numbers_for, other_bits, random_layer, second_order

# Every form of work: four gates, one gate, gates that not all operands reach, sleeping units, a second sequence.
CELLS = {
    "lstm": ("float32", "float64"),
    "gru_reset_after": ("float32", "float64"),
    "gru": ("float64",),
    "clockwork": ("float64",),
    "depth_gated": ("float64",),
}
HIDDEN, INPUT, BATCH, STEPS = (1, 5, 33, 64), (1, 7), (1, 3, 7), 3
PAGE = mmap.PAGESIZE
LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.mprotect.argtypes = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int


def fenced(array: np.ndarray, side: str) -> np.ndarray:
    """A copy between two inaccessible pages, touching the one at `side`."""
    length = max(-(-array.nbytes // PAGE), 1) * PAGE
    memory = mmap.mmap(-1, length + 2 * PAGE)
    first = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    for page in (first, first + PAGE + length):
        if LIBC.mprotect(page, PAGE, 0):
            raise OSError(ctypes.get_errno(), "mprotect")
    offset = PAGE if side == "begin" else PAGE + length - array.nbytes
    copy = np.frombuffer(memory, array.dtype, array.size, offset).reshape(array.shape)
    copy[...] = array
    return copy


def guarded(kernel: Callable[..., Any], side: str) -> Callable[..., Any]:
    """The kernel, on fenced copies of its arrays; what it writes is copied back."""

    def call(*arguments: Any) -> Any:
        copies = [fenced(a, side) if isinstance(a, np.ndarray) else a for a in arguments]
        result = kernel(*copies)
        for array, copy in zip(arguments, copies, strict=True):
            if isinstance(array, np.ndarray) and array.flags.writeable:
                array[...] = copy
        return result

    return call


def poisoned(allocate: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
    def full_of_nan(*arguments: Any, **options: Any) -> np.ndarray:
        fresh = allocate(*arguments, **options)
        if fresh.dtype.kind == "f":
            fresh.fill(np.nan)
        return fresh

    return full_of_nan


def forget() -> None:
    """Let every kernel be asked for anew."""
    kernels.LOADED.clear()
    kernels.outer_of.cache_clear()
    kernels.transposed_of.cache_clear()


@contextmanager
def fences(side: str) -> Iterator[None]:
    """Every kernel is guarded, and np.empty gives NaN."""
    compiled, packing = kernels.compiled, {name: guarded(kernel, side) for name, kernel in vars(kernels.pack).items()}
    forget()
    with (
        patch.object(kernels, "compiled", lambda *asked: guarded(compiled(*asked), side)),
        patch.dict(vars(kernels.pack), packing),
        patch.object(np, "empty", poisoned(np.empty)),
    ):
        yield
    forget()


def results(cell: str) -> Iterator[tuple[str, Arrays]]:
    """What is run, and everything that it gives."""
    for dtype, inputs, hidden, batch in product(CELLS[cell], INPUT, HIDDEN, BATCH):
        what = f"{cell} {dtype} N={inputs} H={hidden} B={batch}"
        sys.stderr.write(f"{what}\n")
        layer = random_layer(cell, inputs, hidden, dtype)
        numbers, random = numbers_for(layer, STEPS, batch), np.random.default_rng(0)
        lengths, resets = (np.arange(batch) + 2) % (STEPS + 1), random.random((STEPS, batch)) < 0.3
        for way, rows in (("", {}), (", lengths and resets", {"lengths": lengths, "resets": resets})):
            yield f"{what}{way}", everything(layer, numbers, **rows)
            along = {**numbers.inputs, "parameters": layer.parameters, "state": numbers.d_state}
            yield f"{what}{way}, along a direction", second_order(forward(layer, numbers, **rows), numbers, along)


def check(cell: str, side: str) -> None:
    plain = dict(results(cell))
    with fences(side):
        for what, found in results(cell):
            wrong = other_bits(found, plain[what])
            if wrong:
                raise AssertionError(f"{what}, fences at the {side}: other numbers in {', '.join(wrong)}")


@njit
def overrun(array, index):
    return array[index]


def main() -> None:
    side = sys.argv[1]
    if "overrun" in sys.argv:
        guarded(overrun, side)(np.zeros(5), 5 if side == "end" else -6)
        return
    for cell in CELLS:
        check(cell, side)


if __name__ == "__main__":
    main()
