"""The penalty against vanishing gradients (Pascanu, Mikolov & Bengio 2013), for the simple recurrent network.

    Omega = mean over steps and rows of (|u| / |v| - 1)^2,      v = dE/dh_t,   w = phi'(a_t) v,   u = U' w

u is what a step passes back to h_{t-1}. As in the paper, only the immediate derivative by U counts: v and phi' are
held constant. The formula and its derivative are generated: `lstm_numba/generated/penalty.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import inf
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lstm_numba import checks
from lstm_numba.errors import ArgumentError, OptionError
from lstm_numba.generated import penalty as generated
from lstm_numba.layer import Layer
from lstm_numba.train import arguments

FORMS = {"paper": generated.paper, "code": generated.code}
LEAST_SQUARE = 1e-20  # a row with a smaller |v|^2 or |u|^2 has vanished beyond saving; so the authors' program


def vanishing_penalty(
    layer: Layer,
    x: NDArray,
    d_output: NDArray,
    state: Mapping[str, ArrayLike] | None = None,
    *,
    weight: float = 1.0,
    form: str = "paper",
) -> tuple[float, NDArray]:
    """Return Omega, and weight * dOmega/dU (H, H), to be added to the gradient of U.

    Args:
        layer: a Layer("rnn", ...), either activation.
        x, state: what its forward was given.
        d_output: (T, B, H), dE/d output, what its backward was given.
        weight: of Omega in the loss.
        form: "paper", or "code" for (|u|^2 / |v|^2 - 1)^2, which the authors' program computes.

    Raises:
        OptionError: the layer is not one of rnn that reads forwards, or there is no such form.
        ShapeError, DtypeError, ArgumentError: as the layer's forward and backward.
    """
    _check(layer, form)
    weight = arguments.number("weight", weight, -inf)
    shape, source = (None, None, layer.hidden_size), "it is (T, B, H), of the layer's output"
    d_output = checks.array("d_output", d_output, layer.dtype, shape, source)
    U = layer.parameters["U"]
    w = _d_sums(layer, x, d_output, state)
    v = d_output.copy()
    v[:-1] += w[1:] @ U  # what the next step passes back
    v, w = _counted(v.reshape(-1, len(U)), w.reshape(-1, len(U)), U)
    if not len(v):
        return 0.0, np.zeros_like(U)
    omega, d_U = generated.penalty(FORMS[form], v, w, U, weight / len(v))  # type: ignore[no-untyped-call]
    return float(omega.mean()), d_U


def _check(layer: Any, form: Any) -> None:
    if not isinstance(layer, Layer):
        raise ArgumentError(f"layer must be a Layer, got {type(layer).__name__}.")
    if layer.name != "rnn" or layer.reverse:
        came = f"{layer.name}{', reverse=True' if layer.reverse else ''}"
        raise OptionError(f"The penalty is defined for layers of rnn that read forwards; a layer of {came} came.")
    checks.among("form", form, tuple(FORMS))


def _d_sums(layer: Layer, x: NDArray, d_output: NDArray, state: Mapping[str, ArrayLike] | None) -> NDArray:
    """w, the derivative by each step's sum W x + U h + b: that by the input of a layer whose W is the identity."""
    units = layer.hidden_size
    twin = Layer("rnn", units, units, dtype=layer.dtype, threads=layer.threads, **layer.options)
    twin.parameters["W"] = np.eye(units)
    twin.parameters["U"], twin.parameters["b"] = layer.parameters["U"], layer.parameters["b"]
    return twin.forward(x @ layer.parameters["W"].T, state).backward(d_output).x


def _counted(v: NDArray, w: NDArray, U: NDArray) -> tuple[NDArray, NDArray]:
    """The rows whose ratio exists."""
    exists = (np.square(v).sum(1) > LEAST_SQUARE) & (np.square(w @ U).sum(1) > LEAST_SQUARE)
    return v[exists], w[exists]
