"""The engine's work along a direction, on the tape that a forward left.

    1. pack       the direction of the parameters as the parameters are             (packed.py)
    2. forward    the change of everything that the tape holds
    3. backward   adjoints and their changes, side by side
    4. after      d_W = sum of d_z v', so its change is the sum of dot_d_z v' + d_z dot_v'
    5. unpack     as the gradients are                                              (packed.py)

An array's change has the array's name with `dot_` before it.  Nothing is summed across chunks here either.
"""

from dataclasses import dataclass

import numpy as np

from lstm_numba.batch import Batch
from lstm_numba.cpu import pool
from lstm_numba.cpu.engine import Adjoints, Arrays, Engine, Tape, flat
from lstm_numba.cpu.memory import Loan
from lstm_numba.cpu.packed import Filled
from lstm_numba.cpu.script import Phase
from lstm_numba.cpu.workspace import Reel

OPERANDS = ("seq_", "all_", "kept_")
GRADIENTS = ("grad_", "sums_")


@dataclass(frozen=True)
class Tangent:
    """Pushes one direction through the steps of a tape.

    Args:
        packed: the direction of the parameters, from `packing.pack`.
        inputs, start: directions of the sequences and of the first states, in the batch's order, contiguous.
    """

    engine: Engine
    tape: Tape
    packed: Loan[Filled]
    inputs: Arrays
    start: Arrays

    # --- 2. forward

    def forward(self, dot_stop: int) -> tuple[Loan[Reel], Arrays]:
        """The changes, by the names of what changes, and the loan of those that only kernels see.

        Args:
            dot_stop: 1 where what stop() holds back moves too, as the values of the tape do; else 0.
        """
        self.engine.renew(self.tape)
        lent, changes = self._made()
        arrays = {**self.tape.arrays, **_dotted(changes), "dot_stop": dot_stop}
        self._run(self.engine.sweep("forward_tangent", self.tape, arrays))
        return lent, changes

    def _run(self, *phases: Phase) -> None:
        for phase in phases:
            pool.run(phase, len(self.tape.batch.chunks))

    def _made(self) -> tuple[Loan[Reel], Arrays]:
        """The direction, and arrays for what it changes; past a row's end the change of an output is 0."""
        tape, engine = self.tape, self.engine
        lent = engine.work.tapes.lend(*tape.lent.key)
        engine.enter(tape, lent.work, self.start)
        made = {name: np.zeros_like(array) for name, array in tape.handed.items() if name.startswith("out_")}
        made |= {f"seq_{name}": flat(array) for name, array in self.inputs.items()}
        return lent, {**made, **lent.work.works[0].arrays, **self.packed.work.pieces}

    # --- 3. backward

    def backward(self, d_outputs: Arrays, d_state: Arrays, dot_d_outputs: Arrays, dot_d_state: Arrays) -> Adjoints:
        """The changes of all that a backward finds, from adjoints of outputs and last states and their changes."""
        engine, tape, batch = self.engine, self.tape, self.tape.batch
        _held, changes = self.forward(dot_stop=1)
        tape.spent = True
        also, arriving = engine.adjoints(batch, d_outputs, d_state)
        lent, dot_arriving = engine.adjoints(batch, dot_d_outputs, dot_d_state)
        arrays = {**tape.arrays, **also.work.arrays, **arriving}
        changes = {**changes, **lent.work.arrays, **dot_arriving}
        self._run(engine.sweep("backward_tangent", tape, {**arrays, **_dotted(changes)}))
        self._add_gradients(batch, arrays, changes)
        parameters, inputs = tuple(engine.spec.parameters), self._inputs(batch, arrays, changes)
        return Adjoints(parameters, inputs, *engine.first_states(batch, lent.work), lent)

    # --- 4. after

    def _add_gradients(self, batch: Batch, arrays: Arrays, changes: Arrays) -> None:
        """Packed: the sums of d_z dot_v', then those of dot_d_z v' and, for the biases, of dot_d_z."""
        engine, gradients = self.engine, _those(changes, GRADIENTS)
        keys = engine.serving(tuple(engine.spec.parameters))
        self._run(engine.after.outer(batch, {**arrays, **_those(changes, OPERANDS), **gradients}, keys))
        for sums in _those(gradients, "sums_").values():
            sums[...] = 0
        self._run(engine.after.outer(batch, {**arrays, **_those(changes, "slots_"), **gradients}, keys))

    def _inputs(self, batch: Batch, arrays: Arrays, changes: Arrays) -> Arrays:
        """dot_d_x = W' dot_d_z + dot_W' d_z, and what scalar mathematics gives."""
        products = {name: array for name, array in arrays.items() if not name.startswith("d_seq_")}
        by_matrix = self._pulled(batch, {**products, **_those(changes, "back_")})
        by_adjoint = self._pulled(batch, {**products, **_those(changes, ("slots_", "d_seq_"))})
        return {name: by_adjoint[name] + change for name, change in by_matrix.items()}

    def _pulled(self, batch: Batch, arrays: Arrays) -> Arrays:
        after, names = self.engine.after, self.engine.spec.inputs
        arrays = {**arrays, **after.rows(batch, names)}
        self._run(*after.inputs(batch, arrays, names))
        return after.found(batch, arrays, names)


def _dotted(arrays: Arrays) -> Arrays:
    return {f"dot_{name}": array for name, array in arrays.items()}


def _those(arrays: Arrays, kinds: str | tuple[str, ...]) -> Arrays:
    return {name: array for name, array in arrays.items() if name.startswith(kinds)}
