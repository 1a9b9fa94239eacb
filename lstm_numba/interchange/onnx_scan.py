"""A layer of any cell as a Scan: its generated step functions, run on ONNX values, are the body."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from lstm_numba.interchange.onnx_graph import Graph, Value, functions
from lstm_numba.layer import Layer
from lstm_numba.spec import Slot, declared
from lstm_numba.step import bound, clock_name, run_step

Values = dict[str, Value]
# Sequences that are no cell's: no name of a cell has a space in it.
NOW, RESET = "the step", "the reset"
KINDS = {NOW: np.int64, RESET: np.bool_}


class Scan:
    """A layer to be added to a graph.

    Args:
        prefix: of the names of the layer's arrays.
        inputs: (T, B, space) by name.
        first: states (B, space).
        lengths, resets: (B,) int64 and (T, B) bool, or None.
    """

    def __init__(
        self,
        graph: Graph,
        layer: Layer,
        prefix: str,
        inputs: Mapping[str, Value],
        first: Mapping[str, Value],
        lengths: Value | None,
        resets: Value | None,
    ) -> None:
        self.graph, self.layer, self.spec, self.module = graph, layer, layer.spec, layer._module
        self.first, self.lengths = first, lengths
        self.body, self.clock = Graph(graph.dtype, graph), clock_name(layer._module)
        theta = layer._theta.copy()
        layer._clear_masked(theta)
        self.arrays = {name: graph.initializer(f"{prefix}{name}", array) for name, array in theta.items()}
        self.inputs = {name: self._turned(value) for name, value in inputs.items()}
        self.resets = None if resets is None else self._turned(resets)

    def added(self) -> tuple[Values, Values]:
        """Add it; return its output sequences (T, B, space) and its final states (B, space) by the states' names."""
        # 1. what needs no state, for all steps at once  2. the body  3. the Scan  4. outputs turned back
        sequences = self._sequences()
        self._fill_body(sequences)
        names = [*self.spec.states, *self.spec.outputs]
        results = self.graph.several(
            "Scan",
            [self.graph.fresh(name) for name in names],
            *self.first.values(),
            *sequences.values(),
            body=self.body.proto(f"{self.spec.name} step"),
            num_scan_inputs=len(sequences),
        )
        last = dict(zip(self.spec.states, results, strict=False))
        outputs = zip(self.spec.outputs, results[len(last) :], strict=True)
        return {name: self._turned(value) for name, value in outputs}, last

    # --- outside the body

    def _turned(self, sequence: Value) -> Value:
        """For a layer that reads backwards: the valid part of every row turned round."""
        if not self.layer.reverse:
            return sequence
        lengths = self.lengths or self._every_step(sequence)
        return self.graph.node("ReverseSequence", sequence, lengths, time_axis=0, batch_axis=1)

    def _every_step(self, sequence: Value) -> Value:
        steps, rows = (self.graph.node("Shape", sequence, start=axis, end=axis + 1) for axis in (0, 1))
        return self.graph.node("Expand", steps, rows)

    def _sequences(self) -> Values:
        """What the Scan reads step by step: sums over inputs, inputs of scalar mathematics, the time, the resets."""
        slots = [slot for stage in self.spec.stages for slot in stage.slots]
        sums = {slot.name: self._over_inputs(slot) for slot in slots}
        found = {name: value for name, value in sums.items() if value is not None}
        found |= {name: self.inputs[name] for name in self.spec.pointwise_inputs}
        if self.clock or self.lengths is not None:
            found[NOW] = self._time()
        if self.resets is not None:
            found[RESET] = self.resets
        return found

    def _over_inputs(self, slot: Slot) -> Value | None:
        """The slot's bias and input products at all steps: z = x W' + b."""
        terms = [(matrix, operand) for matrix, operand in slot.terms if operand in self.inputs]
        if not terms:
            return None
        total = self.arrays[slot.bias] if slot.bias else None
        for matrix, operand in terms:
            weights = self.arrays[declared(matrix)]
            across = self.graph.node("Transpose", weights) if declared(matrix) == matrix else weights
            product = self.graph.node("MatMul", self.inputs[operand], across)
            total = product if total is None else product + total
        return total

    def _time(self) -> Value:
        """0, 1 ... T - 1."""
        steps = self.graph.node("Shape", self.inputs[self.spec.main], start=0, end=1)
        zero, one = (self.graph.constant(np.array(value, np.int64)) for value in (0, 1))
        return self.graph.node("Range", zero, self.graph.squeezed(steps, 0), one)

    # --- the body: one step

    def _fill_body(self, sequences: Mapping[str, Value]) -> None:
        body, spec = self.body, self.spec
        carried = {name: body.input(body.fresh(name), None) for name in spec.states}
        read = {name: body.input(body.fresh(name), None, KINDS.get(name)) for name in sequences}
        before = {name: self._before(name, value, read.get(RESET)) for name, value in carried.items()}
        found = run_step(bound(self.module, functions(body)), self._known(read, before), self._affine(read))
        valid = None if self.lengths is None else self._valid(read[NOW])
        for name, value in carried.items():
            body.output(body.fresh(name), body.chosen(valid, found[name], value), None)
        for name in spec.outputs:
            body.output(body.fresh(name), body.chosen(valid, found[name], 0), None)

    def _before(self, name: str, carried: Value, reset: Value | None) -> Value:
        """The state that the step reads: the first one again where the row is reset."""
        marked = None if reset is None else self.body.unsqueezed(reset, 1)
        return carried if marked is None else self.body.chosen(marked, self.body.here(self.first[name]), carried)

    def _valid(self, now: Value) -> Value:
        """(B, 1): whether the row still runs."""
        assert self.lengths is not None
        return self.body.unsqueezed(self.body.node("Less", now, self.body.here(self.lengths)), 1)

    def _known(self, read: Mapping[str, Value], before: Mapping[str, Value]) -> dict[str, Any]:
        known: dict[str, Any] = {name: self.body.here(value) for name, value in self.arrays.items()}
        known |= dict.fromkeys(self.inputs)  # their products are in `read`
        known |= {name: read[name] for name in self.spec.pointwise_inputs}
        known |= {f"{name}_prev": value for name, value in before.items()}
        if self.clock:
            known[self.clock] = self._tick(read[NOW])
        return known

    def _tick(self, now: Value) -> Value:
        """1 where the period of the unit divides the step, else 0."""
        periods = self.body.constant(np.asarray(self.layer._engine.activity.periods))
        rest = self.body.node("Mod", now, periods)
        return self.body.cast(self.body.node("Equal", rest, self.body.constant(np.array(0, np.int64))), self.body.dtype)

    def _affine(self, read: Mapping[str, Value]) -> Any:
        """A slot: what the inputs gave for this step, or the bias, and a product with each state or value."""

        def affine(slot: Slot, found: Mapping[str, Value]) -> Value:
            total = read.get(slot.name) or (self.body.here(self.arrays[slot.bias]) if slot.bias else None)
            for matrix, operand in slot.terms:
                if operand not in self.inputs:
                    weights = self.body.here(self.arrays[declared(matrix)])
                    total = self.body.node(
                        "Gemm", found[operand], weights, total, transB=int(declared(matrix) == matrix)
                    )
            assert total is not None  # a slot has a term
            return total

        return affine
