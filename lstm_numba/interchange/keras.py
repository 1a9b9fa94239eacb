"""Keras 3 layers LSTM, GRU and SimpleRNN: their weights, without Keras itself."""

from collections.abc import Sequence
from typing import Any

from lstm_numba.errors import ArgumentError, ForeignWeightsError, NotExpressibleError, OptionError
from lstm_numba.interchange.layouts import KERAS, Layout
from lstm_numba.interchange.stacking import (
    Arrays,
    as_arrays,
    assembled,
    dtype_for,
    levels_of,
    stacked_of,
    unchanged_cell,
    unstacked,
)
from lstm_numba.layer import Layer
from lstm_numba.stack import Stack

KEYS = ("kernel", "recurrent_kernel", "bias")


def from_keras(
    weights: Sequence[Any],
    *,
    reset_after: bool | None = None,
    dtype: Any = None,
    threads: int = 1,
    **options: Any,
) -> Layer | Stack:
    """A Layer that computes what a Keras layer does, or a Stack of both directions for a Bidirectional one.

    Args:
        weights: `keras_layer.get_weights()`: kernel (N, k H), recurrent_kernel (H, k H) and, unless use_bias=False,
            bias (k H,), or (2, 3 H) for the GRU that resets after the product. Bidirectional (merge_mode "concat") has
            them twice. The number of gates k says which layer it is.
        reset_after: of a GRU without bias, where the weights do not say; True as in Keras.
        dtype: of the result; without it float64 if any array is, else float32.
        options: of the cell: activation="relu" for SimpleRNN(activation="relu"), which the weights do not say, as they
            do not for the others: activations={"g": "relu", "h": "relu"} for LSTM(activation="relu"), and as of
            `derive.activated`. Keras's hard_sigmoid is "hard_sigmoid(1/6, 0.5)", its leaky_relu "leaky_relu(0.2)".

    Raises:
        ForeignWeightsError, ShapeError, DtypeError, ArgumentError, OptionError: for weights of something else.
    """
    directions = _directions(weights)
    layout = _layout(directions[0], reset_after)
    kind = dtype_for(directions[0], dtype)
    level = [unstacked(layout, arrays, kind, options) for arrays in directions]
    return assembled(layout.cell, [level], kind, threads, **options)


def to_keras(layer: Layer | Stack, *, use_bias: bool = True) -> list[Any]:
    """The arrays for `keras_layer.set_weights(...)`; those of a Stack with both directions for a Bidirectional layer.

    Args:
        use_bias: as the Keras layer; without it the biases have to be 0.

    Raises: NotExpressibleError if Keras has no layer for this, e.g. for several layers at once.
    """
    levels, cell = levels_of(layer), unchanged_cell(layer)
    layout = KERAS.get(cell)
    backwards = isinstance(layer, Layer) and layer.reverse
    if layout is None or len(levels) > 1 or backwards:
        what = f"the cell {cell}" if layout is None else f"{len(levels)} layers at once"
        what = "a layer that only reads backwards (go_backwards turns the outputs too)" if backwards else what
        known = ", ".join(f"{one.cell} ({one.library})" for one in KERAS.values())
        raise NotExpressibleError(f"Keras has no layer for {what}; it has {known}, one at a time.")
    if not use_bias:
        layout = Layout(layout.library, layout.cell, layout.arrays[:2])
    return [array for one in levels[0].values() for array in stacked_of(layout, one.parameters).values()]


def _directions(weights: Any) -> list[Arrays]:
    """{"kernel": ..., ...} once, or twice for both directions."""
    if not isinstance(weights, (list, tuple)):
        came = type(weights).__name__
        raise ArgumentError(f"weights must be a list of arrays, got {came}: pass keras_layer.get_weights().")
    if len(weights) not in (2, 3, 4, 6):
        raise ForeignWeightsError(
            "a Keras layer has kernel, recurrent_kernel and perhaps bias, a Bidirectional one twice: 2, 3, 4 or 6 "
            f"arrays; got {len(weights)}: pass the weights of one recurrent layer."
        )
    many = len(weights) if len(weights) < 4 else len(weights) // 2
    parts = [weights[first : first + many] for first in range(0, len(weights), many)]
    return [as_arrays("weights", dict(zip(KEYS, part, strict=False))) for part in parts]


def _layout(arrays: Arrays, reset_after: bool | None) -> Layout:
    """By the number of gates, the width of the recurrent kernel over its height, and the GRU's by its bias."""
    shape = arrays["recurrent_kernel"].shape
    gates = shape[1] / shape[0] if len(shape) == 2 and shape[0] else 0
    if gates not in (1, 3, 4):
        raise ForeignWeightsError(
            f"recurrent_kernel must be (H, k H), k = 4 gates for LSTM, 3 for GRU, 1 for SimpleRNN; got shape {shape}."
        )
    if gates != 3:
        return KERAS["lstm" if gates == 4 else "rnn"]
    after = arrays["bias"].ndim == 2 if "bias" in arrays else reset_after is not False
    if reset_after not in (None, after):
        raise OptionError(
            f"reset_after={reset_after!r}, but the bias has shape {arrays['bias'].shape}: (2, 3 H) is the GRU's that "
            "resets after the product, (3 H,) that of the other."
        )
    return KERAS["gru_reset_after" if after else "gru"]
