"""Gradient clipping (Pascanu, Mikolov & Bengio 2013): a step over a cliff stays short."""

from collections.abc import Mapping
from math import isfinite, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lstm_numba.errors import NonFiniteGradientError, OptionError
from lstm_numba.train import arguments


def clip_by_norm(gradients: Mapping[str, NDArray], limit: float) -> float:
    """Scale all gradients by one factor, in place, so that their norm is at most the limit.

        if ||G|| > limit:  G <- (limit / ||G||) G,      ||G|| over all arrays together

    The direction stays; below the limit not one bit changes. (torch divides by ||G|| + 1e-6 and so ends just below.)

    Returns: the norm before.
    Raises: NonFiniteGradientError if a gradient holds NaN or infinity, DtypeError or ArgumentError if one cannot be
        scaled in place; nothing is scaled then.
    """
    _check(gradients, limit)
    norm = global_norm(gradients)
    if norm > limit:
        _scale(gradients, limit / norm)
    return norm


def clip_by_value(gradients: Mapping[str, NDArray], limit: float) -> None:
    """Cut every element to [-limit, limit], in place.  This may turn the direction.  Raises as clip_by_norm."""
    _check(gradients, limit)
    _largest(gradients)
    for gradient in gradients.values():
        np.clip(gradient, -limit, limit, out=gradient)


def global_norm(gradients: Mapping[str, NDArray]) -> float:
    """||G|| = m sqrt(sum (g / m)^2) with m = max |g|, in float64, so that no square overflows or underflows."""
    largest = _largest(gradients)
    if largest == 0:
        return 0.0
    return largest * sqrt(sum(float(np.square(g / np.float64(largest)).sum()) for g in gradients.values()))


def _scale(gradients: Mapping[str, NDArray], factor: float) -> None:
    for gradient in gradients.values():
        gradient *= factor


def _largest(gradients: Mapping[str, NDArray]) -> float:
    named = arguments.named("gradients", gradients)
    largest = {name: float(np.abs(gradient).max(initial=0)) for name, gradient in named.items()}
    bad = [name for name, value in largest.items() if not isfinite(value)]
    if bad:
        raise NonFiniteGradientError(
            f"Gradients must be finite, but {', '.join(bad)} hold NaN or infinity.\n"
            "    Look for them in the loss and the inputs of this step, or take a smaller learning rate."
        )
    return max(largest.values(), default=0.0)


def _check(gradients: Any, limit: Any) -> None:
    if not (isinstance(limit, (int, float, np.number)) and isfinite(limit) and limit > 0):
        raise OptionError(f"The limit of a clipped gradient must be a positive number, but {limit!r} came.")
    for name, gradient in arguments.named("gradients", gradients).items():
        arguments.in_place(f"gradient {name}", gradient)
