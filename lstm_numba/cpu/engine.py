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
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from operator import itemgetter
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lstm_numba.batch import Batch
from lstm_numba.cpu.activity import Activity
from lstm_numba.cpu.after import After
from lstm_numba.cpu.calls import Call
from lstm_numba.cpu.kernels import KERNELS
from lstm_numba.cpu.memory import Handed, Loan
from lstm_numba.cpu.packed import Filled, Packing
from lstm_numba.cpu.script import Blank, Phase, Script
from lstm_numba.cpu.target import HEIGHTS, SLOTS_TOGETHER, WIDE
from lstm_numba.cpu.workspace import Extent, Place, Reel, Work, Workspaces
from lstm_numba.parameters import Parameters
from lstm_numba.sizes import Sizes
from lstm_numba.spec import CellSpec
from lstm_numba.words import Product

Arrays = dict[str, Any]

# Steps whose input products are computed ahead of the time loop where the batch is too short to fill a tile: so many,
# or more while their slots lie in the second-level cache.
AHEAD = 64
EMPTY_BYTES = np.zeros(0, np.uint8)


@dataclass
class Tape:
    """What a forward leaves for its backward.

    Attributes:
        handed: sequences, and outputs, by their names in the kernels.
    """

    batch: Batch
    handed: Arrays
    saved: bool
    extent: Extent
    lent: Loan[Reel]
    packed: Loan[Filled]
    spent: bool = False

    @property
    def arrays(self) -> Arrays:
        """Every array by the name it has in the kernels."""
        return {**self.lent.work.arrays, **self.handed}


@dataclass(frozen=True)
class Adjoints:
    """What a backward found, in the batch's order.

    Attributes:
        parameters: those whose gradients can be unpacked.
    """

    parameters: tuple[str, ...]
    inputs: Arrays
    entering: Arrays  # of the states that entered the first step
    restarts: Arrays  # of the first states, from rows that were reset to them; none where no row was
    lent: Loan[Work]  # where the sums are, packed

    @property
    def first_states(self) -> Arrays:
        """Of first states that entered the first step too."""
        if not self.restarts:
            return self.entering
        return {name: rows + self.restarts[name] for name, rows in self.entering.items()}


