"""One forward of a layer, and its backward."""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lstm_numba import checks
from lstm_numba.cpu.engine import Adjoints
from lstm_numba.cpu.memory import Loan
from lstm_numba.cpu.packed import Filled
from lstm_numba.cpu.tangent import Tangent
from lstm_numba.cpu.workspace import Reel
from lstm_numba.direction import Direction
from lstm_numba.errors import ArgumentError, TapeError
from lstm_numba.parameters import Parameters
from lstm_numba.spec import CellSpec

if TYPE_CHECKING:
    from lstm_numba.layer import Layer

Arrays = dict[str, NDArray[Any]]


# Of a layer, or of a stack of layers.
P = TypeVar("P", bound=Mapping[str, NDArray[Any]])


@dataclass(frozen=True)
class Gradients(Generic[P]):
    """dL of everything that a forward read, each in the shape of what it belongs to.

    Attributes:
        x: (T, B, N), or None where the backward was not asked for it.
        inputs: the input sequences that it was asked for, x among them.
        parameters: as the layer's; `parameters.flat` is all of them.
        state: the first states.
    """

    x: Any
    inputs: Arrays
    parameters: P
    state: Arrays


@dataclass(frozen=True)
class Tangents:
    """The change of everything that a forward gave, along a direction of what it read.

    Attributes:
        output: (T, B, H), of the cell's first output; 0 past a row's end.
        outputs: of every output of the cell, by its state's name.
        state: of each row's state after its last valid step.
    """

    output: NDArray[Any]
    outputs: Arrays
    state: Arrays


def of_outputs(spec: CellSpec, kind: str, output: Any, outputs: Mapping[str, Any] | None) -> dict[str, tuple[str, Any]]:
    """Output -> what its adjoint ("d_"), or the adjoint's change ("dot_d_"), was called, and its value or None."""
    given, first = checks.only(f"{kind}outputs", outputs, spec.outputs), spec.outputs[0]
    if output is not None and given.get(first) is not None:
        raise ArgumentError(
            f"{kind}output is the derivative of {first}, and {kind}outputs names it too: give one of them."
        )
    found = {name: (f"{kind}outputs[{name!r}]", given.get(name)) for name in spec.outputs}
    return found if output is None else found | {first: (f"{kind}output", output)}


