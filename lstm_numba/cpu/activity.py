"""Which units work when: panels awake at a step, columns that a block-triangular matrix reaches."""

from collections.abc import Iterator
from functools import lru_cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from lstm_numba import clock
from lstm_numba.batch import Batch
from lstm_numba.sizes import Packed, Sizes
from lstm_numba.spec import CellSpec

Numbers = NDArray[np.int64]


class Activity:
    """The tables of one layer; for a cell without a clock every panel is awake and every matrix full."""

    def __init__(self, spec: CellSpec, sizes: Sizes, periods: tuple[int, ...] | None) -> None:
        self.spec, self.sizes, self.modules = spec, sizes, len(periods or (1,))
        units = sizes.spaces["H"] // self.modules
        self.periods = None if periods is None else np.repeat(np.array(periods, np.int64), units)
        self.starts = {packed.key: self._panel_starts(packed) for packed in sizes.packed}
        self.ends = {packed.key: sizes.ends(packed, self.starts[packed.key]) for packed in sizes.packed}
        self.awake = lru_cache(maxsize=1)(self._awake)

    def _panel_starts(self, packed: Packed) -> Numbers:
        """Panel -> the first column that it reads."""
        stage = self.spec.stages[packed.stage - 1]
        matrices = [matrix for slot in stage.slots for matrix, operand in slot.terms if operand == packed.operand]
        if len(stage.slots) > 1 or self.spec.structures.get(matrices[0]) is None:
            return np.zeros(packed.panels, np.int64)
        return clock.module_starts(self.modules, packed.size)[:: packed.units]

    def masks(self) -> dict[str, NDArray[np.bool_]]:
        """Matrix -> where it is zero by its structure."""
        return clock.masks(self.spec.structures, self.modules, self.sizes.spaces["H"])

    def _awake(self, steps: int) -> NDArray[np.uint8]:
        """(T, panels): whether any unit of the panel is active at the step."""
        assert self.periods is not None  # only asked of cells with a clock
        return clock.awake(self.periods, steps, self.sizes.units(0))

    def panel_runs(self, batch: Batch, packed: Packed) -> Iterator[tuple[int, int, Numbers, Numbers]]:
        """(first, stop, rows, how many of them each panel takes): the valid rows of every panel.

        Where periods divide each other, the steps can be ordered so that each panel is awake in the first of them: then
        all panels share one list of rows.
        """
        index = batch.index
        if not self.spec.sleeping:
            yield 0, packed.panels, index, np.full(packed.panels, len(index))
            return
        table = self.awake(batch.steps)[index // max(batch.size, 1)]
        order = np.argsort(-table.sum(axis=1, dtype=np.int64), kind="stable")
        counts = table.sum(axis=0, dtype=np.int64)
        if np.array_equal(table[order], np.arange(len(index))[:, None] < counts):
            yield 0, packed.panels, index[order], counts
            return
        changes = np.flatnonzero(np.any(table[:, 1:] != table[:, :-1], axis=0)) + 1
        for first, stop in pairwise([0, *changes.tolist(), packed.panels]):
            rows = index[table[:, first] != 0]
            yield first, stop, rows, np.full(packed.panels, len(rows))

    def segments(self, batch: Batch, packed: Packed) -> Numbers:
        """(first row, rows, first panel, last panel) of every product of an input gradient."""
        if not self.spec.sleeping:
            found = [(*segment, 0, packed.panels) for segment in batch.segments]
        else:
            runs = self._runs(batch.steps)
            begun = ((t, c) for t in range(batch.running) for c in batch.chunks)
            pieces = [(t, t * batch.size + c.first, int(c.counts[t])) for t, c in begun]
            found = [(first, count, *run) for t, first, count in pieces if count for run in runs[t]]
        return np.array(found, np.int64).reshape(-1, 4)

    def _runs(self, steps: int) -> list[list[tuple[int, int]]]:
        """Step -> the (first, stop) runs of panels that are awake."""
        table = self.awake(steps)
        kinds, which = np.unique(table, axis=0, return_inverse=True)
        runs = [clock.runs(kind) for kind in kinds]
        return [runs[kind] for kind in which.reshape(-1)]
