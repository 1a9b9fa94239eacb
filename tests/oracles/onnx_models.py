"""The cells that ONNX knows, as models for onnxruntime: the foreign oracle of float32 inference.

operator   gates in ONNX's order      biases side by side, input's then state's
RNN        the only one               [b, 0]
LSTM       i o f c(=g), P is i o f    [b, 0]        input_forget=1 couples: f = 1 - i, its rows are ignored
GRU        z r h(=n)                  [b, b_hn]     linear_before_reset=1 is the reset after the product
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

LSTM = {"coupled": {"input_forget": 1}, "lstm": {}, "peephole": {}}
GRU = {"gru": {"linear_before_reset": 0}, "gru_reset_after": {"linear_before_reset": 1}}
STATES = {"RNN": ("h",), "LSTM": ("h", "c"), "GRU": ("h",)}
ORDER = {"RNN": ("",), "LSTM": ("_i", "_o", "_f", "_g"), "GRU": ("_z", "_r", "_n")}
CELLS = ("rnn", *LSTM, *GRU)
Named = Mapping[str, np.ndarray]


def operator(name: str, activation: str) -> tuple[str, dict[str, Any]]:
    if name in LSTM:
        return "LSTM", LSTM[name]
    if name in GRU:
        return "GRU", GRU[name]
    return "RNN", {"activations": [activation.capitalize()]}


def stack(kind: str, letter: str, parameters: Named, like: np.ndarray) -> np.ndarray:
    """One direction's parameters in ONNX's gate order; zeros where the cell has no such gate."""
    return np.concatenate([parameters.get(letter + gate, np.zeros_like(like)) for gate in ORDER[kind]])[None]


def weights(kind: str, parameters: Named) -> dict[str, np.ndarray]:
    """W (1, G H, N), R (1, G H, H), B (1, 2 G H) and for the LSTM P (1, 3 H)."""
    one_gate = ORDER[kind][0]
    W, U, b = (parameters[letter + one_gate] for letter in "WUb")
    recurrent_bias = {"b_n": parameters["b_hn"]} if "b_hn" in parameters else {}
    biases = [stack(kind, "b", parameters, b), stack(kind, "b", recurrent_bias, b)]
    arrays = {"W": stack(kind, "W", parameters, W), "R": stack(kind, "U", parameters, U), "B": np.hstack(biases)}
    if kind == "LSTM":
        arrays["P"] = np.concatenate([parameters.get(f"p_{gate}", np.zeros_like(b)) for gate in "iof"])[None]
    return arrays


def model(name: str, parameters: Named, activation: str = "tanh") -> bytes:
    """A serialized model: (X, lengths, initial states) -> (Y, final states)."""
    kind, attributes = operator(name, activation)
    arrays, states = weights(kind, parameters), STATES[kind]
    hidden_size = arrays["R"].shape[-1]
    inputs = ["X", "W", "R", "B", "lengths", *(f"initial_{s}" for s in states)] + ["P"] * (kind == "LSTM")
    outputs = ["Y", *(f"Y_{s}" for s in states)]

    def tensors(names, rank):
        return [helper.make_tensor_value_info(one, TensorProto.FLOAT, [None] * rank) for one in names]

    graph = helper.make_graph(
        [helper.make_node(kind, inputs, outputs, hidden_size=hidden_size, **attributes)],
        name,
        [
            *tensors(["X"], 3),
            helper.make_tensor_value_info("lengths", TensorProto.INT32, [None]),
            *tensors([f"initial_{s}" for s in states], 3),
        ],
        [*tensors(["Y"], 4), *tensors(outputs[1:], 3)],
        [numpy_helper.from_array(array.astype(np.float32), key) for key, array in arrays.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8).SerializeToString()


class Session:
    """A loaded model with the interface of a layer's forward."""

    def __init__(self, name: str, parameters: Named, activation: str = "tanh", threads: int = 1) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        content = model(name, parameters, activation)
        self.states = STATES[operator(name, activation)[0]]
        self.session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])

    def forward(self, x: np.ndarray, state: Named, lengths: np.ndarray | None = None) -> tuple[np.ndarray, Named]:
        """Output (T, B, H) and final state, float32."""
        if lengths is None:
            lengths = np.full(x.shape[1], len(x))
        feed = {"X": x, "lengths": lengths.astype(np.int32)} | {f"initial_{s}": state[s][None] for s in self.states}
        output, *final = self.session.run(None, feed)
        return output[:, 0], {s: value[0] for s, value in zip(self.states, final, strict=True)}
