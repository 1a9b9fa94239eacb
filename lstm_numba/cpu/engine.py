"""One layer's work on the CPU.

    1. pack       parameters -> panels
    2. forward    chunks of rows, each through all steps on its own thread
    3. backward   the same chunks, steps reversed: adjoints of slots and states
    4. outer      gradients of the packed matrices, panels divided among threads; input gradients, rows divided
    5. unpack     panels -> gradients of the parameters

Nothing is summed across chunks, so every number of threads gives the same bits.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lstm_numba import clock
from lstm_numba.batch import Batch, Chunk
from lstm_numba.cpu import pool
from lstm_numba.cpu.kernels import outer_of, pack, transposed_of
from lstm_numba.cpu.memory import Memory
from lstm_numba.cpu.target import HEIGHTS, WIDE
from lstm_numba.parameters import Parameters
from lstm_numba.sizes import Packed, Sizes
from lstm_numba.spec import CellSpec
from lstm_numba.words import Product

Arrays = dict[str, NDArray[Any]]

# Steps whose input products are computed ahead of the time loop where the batch is too short to fill a tile.
AHEAD = 64
# Arrays of a tape that only the kernels see, and that are lent to it.
LENT = ("slots_", "kept_", "all_")
EMPTY_BYTES = np.zeros(0, np.uint8)


@dataclass
class Tape:
    """What a forward leaves for its backward: every array by the name it has in the kernels."""

    batch: Batch
    arrays: dict[str, Any]
    saved: bool
    memory: Memory
    spent: bool = False
    chunk_arrays: list[dict[str, Any]] = field(default_factory=list)

    def __del__(self) -> None:
        self.memory.give([a for name, a in self.arrays.items() if name.startswith(LENT) and isinstance(a, np.ndarray)])


class Engine:
    """The kernels of a generated module at one size."""

    def __init__(
        self, module: ModuleType, kernels: Any, spaces: dict[str, int], dtype: np.dtype[Any], periods: NDArray[np.int64] | None
    ) -> None:
        self.spec: CellSpec = module.CELL
        products = {name: value for name, value in vars(module).items() if isinstance(value, Product)}
        self.sizes, self.dtype, self.periods = Sizes(self.spec, products, spaces, dtype), dtype, periods
        self.kernels, self.memory = kernels, Memory(dtype)
        self._names = {name: tuple(inspect.signature(getattr(module, name)).parameters) for name in ("project", "forward", "backward")}
        self._numbers = self._fixed_numbers()
        self._starts = {packed.key: self._panel_starts(packed) for packed in self.sizes.packed}
        self._ends = {packed.key: self.sizes.ends(packed, self._starts[packed.key]) for packed in self.sizes.packed}

    def _fixed_numbers(self) -> dict[str, Any]:
        sizes = self.sizes
        rows = {f"{space}_row": sizes.row(space) for space in sizes.spaces}
        slots = {f"slots_{k}_row": row for k, row in enumerate(sizes.slot_rows, start=1)}
        return {**sizes.spaces, **rows, **slots}

    def _structure(self, packed: Packed) -> str | None:
        stage = self.spec.stages[packed.stage - 1]
        matrices = [matrix for slot in stage.slots for matrix, operand in slot.terms if operand == packed.operand]
        return self.spec.structures.get(matrices[0]) if len(stage.slots) == 1 else None

    def _panel_starts(self, packed: Packed) -> NDArray[np.int64]:
        """Panel -> the first column that it reads."""
        if self._structure(packed) is None:
            return np.zeros(packed.panels, np.int64)
        return self.module_starts(packed.size)[:: packed.units]

    def module_starts(self, units: int) -> NDArray[np.int64]:
        modules = 1 if self.periods is None else len(self.periods) // self._module_size()
        return clock.module_starts(modules, units)

    def _module_size(self) -> int:
        changes = np.flatnonzero(np.diff(self.periods)) + 1
        return int(np.gcd.reduce(np.concatenate([changes, [len(self.periods)]])))

    # --- 1. pack

    def pack(self, theta: Parameters, backward: bool) -> Arrays:
        """Parameters and constants in the kernels' order."""
        arrays: Arrays = {}
        for packed in self.sizes.packed:
            arrays[f"weights_{packed.key}"] = self._packed_matrices(theta, packed)
            if backward:
                arrays[f"back_{packed.key}"] = self._packed_transposes(theta, packed)
        for k, stage in enumerate(self.spec.stages):
            arrays[f"bias_{k + 1}"] = self._biases(theta, k)
        for name in self.spec.pointwise:
            arrays[f"param_{name}"] = self._pointwise(theta, name)
        return arrays

    def _terms(self, packed: Packed):
        """(matrix, place in the run) of an operand."""
        for place, slot in enumerate(self.spec.stages[packed.stage - 1].slots):
            for matrix, operand in slot.terms:
                if operand == packed.operand:
                    yield matrix, place - packed.product.low

    def _packed_matrices(self, theta: Parameters, packed: Packed) -> NDArray[Any]:
        target = np.zeros(packed.length, self.dtype)
        for matrix, place in self._terms(packed):
            pack.pack_matrix(
                theta.flat, theta.offsets[matrix], packed.size, packed.depth, target, 0, place, packed.product.run, packed.units, packed.width,
                packed.panels,
            )  # fmt: skip
        return target

    def _packed_transposes(self, theta: Parameters, packed: Packed) -> NDArray[Any]:
        lanes = self.sizes.lanes
        target = np.zeros(packed.columns * -(-packed.depth // lanes) * lanes, self.dtype)
        for matrix, place in self._terms(packed):
            pack.pack_transposed(
                theta.flat, theta.offsets[matrix], packed.size, packed.depth, target, 0, place, packed.product.run, packed.units, WIDE, lanes,
                packed.panels,
            )  # fmt: skip
        return target

    def _biases(self, theta: Parameters, k: int) -> NDArray[Any]:
        slots, columns = self.spec.stages[k].slots, self.sizes.slot_columns(k)
        units = self._units(k)
        target = np.zeros(len(slots) * columns, self.dtype)
        for place, slot in enumerate(slots):
            if slot.bias is not None:
                size = theta[slot.bias].size
                pack.pack_vector(theta.flat, theta.offsets[slot.bias], size, target, 0, place, len(slots), units, columns // units)
        return target

    def _units(self, k: int) -> int:
        return next(packed.units for packed in self.sizes.packed if packed.stage == k + 1)

    def _pointwise(self, theta: Parameters, name: str) -> NDArray[Any]:
        length = max(self.sizes.row(space) for space in self.sizes.spaces)
        target = np.zeros(length, self.dtype)
        pack.pack_vector(theta.flat, theta.offsets[name], theta[name].size, target, 0, 0, 1, length, 1)
        return target

    # --- 2. forward

    def forward(self, batch: Batch, packed: Arrays, inputs: Arrays, start: Arrays, save: bool) -> Tape:
        """Run all steps.

        Args:
            packed: from `pack`.
            inputs: sequences (T, B, space) in the batch's order, contiguous.
            start: states (B, space) in the batch's order.
            save: keep what a backward needs.
        """
        hoisted = self._is_short(batch)
        block = batch.steps if save else min(batch.steps, AHEAD) if hoisted else 1
        arrays = {**self._numbers, **packed, **self._memory(batch, max(block, 1), save)}
        arrays |= {f"seq_{name}": flat(array) for name, array in inputs.items()}
        arrays |= self._start(arrays, start, batch)
        arrays |= {"resets": batch.resets, "hoisted": hoisted}
        tape = Tape(batch, arrays, save, self.memory)
        tape.chunk_arrays = [self._clockwork(batch) for _ in batch.chunks]
        self.replay(tape)
        return tape

    def replay(self, tape: Tape) -> None:
        """Fill the tape by running all steps."""
        tasks = [partial(self._forward_chunk, tape, k) for k in range(len(tape.batch.chunks))]
        pool.run(tasks or [lambda: None], max(len(tasks), 1))
        tape.spent = False

    def _is_short(self, batch: Batch) -> bool:
        rows = max((chunk.rows for chunk in batch.chunks), default=0)
        return rows < HEIGHTS[WIDE][0] and batch.steps > 1 and not self.spec.sleeping

    def _memory(self, batch: Batch, kept: int, save: bool) -> dict[str, Any]:
        spec, sizes, dtype, take = self.spec, self.sizes, self.dtype, self.memory.take
        depth = batch.steps + 1 if save else 2
        rows = {state: sizes.row(space) for state, space in spec.states.items()}
        arrays: dict[str, Any] = {"depth": depth, "kept": kept, "batch": batch.size}
        arrays |= {f"slots_{k}": take(kept * batch.size * row) for k, row in enumerate(sizes.slot_rows, start=1)}
        arrays |= {f"kept_{name}": take(kept * batch.size * sizes.row(space)) for name, space in spec.kept.items()}
        arrays |= {f"all_{state}": take(depth * batch.size * row) for state, row in rows.items()}
        full = batch.lengths is None
        make = np.empty if full else np.zeros
        arrays |= {f"out_{name}": make(batch.steps * batch.size * sizes.spaces[spec.states[name]], dtype) for name in spec.outputs}
        return arrays

    def _start(self, arrays: dict[str, Any], start: Arrays, batch: Batch) -> Arrays:
        """First states: the first rows of their trajectories, and, padded, what a reset row starts from."""
        found = {}
        for state, space in self.spec.states.items():
            rows = np.zeros((batch.size, self.sizes.row(space)), self.dtype)
            rows[:, : self.sizes.spaces[space]] = start[state]
            found[f"start_{state}"] = rows.reshape(-1)
        return found

    def _clockwork(self, batch: Batch) -> dict[str, Any]:
        """A chunk's own scratch, and the tables of a cell with periods."""
        structured = {f"starts_{key}": starts for key, starts in self._starts.items()}
        if self.periods is None:
            return structured
        tick = np.zeros(max(self.sizes.row(space) for space in self.sizes.spaces), self.dtype)
        table = self._awake(batch).reshape(-1) if self.spec.sleeping else EMPTY_BYTES
        return {**structured, "tick": tick, "periods": self.periods, "awake": table}

    def _awake(self, batch: Batch) -> NDArray[np.uint8]:
        return clock.awake(self.periods, batch.steps, self._units(0))

    def _forward_chunk(self, tape: Tape, k: int) -> None:
        chunk, arrays = tape.batch.chunks[k], {**tape.arrays, **tape.chunk_arrays[k]}
        for state, space in self.spec.states.items():
            row = self.sizes.row(space)
            rows = slice(chunk.first * row, (chunk.first + chunk.rows) * row)
            arrays[f"all_{state}"][rows] = arrays[f"start_{state}"][rows]
        block = arrays["kept"] if arrays["hoisted"] else max(tape.batch.running, 1)
        for begin in range(0, tape.batch.running, block):
            end = min(begin + block, tape.batch.running)
            if arrays["hoisted"]:
                self._call("project", arrays, chunk, begin, end)
            self._call("forward", arrays, chunk, begin, end)

    def _call(self, name: str, arrays: Mapping[str, Any], chunk: Chunk, begin: int, end: int) -> None:
        own = {"begin": begin, "end": end, "first": chunk.first, "rows": chunk.rows, "counts": chunk.counts}
        getattr(self.kernels, name)(*(own[n] if n in own else arrays[n] for n in self._names[name]))

    def last_states(self, tape: Tape) -> Arrays:
        """Each row's state after its last step, in the batch's order."""
        batch, depth = tape.batch, tape.arrays["depth"]
        places = (batch.sorted_lengths % depth) * batch.size + np.arange(batch.size)
        return {state: self._rows(tape.arrays[f"all_{state}"], space)[places] for state, space in self.spec.states.items()}

    def _rows(self, array: NDArray[Any], space: str) -> NDArray[Any]:
        """A padded flat array as rows without padding."""
        row = self.sizes.row(space)
        return array.reshape(-1, row)[:, : self.sizes.spaces[space]]

    # --- 3. backward

    def backward(self, tape: Tape, d_outputs: Arrays, d_state: Arrays) -> tuple[NDArray[Any], Arrays, Arrays, Arrays]:
        """Adjoints of what `forward` gave -> flat sums for `unpack`; gradients of inputs and of first states, in the batch's order."""
        if tape.spent:
            # the outputs of the first time are the user's
            tape.arrays |= {name: np.empty_like(array) for name, array in tape.arrays.items() if name.startswith("out_")}
            self.replay(tape)
        tape.spent = True
        arrays = {**tape.arrays, **self._adjoints(tape.batch, d_outputs, d_state)}
        tasks = [partial(self._backward_chunk, arrays, tape, k) for k in range(len(tape.batch.chunks))]
        pool.run(tasks or [lambda: None], max(len(tasks), 1))
        grads = self._outer(tape, arrays)
        return grads, self._input_gradients(tape, arrays), self._first_states(tape.batch, arrays), arrays

    def _adjoints(self, batch: Batch, d_outputs: Arrays, d_state: Arrays) -> Arrays:
        spec, sizes, dtype = self.spec, self.sizes, self.dtype
        arrays = {f"d_out_{name}": flat(array) for name, array in d_outputs.items()}
        for state, space in spec.states.items():
            rows = np.zeros((2, batch.size, sizes.row(space)), dtype)
            rows[:, :, : sizes.spaces[space]] = d_state[state]
            arrays[f"d_all_{state}"] = rows.reshape(-1)
            arrays[f"d_start_{state}"] = np.zeros(batch.size * sizes.row(space) if batch.resets.size else 0, dtype)
        widest = max(sizes.row(space) for space in sizes.spaces)
        names = {name for name in self._names["backward"] if name.startswith(("d_kept_", "d_param_"))}
        arrays |= {name: np.zeros(batch.size * self._adjoint_row(name, widest), dtype) for name in names}
        for name in spec.pointwise_inputs:
            arrays[f"d_seq_{name}"] = np.zeros(batch.steps * batch.size * sizes.spaces[spec.inputs[name]], dtype)
        arrays |= {f"ends_{key}": ends for key, ends in self._ends.items()}
        return arrays

    def _adjoint_row(self, name: str, widest: int) -> int:
        """Numbers in a row of an adjoint's array: that of its space."""
        value = name.removeprefix("d_kept_")
        space = {**self.spec.kept, **self.spec.states}.get(value)
        if name.startswith("d_param_"):
            shape = self.spec.parameters[name.removeprefix("d_param_")]
            space = shape[0] if shape else None
        return self.sizes.row(space or "H")

    def _backward_chunk(self, arrays: Arrays, tape: Tape, k: int) -> None:
        self._call("backward", {**arrays, **tape.chunk_arrays[k]}, tape.batch.chunks[k], 0, tape.batch.running)

    def _first_states(self, batch: Batch, arrays: Arrays) -> Arrays:
        found = {}
        for state, space in self.spec.states.items():
            rows = self._rows(arrays[f"d_all_{state}"], space)[: batch.size]
            extra = arrays[f"d_start_{state}"]
            found[state] = rows + self._rows(extra, space) if extra.size else rows.copy()
        return found

    # --- 4. products after the time loop

    def _outer(self, tape: Tape, arrays: Arrays) -> NDArray[Any]:
        grads = {}
        tasks: list[Callable[[], None]] = []
        for packed in self.sizes.packed:
            grads[packed.key] = np.zeros(packed.length, self.dtype), np.zeros(packed.columns, self.dtype)
            tasks += self._outer_tasks(tape, arrays, packed, grads[packed.key])
        threads = len(tape.batch.chunks)
        shares = [tasks[k::threads] for k in range(threads)] if threads else []
        pool.run([partial(_run_all, share) for share in shares] or [lambda: None], max(threads, 1))
        return grads

    def _outer_tasks(self, tape: Tape, arrays: Arrays, packed: Packed, grad) -> list[Callable[[], None]]:
        """One task for every thread and for every run of panels that are awake at the same steps."""
        kernel = outer_of(packed.product.run, packed.product.gates, packed.product.low)
        a, a_row = self._operand(arrays, packed)
        slots, slots_row = arrays[f"slots_{packed.stage}"], arrays[f"slots_{packed.stage}_row"]
        tasks = []
        for first, stop, index in self._panel_runs(tape, packed):
            start = int(self._starts[packed.key][first])
            for low, count in pool.parts(stop - first, len(tape.batch.chunks)):
                args = (first + low, first + low + count, index, start, packed.depth, a, a_row, slots, slots_row, *grad)
                tasks.append(partial(kernel, *args))
        return tasks

    def _operand(self, arrays: Arrays, packed: Packed) -> tuple[NDArray[Any], int]:
        """The rows (t, b) of what an operand's matrices multiply."""
        name, space = packed.operand, self.sizes.space_of(packed.operand)
        if name in self.spec.inputs:
            return arrays[f"seq_{name}"], self.sizes.spaces[space]
        if name.endswith("_prev") and name.removesuffix("_prev") in self.spec.states:
            return arrays[f"all_{name.removesuffix('_prev')}"], self.sizes.row(space)
        return arrays[f"kept_{name}"], self.sizes.row(space)

    def _panel_runs(self, tape: Tape, packed: Packed):
        """(first, stop, rows) of panels that share their valid rows."""
        index = tape.batch.index
        if not self.spec.sleeping:
            return [(0, packed.panels, index)] if packed.panels else []
        table = self._awake(tape.batch)
        changes = np.flatnonzero(np.any(table[:, 1:] != table[:, :-1], axis=0)) + 1
        edges = [0, *changes.tolist(), packed.panels]
        steps = index // max(tape.batch.size, 1)
        return [(first, stop, index[table[steps, first] != 0]) for first, stop in pairwise(edges) if stop > first]

    def _input_gradients(self, tape: Tape, arrays: Arrays) -> Arrays:
        batch, found = tape.batch, {}
        for name, space in self.spec.inputs.items():
            size = self.sizes.spaces[space]
            # whole registers write nothing beside the row, so it needs no padding
            shape, row = (batch.steps, batch.size, size), self.sizes.row(space) if size % self.sizes.lanes else size
            reached = [packed for packed in self.sizes.packed if packed.operand == name]
            total = None
            if reached:
                rows = np.zeros(batch.steps * batch.size * row, self.dtype)
                for packed in reached:
                    self._input_gradient(tape, arrays, packed, rows, row)
                total = np.ascontiguousarray(rows.reshape(-1, row)[:, :size]).reshape(shape)
            if f"d_seq_{name}" in arrays:
                own = arrays[f"d_seq_{name}"].reshape(shape)
                total = own if total is None else total + own
            found[name] = np.zeros(shape, self.dtype) if total is None else total
        return found

    def _input_gradient(self, tape: Tape, arrays: Arrays, packed: Packed, rows: NDArray[Any], row: int) -> None:
        kernel = transposed_of(packed.product.run, packed.product.gates, packed.product.low)
        slots, slots_row = arrays[f"slots_{packed.stage}"], arrays[f"slots_{packed.stage}_row"]
        segments, threads = self._segments(tape, packed), len(tape.batch.chunks)
        fixed = (packed.panels, self._ends[packed.key], slots, slots_row, arrays[f"back_{packed.key}"], rows, row, packed.depth)
        shares = [segments[first : first + count] for first, count in pool.parts(len(segments), threads)]
        pool.run([partial(kernel, share, *fixed) for share in shares], threads or 1)

    def _segments(self, tape: Tape, packed: Packed) -> NDArray[np.int64]:
        """(first row, rows, first panel, last panel) of every product."""
        batch = tape.batch
        if not self.spec.sleeping:
            return np.array([(*segment, 0, packed.panels) for segment in batch.segments], np.int64).reshape(-1, 4)
        table = self._awake(batch)
        by_step = [(t * batch.size + chunk.first, int(chunk.counts[t]), t) for t in range(batch.running) for chunk in batch.chunks]
        found = [(first, count, *panels) for first, count, t in by_step if count for panels in clock.runs(table[t])]
        return np.array(found, np.int64).reshape(-1, 4)

    # --- 5. unpack

    def unpack(self, grads, arrays: Arrays, batch: Batch, gradients: Parameters) -> None:
        """Packed sums -> gradients, each in the order in which its slots stand."""
        for packed in self.sizes.packed:
            matrices, sums = grads[packed.key]
            for matrix, place in self._terms(packed):
                if matrix in gradients:
                    pack.unpack_matrix(
                        matrices, 0, gradients.flat, gradients.offsets[matrix], packed.size, packed.depth, place,
                        packed.product.run, packed.units, packed.width,
                    )  # fmt: skip
        for k, stage in enumerate(self.spec.stages):
            for place, slot in enumerate(stage.slots):
                if slot.bias is not None and slot.bias in gradients:
                    self._unpack_bias(grads, k, place, slot.bias, gradients)
        for name in self.spec.accumulated:
            self._unpack_pointwise(arrays[f"d_param_{name}"], batch, name, gradients)

    def _unpack_bias(self, grads, k: int, place: int, bias: str, gradients: Parameters) -> None:
        """From the sums of the first operand that reaches the slot."""
        reaching = (p for p in self.sizes.packed if p.stage == k + 1 and 0 <= place - p.product.low < p.product.run)
        packed = next(reaching)
        sums = grads[packed.key][1]
        pack.unpack_sums(
            sums, 0, gradients.flat, gradients.offsets[bias], gradients[bias].size, place - packed.product.low, packed.product.run, packed.units
        )

    def _unpack_pointwise(self, array: NDArray[Any], batch: Batch, name: str, gradients: Parameters) -> None:
        shape = self.spec.parameters[name]
        space = shape[0] if shape else "H"
        pack.sum_rows(
            batch.places, array, self.sizes.row(space), self.sizes.spaces[space], gradients.flat, gradients.offsets[name], gradients[name].size
        )


def _run_all(tasks: list[Callable[[], None]]) -> None:
    for task in tasks:
        task()


def flat(array: NDArray[Any]) -> NDArray[Any]:
    """One-dimensional view of a contiguous array, of the one array type that the kernels are compiled for."""
    if array.flags.writeable and array.flags.aligned:
        return array.reshape(-1)
    if not array.flags.aligned:
        return array.copy().reshape(-1)
    return _unlocked(array)


def _unlocked(array: NDArray[Any]) -> NDArray[Any]:
    """A view that claims to be writable: Numba compiles another kernel for read-only arrays, and ours do not write to their inputs."""
    import ctypes

    bytes_ = (ctypes.c_char * array.nbytes).from_address(array.ctypes.data)
    view = np.frombuffer(bytes_, array.dtype)
    bytes_.owner = array
    return view


