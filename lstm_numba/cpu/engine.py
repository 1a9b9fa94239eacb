"""One layer's work on the CPU.

    1. pack       parameters -> panels                                              (packed.py)
    2. forward    chunks of rows, each through all steps on its own thread
    3. backward   the same chunks, steps reversed: adjoints of slots and states
    4. after      gradients of packed matrices and of input sequences               (after.py)
    5. unpack     panels -> gradients of the parameters                             (packed.py)

Nothing is summed across chunks, so every number of threads gives the same bits.
"""

import ctypes
import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lstm_numba.batch import Batch, Chunk
from lstm_numba.cpu import pool
from lstm_numba.cpu.activity import Activity
from lstm_numba.cpu.after import After
from lstm_numba.cpu.kernels import KERNELS
from lstm_numba.cpu.memory import Memory
from lstm_numba.cpu.packed import Packing
from lstm_numba.cpu.target import HEIGHTS, WIDE
from lstm_numba.parameters import Parameters
from lstm_numba.sizes import Sizes
from lstm_numba.spec import CellSpec
from lstm_numba.words import Product

Arrays = dict[str, Any]

# Steps whose input products are computed ahead of the time loop where the batch is too short to fill a tile.
AHEAD = 64
EMPTY_BYTES = np.zeros(0, np.uint8)


@dataclass
class Tape:
    """What a forward leaves for its backward: every array by the name it has in the kernels."""

    batch: Batch
    arrays: Arrays
    saved: bool
    memory: Memory
    lent: Arrays  # those that only the kernels see
    spent: bool = False
    chunk_arrays: list[Arrays] = field(default_factory=list)

    def __del__(self) -> None:
        self.memory.give(list(self.lent.values()))


@dataclass(frozen=True)
class Adjoints:
    """What a backward found, in the batch's order."""

    inputs: Arrays
    entering: Arrays  # of the states that entered the first step
    restarts: Arrays  # of the first states, from rows that were reset to them; none where no row was
    grads: NDArray[Any]
    arrays: Arrays

    @property
    def first_states(self) -> Arrays:
        """Of first states that entered the first step too."""
        return {name: rows + self.restarts.get(name, 0) for name, rows in self.entering.items()}


