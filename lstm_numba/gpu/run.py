"""One forward of a layer on a CUDA device, and its backward."""

import threading
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from lstm_numba import checks
from lstm_numba.gpu.engine import Adjoints, Sequences
from lstm_numba.gpu.memory import check_free, tangent_bytes
from lstm_numba.gpu.tangent import Tangent
from lstm_numba.gpu.tapes import Segmented, Whole
from lstm_numba.run import Gradients, Tangents, of_outputs, wanted_of

if TYPE_CHECKING:
    from lstm_numba.gpu.layer import DeviceLayer

Arrays = dict[str, Any]

SMALLER = "take fewer steps or rows at once, or make the layer with dtype='bfloat16', which needs less"
KEEPING_LESS = 'call it with save="states" or, where no backward follows, save=False; '


class CudaRun:
    """As `lstm_numba.Run`, its arrays of the kind that x was: torch, CuPy or NumPy."""

    def __init__(
        self,
        layer: "DeviceLayer",
        packed: Arrays,
        exchange: Any,
        inputs: Arrays,
        start: Arrays,
        lengths: Any,
        resets: Any,
        save: bool | str,
    ) -> None:
        self._layer, self._exchange, self._lock = layer, exchange, threading.Lock()
        engine, xp = layer.engine, layer.device.xp
        self.steps, self.size = inputs[layer.spec.main].shape[:2]
        full = lengths is None or int(lengths.min(initial=self.steps)) == self.steps
        # a new array of ordinary memory, which CuPy copies aside before it returns: nothing is waited for
        ends = xp.full(self.size, self.steps, np.int64) if lengths is None else xp.asarray(lengths)
        self._flip = self._reversal(ends) if layer.reverse else None
        kept: Any
        how: Any
        kept, how = (Segmented, layer.periods) if isinstance(save, str) else (Whole, save)
        needed, self._backward_bytes = engine.counted(kept.bytes, self.steps, self.size, how)
        self._check_free(needed, "this forward", KEEPING_LESS if save is True else "")
        self._valid = None if full else (xp.arange(self.steps)[:, None] < ends)[:, :, None]
        self._given = Sequences(
            steps=self.steps,
            batch=self.size,
            inputs={name: self._turned(_without_ends(xp, array, self._valid)) for name, array in inputs.items()},
            start=start,
            entering=start,
            lengths=ends,
            is_full=full and resets is None,
            running=self.steps * (self.size > 0) if lengths is None else int(lengths.max(initial=0)),
            resets=xp.zeros(0, np.uint8) if resets is None else self._turned(resets).reshape(-1),
        )
        self._kept = kept(engine, packed, self._given, how)
        self.outputs = {name: exchange.give(self._turned(array)) for name, array in self._kept.outputs.items()}
        self.state = {name: exchange.give(array) for name, array in self._kept.state.items()}

    @property
    def output(self) -> Any:
        return self.outputs[self._layer.spec.outputs[0]]

    def _check_free(self, needed: int, what: str, less: str = "") -> None:
        """Only where the driver has too little left is anybody asked what he keeps for later, which takes long."""
        device = self._layer.device
        if not device.is_capturing() and needed > device.unused_bytes():  # a recorded graph has its own memory
            check_free(needed, self._exchange.free_bytes(device), what, less + SMALLER)

    def _reversal(self, ends: Any) -> Any:
        """(T, B): the step that stands at each place when the valid part of every row is turned round."""
        xp = self._layer.device.xp
        time = xp.arange(self.steps)[:, None]
        return xp.where(time < ends, ends - 1 - time, time)

    def _turned(self, array: Any) -> Any:
        if self._flip is None:
            return array
        xp = self._layer.device.xp
        return xp.ascontiguousarray(array[self._flip, xp.arange(self.size)])

    # --- backward

    def backward(
        self,
        d_output: Any = None,
        d_state: Mapping[str, Any] | None = None,
        *,
        d_outputs: Mapping[str, Any] | None = None,
        inputs: Collection[str] | None = None,
        parameters: Collection[str] | None = None,
    ) -> Gradients[Any]:
        """As `lstm_numba.Run.backward`."""
        self._kept.require()
        asked = wanted_of(self._layer.spec, inputs, parameters)
        with self._exchange.working(self._layer.device), self._lock:  # a backward works in the tape's own arrays
            wanted, last = self._adjoints("d_", d_output, d_outputs, d_state)
            self._check_free(self._backward_bytes, "this backward")
            return self._gradients(self._kept.backward(wanted, last, *asked))

    def _adjoints(self, kind: str, output: Any, outputs: Any, state: Any) -> tuple[Arrays, Arrays]:
        """Adjoints of outputs and of last states (kind "d_"), or their changes ("dot_d_"), checked."""
        layer = self._layer
        given = of_outputs(layer.spec, kind, output, outputs)
        wanted = {name: self._turned(layer.output(what, d, name, self)) for name, (what, d) in given.items()}
        return wanted, layer.states(f"{kind}state", state, self.size)

    def _gradients(self, found: Adjoints) -> Gradients[Any]:
        layer, give = self._layer, self._exchange.give
        parameters = layer.unpacked(found.flat, give)
        sequences = {name: give(self._turned(array)) for name, array in found.inputs.items()}
        state = {name: give(array + found.restarts[name]) for name, array in found.entering.items()}
        return Gradients(sequences.get(layer.spec.main), sequences, parameters, state)

    # --- along a direction

    def jvp(self, direction: Mapping[str, Any]) -> Tangents:
        """As `lstm_numba.Run.jvp`."""
        self._kept.require(along=True)
        with self._exchange.working(self._layer.device), self._lock:
            changes = self._tangent(direction, backward=False).forward(dot_stop=0)
            engine, tape, give = self._layer.engine, self._kept.tape, self._exchange.give
            names = self._layer.spec.outputs
            outputs = {name: give(self._turned(engine.output(tape, name, changes))) for name in names}
            state = {name: give(array) for name, array in engine.last_states(tape, changes).items()}
        return Tangents(outputs[names[0]], outputs, state)

    def hvp(
        self,
        direction: Mapping[str, Any],
        d_output: Any = None,
        d_state: Mapping[str, Any] | None = None,
        *,
        d_outputs: Mapping[str, Any] | None = None,
        dot_d_output: Any = None,
        dot_d_state: Mapping[str, Any] | None = None,
        dot_d_outputs: Mapping[str, Any] | None = None,
    ) -> Gradients[Any]:
        """As `lstm_numba.Run.hvp`."""
        self._kept.require(along=True)
        with self._exchange.working(self._layer.device), self._lock:
            adjoints = self._adjoints("d_", d_output, d_outputs, d_state)
            changes = self._adjoints("dot_d_", dot_d_output, dot_d_outputs, dot_d_state)
            return self._gradients(self._tangent(direction, backward=True).backward(*adjoints, *changes))

    def _tangent(self, direction: Mapping[str, Any], backward: bool) -> Tangent:
        """A direction of this run, checked."""
        layer = self._layer
        found = checks.only("direction", direction, (*layer.spec.inputs, "parameters", "state"))
        needed = tangent_bytes(layer.engine.shapes, self.steps, self.size, backward)
        self._check_free(needed, "this derivative along a direction")
        state = layer.states("direction['state']", found.get("state"), self.size)
        packed = layer.packed(layer.direction(found.get("parameters")))
        inputs = {name: self._moved(name, found.get(name)) for name in layer.spec.inputs}
        return Tangent(layer.engine, self._kept.tape, packed, inputs, state)

    def _moved(self, name: str, value: Any) -> Any:
        """The direction of an input sequence."""
        layer = self._layer
        shape = self.steps, self.size, layer.spaces[layer.spec.inputs[name]]
        array = layer.optional(f"direction[{name!r}]", value, layer.types.storage, shape, f"the shape of {name}")
        return self._turned(_without_ends(layer.device.xp, array, self._valid))


def _without_ends(xp: Any, array: Any, valid: Any) -> Any:
    """The sequence with 0 past the rows' ends: what stands there takes no part, not even as a NaN."""
    return array if valid is None else xp.where(valid, array, array.dtype.type(0))
