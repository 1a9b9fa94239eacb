"""An ONNX graph in the making.  Python's operators on its values add nodes, so generated step functions run on them."""

from collections.abc import Callable, Iterator, Sequence
from itertools import count
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

Number = int | float
Shape = Sequence[int | str | None] | None


def element(dtype: Any) -> int:
    """A dtype as ONNX numbers it."""
    return helper.np_dtype_to_tensor_dtype(np.dtype(dtype))


class Value:
    """What a node of a graph computes; with a number or another value, + - * / ** add a node."""

    def __init__(self, graph: "Graph", name: str) -> None:
        self.graph, self.name = graph, name

    def __add__(self, other: Any) -> "Value":
        return self.graph.node("Add", self, other)

    def __radd__(self, other: Any) -> "Value":
        return self.graph.node("Add", other, self)

    def __sub__(self, other: Any) -> "Value":
        return self.graph.node("Sub", self, other)

    def __rsub__(self, other: Any) -> "Value":
        return self.graph.node("Sub", other, self)

    def __mul__(self, other: Any) -> "Value":
        return self.graph.node("Mul", self, other)

    def __rmul__(self, other: Any) -> "Value":
        return self.graph.node("Mul", other, self)

    def __truediv__(self, other: Any) -> "Value":
        return self.graph.node("Div", self, other)

    def __rtruediv__(self, other: Any) -> "Value":
        return self.graph.node("Div", other, self)

    def __pow__(self, other: Any) -> "Value":
        return self.graph.node("Pow", self, other)

    def __neg__(self) -> "Value":
        return self.graph.node("Neg", self)


class Graph:
    """Nodes, initializers, inputs and outputs; a body of a Scan is a graph inside another.

    Names are new in the outer graph too: ONNX lets a body read, and so not redefine, what stands outside.
    """

    def __init__(self, dtype: np.dtype[Any], outer: "Graph | None" = None) -> None:
        self.dtype, self.outer = dtype, outer
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self.inputs: list[onnx.ValueInfoProto] = []
        self.outputs: list[onnx.ValueInfoProto] = []
        self._numbers: Iterator[int] = outer._numbers if outer else count(1)
        self._constants: dict[tuple[str, bytes, tuple[int, ...]], Value] = {}

    def fresh(self, stem: str) -> str:
        return f"{stem}/{next(self._numbers)}"

    def here(self, value: Value) -> Value:
        """A value of the outer graph, read in this one."""
        return Value(self, value.name)

    def lifted(self, value: Value | Number) -> Value:
        return value if isinstance(value, Value) else self.constant(np.array(value, self.dtype))

    def constant(self, array: NDArray[Any]) -> Value:
        """A nameless array; the same one is kept once."""
        key = str(array.dtype), array.tobytes(), array.shape
        if key not in self._constants:
            self._constants[key] = self.initializer(self.fresh("constant"), array)
        return self._constants[key]

    def integers(self, *values: int) -> Value:
        return self.constant(np.array(values, np.int64))

    def initializer(self, name: str, array: NDArray[Any]) -> Value:
        self.initializers.append(numpy_helper.from_array(np.asarray(array, order="C"), name))
        return Value(self, name)

    def node(self, kind: str, *inputs: Value | Number | None, **attributes: Any) -> Value:
        """The one output of a new node; an input that is left out is None."""
        return self.several(kind, (self.fresh(kind.lower()),), *inputs, **attributes)[0]

    def several(
        self, kind: str, outputs: Sequence[str], *inputs: Value | Number | None, **attributes: Any
    ) -> tuple[Value, ...]:
        """The outputs of a new node by these names."""
        names = ["" if value is None else self.lifted(value).name for value in inputs]
        self.nodes.append(helper.make_node(kind, names, list(outputs), **attributes))
        return tuple(Value(self, name) for name in outputs)

    def input(self, name: str, shape: Shape, dtype: Any = None) -> Value:
        """A new input; of the graph's dtype where none is given."""
        self.inputs.append(helper.make_tensor_value_info(name, element(dtype or self.dtype), shape))
        return Value(self, name)

    def output(self, name: str, value: Value, shape: Shape) -> None:
        self.several("Identity", (name,), value)
        self.outputs.append(helper.make_tensor_value_info(name, element(self.dtype), shape))

    def proto(self, name: str) -> onnx.GraphProto:
        return helper.make_graph(self.nodes, name, self.inputs, self.outputs, self.initializers)

    # --- what stands often

    def cast(self, value: Value, dtype: Any) -> Value:
        return self.node("Cast", value, to=element(dtype))

    def unsqueezed(self, value: Value, axis: int) -> Value:
        return self.node("Unsqueeze", value, self.integers(axis))

    def chosen(self, condition: Value | None, then: Value | Number, otherwise: Value | Number) -> Value:
        """`then` where the condition holds, or everywhere without one."""
        return self.lifted(then) if condition is None else self.node("Where", condition, then, otherwise)

    def squeezed(self, value: Value, axis: int) -> Value:
        return self.node("Squeeze", value, self.integers(axis))


def functions(graph: Graph) -> dict[str, Callable[..., Value]]:
    """The functions that generated text may call, as nodes; the same names on numbers: `lstm_numba.functions`.

    A NaN is never lost, as there: what ONNX leaves to the runtime (Max, Min, Relu of a NaN) is spelt by Where.
    Softplus is spelt out because onnxruntime has none for float64.
    """
    node = graph.node

    def true(a: Value) -> Value:
        return graph.cast(a, bool)

    def chosen(first: str, a: Any, b: Any) -> Value:
        b = graph.lifted(b)
        return node("Where", node("Or", node(first, b, a), node("IsNaN", b)), b, a)

    def log1p(e: Value) -> Value:
        """log(1 + e), exact for small e: what 1 + e is rounded by cancels in log(w) e / (w - 1)."""
        w = 1 + e
        return node("Where", node("Equal", w, 1), e, node("Log", w) * e / (w - 1))

    def softplus(a: Value) -> Value:
        return node("Where", node("Less", a, 0), 0, a) + log1p(node("Exp", -node("Abs", a)))

    return {
        "sigmoid": lambda a: node("Sigmoid", a),
        "tanh": lambda a: node("Tanh", a),
        "relu": lambda a: node("Where", node("Less", a, 0), 0, a),
        "exp": lambda a: node("Exp", a),
        "log": lambda a: node("Log", a),
        "sqrt": lambda a: node("Sqrt", a),
        "sin": lambda a: node("Sin", a),
        "cos": lambda a: node("Cos", a),
        "softplus": softplus,
        "absolute": lambda a: node("Abs", a),
        "maximum": lambda a, b: chosen("Greater", a, b),
        "minimum": lambda a, b: chosen("Less", a, b),
        "positive": lambda a: graph.cast(node("Greater", a, 0), graph.dtype),
        "where": lambda condition, then, otherwise: node("Where", true(graph.lifted(condition)), then, otherwise),
        "stop": graph.lifted,
    }
