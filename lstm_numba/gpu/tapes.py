"""What a run keeps for its backward: everything, or the states at about sqrt(T) steps, which the rest is computed from.

Arrays are on the device, steps in the order in which they run.
"""

from dataclasses import replace
from typing import Any

from lstm_numba.errors import TapeError
from lstm_numba.gpu.engine import Adjoints, CudaEngine, Sequences
from lstm_numba.gpu.memory import backward_bytes, forward_bytes, total
from lstm_numba.gpu.shapes import Arrays
from lstm_numba.recomputed import STATES_ONLY, segments
from lstm_numba.run import require_tape

Names = tuple[str, ...]


class Whole:
    """All steps at once; with `save` False nothing is kept."""

    def __init__(self, engine: CudaEngine, packed: Arrays, given: Sequences, save: bool) -> None:
        self.engine = engine
        self.tape = engine.forward(packed, given, save)
        self.outputs = {name: engine.output(self.tape, name) for name in engine.spec.outputs}
        self.state = engine.last_states(self.tape)

    def require(self, along: bool = False) -> None:
        """Refuse a backward, or a derivative along a direction, where too little was kept."""
        require_tape(self.tape.saved)

    def backward(self, d_outputs: Arrays, d_state: Arrays, names: Names, parameters: Names) -> Adjoints:
        return self.engine.backward(self.tape, d_outputs, d_state, names, parameters)

    @staticmethod
    def bytes(engine: CudaEngine, steps: int, batch: int, save: bool) -> tuple[int, int]:
        """Of a forward, and of its backward besides."""
        return forward_bytes(engine.shapes, steps, batch, save), backward_bytes(engine.shapes, steps, batch)


class Segmented:
    """Segment after segment; the backward runs the last one first, forward again and then back."""

    def __init__(self, engine: CudaEngine, packed: Arrays, given: Sequences, turns: tuple[int, ...]) -> None:
        self.engine, self.packed, self.given, self.xp = engine, packed, given, engine.device.xp
        self.segments, self.entering = tuple(segments(given.steps, turns)), []
        flat = engine.shapes.outputs(given.steps, given.batch)
        spec = engine.spec
        self.outputs = {n: engine.shaped(flat[f"out_{n}"], given, spec.states[n]) for n in spec.outputs}
        self.state = dict(given.entering)
        for steps in self.segments:
            self.entering.append(self._begun(steps, self.state))
            run = Whole(engine, packed, self._cut(steps, self.entering[-1]), save=False)
            self.state = run.state
            for name, array in run.outputs.items():
                self.outputs[name][steps] = array

    def _cut(self, steps: slice, entering: Arrays) -> Sequences:
        """Some steps of what the run reads."""
        given, count = self.given, steps.stop - steps.start
        return replace(
            given,
            steps=count,
            inputs={name: array[steps] for name, array in given.inputs.items()},
            entering=entering,
            lengths=(given.lengths - steps.start).clip(0, count),
            is_full=given.is_full,
            running=min(max(given.running - steps.start, 0), count),
            resets=given.resets[steps.start * given.batch : steps.stop * given.batch],
        )

    def _restarted(self, steps: slice) -> Any:
        """(B, 1): rows that begin anew at the first of these steps; None where there are no resets."""
        given = self.given
        if not given.resets.size:
            return None
        marks = given.resets[steps.start * given.batch : (steps.start + 1) * given.batch]
        return ((marks != 0) & (given.lengths > steps.start))[:, None]

    def _begun(self, steps: slice, state: Arrays) -> Arrays:
        marks = self._restarted(steps)
        if marks is None:
            return state
        return {name: self.xp.where(marks, self.given.start[name], array) for name, array in state.items()}

    def require(self, along: bool = False) -> None:
        """There is always enough for a backward."""
        if along:
            raise TapeError(STATES_ONLY)

    def backward(self, d_outputs: Arrays, d_state: Arrays, names: Names, parameters: Names) -> Adjoints:
        given = self.given
        inputs = {name: self.xp.empty_like(given.inputs[name]) for name in names}
        restarts = {name: self.xp.zeros_like(array) for name, array in d_state.items()}
        flat = self.engine.shapes.zeros(self.engine.shapes.parameters)
        for steps, entering in zip(reversed(self.segments), reversed(self.entering), strict=True):
            tape = self.engine.forward(self.packed, self._cut(steps, entering), save=True)
            arriving = {name: array[steps] for name, array in d_outputs.items()}
            found = self.engine.backward(tape, arriving, d_state, names, parameters)
            flat += found.flat
            for name, array in found.inputs.items():
                inputs[name][steps] = array
            for name, array in found.restarts.items():
                restarts[name] += array
            d_state = self._released(steps, found.entering, restarts)
        return Adjoints(inputs, d_state, restarts, flat)

    def _released(self, steps: slice, adjoints: Arrays, restarts: Arrays) -> Arrays:
        """What rows that began anew send back belongs to their first states."""
        marks = self._restarted(steps)
        if marks is None:
            return adjoints
        for name, array in adjoints.items():
            restarts[name] += self.xp.where(marks, array, 0)
        return {name: self.xp.where(marks, 0, array) for name, array in adjoints.items()}

    @staticmethod
    def bytes(engine: CudaEngine, steps: int, batch: int, turns: tuple[int, ...]) -> tuple[int, int]:
        """Of a forward, and of its backward besides."""
        shapes, found = engine.shapes, tuple(segments(steps, turns))
        count = max((piece.stop - piece.start for piece in found), default=0)
        states = sum(shapes.spaces[space] for space in shapes.spec.states.values()) * batch
        kept = total(shapes, lambda s: s.outputs(steps, batch)) + len(found) * states * shapes.types.arithmetic.itemsize
        again = forward_bytes(shapes, count, batch, save=True) + backward_bytes(shapes, count, batch)
        sequences = sum(shapes.spaces[space] for space in shapes.spec.inputs.values()) * steps * batch
        return kept + forward_bytes(shapes, count, batch, save=False), again + sequences * shapes.types.stored.itemsize
