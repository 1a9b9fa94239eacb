"""Losses and their gradients with respect to the model's output."""

import numpy as np
from numpy.typing import NDArray

NATS_PER_BIT = float(np.log(2))


def cross_entropy(scores: NDArray, targets: NDArray[np.integer]) -> tuple[float, NDArray]:
    """Mean over the rows of -log softmax(y)[s] in nats, and its gradient.

        p = softmax(y)        d_y = (p - e_s) / rows

    Args:
        scores: (..., V), overwritten: the gradient is made in its memory.
        targets: (...), the symbol s that came, in [0, V).
    """
    rows, wanted = _log_softmax(scores), targets.reshape(-1, 1)
    loss = -float(np.take_along_axis(rows, wanted, 1).mean(dtype=np.float64))
    gradient = np.exp(rows, out=rows)
    np.put_along_axis(gradient, wanted, np.take_along_axis(gradient, wanted, 1) - 1, 1)
    gradient /= len(rows)
    return loss, gradient.reshape(scores.shape)


def log_probabilities(scores: NDArray, targets: NDArray[np.integer]) -> NDArray:
    """log softmax(y)[s], shaped as the targets; the scores are overwritten."""
    rows = _log_softmax(scores)
    return np.take_along_axis(rows, targets.reshape(-1, 1), 1).reshape(targets.shape)


def squared_error(output: NDArray, targets: NDArray) -> tuple[float, NDArray]:
    """Mean over all elements of (y - target)^2, and its gradient 2 (y - target) / elements."""
    difference = output - targets
    return float(np.square(difference).mean(dtype=np.float64)), difference * (2 / difference.size)


def _log_softmax(scores: NDArray) -> NDArray:
    """y - max y - log sum exp(y - max y), in place, as rows."""
    rows = scores.reshape(-1, scores.shape[-1])
    rows -= rows.max(1, keepdims=True)
    rows -= np.log(np.exp(rows).sum(1, keepdims=True))
    return rows
