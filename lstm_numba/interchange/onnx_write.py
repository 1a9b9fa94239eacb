"""A Layer or a Stack of any cell -> an ONNX model: the standard operator where one exists, else a Scan."""

from collections.abc import Mapping

import numpy as np
import onnx
from onnx import helper

from lstm_numba.errors import NotExpressibleError, OptionError
from lstm_numba.interchange.onnx_graph import Graph, Value, element
from lstm_numba.interchange.onnx_operator import OPERATORS, has_operator, operator
from lstm_numba.interchange.onnx_scan import Scan, Values
from lstm_numba.interchange.stacking import levels_of
from lstm_numba.layer import Layer
from lstm_numba.stack import Stack

# Read by onnxruntime 1.13 and later.
OPSET, IR_VERSION = 17, 8
FORMS = ("operator", "scan")


def model(made: Layer | Stack, state: bool, lengths: bool, resets: bool, form: str | None) -> onnx.ModelProto:
    """See `to_onnx`."""
    level = list(levels_of(made)[0].values())
    return _Model(made, level[0], _form(level, form, resets), state, lengths, resets).proto()


def _form(level: list[Layer], form: str | None, resets: bool) -> str:
    if form not in (None, *FORMS):
        raise OptionError(f"form={form!r} is not one of {', '.join(map(repr, FORMS))}, or None for the best.")
    if form == "operator" and (resets or not has_operator(level)):
        known = f"there is one for {', '.join(OPERATORS)}, where all gates apply the same function"
        what = f"{known}, got {' and '.join(map(repr, level))}, and none resets rows, got resets={resets}"
        raise NotExpressibleError(f"ONNX has no operator for this: {what}. Use form='scan'.")
    return form or ("operator" if has_operator(level) and not resets and level[0].dtype == np.float32 else "scan")


class _Model:
    """The graph, level by level."""

    def __init__(self, made: Layer | Stack, layer: Layer, form: str, state: bool, lengths: bool, resets: bool) -> None:
        self.made, self.layer, self.form, self.state = made, layer, form, state
        self.graph = Graph(layer.dtype)
        self.x = self._sequence(layer.spec.main)
        # a Stack's further sequences come from the layer below; the lowest reads zeros
        further = [name for name in layer.spec.inputs if name != layer.spec.main and isinstance(made, Layer)]
        self.below: list[Values] = [{name: self._sequence(name) for name in further}] * len(levels_of(made)[0])
        self.lengths = self.graph.input("lengths", ["B"], np.int64) if lengths else None
        self.resets = self.graph.input("resets", ["T", "B"], np.bool_) if resets else None
        self.finals: dict[str, tuple[Value, int]] = {}

    def _sequence(self, name: str) -> Value:
        return self.graph.input(name, ["T", "B", self.layer.spaces[self.layer.spec.inputs[name]]])

    def proto(self) -> onnx.ModelProto:
        spec, output = self.layer.spec, self.x
        for level in levels_of(self.made):
            output = self._operator(level, output) if self.form == "operator" else self._scan(level, output)
        width = sum(layer.spaces[spec.states[spec.outputs[0]]] for layer in level.values())
        self.graph.output("output", output, ["T", "B", width])
        if isinstance(self.made, Layer):
            for name in spec.outputs[1:]:
                size = self.layer.spaces[spec.states[name]]
                self.graph.output(name, self.below[0][f"{name}_lower"], ["T", "B", size])
        for name, (value, size) in self.finals.items():
            self.graph.output(name, value, ["B", size])
        return self._finished()

    def _finished(self) -> onnx.ModelProto:
        spec = self.layer.spec
        made = helper.make_model(
            self.graph.proto(spec.name),
            producer_name="lstm_numba",
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
            doc_string=f"{spec.title}: {spec.reference}",
        )
        helper.set_model_props(made, {"cell": repr(self.layer), "equations": spec.equations_hash})
        onnx.checker.check_model(made, full_check=True)
        return made

    # --- one level

    def _operator(self, level: Mapping[str, Layer], x: Value) -> Value:
        first = [self._first(layer, prefix) for prefix, layer in level.items()]
        output, last = operator(self.graph, tuple(level.values()), next(iter(level)), x, first, self.lengths)
        for (prefix, layer), states in zip(level.items(), last, strict=True):
            self._remember(layer, prefix, states)
        return output

    def _scan(self, level: Mapping[str, Layer], x: Value) -> Value:
        outputs = []
        for (prefix, layer), lower in zip(level.items(), self.below, strict=True):
            inputs = {layer.spec.main: x} | self._further(layer, lower)
            first = self._first(layer, prefix)
            given, last = Scan(self.graph, layer, prefix, inputs, first, self.lengths, self.resets).added()
            self._remember(layer, prefix, last)
            outputs.append(given)
        # what a cell calls c_lower is the output c below
        self.below = [{f"{name}_lower": value for name, value in given.items()} for given in outputs]
        main = [given[self.layer.spec.outputs[0]] for given in outputs]
        return main[0] if len(main) == 1 else self.graph.node("Concat", *main, axis=2)

    def _further(self, layer: Layer, lower: Values) -> Values:
        sizes = {name: layer.spaces[space] for name, space in layer.spec.inputs.items() if name != layer.spec.main}
        return {name: lower.get(name) or self._zeros(2, size) for name, size in sizes.items()}

    def _remember(self, layer: Layer, prefix: str, states: Values) -> None:
        for name, value in states.items():
            self.finals[f"{prefix}{name}_T"] = value, layer.spaces[layer.spec.states[name]]

    def _first(self, layer: Layer, prefix: str) -> Values:
        """First states (B, space): inputs of the model, or 0."""
        sizes = {name: layer.spaces[space] for name, space in layer.spec.states.items()}
        if self.state:
            return {name: self.graph.input(f"{prefix}{name}_0", ["B", size]) for name, size in sizes.items()}
        return {name: self._zeros(1, size) for name, size in sizes.items()}

    def _zeros(self, axes: int, size: int) -> Value:
        """(T, B, size) or (B, size)."""
        shape = self.graph.node("Shape", self.x, start=2 - axes, end=2)
        full = self.graph.node("Concat", shape, self.graph.integers(size), axis=0)
        zero = helper.make_tensor("zero", element(self.graph.dtype), [1], [0])
        return self.graph.node("ConstantOfShape", full, value=zero)
