"""Step 4 of the engine: products over all steps at once, after the time loop has left the adjoints of the slots.

Panels, or rows, are divided among threads; every sum runs in the same order whoever computes it.
"""

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from math import prod
from operator import itemgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lstm_numba.batch import Batch
from lstm_numba.cpu import pool
from lstm_numba.cpu.activity import Activity
from lstm_numba.cpu.calls import Call
from lstm_numba.cpu.kernels import outer_of, transposed_of
from lstm_numba.cpu.memory import Handed
from lstm_numba.cpu.script import Phase
from lstm_numba.sizes import Packed, Sizes
from lstm_numba.spec import CellSpec

Arrays = dict[str, Any]

ROWS = "d_rows_"  # of an input: what products give of its gradient, in whole registers


@dataclass(frozen=True)
class Outer:
    """What the gradient of a packed matrix is computed from: names of arrays, and numbers."""

    kernel: Callable[..., None]
    starts: NDArray[np.int64]
    depth: int
    operand_row: int
    slots_row: int
    arrays: Callable[[Arrays], tuple[NDArray[Any], ...]]  # operand, slots, gradients, sums

    def calls(self, shares: list[tuple[Any, ...]], arrays: Arrays) -> list[Call]:
        operand, slots, *sums = self.arrays(arrays)
        given = self.starts, self.depth, operand, self.operand_row, slots, self.slots_row, *sums
        return [(self.kernel, (*share, *given)) for share in shares]


class After:
    """Gradients of packed matrices and of input sequences."""

    def __init__(self, spec: CellSpec, sizes: Sizes, activity: Activity, handed: Handed) -> None:
        self.spec, self.sizes, self.activity, self.handed = spec, sizes, activity, handed

    # --- matrices

    def outer(self, batch: Batch, arrays: Arrays, keys: Collection[str]) -> Phase:
        """Adds up the gradients of the packed matrices of some operands, and the sums of their slots."""
        threads, shares = len(batch.chunks), batch.table("outer", lambda: self._all_shares(batch))
        found = zip(self.sizes.packed, self._outers, shares, strict=True)
        calls = [call for packed, one, own in found if packed.key in keys for call in one.calls(own, arrays)]
        return [calls[k::threads] for k in range(threads)]

    @cached_property
    def _outers(self) -> list[Outer]:
        return [self._outer(packed) for packed in self.sizes.packed]

    def _outer(self, packed: Packed) -> Outer:
        kernel = outer_of(packed.product.run, packed.product.gates, packed.product.low)
        operand, row = self._operand(packed)
        slots_row, starts = self.sizes.slot_rows[packed.stage - 1], self.activity.starts[packed.key]
        names = itemgetter(operand, f"slots_{packed.stage}", f"grad_{packed.key}", f"sums_{packed.key}")
        return Outer(kernel, starts, packed.depth, row, slots_row, names)

    def _all_shares(self, batch: Batch) -> list[list[tuple[Any, ...]]]:
        return [list(self._shares(batch, packed)) for packed in self.sizes.packed]

    def _shares(self, batch: Batch, packed: Packed) -> Iterator[tuple[Any, ...]]:
        """(first panel, last panel, rows, how many of them each panel takes) of every task."""
        for first, stop, index, counts in self.activity.panel_runs(batch, packed):
            for low, count in pool.parts(stop - first, len(batch.chunks)):
                yield first + low, first + low + count, index, counts

    def _operand(self, packed: Packed) -> tuple[str, int]:
        """The array whose rows (t, b) an operand's matrices multiply, and how long they are."""
        name, space = packed.operand, self.sizes.space_of(packed.operand)
        if name in self.spec.inputs:
            return f"seq_{name}", self.sizes.spaces[space]
        state = self.spec.state_of(name)
        return f"all_{state}" if state else f"kept_{name}", self.sizes.row(space)

    # --- inputs

    def rows(self, batch: Batch, names: Iterable[str]) -> Arrays:
        """Zeros to which `inputs` adds the gradients of input sequences that products read."""
        count, reached = batch.steps * batch.size, [name for name in names if self._reached[name]]
        return {ROWS + name: self.handed.zeros(f"d_{name}", count * self._row(name)) for name in reached}

    def _row(self, name: str) -> int:
        """Whole registers write nothing beside the row, which needs no padding then."""
        size = self._size(name)
        return self.sizes.row(self.spec.inputs[name]) if size % self.sizes.lanes else size

    def _size(self, name: str) -> int:
        return self.sizes.spaces[self.spec.inputs[name]]

    @cached_property
    def _reached(self) -> dict[str, list[Packed]]:
        """Input -> the products that read it."""
        return {name: [packed for packed in self.sizes.packed if packed.operand == name] for name in self.spec.inputs}

    def inputs(self, batch: Batch, arrays: Arrays, names: Iterable[str]) -> list[Phase]:
        """Pulls the adjoints of slots back to rows of `arrays`."""
        return [self._input_gradient(batch, arrays, packed) for name in names for packed in self._reached[name]]

    def _input_gradient(self, batch: Batch, arrays: Arrays, packed: Packed) -> Phase:
        kernel, name = transposed_of(packed.product.run, packed.product.gates, packed.product.low), packed.operand
        slots = arrays[f"slots_{packed.stage}"], arrays[f"slots_{packed.stage}_row"]
        back, rows = arrays[f"back_{packed.key}"], (arrays[ROWS + name], self._row(name))
        fixed = packed.panels, self.activity.ends[packed.key], *slots, back, *rows, packed.depth
        shares = batch.table(f"inputs_{packed.key}", lambda: self._segments(batch, packed))
        return [[(kernel, (share, *fixed))] for share in shares]

    def found(self, batch: Batch, arrays: Arrays, names: Iterable[str]) -> Arrays:
        """The gradients (T, B, space) of input sequences: through products, and through scalar mathematics."""
        return {name: self._found(batch, arrays, name) for name in names}

    def _found(self, batch: Batch, arrays: Arrays, name: str) -> NDArray[Any]:
        shape, parts = (batch.steps, batch.size, self._size(name)), []
        if self._reached[name]:
            rows = arrays[ROWS + name]
            is_padded = rows.size > prod(shape)
            parts.append(rows.reshape(*shape[:2], -1)[:, :, : shape[2]].copy() if is_padded else rows.reshape(shape))
        if f"d_seq_{name}" in arrays:
            parts.append(arrays[f"d_seq_{name}"].reshape(shape))
        return sum(parts[1:], parts[0]) if parts else np.zeros(shape, self.sizes.dtype)

    def _segments(self, batch: Batch, packed: Packed) -> list[NDArray[np.int64]]:
        """A share for each thread, with as much to multiply: late segments are short where `lengths` differ."""
        segments, threads = self.activity.segments(batch, packed), len(batch.chunks)
        _, rows, first, stop = segments.T
        work = rows * (stop - first)
        middles = np.cumsum(work) - work / 2
        shares = np.split(segments, np.searchsorted(middles, work.sum() * np.arange(1, threads) / threads))
        return [share for share in shares if len(share)]
