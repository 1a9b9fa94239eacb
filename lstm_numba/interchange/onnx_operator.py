"""Layers as ONNX's own LSTM, GRU or RNN operator, one direction or both."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lstm_numba.interchange.layouts import ONNX
from lstm_numba.interchange.onnx_activations import attributes_of
from lstm_numba.interchange.onnx_graph import Graph, Value
from lstm_numba.interchange.stacking import package_cell, stacked_of
from lstm_numba.layer import Layer

# Our cell -> operator and attributes; the activations come from its options.
OPERATORS: Mapping[str, tuple[str, dict[str, Any]]] = {
    "rnn": ("RNN", {}),
    "lstm": ("LSTM", {}),
    "peephole": ("LSTM", {}),
    "coupled": ("LSTM", {"input_forget": 1}),
    "gru": ("GRU", {}),
    "gru_reset_after": ("GRU", {"linear_before_reset": 1}),
}
# The gates that input_forget=1 couples: f = 1 - i.
COUPLED = {"f": "i"}
# Which layers of a level read backwards -> the operator's direction.
DIRECTIONS = {(False,): "forward", (True,): "reverse", (False, True): "bidirectional"}


def has_operator(layers: Sequence[Layer]) -> bool:
    """Whether an operator computes this cell, with the activations that each direction applies."""
    return all(package_cell(layer) in OPERATORS for layer in layers) and _attributes(layers) is not None


def _attributes(layers: Sequence[Layer]) -> dict[str, Any] | None:
    """What a node says of the cell, or None where no operator of ONNX is that cell."""
    (kind, own), each = OPERATORS[layers[0].name], [layer.spec.chosen for layer in layers]
    coupled, functions = each[0].get("coupled"), attributes_of(layers[0].name, each)
    if functions is None or any(chosen.get("coupled") != coupled for chosen in each):
        return None
    if coupled and (kind != "LSTM" or coupled != COUPLED):
        return None
    return {**own, **({"input_forget": 1} if coupled else {}), **functions}


def operator(
    graph: Graph,
    layers: Sequence[Layer],
    prefix: str,
    x: Value,
    first: Sequence[Mapping[str, Value]],
    lengths: Value | None,
) -> tuple[Value, list[dict[str, Value]]]:
    """Add one level; return its output (T, B, D H), the directions joined, and the final states of each direction.

    Args:
        layers, first: one, or that of each direction, with first states (B, H).
        prefix: of the names of the node and its arrays.
        lengths: (B,) int64, or None.
    """
    kind, _ = OPERATORS[layers[0].name]
    initial = {name: _joined(graph, [states[name] for states in first]) for name in layers[0].spec.states}
    weights = _weights(graph, layers, prefix)
    ends = None if lengths is None else graph.cast(lengths, np.int32)
    peepholes = [weights["P"]] if "P" in weights else []
    output, *last = graph.several(
        kind,
        [graph.fresh(name) for name in ("Y", *(f"Y_{name}" for name in initial))],
        *(x, weights["W"], weights["R"], weights["B"], ends, *initial.values(), *peepholes),
        name=f"{prefix}{kind}",
        hidden_size=layers[0].hidden_size,
        direction=DIRECTIONS[tuple(layer.reverse for layer in layers)],
        **(_attributes(layers) or {}),
    )
    finals = {name: _held(graph, value, initial[name], lengths) for name, value in zip(initial, last, strict=True)}
    return _side_by_side(graph, output, layers), [
        {name: _direction(graph, value, d) for name, value in finals.items()} for d in range(len(layers))
    ]


def _weights(graph: Graph, layers: Sequence[Layer], prefix: str) -> dict[str, Value]:
    """W (D, k H, N), R (D, k H, H), B (D, 2 k H) and, with peepholes, P (D, 3 H)."""
    each = [stacked_of(ONNX[layer.name], layer.parameters) for layer in layers]
    return {key: graph.initializer(f"{prefix}{key}", np.stack([arrays[key] for arrays in each])) for key in each[0]}


def _joined(graph: Graph, states: Sequence[Value]) -> Value:
    """(D, B, H)."""
    parts = [graph.unsqueezed(state, 0) for state in states]
    return parts[0] if len(parts) == 1 else graph.node("Concat", *parts, axis=0)


def _held(graph: Graph, last: Value, initial: Value, lengths: Value | None) -> Value:
    """A row without steps keeps its state; onnxruntime gives it 0."""
    if lengths is None:
        return last
    some = graph.unsqueezed(graph.node("Greater", lengths, graph.integers(0)), 1)
    return graph.node("Where", some, last, initial)


def _side_by_side(graph: Graph, output: Value, layers: Sequence[Layer]) -> Value:
    """(T, D, B, H) -> (T, B, D H)."""
    if len(layers) == 1:
        return graph.squeezed(output, 1)
    turned = graph.node("Transpose", output, perm=(0, 2, 1, 3))
    return graph.node("Reshape", turned, graph.integers(0, 0, len(layers) * layers[0].hidden_size))


def _direction(graph: Graph, states: Value, d: int) -> Value:
    """(D, B, H) -> (B, H)."""
    return graph.node("Gather", states, graph.constant(np.array(d, np.int64)), axis=0)
