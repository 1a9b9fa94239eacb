"""One forward of a layer, and its backward."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lstm_numba import checks
from lstm_numba.errors import ArgumentError, TapeError
from lstm_numba.parameters import Parameters

if TYPE_CHECKING:
    from lstm_numba.layer import Layer

Arrays = dict[str, NDArray[Any]]


# Of a layer, or of a stack of layers.
P = TypeVar("P", bound=Mapping[str, NDArray[Any]])


@dataclass(frozen=True)
class Gradients(Generic[P]):
    """dL of everything that a forward read, each in the shape of what it belongs to.

    Attributes:
        x: (T, B, N).
        inputs: every input sequence, x among them.
        parameters: as the layer's; `parameters.flat` is all of them.
        state: the first states.
    """

    x: NDArray[Any]
    inputs: Arrays
    parameters: P
    state: Arrays


class Output:
    """The outputs of a run by name, and what a caller says of their derivatives."""

    _layer: "Layer"
    outputs: dict[str, Any]

    @property
    def output(self) -> NDArray[Any]:
        return self.outputs[self._layer.spec.outputs[0]]

    def _named_outputs(self, d_output: Any, d_outputs: Mapping[str, Any] | None) -> dict[str, tuple[str, Any]]:
        """Output -> what its derivative was called, and its value or None."""
        names = self._layer.spec.outputs
        given = dict(checks.only("d_outputs", d_outputs, names))
        if d_output is not None and given.get(names[0]) is not None:
            raise ArgumentError(
                f"d_output is the derivative of {names[0]}, and d_outputs names it too: give one of them."
            )
        found = {name: (f"d_outputs[{name!r}]", given.get(name)) for name in names}
        return found if d_output is None else found | {names[0]: ("d_output", d_output)}


def check_saved(saved: bool) -> None:
    if not saved:
        raise TapeError(
            "this forward kept nothing for a backward: it was called with save=False; call it with save=True."
        )


class Run(Output):
    """What one forward gave.

    Attributes:
        output: (T, B, H), the cell's first output at every step; 0 past a row's end.
        outputs: every output of the cell by its state's name.
        state: each row's state after its last valid step.
    """

    def __init__(self, layer: "Layer", inputs: Arrays, start: Arrays, lengths: Any, resets: Any, save: bool) -> None:
        self._layer, self._engine, self._lengths = layer, layer._engine, lengths
        self._main = next(iter(inputs))
        self.steps, self.size = inputs[self._main].shape[:2]
        self._flip = self._reversal(lengths) if layer.reverse else None
        marks = None if resets is None else self._turned(resets)
        self._batch = layer._batch(self.steps, self.size, lengths, marks)
        ordered = {name: np.ascontiguousarray(self._to_ours(array)) for name, array in inputs.items()}
        first = {name: self._batch.arrange(array, 0) for name, array in start.items()}
        self._lock = threading.Lock()
        self._tape = self._engine.forward(self._batch, layer._packed(save), ordered, first, save)
        self.outputs = {name: self._to_theirs(self._output(name)) for name in layer.spec.outputs}
        last = self._engine.last_states(self._tape)
        self.state = {name: np.ascontiguousarray(self._batch.restore(rows, 0)) for name, rows in last.items()}

    def _output(self, name: str) -> NDArray[Any]:
        size = self._layer.spaces[self._layer.spec.states[name]]
        return self._tape.arrays[f"out_{name}"].reshape(self.steps, self.size, size)

    # --- between the user's time and rows and the kernels'

    def _reversal(self, lengths: NDArray[np.int64] | None) -> NDArray[np.int64]:
        """(T, B): the step that stands at each place when the valid part of every row is turned round."""
        time = np.arange(self.steps)[:, None]
        ends = np.full(self.size, self.steps) if lengths is None else lengths
        return np.where(time < ends, ends - 1 - time, time)

    def _turned(self, array: NDArray[Any]) -> NDArray[Any]:
        if self._flip is None:
            return array
        return np.ascontiguousarray(array[self._flip, np.arange(self.size)])

    def _to_ours(self, array: NDArray[Any]) -> NDArray[Any]:
        return self._batch.arrange(self._turned(array), 1)

    def _to_theirs(self, array: NDArray[Any]) -> NDArray[Any]:
        return self._turned(self._batch.restore(array, 1))

    # --- backward

    def backward(
        self,
        d_output: ArrayLike | None = None,
        d_state: Mapping[str, ArrayLike] | None = None,
        *,
        d_outputs: Mapping[str, ArrayLike] | None = None,
    ) -> Gradients[Parameters]:
        """Pull a loss's derivatives back through all steps.

        Args:
            d_output: (T, B, H), dL/d output; what stands past a row's end is ignored.
            d_state: dL/d state of the final states, e.g. {"c": (B, H)}.
            d_outputs: dL/d outputs by name, instead of d_output, for cells with several.

        What is left out is 0.  May be called again: each call is exact and independent.

        Raises:
            TapeError: the forward was run with save=False.
            ShapeError, DtypeError, ArgumentError: before anything is computed.
        """
        check_saved(self._tape.saved)
        layer, engine = self._layer, self._engine
        wanted, given = self._d_outputs(d_output, d_outputs), layer._state("d_state", d_state, self.size)
        last = {name: self._batch.arrange(array, 0) for name, array in given.items()}
        with self._lock:  # a backward works in the tape's own arrays
            adjoints = engine.backward(self._tape, wanted, last)
        parameters = layer.parameters.zeros_like()
        engine.packing.unpack(adjoints.grads, adjoints.arrays, self._batch.places, parameters)
        layer._clear_masked(parameters)
        found = {name: self._to_theirs(array) for name, array in adjoints.inputs.items()}
        first = adjoints.first_states.items()
        state = {name: np.ascontiguousarray(self._batch.restore(rows, 0)) for name, rows in first}
        return Gradients(found[self._main], found, parameters, state)

    def _d_outputs(self, d_output: ArrayLike | None, d_outputs: Mapping[str, ArrayLike] | None) -> Arrays:
        spec, spaces, dtype = self._layer.spec, self._layer.spaces, self._layer.dtype
        found = {}
        for name, (what, value) in self._named_outputs(d_output, d_outputs).items():
            shape = (self.steps, self.size, spaces[spec.states[name]])
            full = checks.optional(what, value, dtype, shape, "the shape of the output")
            found[name] = np.ascontiguousarray(self._to_ours(full))
        return found
