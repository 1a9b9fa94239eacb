"""One forward of a layer on a CUDA device, and its backward."""

import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from lstm_numba.errors import OptionError
from lstm_numba.gpu.engine import Adjoints, Sequences
from lstm_numba.gpu.memory import check_free
from lstm_numba.gpu.tapes import Segmented, Whole
from lstm_numba.parameters import Parameters
from lstm_numba.run import Gradients, of_outputs

if TYPE_CHECKING:
    from lstm_numba.gpu.layer import Placed

Arrays = dict[str, Any]

SMALLER = "take fewer steps or rows at once, or make the layer with dtype='bfloat16', which needs less"
ON_CPU = "derivatives along a direction are computed on the CPU: make the layer with device='cpu'."
KEEPING_LESS = 'call it with save="states" or, where no backward follows, save=False; '


class CudaRun:
    """As `lstm_numba.Run`, its arrays of the kind that x was: torch, CuPy or NumPy."""

    def __init__(
        self,
        placed: "Placed",
        exchange: Any,
        inputs: Arrays,
        start: Arrays,
        lengths: Any,
        resets: Any,
        save: bool | str,
    ) -> None:
        self._placed, self._exchange, self._lock = placed, exchange, threading.Lock()
        layer, engine, xp = placed.layer, placed.engine, placed.device.xp
        self.steps, self.size = next(iter(inputs.values())).shape[:2]
        ends = np.full(self.size, self.steps) if lengths is None else lengths
        self._flip = self._reversal(ends) if layer.reverse else None
        kept: Any
        how: Any
        kept, how = (Segmented, layer._periods or (1,)) if isinstance(save, str) else (Whole, save)
        needed, self._backward_bytes = kept.bytes(engine, self.steps, self.size, how)
        self._check_free(needed, "this forward", KEEPING_LESS if save is True else "")
        given = Sequences(
            steps=self.steps,
            batch=self.size,
            inputs={name: self._turned(self._without_ends(array, lengths)) for name, array in inputs.items()},
            start=start,
            entering=start,
            lengths=xp.asarray(ends.astype(np.int64)),
            running=int(ends.max(initial=0)),
            resets=xp.zeros(0, np.uint8) if resets is None else self._turned(resets).reshape(-1),
        )
        self._kept = kept(engine, placed.packed(), given, how)
        self.outputs = {name: exchange.give(self._turned(array)) for name, array in self._kept.outputs.items()}
        self.state = {name: exchange.give(array) for name, array in self._kept.state.items()}

    @property
    def output(self) -> Any:
        return self.outputs[self._placed.layer.spec.outputs[0]]

    def _check_free(self, needed: int, what: str, less: str = "") -> None:
        check_free(needed, self._placed.device.free_bytes(), what, less + SMALLER)

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
        self._kept.require()
        placed = self._placed
        with self._exchange.stream(), self._lock:  # a backward works in the tape's own arrays
            given = of_outputs(placed.layer.spec, "d_", d_output, d_outputs)
            wanted = {name: self._turned(placed.output(what, d, name, self)) for name, (what, d) in given.items()}
            last = placed.states("d_state", d_state, self.size)
            self._check_free(self._backward_bytes, "this backward")
            return self._gradients(self._kept.backward(wanted, last))

    def _gradients(self, found: Adjoints) -> Gradients[Parameters]:
        layer, give = self._placed.layer, self._exchange.give
        parameters = Parameters(layer.parameters.shapes, layer.dtype, found.flat[: layer.parameters.flat.size])
        layer._clear_masked(parameters)
        parameters.flat = give(parameters.flat)
        sequences = {name: give(self._turned(array)) for name, array in found.inputs.items()}
        state = {name: give(array + found.restarts[name]) for name, array in found.entering.items()}
        return Gradients(sequences[layer.spec.main], sequences, parameters, state)

    # --- along a direction

    def jvp(self, *_: Any, **__: Any) -> NoReturn:
        """Not on a device."""
        raise OptionError(ON_CPU)

    def hvp(self, *_: Any, **__: Any) -> NoReturn:
        """Not on a device."""
        raise OptionError(ON_CPU)
