"""ONNX models in and out; what needs the package `onnx` itself is imported when it is called."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lstm_numba import checks
from lstm_numba.errors import MissingPackageError
from lstm_numba.layer import Layer
from lstm_numba.stack import Stack

if TYPE_CHECKING:
    import onnx


def to_onnx(
    layer: Layer | Stack, *, state: bool = True, lengths: bool = False, resets: bool = False, form: str | None = None
) -> "onnx.ModelProto":
    """An ONNX model that computes what `layer.forward` does, for any cell; `onnx.save(model, path)` writes it.

    Inputs: x (T, B, N), or what the cell reads first, and the cell's further sequences, e.g. c_lower; with `state` the
    first states, h_0 (B, H) and so on, which are 0 without; with `lengths` lengths (B,) int64 in [0, T]; with `resets`
    resets (T, B) bool.

    Outputs: output (T, B, H), the cell's further outputs by name, and the final states, h_T (B, H) and so on. A Stack's
    states are called as in `Stack`: 0.h_0, 1.reverse.c_T. T and B are free; all have the layer's dtype.

    Args:
        form: "operator" for ONNX's own LSTM, GRU or RNN; "scan" for a Scan over the equations, which takes any cell,
            resets and float64, which onnxruntime's operators do not. Without it the operator where onnxruntime runs it.

    onnxruntime's GRU operator (1.32) ends the process when T = 0, unless the model has `lengths`.

    Raises: NotExpressibleError if the operator asked for cannot do it, OptionError for another form,
        MissingPackageError without the package onnx.
    """
    try:
        from lstm_numba.interchange.onnx_write import model
    except ImportError as error:
        raise _missing(error) from error
    state, lengths, resets = (
        checks.flag(name, value) for name, value in (("state", state), ("lengths", lengths), ("resets", resets))
    )
    return model(layer, state, lengths, resets, form)


def from_onnx(
    model: Any, *, node: str | Sequence[str] | None = None, dtype: Any = None, threads: int = 1
) -> Layer | Stack:
    """A Layer that computes what the LSTM, GRU or RNN node of an ONNX model does; a Stack if it has both directions.

    W (D, k H, N), R (D, k H, H), B (D, 2 k H) and P (D, 3 H) are read, D directions and k gates; linear_before_reset,
    input_forget and peepholes choose the cell, and other activations than its own and clip its options `activations`
    and `clip`, of a Stack's second direction `reverse_options`: the equations are then derived, and the kernels
    generated, when this is called. The model's first states and sequence_lens are for `forward`, whose sequences are
    time-major (ONNX's layout=0).

    Args:
        model: an onnx.ModelProto, or the path of one.
        node: its name or one of its outputs, where the model has several such nodes; or a list, the layers of a Stack
            from the lowest up.
        dtype: of the result; without it the model's, float32 for half precision.

    Raises:
        NotExpressibleError: the node does what no cell here does, e.g. it has fixed first states.
        ForeignWeightsError: there is no such node or file, its weights are not constants of the model, or its
            attributes do not fit the operator.
        ShapeError, DtypeError, ArgumentError: for arrays that do not fit each other, and arguments of another kind.
        MissingPackageError: without the package onnx.
    """
    try:
        from lstm_numba.interchange.onnx_read import read
    except ImportError as error:
        raise _missing(error) from error
    return read(model, node, dtype, threads)


def _missing(error: ImportError) -> MissingPackageError:
    return MissingPackageError(f"this needs the package onnx ({error}): pip install 'lstm-numba[onnx]'.")