class Engine:
    """The kernels of a generated module at one size.

    Args:
        module: the generated module; `kernels` holds its project, forward and backward as they are to be run.
        parts: of parameters and constants, for their places only; see `Packing`.
        periods: of the modules of units, for a cell with a clock.
    """

    def __init__(
        self,
        module: ModuleType,
        kernels: Any,
        spaces: dict[str, int],
        dtype: np.dtype[Any],
        parts: Sequence[Parameters],
        periods: tuple[int, ...] | None,
    ) -> None:
        self.spec: CellSpec = module.CELL
        self.dtype, self.kernels = dtype, kernels
        products = {name: value for name, value in vars(module).items() if isinstance(value, Product)}
        self.sizes = Sizes(self.spec, products, spaces, dtype)
        self.activity = Activity(self.spec, self.sizes, periods)
        self.packing = Packing(self.spec, self.sizes, parts)
        self.handed = Handed(dtype)
        self.after = After(self.spec, self.sizes, self.activity, self.handed)
        names = {name: tuple(inspect.signature(getattr(module, name)).parameters) for name in KERNELS}
        self._arguments = {name: itemgetter(*known) for name, known in names.items()}
        self._fixed = self._fixed_arguments()
        summed = [name for name in names["backward"] if name.startswith(("d_kept_", "d_param_"))]
        rows = {name: self.sizes.row(self._space_of_adjoint(name)) for name in summed}
        self.serving = cache(self.packing.serving)
        self.work = Workspaces(self.spec, self.sizes, self.packing, rows)

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
        packed: Loan[Filled],
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
        extent = batch.table(f"extent {save}", lambda: self._extent(batch, save))
        lent = self.work.tapes.lend(extent.held, extent.depth, extent.kept, len(extent.spans))
        handed = self._outputs(batch) | {f"seq_{name}": flat(array) for name, array in inputs.items()}
        tape = Tape(batch, handed, save, extent, lent, packed)
        self.enter(tape, lent.work, start, entering)
        self._script(tape).run(handed)
        return tape

    def _extent(self, batch: Batch, save: bool) -> Extent:
        hoisted = self._is_short(batch)
        block = batch.steps if save else min(batch.steps, self._ahead(batch.size)) if hoisted else 1
        spans, held = (batch.whole, batch.size) if save else (batch.spans, batch.most_rows)
        return Extent(spans, held, batch.steps + 1 if save else 2, max(block, 1), hoisted)

    def _script(self, tape: Tape) -> Script:
        """The calls that fill the tape; written down anew where the last borrower had another batch or parameters."""
        reel, batch, packed = tape.lent.work, tape.batch, tape.packed.work
        if reel.forward is None or reel.forward.subject != (batch, packed):
            reel.forward = reel.backward = None  # also for whoever comes after an interruption
            extent, blanks = tape.extent, {name: Blank(name) for name in tape.handed}
            reel.arrays = {**self._fixed, **packed.pieces, **reel.works[0].arrays, **blanks, "resets": batch.resets}
            reel.arrays |= {"depth": extent.depth, "kept": extent.kept, "batch": batch.size, "held": extent.held}
            reel.arrays["hoisted"] = extent.hoisted
            reel.chunk_arrays = [self._own(tape, k) for k in range(len(batch.chunks))]
            phase = self._on_chunks(tape, reel.arrays, self._forward_chunk)
            reel.forward = Script([phase], len(batch.chunks), (batch, packed))
        return reel.forward

    def renew(self, tape: Tape) -> None:
        """Run all steps again if a backward has worked in the tape's arrays."""
        if tape.spent:
            tape.handed |= self._outputs(tape.batch)  # those of the first time are the user's
            self._script(tape).run(tape.handed)
            tape.spent = False

    def _ahead(self, size: int) -> int:
        return max(AHEAD, SLOTS_TOGETHER // max(size * sum(self.sizes.slot_rows), 1))

    def _is_short(self, batch: Batch) -> bool:
        return batch.most_rows < HEIGHTS[WIDE][0] and batch.steps > 1 and not self.spec.sleeping

    def _outputs(self, batch: Batch) -> Arrays:
        """What the user gets; past a row's end it must be 0."""
        spec, spaces, rows = self.spec, self.sizes.spaces, batch.steps * batch.size
        make = self.handed.empty if batch.lengths is None else self.handed.zeros
        return {f"out_{name}": make(name, rows * spaces[spec.states[name]]) for name in spec.outputs}

    def enter(self, tape: Tape, reel: Reel, start: Arrays, entering: Arrays | None = None) -> None:
        """Put states where the first step reads them, and where resets do."""
        if reel.extent is not tape.extent:
            reel.first, reel.restart = (self._places(reel, tape.extent, kind) for kind in ("all", "start"))
            reel.last = self._last_rows(tape, reel) if tape.batch.lengths is None else {}
            reel.extent = tape.extent
        _put(reel.first, start if entering is None else entering)
        if tape.batch.resets.size:
            _put(reel.restart, start)

    def _places(self, reel: Reel, extent: Extent, kind: str) -> list[Place]:
        """Of the states (B, space) that enter a reel's works."""
        parts = zip(reel.works, extent.spans, strict=True)
        rows, states = [(work, slice(first, first + count)) for work, (first, count) in parts], self.spec.states
        return [(state, part, *work.first(f"{kind}_{state}", part)) for work, part in rows for state in states]

    def _own(self, tape: Tape, number: int) -> Arrays:
        """What a chunk has for itself; of a cell with a clock, which units and panels are awake."""
        batch, chunk = tape.batch, tape.batch.chunks[number]
        own: Arrays = {"first": chunk.first, "rows": chunk.rows, "counts": chunk.counts}
        own["top"] = chunk.first if tape.saved else 0
        if not tape.saved:
            own |= tape.lent.work.works[number].arrays
        if self.activity.periods is None:
            return own
        tick = np.zeros(max(self.sizes.row(space) for space in self.sizes.spaces), self.dtype)
        table = self.activity.awake(batch.steps).reshape(-1) if self.spec.sleeping else EMPTY_BYTES
        return {**own, "tick": tick, "awake": table}

    def _on_chunks(self, tape: Tape, arrays: Arrays, work: Callable[[int, Arrays], list[Call]]) -> Phase:
        """Each chunk on its own thread, with the arrays of all and its own."""
        return [work(tape.batch.running, {**arrays, **own}) for own in tape.lent.work.chunk_arrays]

    def _forward_chunk(self, running: int, arrays: Arrays) -> list[Call]:
        block = arrays["kept"] if arrays["hoisted"] else max(running, 1)
        names = ("project", "forward") if arrays["hoisted"] else ("forward",)
        blocks = ((begin, min(begin + block, running)) for begin in range(0, running, block))
        return [self._call(name, arrays, *steps) for steps in blocks for name in names]

    def _call(self, name: str, arrays: Arrays, begin: int, end: int) -> Call:
        arrays["begin"], arrays["end"] = begin, end
        return getattr(self.kernels, name), self._arguments[name](arrays)

    def sweep(self, name: str, tape: Tape, arrays: Arrays) -> Phase:
        """One kernel over all steps of all chunks."""
        return self._on_chunks(tape, arrays, lambda running, own: [self._call(name, own, 0, running)])

    def last_states(self, tape: Tape, reel: Reel) -> Arrays:
        """Each row's state after its last step, in the batch's order."""
        pieces = reel.last or self._last_rows(tape, reel)
        return {state: np.concatenate(rows) if len(rows) > 1 else rows[0].copy() for state, rows in pieces.items()}

    def _last_rows(self, tape: Tape, reel: Reel) -> dict[str, list[NDArray[Any]]]:
        held = [(work, self._last_places(tape, span)) for work, span in zip(reel.works, tape.extent.spans, strict=True)]
        return {state: [work.rows[f"all_{state}"][rows] for work, rows in held] for state in self.spec.states}

    def _last_places(self, tape: Tape, span: tuple[int, int]) -> Any:
        """Of the rows of a span, in the arrays of their states."""
        (first, rows), depth, held, lengths = span, tape.extent.depth, tape.extent.held, tape.batch.lengths
        if lengths is None:
            place = tape.batch.steps % depth * held
            return slice(place, place + rows)
        return tape.batch.sorted_lengths[first : first + rows] % depth * held + np.arange(rows)

    # --- 3. backward

    def backward(
        self, tape: Tape, d_outputs: Arrays, d_state: Arrays, inputs: tuple[str, ...], parameters: tuple[str, ...]
    ) -> Adjoints:
        """Pull adjoints of outputs and last states, in the batch's order, back through all steps to what is named."""
        self.renew(tape)
        tape.spent = True
        batch, (lent, handed) = tape.batch, self.adjoints(tape.batch, d_outputs, d_state)
        handed |= {**tape.handed, **self.after.rows(batch, inputs)}
        self._script_back(tape, lent.work, handed, inputs, parameters).run(handed)
        found = self.after.found(batch, handed, inputs)
        return Adjoints(parameters, found, *self.first_states(batch, lent.work), lent)

    def _script_back(
        self, tape: Tape, work: Work, handed: Iterable[str], inputs: tuple[str, ...], parameters: tuple[str, ...]
    ) -> Script:
        """The calls of steps 3 and 4; written down anew where they are to find something else, or elsewhere."""
        reel, batch, after = tape.lent.work, tape.batch, self.after
        if reel.backward is None or reel.backward.subject != (work, inputs, parameters):
            arrays = {**reel.arrays, **work.arrays, **{name: Blank(name) for name in handed}}
            outer = after.outer(batch, arrays, self.serving(parameters))
            phases = [self.sweep("backward", tape, arrays), outer, *after.inputs(batch, arrays, inputs)]
            reel.backward = Script(phases, len(batch.chunks), (work, inputs, parameters))
        return reel.backward

    def adjoints(self, batch: Batch, d_outputs: Arrays, d_state: Arrays) -> tuple[Loan[Work], Arrays]:
        """Where a backward sums up, with what arrives at last states; what arrives at outputs, and further zeros."""
        lent = self.work.adjoints.lend(batch.size)
        lent.work.whole.fill(0)
        for state, rows in d_state.items():
            both = lent.work.rows[f"d_all_{state}"]  # a row may end at an odd or an even step
            both[: batch.size] = both[batch.size :] = rows
        handed = {f"d_out_{name}": flat(array) for name, array in d_outputs.items()}
        for name in self.spec.pointwise_inputs:
            length = batch.steps * batch.size * self.sizes.spaces[self.spec.inputs[name]]
            handed[f"d_seq_{name}"] = np.zeros(length, self.dtype)
        return lent, handed

    def _space_of_adjoint(self, name: str) -> str:
        """The space of a value or parameter whose adjoint has rows."""
        spec = self.spec
        rows = {array: space for parameter in spec.accumulated for array, space in spec.adjoint_rows(parameter).items()}
        return rows.get(name) or {**spec.kept, **spec.states}.get(name.removeprefix("d_kept_"), "H")

    def first_states(self, batch: Batch, work: Work) -> tuple[Arrays, Arrays]:
        """Adjoints of the states that entered the first step, and of those to which resets returned."""
        states, reset = self.spec.states, self.spec.states if batch.resets.size else ()
        entering = {state: work.rows[f"d_all_{state}"][: batch.size].copy() for state in states}
        return entering, {state: work.rows[f"d_start_{state}"].copy() for state in reset}


def _put(places: list[Place], states: Arrays) -> None:
    for state, part, rows, memory in places:
        if memory.size:
            memory.fill(0)
        rows[...] = states[state][part]


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
