"""One forward of a layer on a CUDA device, and its backward."""

import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from lstm_numba.gpu.engine import Sequences
from lstm_numba.gpu.memory import backward_bytes, check_free, forward_bytes
from lstm_numba.parameters import Parameters
from lstm_numba.run import Gradients, Output, check_saved

if TYPE_CHECKING:
    from lstm_numba.gpu.layer import Placed

Arrays = dict[str, Any]

SMALLER = "take fewer steps or rows at once, or make the layer with dtype='bfloat16', which needs less"


class CudaRun(Output):
    """As `lstm_numba.Run`, its arrays of the kind that x was: torch, CuPy or NumPy."""

    def __init__(
        self, placed: "Placed", exchange: Any, inputs: Arrays, start: Arrays, lengths: Any, resets: Any, save: bool
    ) -> None:
        self._placed, self._exchange, self._lock = placed, exchange, threading.Lock()
        layer, engine, xp = placed.layer, placed.engine, placed.device.xp
        self._layer = layer
        self.steps, self.size = next(iter(inputs.values())).shape[:2]
        ends = np.full(self.size, self.steps) if lengths is None else lengths
        self._flip = self._reversal(ends) if layer.reverse else None
        needed = forward_bytes(engine.shapes, layer._theta.flat.size, self.steps, self.size, save)
        check_free(needed, placed.device.free_bytes(), "this forward", f"{'call it with save=False, ' * save}{SMALLER}")
        given = Sequences(
            steps=self.steps,
            batch=self.size,
            inputs={name: self._turned(self._without_ends(array, lengths)) for name, array in inputs.items()},
            start=start,
            lengths=xp.asarray(ends.astype(np.int64)),
            running=int(ends.max(initial=0)),
            resets=xp.zeros(0, np.uint8) if resets is None else self._turned(resets).reshape(-1),
        )
        self._tape = engine.forward(placed.packed(), given, save)
        self.outputs = {
            name: exchange.give(self._turned(engine.output(self._tape, name))) for name in layer.spec.outputs
        }
        self.state = {name: exchange.give(array) for name, array in engine.last_states(self._tape).items()}

    def _without_ends(self, array: Any, lengths: Any) -> Any:
        """The sequence with 0 past the rows' ends: what stands there takes no part, not even as a NaN."""
        if lengths is None or int(lengths.min(initial=self.steps)) == self.steps:
            return array
        xp = self._placed.device.xp
        valid = xp.asarray(np.arange(self.steps)[:, None] < lengths)
        return xp.where(valid[:, :, None], array, array.dtype.type(0))

    def _reversal(self, ends: Any) -> Any:
        """(T, B): the step that stands at each place when the valid part of every row is turned round."""
        time = np.arange(self.steps)[:, None]
        return self._placed.device.xp.asarray(np.where(time < ends, ends - 1 - time, time))

    def _turned(self, array: Any) -> Any:
        if self._flip is None:
            return array
        xp = self._placed.device.xp
        return xp.ascontiguousarray(array[self._flip, xp.arange(self.size)])

    # --- backward

    def backward(
        self,
        d_output: Any = None,
        d_state: Mapping[str, Any] | None = None,
        *,
        d_outputs: Mapping[str, Any] | None = None,
    ) -> Gradients[Parameters]:
        """As `lstm_numba.Run.backward`."""
        check_saved(self._tape.saved)
        placed, engine = self._placed, self._placed.engine
        with self._exchange.stream(), self._lock:  # a backward works in the tape's own arrays
            given = self._named_outputs(d_output, d_outputs)
            wanted = {
                name: self._turned(placed.output(what, value, name, self)) for name, (what, value) in given.items()
            }
            last = placed.states("d_state", d_state, self.size)
            needed = backward_bytes(engine.shapes, self._layer._theta.flat.size, self.steps, self.size)
            check_free(needed, placed.device.free_bytes(), "this backward", SMALLER)
            inputs, first, flat = engine.backward(self._tape, wanted, last)
            return self._gradients(inputs, first, flat)

    def _gradients(self, inputs: Arrays, first: Arrays, flat: Any) -> Gradients[Parameters]:
        layer, give = self._layer, self._exchange.give
        found = Parameters(layer.parameters.shapes, layer.dtype, flat[: layer.parameters.flat.size])
        layer._clear_masked(found)
        found.flat = give(found.flat)
        sequences = {name: give(self._turned(array)) for name, array in inputs.items()}
        state = {name: give(array) for name, array in first.items()}
        return Gradients(sequences[layer.spec.main], sequences, found, state)
