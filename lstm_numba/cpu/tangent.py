"""The engine's work along a direction, on the tape that a forward left.

    1. pack       the direction of the parameters as the parameters are             (packed.py)
    2. forward    the change of everything that the tape holds
    3. backward   adjoints and their changes, side by side
    4. after      d_W = sum of d_z v', so its change is the sum of dot_d_z v' + d_z dot_v'
    5. unpack     as the gradients are                                              (packed.py)

An array's change has the array's name with `dot_` before it.  Nothing is summed across chunks here either.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from lstm_numba.batch import Batch
from lstm_numba.cpu import pool
from lstm_numba.cpu.engine import Adjoints, Arrays, Engine, Tape, flat

OPERANDS = ("seq_", "all_", "kept_")


@dataclass(frozen=True)
class Tangent:
    """Pushes one direction through the steps of a tape.

    Args:
        packed: the direction of the parameters, from `packing.pack`.
        inputs, start: directions of the sequences and of the first states, in the batch's order, contiguous.
    """

    engine: Engine
    tape: Tape
    packed: Arrays
    inputs: Arrays
    start: Arrays

    # --- 2. forward

    def forward(self, dot_stop: int) -> Arrays:
        """The changes, by the names of what changes.

        Args:
            dot_stop: 1 where what stop() holds back moves too, as the values of the tape do; else 0.
        """
        self.engine.renew(self.tape)
        arrays = {**self.tape.arrays, **_dotted(self._made()), "dot_stop": dot_stop}
        self._run("forward_tangent", arrays)
        return {name.removeprefix("dot_"): array for name, array in arrays.items() if name.startswith("dot_")}

    def _made(self) -> Arrays:
        """The direction, and arrays for what it changes; past a row's end the change of an output is 0."""
        tape, batch = self.tape, self.tape.batch
        made = {name: np.empty_like(array) for name, array in tape.lent.items()}
        made |= {name: np.zeros_like(array) for name, array in tape.arrays.items() if name.startswith("out_")}
        made |= {f"seq_{name}": flat(array) for name, array in self.inputs.items()}
        start = self.engine.start(self.start, batch)
        for name, rows in start.items():
            made[name.replace("start_", "all_", 1)][: rows.size] = rows
        return {**made, **start, **self.packed}

    def _run(self, kernel: str, arrays: Arrays) -> None:
        batch, own = self.tape.batch, self.tape.chunk_arrays
        pieces = zip(batch.chunks, own, strict=True)
        calls = [partial(self.engine.call, kernel, {**arrays, **a}, c, 0, batch.running) for c, a in pieces]
        pool.run(calls, len(calls))

    # --- 3. backward

    def backward(self, d_outputs: Arrays, d_state: Arrays, dot_d_outputs: Arrays, dot_d_state: Arrays) -> Adjoints:
        """The changes of all that a backward finds, from adjoints of outputs and last states and their changes."""
        engine, tape, batch = self.engine, self.tape, self.tape.batch
        changes = self.forward(dot_stop=1)
        tape.spent = True
        changes |= engine.adjoints(batch, dot_d_outputs, dot_d_state)
        arrays = {**tape.arrays, **engine.adjoints(batch, d_outputs, d_state)}
        self._run("backward_tangent", {**arrays, **_dotted(changes)})
        inputs, first = self._inputs(batch, arrays, changes), engine.first_states(batch, changes)
        return Adjoints(inputs, *first, self._gradients(batch, arrays, changes), changes)

    # --- 4. after

    def _gradients(self, batch: Batch, arrays: Arrays, changes: Arrays) -> Any:
        """Packed: the sums of d_z dot_v', then those of dot_d_z v' and, for the biases, of dot_d_z."""
        engine = self.engine
        grads, named = engine.packing.new_grads()
        engine.after.outer(batch, {**arrays, **_those(changes, OPERANDS)}, named)
        for sums in _those(named, "sums_").values():
            sums[...] = 0
        engine.after.outer(batch, {**arrays, **_those(changes, "slots_")}, named)
        return grads

    def _inputs(self, batch: Batch, arrays: Arrays, changes: Arrays) -> Arrays:
        """dot_d_x = W' dot_d_z + dot_W' d_z, and what scalar mathematics gives."""
        products = {name: array for name, array in arrays.items() if not name.startswith("d_seq_")}
        by_matrix = self.engine.after.inputs(batch, {**products, **_those(changes, "back_")})
        by_adjoint = self.engine.after.inputs(batch, {**products, **_those(changes, ("slots_", "d_seq_"))})
        return {name: by_adjoint[name] + change for name, change in by_matrix.items()}


def _dotted(arrays: Arrays) -> Arrays:
    return {f"dot_{name}": array for name, array in arrays.items()}


def _those(arrays: Arrays, kinds: str | tuple[str, ...]) -> Arrays:
    return {name: array for name, array in arrays.items() if name.startswith(kinds)}
