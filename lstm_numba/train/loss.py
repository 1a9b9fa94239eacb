"""Losses and their gradients with respect to the model's output."""

import numpy as np
from numpy.typing import NDArray

from lstm_numba.checks import as_array, fitting
from lstm_numba.errors import ShapeError
from lstm_numba.train import arguments

NATS_PER_BIT = float(np.log(2))


def cross_entropy(scores: NDArray, targets: NDArray[np.integer]) -> tuple[float, NDArray]:
    """Mean over the rows of -log softmax(y)[s] in nats, and its gradient.

        p = softmax(y)        d_y = (p - e_s) / rows

    Args:
        scores: (..., V), floating; overwritten: the gradient is made in its memory.
        targets: (...), the symbol s that came, in [0, V).

    Raises:
        ShapeError: the shapes do not fit, or there is no row to take a mean over.
        DtypeError, OptionError: the targets are not symbols, or the scores no array of floating numbers.
        ArgumentError: the scores cannot be written.
    """
    wanted = _checked(scores, targets).reshape(-1, 1)
    rows = _log_softmax(scores)
    loss = -float(np.take_along_axis(rows, wanted, 1).mean(dtype=np.float64))
    gradient = np.exp(rows, out=rows)
    np.put_along_axis(gradient, wanted, np.take_along_axis(gradient, wanted, 1) - 1, 1)
    gradient /= len(rows)
    return loss, gradient.reshape(scores.shape)


def log_probabilities(scores: NDArray, targets: NDArray[np.integer]) -> NDArray:
    """log softmax(y)[s], shaped as the targets; the scores are overwritten."""
    wanted = _checked(scores, targets)
    return np.take_along_axis(_log_softmax(scores), wanted.reshape(-1, 1), 1).reshape(wanted.shape)


def squared_error(output: NDArray, targets: NDArray) -> tuple[float, NDArray]:
    """Mean over all elements of (y - target)^2, and its gradient 2 (y - target) / elements.

    Raises: ShapeError if the targets have another shape, (B,) for (B, 1) too, or there is no element; DtypeError if the
        output is not floating numbers.
    """
    output, targets = arguments.floats("output", output), as_array("targets", targets)
    fitting("targets", targets.shape, output.shape, "the shape of the output")
    difference = np.subtract(output, targets)
    _not_empty("output", difference)
    return float(np.square(difference).mean(dtype=np.float64)), difference * (2 / difference.size)


def _checked(scores: NDArray, targets: NDArray[np.integer]) -> NDArray[np.integer]:
    """The targets, one symbol for each row of the scores."""
    if not arguments.in_place("scores", scores).ndim:
        raise ShapeError("scores has shape (), expected (..., V): one score for each symbol.")
    wanted = arguments.symbols("targets", targets, scores.shape[-1], "read from the scores' last axis")
    fitting("targets", wanted.shape, scores.shape[:-1], "one symbol for each row of the scores")
    _not_empty("scores", scores)
    return wanted


def _not_empty(name: str, array: NDArray) -> None:
    if not array.size:
        raise ShapeError(f"{name} has shape {array.shape}: of no element there is no mean; leave this batch out.")


def _log_softmax(scores: NDArray) -> NDArray:
    """y - max y - log sum exp(y - max y), in place, as rows."""
    rows = scores.reshape(-1, scores.shape[-1])
    rows -= rows.max(1, keepdims=True)
    rows -= np.log(np.exp(rows).sum(1, keepdims=True))
    return rows
