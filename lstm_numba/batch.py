"""A batch cut into chunks of rows, one for each thread, the longest rows of each chunk first.

A chunk's rows that still run at step t are then its first `counts[t]`: finished rows cost nothing.  Rows do not
influence each other, so neither the cut nor the order changes a bit of any row's result.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from lstm_numba.cpu.pool import parts

# Rows of input gradients that one product takes at once: their slots stay in the second-level cache.
BLOCK_ROWS = 96

V = TypeVar("V")


@dataclass(frozen=True)
class Chunk:
    """Rows first .. first + rows - 1 of the ordered batch."""

    first: int
    rows: int
    counts: NDArray[np.int64]


class Batch:
    """T steps of B rows: their order and their chunks.

    Attributes:
        steps: T; running: steps in which any row is still running.
        order: position -> row of the user's batch, or None where that is the same.
    """

    def __init__(
        self, steps: int, size: int, lengths: NDArray[np.int64] | None, resets: NDArray[np.uint8] | None, threads: int
    ) -> None:
        self.steps, self.size, self.lengths = steps, size, lengths
        self._chunks = parts(size, threads)
        self.order = None if lengths is None else self._longest_first(lengths)
        self.resets = np.zeros(0, np.uint8) if resets is None else self.arrange(resets, 1).reshape(-1)
        self.running = steps if lengths is None else int(lengths.max(initial=0))
        self._tables: dict[Any, Any] = {}

    def _longest_first(self, lengths: NDArray[np.int64]) -> NDArray[np.int64] | None:
        """Deal the rows, longest first, to the chunks in turn."""
        descending = np.argsort(-lengths, kind="stable")
        pieces = len(self._chunks)
        order = np.concatenate([descending[k::pieces] for k in range(pieces)])
        return None if np.array_equal(order, np.arange(self.size)) else order

    @cached_property
    def sorted_lengths(self) -> NDArray[np.int64]:
        return np.full(self.size, self.steps) if self.lengths is None else self.arrange(self.lengths, 0)

    @cached_property
    def chunks(self) -> tuple[Chunk, ...]:
        return tuple(Chunk(first, rows, self._counts(first, rows)) for first, rows in self._chunks if rows)

    @cached_property
    def spans(self) -> list[tuple[int, int]]:
        """(first, rows) of each chunk; of an empty batch one."""
        return [(chunk.first, chunk.rows) for chunk in self.chunks] or self.whole

    @cached_property
    def whole(self) -> list[tuple[int, int]]:
        """The same where there is one chunk."""
        return [(0, self.size)]

    @cached_property
    def most_rows(self) -> int:
        """Of any chunk."""
        return max((chunk.rows for chunk in self.chunks), default=0)

    def _counts(self, first: int, rows: int) -> NDArray[np.int64]:
        """Step -> rows of the chunk that are longer."""
        if self.lengths is None:
            return np.full(self.steps, rows, np.int64)
        ended = np.bincount(self.sorted_lengths[first : first + rows], minlength=self.steps + 1)
        return rows - np.cumsum(ended)[: self.steps]

    def table(self, key: str, make: Callable[[], V]) -> V:
        """What a layer derives from its batch, made when first asked for: a batch serves many calls."""
        if key not in self._tables:
            self._tables[key] = make()
        found: V = self._tables[key]
        return found

    # --- between the user's order and ours

    def arrange(self, array: NDArray[Any], axis: int) -> NDArray[Any]:
        """The user's rows in our order; a copy only where the order differs."""
        return array if self.order is None else np.take(array, self.order, axis=axis)

    def restore(self, array: NDArray[Any], axis: int) -> NDArray[Any]:
        """Our rows in the user's order."""
        return array if self.order is None else np.take(array, self.places, axis=axis)

    # --- rows (t, b) that are valid, for the products after the time loop

    @cached_property
    def places(self) -> NDArray[np.int64]:
        """Row of the user's batch -> its position in ours."""
        return np.arange(self.size) if self.order is None else np.argsort(self.order)

    @cached_property
    def index(self) -> NDArray[np.int64]:
        """Flat numbers t B + position of the valid rows, by step, then by the user's row: the order of all sums."""
        if self.lengths is None:
            return np.arange(self.steps * self.size)
        steps, rows = np.nonzero(np.arange(self.running)[:, None] < self.lengths)
        return steps * self.size + self.places[rows]

    @cached_property
    def segments(self) -> list[tuple[int, int]]:
        """The valid rows as (first, count) runs of bounded length."""
        if self.lengths is None:
            total = self.steps * self.size
            return [(first, min(BLOCK_ROWS, total - first)) for first in range(0, total, BLOCK_ROWS)]
        runs = ((t * self.size + c.first, int(c.counts[t])) for t in range(self.running) for c in self.chunks)
        return [(first, count) for first, count in runs if count]
