"""The LSTM, GRU or RNN node of an ONNX model -> a Layer, or a Stack for both directions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from lstm_numba.errors import ArgumentError, ForeignWeightsError, LstmNumbaError, NotExpressibleError, ShapeError
from lstm_numba.interchange.layouts import ONNX, Layout
from lstm_numba.interchange.onnx_activations import options_of
from lstm_numba.interchange.onnx_operator import COUPLED, DIRECTIONS
from lstm_numba.interchange.stacking import Arrays, as_arrays, assembled, dtype_for, unstacked
from lstm_numba.layer import Layer
from lstm_numba.stack import Stack
from lstm_numba.whole_file import is_no_file

# Operator -> what its inputs are called, in order.
INPUTS: Mapping[str, tuple[str, ...]] = {
    "LSTM": ("X", "W", "R", "B", "sequence_lens", "initial_h", "initial_c", "P"),
    "GRU": ("X", "W", "R", "B", "sequence_lens", "initial_h"),
    "RNN": ("X", "W", "R", "B", "sequence_lens", "initial_h"),
}
# Attributes that say which cell it is, or nothing about the weights.
KNOWN = (
    "hidden_size", "direction", "input_forget", "linear_before_reset", "layout",
    "activations", "activation_alpha", "activation_beta", "clip",
)  # fmt: skip


@dataclass(frozen=True)
class Found:
    """What a node says: our cell, and of each direction its options and whether it reads backwards."""

    cell: str
    options: list[dict[str, Any]]
    reverse: tuple[bool, ...]


def read(given: Any, node: str | Sequence[str] | None, dtype: Any, threads: int) -> Layer | Stack:
    """See `from_onnx`."""
    model = _model(given)
    try:
        return _read(model.graph, node, dtype, threads)
    except LstmNumbaError:
        raise
    except Exception as error:  # whatever reading what is not there, or not of its kind, raises
        what = "the model" if isinstance(given, onnx.ModelProto) else str(given)
        why = f"{type(error).__name__}: {error}"
        raise ForeignWeightsError(f"{what} is damaged: its node cannot be read ({why}).") from error


def _read(graph: onnx.GraphProto, node: str | Sequence[str] | None, dtype: Any, threads: int) -> Layer | Stack:
    names = [node] if node is None or isinstance(node, str) else list(node)
    if not names:
        raise ArgumentError("node is an empty list: name the nodes of the layers, from the lowest up.")
    nodes = [_node(graph, name) for name in names]
    arrays = [_arrays(graph, one) for one in nodes]
    found, *others = [_found(one, weights) for one, weights in zip(nodes, arrays, strict=True)]
    if any(other != found for other in others) or (others and found.reverse == (True,)):
        raise NotExpressibleError(
            "the layers of a Stack are all of one cell and direction; read these nodes one by one."
        )
    layout, kind = ONNX[found.cell], dtype_for(arrays[0], dtype)
    levels = [
        [
            unstacked(layout, _of_direction(layout, weights, d, len(found.options)), kind, options)
            for d, options in enumerate(found.options)
        ]
        for weights in arrays
    ]
    return assembled(found.cell, levels, kind, threads, found.reverse == (True,), found.options[1:], **found.options[0])


# --- the model and its node


def _model(given: Any) -> onnx.ModelProto:
    if isinstance(given, onnx.ModelProto):
        return given
    if not isinstance(given, (str, Path)):
        raise ArgumentError(f"model must be an onnx.ModelProto or the path of one, got {type(given).__name__}.")
    if is_no_file(Path(given)):
        raise ForeignWeightsError(f"{given} is a folder, a pipe or a device; a model is a file.")
    try:
        return onnx.load(given)
    except FileNotFoundError as error:
        raise ForeignWeightsError(f"{given}: there is no such file, or none of its external data ({error}).") from None
    except Exception as error:  # a damaged file raises protobuf's errors, and checks of external data ONNX's
        raise ForeignWeightsError(f"{given} is not an ONNX model, or is damaged ({error}).") from error


def _node(graph: onnx.GraphProto, name: str | None) -> onnx.NodeProto:
    every = [node for node in graph.node if node.op_type in INPUTS and node.domain in ("", "ai.onnx")]
    named = [node for node in every if name is None or name in (node.name, *node.output)]
    if len(named) == 1:
        return named[0]
    listed = ", ".join(f"{node.op_type} {node.name or node.output[0]!r}" for node in every) or "none"
    wanted = "exactly one LSTM, GRU or RNN node is expected" if name is None else f"one node {name!r} is expected"
    cure = "; choose one by its name or output, node=..." if every else ""
    raise ForeignWeightsError(f"{wanted}, the model has: {listed}{cure}.")


def _called(node: onnx.NodeProto) -> str:
    return f"{node.op_type} {node.name or node.output[0]!r}"


# --- its attributes


def _found(node: onnx.NodeProto, arrays: Arrays) -> Found:
    attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    _check_attributes(node, attributes)
    _check_size(node, attributes, arrays)
    (cell, options), reverse = _cell(node, attributes, arrays), _direction(node, attributes)
    return Found(cell, options_of(cell, options, _called(node), attributes, len(reverse)), reverse)


def _direction(node: onnx.NodeProto, attributes: Mapping[str, Any]) -> tuple[bool, ...]:
    """Whether each direction reads backwards."""
    name = attributes.get("direction", b"forward").decode()
    found = next((reverse for reverse, known in DIRECTIONS.items() if known == name), None)
    if found is None:
        known = ", ".join(DIRECTIONS.values())
        raise ForeignWeightsError(f"{_called(node)}: direction={name!r} is not one of {known}.")
    return found


def _check_attributes(node: onnx.NodeProto, attributes: Mapping[str, Any]) -> None:
    for name, value in attributes.items():
        if name not in KNOWN:
            raise NotExpressibleError(
                f"{_called(node)} has {name}={value!r}, and no cell here does that: export the model without it."
            )


def _check_size(node: onnx.NodeProto, attributes: Mapping[str, Any], arrays: Arrays) -> None:
    said, R = attributes.get("hidden_size"), arrays.get("R")
    if said is not None and R is not None and R.ndim and R.shape[-1] != said:
        raise ForeignWeightsError(f"{_called(node)} has hidden_size={said}, and R has shape {R.shape}: (.., k H, H).")


def _cell(node: onnx.NodeProto, attributes: Mapping[str, Any], arrays: Arrays) -> tuple[str, dict[str, Any]]:
    """Our cell and its options; peepholes that are all 0 are none."""
    if node.op_type != "LSTM":
        gru = "gru_reset_after" if attributes.get("linear_before_reset") else "gru"
        return {"RNN": "rnn", "GRU": gru}[node.op_type], {}
    seen = _peepholes(node, arrays["P"]) if "P" in arrays else ""
    if attributes.get("input_forget"):
        seen = seen.replace("f", "")  # f = 1 - i sees nothing itself
        return ("peephole", {"peepholes": seen, "coupled": COUPLED}) if seen else ("coupled", {})
    return ("peephole", {"peepholes": seen}) if seen else ("lstm", {})


def _peepholes(node: onnx.NodeProto, P: NDArray[Any]) -> str:
    if P.ndim != 2 or P.shape[1] % 3:
        raise ShapeError(f"{_called(node)}: P has shape {P.shape}, expected (directions, 3 H).")
    rows = dict(zip("iof", np.split(P, 3, axis=1), strict=True))
    return "".join(gate for gate in "ifo" if np.any(rows[gate]))


# --- its inputs


def _arrays(graph: onnx.GraphProto, node: onnx.NodeProto) -> Arrays:
    """W, R and what there is of B and P; first states and lengths have to be left to `forward`."""
    constants = _constants(graph)
    inputs = {key: name for key, name in zip(INPUTS[node.op_type], node.input, strict=False) if name}
    for key in ("initial_h", "initial_c", "sequence_lens"):
        if inputs.get(key) in constants and (key == "sequence_lens" or np.any(constants[inputs[key]])):
            cure = "lengths" if key == "sequence_lens" else "state"
            raise NotExpressibleError(
                f"{_called(node)} has a fixed {key}, and a layer has none: make it an input of the model and hand "
                f"it to forward({cure}=...)."
            )
    weights = {key: inputs[key] for key in ("W", "R", "B", "P") if key in inputs}
    for key, name in weights.items():
        if name not in constants:
            raise ForeignWeightsError(
                f"{_called(node)}: {key} = {name!r} is no initializer of the graph: fold the model's constants first."
            )
    return as_arrays(_called(node), {key: constants[name] for key, name in weights.items()})


def _constants(graph: onnx.GraphProto) -> dict[str, NDArray[Any]]:
    """Initializers and Constant nodes by name, and what Identity nodes call them: torch's exporter keeps one of two
    arrays with the same numbers."""
    found = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            found[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
        elif node.op_type == "Identity" and node.input[0] in found:
            found[node.output[0]] = found[node.input[0]]
    return found


def _of_direction(layout: Layout, arrays: Arrays, d: int, directions: int) -> Arrays:
    for key, array in arrays.items():
        if array.ndim == 0 or len(array) != directions:
            raise ShapeError(
                f"{layout.library}: {key} has shape {array.shape}, expected ({directions}, ...), one a direction."
            )
    return {key: array[d] for key, array in arrays.items()}