def wanted_of(
    spec: CellSpec, inputs: Collection[str] | None, parameters: Collection[str] | None
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The inputs and the parameters whose gradients a backward is asked for."""
    return (
        checks.some("inputs", inputs, tuple(spec.inputs)),
        checks.some("parameters", parameters, tuple(spec.parameters)),
    )


def require_tape(saved: bool) -> None:
    if not saved:
        raise TapeError(
            "this forward kept nothing for a backward: it was called with save=False; call it with save=True."
        )


class Run:
    """What one forward gave.

    Attributes:
        layer: what ran.
        output: (T, B, H), the cell's first output at every step; 0 past a row's end.
        outputs: every output of the cell by its state's name.
        state: each row's state after its last valid step.
    """

    def __init__(
        self, layer: Layer, theta: Any, inputs: Arrays, start: Arrays, lengths: Any, resets: Any, save: bool
    ) -> None:
        self._open(layer, inputs, lengths)
        marks = None if resets is None else self._turned(resets)
        self._batch = layer._batch(self.steps, self.size, lengths, marks)
        packed = layer._packed(True, theta) if save else layer._packed_once.of(theta)
        self._run(inputs, start, packed, save)

    def _open(self, layer: Layer, inputs: Arrays, lengths: Any) -> None:
        self.layer, self._engine, self._lock = layer, layer._engine, threading.Lock()
        self.steps, self.size = inputs[layer._main].shape[:2]
        self._flip = self._reversal(lengths) if self._is_turned() else None

    def _is_turned(self) -> bool:
        return self.layer.reverse

    def _run(
        self, inputs: Arrays, start: Arrays, packed: Loan[Filled], save: bool, entering: Arrays | None = None
    ) -> None:
        ordered, first = self._sequences_to_ours(inputs), self._states_to_ours(start)
        entered = None if entering is None else self._states_to_ours(entering)
        self._tape = self._engine.forward(self._batch, packed, ordered, first, save, entered)
        self.outputs, self.state = self._given(self._tape.handed, self._tape.lent.work)

    @property
    def output(self) -> NDArray[Any]:
        return self.outputs[self.layer.spec.outputs[0]]

    def _given(self, arrays: Arrays, reel: Reel) -> tuple[Arrays, Arrays]:
        """Outputs and last states, or their changes, in the user's order."""
        shapes = {name: (self.steps, self.size, units) for name, units in self.layer._output_sizes.items()}
        outputs = {name: self._to_theirs(arrays[f"out_{name}"].reshape(shape)) for name, shape in shapes.items()}
        return outputs, self._states_to_theirs(self._engine.last_states(self._tape, reel))

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
        if self._keeps_order:
            return array
        return self._turned(self._batch.restore(array, 1))

    @property
    def _keeps_order(self) -> bool:
        """Whether the user's time and rows are the kernels'."""
        return self._flip is None and self._batch.order is None

    def _sequences_to_ours(self, sequences: Arrays) -> Arrays:
        if self._keeps_order:
            return sequences
        return {name: np.ascontiguousarray(self._to_ours(array)) for name, array in sequences.items()}

    def _states_to_ours(self, states: Arrays) -> Arrays:
        if self._batch.order is None:
            return states
        return {name: self._batch.arrange(array, 0) for name, array in states.items()}

    def _states_to_theirs(self, states: Arrays) -> Arrays:
        if self._batch.order is None:
            return states
        return {name: self._batch.restore(rows, 0) for name, rows in states.items()}

    # --- backward

    def backward(
        self,
        d_output: ArrayLike | None = None,
        d_state: Mapping[str, ArrayLike] | None = None,
        *,
        d_outputs: Mapping[str, ArrayLike] | None = None,
        inputs: Collection[str] | None = None,
        parameters: Collection[str] | None = None,
    ) -> Gradients[Parameters]:
        """Pull a loss's derivatives back through all steps.

        Args:
            d_output: (T, B, H), dL/d output; what stands past a row's end is ignored.
            d_state: dL/d state of the final states, e.g. {"c": (B, H)}.
            d_outputs: dL/d outputs by name, instead of d_output, for cells with several.
            inputs: names of the input sequences whose gradients are wanted, all of them unless said; () spares the
                first layer of a network the product for dL/dx.
            parameters: names of the parameters whose gradients are wanted, all of them unless said; those of the others
                are 0, and cost no product where none of theirs is needed: frozen weights.

        What is left out is 0.  May be called again: each call is exact and independent.

        Raises:
            TapeError: the forward was run with save=False.
            ShapeError, DtypeError, ArgumentError: before anything is computed.
        """
        self._require_tape()
        wanted = wanted_of(self.layer.spec, inputs, parameters)
        return self._gradients(self._pulled(*self._adjoints_to_ours("d_", d_output, d_outputs, d_state), *wanted))

    def _pulled(
        self, d_outputs: Arrays, d_state: Arrays, inputs: tuple[str, ...], parameters: tuple[str, ...]
    ) -> Adjoints:
        with self._lock:  # a backward works in the tape's own arrays
            return self._engine.backward(self._tape, d_outputs, d_state, inputs, parameters)

    def _require_tape(self) -> None:
        require_tape(self._tape.saved)

    def _gradients(self, adjoints: Adjoints) -> Gradients[Parameters]:
        """What a backward found, or its change, in the user's order and shapes."""
        parameters = self.layer._zero_gradients()
        self._add_gradients(adjoints, parameters)
        found = {name: self._to_theirs(array) for name, array in adjoints.inputs.items()}
        main = found.get(self.layer._main)
        return Gradients(main, found, parameters, self._states_to_theirs(adjoints.first_states))

    def _add_gradients(self, adjoints: Adjoints, parameters: Any) -> None:
        """Add what a backward found for parameters to theirs."""
        self.layer._add_gradients(adjoints, self._batch.places, parameters)

    def _adjoints_to_ours(
        self,
        kind: str,
        output: ArrayLike | None,
        outputs: Mapping[str, ArrayLike] | None,
        state: Mapping[str, ArrayLike] | None,
    ) -> tuple[Arrays, Arrays]:
        """Adjoints of outputs and of last states (kind "d_"), or their changes ("dot_d_"), checked."""
        last = self.layer._state(f"{kind}state", state, self.size)
        return self._outputs_to_ours(kind, output, outputs), self._states_to_ours(last)

    def _outputs_to_ours(self, kind: str, output: ArrayLike | None, outputs: Mapping[str, ArrayLike] | None) -> Arrays:
        found, dtype, sizes = {}, self.layer.dtype, self.layer._output_sizes
        for name, (what, value) in of_outputs(self.layer.spec, kind, output, outputs).items():
            shape = (self.steps, self.size, sizes[name])
            found[name] = checks.optional(what, value, dtype, shape, "the shape of the output")
        return self._sequences_to_ours(found)

    # --- along a direction

    def jvp(self, direction: Mapping[str, Any]) -> Tangents:
        """Push a direction of everything that the forward read to everything that it gave, exactly.

        Args:
            direction: input sequences by their names, e.g. "x" (T, B, N), and two mappings, "parameters", e.g.
                {"W_i": (H, N)}, and "state", e.g. {"c": (B, H)}; each array in the shape of what it changes, in the
                layer's dtype.  What is left out is 0; what stands past a row's end is ignored.

        The tangent is the transpose of `backward`, <d, jvp(v)> = <backward(d), v>, also where the cell says stop().

        Raises:
            TapeError: the forward was run with save=False.
            ShapeError, DtypeError, ArgumentError: before anything is computed.
        """
        self._require_tape()
        tangent = self._tangent(direction, backward=False)
        with self._lock:
            lent, changes = tangent.forward(dot_stop=0)
        outputs, state = self._given(changes, lent.work)
        return Tangents(outputs[self.layer.spec.outputs[0]], outputs, state)

    def hvp(
        self,
        direction: Mapping[str, Any],
        d_output: ArrayLike | None = None,
        d_state: Mapping[str, ArrayLike] | None = None,
        *,
        d_outputs: Mapping[str, ArrayLike] | None = None,
        dot_d_output: ArrayLike | None = None,
        dot_d_state: Mapping[str, ArrayLike] | None = None,
        dot_d_outputs: Mapping[str, ArrayLike] | None = None,
    ) -> Gradients[Parameters]:
        """The change of what `backward(d_output, d_state)` gives, along a direction of what the forward read, exactly.

        Args:
            direction: as of `jvp`.
            d_output, d_state, d_outputs: as of `backward`.
            dot_d_output, dot_d_state, dot_d_outputs: how these change along the direction, in the same shapes.

        What is left out is 0.  With the loss <d_output, output> + <d_state, state> this is its Hessian times the
        direction; of a cell that says stop(), the derivative of the truncated gradient as it is computed.

        Raises:
            TapeError: the forward was run with save=False.
            ShapeError, DtypeError, ArgumentError: before anything is computed.
        """
        self._require_tape()
        adjoints = self._adjoints_to_ours("d_", d_output, d_outputs, d_state)
        changes = self._adjoints_to_ours("dot_d_", dot_d_output, dot_d_outputs, dot_d_state)
        tangent = self._tangent(direction, backward=True)
        with self._lock:
            found = tangent.backward(*adjoints, *changes)
        return self._gradients(found)

    def _tangent(self, direction: Mapping[str, Any], backward: bool) -> Tangent:
        along = Direction.of(self.layer, direction, self.steps, self.size)
        packed = self.layer._packed(backward, along.theta)
        return Tangent(
            self._engine,
            self._tape,
            packed,
            self._sequences_to_ours(along.inputs),
            self._states_to_ours(along.state),
        )
