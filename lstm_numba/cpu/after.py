"""Step 4 of the engine: products over all steps at once, after the time loop has left the adjoints of the slots.

Panels, or rows, are divided among threads; every sum runs in the same order whoever computes it.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lstm_numba.batch import Batch
from lstm_numba.cpu import pool
from lstm_numba.cpu.activity import Activity
from lstm_numba.cpu.kernels import outer_of, transposed_of
from lstm_numba.sizes import Packed, Sizes
from lstm_numba.spec import CellSpec

Arrays = dict[str, Any]
Task = Callable[[], None]


class After:
    """Gradients of packed matrices and of input sequences."""

    def __init__(self, spec: CellSpec, sizes: Sizes, activity: Activity) -> None:
        self.spec, self.sizes, self.activity = spec, sizes, activity

    # --- matrices

    def outer(self, batch: Batch, arrays: Arrays, grads: Arrays) -> None:
        """Add up the gradients of all packed matrices and the sums of their slots."""
        threads = len(batch.chunks)
        tasks = [task for packed in self.sizes.packed for task in self._outer_tasks(batch, arrays, packed, grads)]
        pool.run([partial(_run_all, tasks[k::threads]) for k in range(threads)], threads)

    def _outer_tasks(self, batch: Batch, arrays: Arrays, packed: Packed, grads: Arrays) -> list[Task]:
        kernel = outer_of(packed.product.run, packed.product.gates, packed.product.low)
        a, a_row = self._operand(arrays, packed)
        slots = arrays[f"slots_{packed.stage}"], arrays[f"slots_{packed.stage}_row"]
        grad = grads[f"grad_{packed.key}"], grads[f"sums_{packed.key}"]
        starts = self.activity.starts[packed.key]
        shares = batch.table(("outer", packed.key), lambda: list(self._shares(batch, packed)))
        return [partial(kernel, *share, starts, packed.depth, a, a_row, *slots, *grad) for share in shares]

    def _shares(self, batch: Batch, packed: Packed) -> Iterator[tuple[Any, ...]]:
        """(first panel, last panel, rows, how many of them each panel takes) of every task."""
        for first, stop, index, counts in self.activity.panel_runs(batch, packed):
            for low, count in pool.parts(stop - first, len(batch.chunks)):
                yield first + low, first + low + count, index, counts

    def _operand(self, arrays: Arrays, packed: Packed) -> tuple[NDArray[Any], int]:
        """The rows (t, b) of what an operand's matrices multiply."""
        name, space = packed.operand, self.sizes.space_of(packed.operand)
        if name in self.spec.inputs:
            return arrays[f"seq_{name}"], self.sizes.spaces[space]
        state = self.spec.state_of(name)
        return arrays[f"all_{state}" if state else f"kept_{name}"], self.sizes.row(space)

    # --- inputs

    def inputs(self, batch: Batch, arrays: Arrays) -> Arrays:
        """The gradient (T, B, space) of every input sequence: through products, and through scalar mathematics."""
        found = {}
        for name, space in self.spec.inputs.items():
            shape = (batch.steps, batch.size, self.sizes.spaces[space])
            parts = [self._through_products(batch, arrays, name, shape)] if self._reached(name) else []
            parts += [arrays[f"d_seq_{name}"].reshape(shape)] if f"d_seq_{name}" in arrays else []
            found[name] = sum(parts[1:], parts[0]) if parts else np.zeros(shape, self.sizes.dtype)
        return found

    def _reached(self, name: str) -> list[Packed]:
        return [packed for packed in self.sizes.packed if packed.operand == name]

    def _through_products(self, batch: Batch, arrays: Arrays, name: str, shape: tuple[int, int, int]) -> NDArray[Any]:
        size = shape[2]
        # whole registers write nothing beside the row, so it needs no padding
        row = self.sizes.row(self.spec.inputs[name]) if size % self.sizes.lanes else size
        rows = np.zeros(batch.steps * batch.size * row, self.sizes.dtype)
        for packed in self._reached(name):
            self._input_gradient(batch, arrays, packed, rows, row)
        return np.ascontiguousarray(rows.reshape(-1, row)[:, :size]).reshape(shape)

    def _input_gradient(self, batch: Batch, arrays: Arrays, packed: Packed, rows: NDArray[Any], row: int) -> None:
        kernel = transposed_of(packed.product.run, packed.product.gates, packed.product.low)
        slots = arrays[f"slots_{packed.stage}"], arrays[f"slots_{packed.stage}_row"]
        fixed = (packed.panels, self.activity.ends[packed.key], *slots, arrays[f"back_{packed.key}"], rows, row)
        shares = batch.table(("inputs", packed.key), lambda: self._segments(batch, packed))
        pool.run([partial(kernel, share, *fixed, packed.depth) for share in shares], len(batch.chunks))

    def _segments(self, batch: Batch, packed: Packed) -> list[NDArray[np.int64]]:
        segments = self.activity.segments(batch, packed)
        return [segments[first : first + count] for first, count in pool.parts(len(segments), len(batch.chunks))]


def _run_all(tasks: list[Task]) -> None:
    for task in tasks:
        task()