class Engine:
    """The kernels of a generated module at one size.

    Args:
        module: the generated module; `kernels` holds its project, forward and backward as they are to be run.
        theta: parameters and constants, for their places only.
        periods: of the modules of units, for a cell with a clock.
    """

    def __init__(
        self,
        module: ModuleType,
        kernels: Any,
        spaces: dict[str, int],
        theta: Parameters,
        periods: tuple[int, ...] | None,
    ) -> None:
        self.spec: CellSpec = module.CELL
        self.dtype, self.kernels, self.memory = theta.flat.dtype, kernels, Memory(theta.flat.dtype)
        products = {name: value for name, value in vars(module).items() if isinstance(value, Product)}
        self.sizes = Sizes(self.spec, products, spaces, self.dtype)
        self.activity = Activity(self.spec, self.sizes, periods)
        self.packing = Packing(self.spec, self.sizes, theta)
        self.after = After(self.spec, self.sizes, self.activity)
        self._names = {name: tuple(inspect.signature(getattr(module, name)).parameters) for name in KERNELS}
        self._fixed = self._fixed_arguments()
        summed = [name for name in self._names["backward"] if name.startswith(("d_kept_", "d_param_"))]
        self._summed = {name: self.sizes.row(self._space_of_adjoint(name)) for name in summed}

    def _fixed_arguments(self) -> Arrays:
        """Arguments that no call changes."""
        sizes, activity = self.sizes, self.activity
        rows = {f"{space}_row": sizes.row(space) for space in sizes.spaces}
        slots = {f"slots_{k}_row": row for k, row in enumerate(sizes.slot_rows, start=1)}
        starts = {f"starts_{key}": found for key, found in activity.starts.items()}
        ends = {f"ends_{key}": found for key, found in activity.ends.items()}
        return {**sizes.spaces, **rows, **slots, **starts, **ends, "periods": activity.periods}

    # --- 2. forward

    def forward(
        self,
        batch: Batch,
        packed: Arrays,
        inputs: Arrays,
        start: Arrays,
        save: bool,
        entering: Arrays | None = None,
    ) -> Tape:
        """Run all steps.

        Args:
            packed: from `packing.pack`.
            inputs: sequences (T, B, space) in the batch's order, contiguous.
            start: states (B, space) in the batch's order, to which resets return.
            save: keep what a backward needs.
            entering: states that enter the first step, where those are others.
        """
        hoisted = self._is_short(batch)
        block = batch.steps if save else min(batch.steps, AHEAD) if hoisted else 1
        depth, kept = batch.steps + 1 if save else 2, max(block, 1)
        lent = self._lent(batch, depth, kept)
        arrays = {**self._fixed, **packed, **lent, **self._outputs(batch), **self.start(start, batch)}
        arrays |= {f"seq_{name}": flat(array) for name, array in inputs.items()}
        arrays |= {"depth": depth, "kept": kept, "batch": batch.size, "resets": batch.resets, "hoisted": hoisted}
        entered = arrays if entering is None else self.start(entering, batch)
        arrays |= {f"enter_{state}": entered[f"start_{state}"] for state in self.spec.states}
        tape = Tape(batch, arrays, save, self.memory, lent)
        tape.chunk_arrays = [self._scratch(batch) for _ in batch.chunks]
        self.replay(tape)
        return tape

    def replay(self, tape: Tape) -> None:
        """Fill the tape by running all steps."""
        chunks = range(len(tape.batch.chunks))
        pool.run([partial(self._forward_chunk, tape, k) for k in chunks], len(chunks))
        tape.spent = False

    def renew(self, tape: Tape) -> None:
        """Run all steps again if a backward has worked in the tape's arrays."""
        if tape.spent:
            # the outputs of the first time are the user's
            outputs = {name: array for name, array in tape.arrays.items() if name.startswith("out_")}
            tape.arrays |= {name: np.empty_like(array) for name, array in outputs.items()}
            self.replay(tape)

    def _is_short(self, batch: Batch) -> bool:
        rows = max((chunk.rows for chunk in batch.chunks), default=0)
        return rows < HEIGHTS[WIDE][0] and batch.steps > 1 and not self.spec.sleeping

    def _lent(self, batch: Batch, depth: int, kept: int) -> Arrays:
        """Work arrays, any contents, for the states of `depth` steps and the slots of `kept`."""
        spec, sizes, take = self.spec, self.sizes, self.memory.take
        arrays: Arrays = {}
        for k, row in enumerate(sizes.slot_rows, start=1):
            arrays[f"slots_{k}"] = take(kept * batch.size * row)
        for name, space in spec.kept.items():
            arrays[f"kept_{name}"] = take(kept * batch.size * sizes.row(space))
        for state, space in spec.states.items():
            arrays[f"all_{state}"] = take(depth * batch.size * sizes.row(space))
        return arrays

    def _outputs(self, batch: Batch) -> Arrays:
        """What the user gets; past a row's end it must be 0."""
        spec, spaces, rows = self.spec, self.sizes.spaces, batch.steps * batch.size
        make = np.empty if batch.lengths is None else np.zeros
        return {f"out_{name}": make(rows * spaces[spec.states[name]], self.dtype) for name in spec.outputs}

    def start(self, start: Arrays, batch: Batch) -> Arrays:
        """First states in padded rows."""
        found = {}
        for state, space in self.spec.states.items():
            rows = np.zeros((batch.size, self.sizes.row(space)), self.dtype)
            rows[:, : self.sizes.spaces[space]] = start[state]
            found[f"start_{state}"] = rows.reshape(-1)
        return found

    def _scratch(self, batch: Batch) -> Arrays:
        """What a chunk of a cell with a clock needs for itself, and which panels are awake."""
        if self.activity.periods is None:
            return {}
        tick = np.zeros(max(self.sizes.row(space) for space in self.sizes.spaces), self.dtype)
        table = self.activity.awake(batch.steps).reshape(-1) if self.spec.sleeping else EMPTY_BYTES
        return {"tick": tick, "awake": table}

    def _forward_chunk(self, tape: Tape, k: int) -> None:
        chunk, arrays = tape.batch.chunks[k], {**tape.arrays, **tape.chunk_arrays[k]}
        for state, space in self.spec.states.items():
            row = self.sizes.row(space)
            rows = slice(chunk.first * row, (chunk.first + chunk.rows) * row)
            arrays[f"all_{state}"][rows] = arrays[f"enter_{state}"][rows]
        block = arrays["kept"] if arrays["hoisted"] else max(tape.batch.running, 1)
        for begin in range(0, tape.batch.running, block):
            end = min(begin + block, tape.batch.running)
            if arrays["hoisted"]:
                self.call("project", arrays, chunk, begin, end)
            self.call("forward", arrays, chunk, begin, end)

    def call(self, name: str, arrays: Mapping[str, Any], chunk: Chunk, begin: int, end: int) -> None:
        own = {"begin": begin, "end": end, "first": chunk.first, "rows": chunk.rows, "counts": chunk.counts}
        getattr(self.kernels, name)(*[own[n] if n in own else arrays[n] for n in self._names[name]])

    def last_states(self, batch: Batch, arrays: Arrays) -> Arrays:
        """Each row's state after its last step, in the batch's order."""
        places = (batch.sorted_lengths % arrays["depth"]) * batch.size + np.arange(batch.size)
        return {state: self._rows(arrays[f"all_{state}"], space)[places] for state, space in self.spec.states.items()}

    def _rows(self, array: NDArray[Any], space: str) -> NDArray[Any]:
        """A padded flat array as rows without padding."""
        return array.reshape(-1, self.sizes.row(space))[:, : self.sizes.spaces[space]]

    # --- 3. backward

    def backward(self, tape: Tape, d_outputs: Arrays, d_state: Arrays) -> Adjoints:
        """Pull adjoints of outputs and last states, in the batch's order, back through all steps."""
        self.renew(tape)
        tape.spent = True
        batch, arrays = tape.batch, {**tape.arrays, **self.adjoints(tape.batch, d_outputs, d_state)}
        chunks = range(len(batch.chunks))
        pool.run([partial(self._backward_chunk, arrays, tape, k) for k in chunks], len(chunks))
        grads, named = self.packing.new_grads()
        self.after.outer(batch, arrays, named)
        return Adjoints(self.after.inputs(batch, arrays), *self.first_states(batch, arrays), grads, arrays)

    def adjoints(self, batch: Batch, d_outputs: Arrays, d_state: Arrays) -> Arrays:
        """What arrives, and zeros for what is to be found."""
        spec, sizes = self.spec, self.sizes
        arrays: Arrays = {f"d_out_{name}": flat(array) for name, array in d_outputs.items()}
        for state, space in spec.states.items():
            rows = np.zeros((2, batch.size, sizes.row(space)), self.dtype)
            rows[:, :, : sizes.spaces[space]] = d_state[state]
            arrays[f"d_all_{state}"] = rows.reshape(-1)
            arrays[f"d_start_{state}"] = self._zeros(batch.size * sizes.row(space) if batch.resets.size else 0)
        arrays |= {name: self._zeros(batch.size * row) for name, row in self._summed.items()}
        for name in spec.pointwise_inputs:
            arrays[f"d_seq_{name}"] = self._zeros(batch.steps * batch.size * sizes.spaces[spec.inputs[name]])
        return arrays

    def _zeros(self, length: int) -> NDArray[Any]:
        return np.zeros(length, self.dtype)

    def _space_of_adjoint(self, name: str) -> str:
        """The space of a value or parameter whose adjoint has rows."""
        spec = self.spec
        rows = {array: space for parameter in spec.accumulated for array, space in spec.adjoint_rows(parameter).items()}
        return rows.get(name) or {**spec.kept, **spec.states}.get(name.removeprefix("d_kept_"), "H")

    def _backward_chunk(self, arrays: Arrays, tape: Tape, k: int) -> None:
        self.call("backward", {**arrays, **tape.chunk_arrays[k]}, tape.batch.chunks[k], 0, tape.batch.running)

    def first_states(self, batch: Batch, arrays: Arrays) -> tuple[Arrays, Arrays]:
        """Adjoints of the states that entered the first step, and of those to which resets returned."""
        entering, restarts = {}, {}
        for state, space in self.spec.states.items():
            entering[state] = self._rows(arrays[f"d_all_{state}"], space)[: batch.size].copy()
            extra = arrays[f"d_start_{state}"]
            if extra.size:
                restarts[state] = self._rows(extra, space)
        return entering, restarts


def flat(array: NDArray[Any]) -> NDArray[Any]:
    """One-dimensional view of a contiguous array, of the one array type that the kernels are compiled for."""
    if not array.flags.aligned:
        return array.copy().reshape(-1)
    return array.reshape(-1) if array.flags.writeable else _unlocked(array)


def _unlocked(array: NDArray[Any]) -> NDArray[Any]:
    """A view that claims to be writable: Numba would compile another kernel for it, and ours do not write to inputs."""
    memory: Any = (ctypes.c_char * array.nbytes).from_address(array.ctypes.data)
    memory.owner = array  # the view keeps `memory` alive, and that the array
    return np.frombuffer(memory, array.dtype)
