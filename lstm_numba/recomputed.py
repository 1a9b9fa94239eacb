"""A run that keeps states only, and those of few steps: its backward computes the rest again.

    forward     segment after segment, from the state that enters it to the one that leaves it; only these are kept
    backward    the last segment first: forward again, keeping all; then its transpose, from the adjoint of the state
                that left it to that of the state that entered it

With about sqrt(T) segments of about sqrt(T) steps, what is kept grows with sqrt(T) instead of T.  The price is one more
forward.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from math import ceil, lcm, sqrt
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from lstm_numba.batch import Batch
from lstm_numba.errors import TapeError
from lstm_numba.parameters import Parameters
from lstm_numba.run import Arrays, Gradients, Run, wanted_of

if TYPE_CHECKING:
    from lstm_numba.layer import Layer

STATES_ONLY = (
    'this forward kept states only: it was called with save="states"; call it with save=True for derivatives '
    "along a direction."
)


class _Segment(Run):
    """Some steps of a run, in the run's own direction of time."""

    def __init__(self, whole: Recomputed, steps: slice, entering: Arrays, save: bool) -> None:
        inputs = {name: array[steps] for name, array in whole._inputs.items()}
        lengths = None if whole._lengths is None else (whole._lengths - steps.start).clip(0, steps.stop - steps.start)
        marks = None if whole._marks is None else whole._marks[steps]
        self._open(whole.layer, inputs, lengths)
        self._batch = whole.layer._batch(self.steps, self.size, lengths, marks)
        self._run(inputs, whole._start, whole._packed, save, entering)

    def _is_turned(self) -> bool:
        return False


class Recomputed(Run):
    """What one forward with save="states" gave: as of `Run`, its backward costs another forward."""

    def __init__(self, layer: Layer, theta: Any, inputs: Arrays, start: Arrays, lengths: Any, resets: Any) -> None:
        self._open(layer, inputs, lengths)
        self._batch = Batch(self.steps, self.size, None, None, 1)  # the segments order their rows themselves
        self._inputs, self._start, self._lengths = self._sequences_to_ours(inputs), start, lengths
        self._marks = None if resets is None else self._turned(resets)
        self._packed = layer._packed(True, theta)
        self._segments = tuple(segments(self.steps, layer._periods or (1,)))
        self._forward()

    def _forward(self) -> None:
        shapes = {name: (self.steps, self.size, units) for name, units in self.layer._output_sizes.items()}
        outputs = {name: np.empty(shape, self.layer.dtype) for name, shape in shapes.items()}
        self._entering, self.state = [], dict(self._start)
        for steps in self._segments:
            self._entering.append(self.state)
            run = _Segment(self, steps, self.state, save=False)
            self.state = run.state
            for name, array in run.outputs.items():
                outputs[name][steps] = array
        self.outputs = {name: self._to_theirs(array) for name, array in outputs.items()}

    def backward(
        self,
        d_output: ArrayLike | None = None,
        d_state: Mapping[str, ArrayLike] | None = None,
        *,
        d_outputs: Mapping[str, ArrayLike] | None = None,
        inputs: Collection[str] | None = None,
        parameters: Collection[str] | None = None,
    ) -> Gradients[Parameters]:
        """As of `Run`."""
        wanted, trained = wanted_of(self.layer.spec, inputs, parameters)
        arriving, state = self._adjoints_to_ours("d_", d_output, d_outputs, d_state)
        d_parameters = self.layer._zero_gradients()
        sequences = {name: np.empty_like(self._inputs[name]) for name in wanted}
        restarts = {name: np.zeros_like(array) for name, array in state.items()}
        for steps, entering in zip(reversed(self._segments), reversed(self._entering), strict=True):
            run = _Segment(self, steps, entering, save=True)
            last = run._states_to_ours(state)
            above = run._sequences_to_ours({name: array[steps] for name, array in arriving.items()})
            adjoints = run._pulled(above, last, wanted, trained)
            run._add_gradients(adjoints, d_parameters)
            for name, array in adjoints.inputs.items():
                sequences[name][steps] = run._to_theirs(array)
            state = run._states_to_theirs(adjoints.entering)
            for name, rows in run._states_to_theirs(adjoints.restarts).items():
                restarts[name] += rows
        found = {name: self._to_theirs(array) for name, array in sequences.items()}
        first = {name: rows + restarts[name] for name, rows in state.items()}
        return Gradients(found.get(self.layer._main), found, d_parameters, first)

    def _require_tape(self) -> None:
        raise TapeError(STATES_ONLY)


def segments(steps: int, periods: tuple[int, ...]) -> Iterator[slice]:
    """Segments of about sqrt(T) steps; of whole turns of a clock, so that each can count its steps from 0."""
    turn = lcm(*periods)
    length = turn * max(1, ceil(sqrt(steps) / turn))
    for first in range(0, steps, length):
        yield slice(first, min(first + length, steps))
