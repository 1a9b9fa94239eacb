"""How many bytes a run needs on the device, counted before anything is taken."""

import copy
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np

from lstm_numba.errors import CudaMemoryError
from lstm_numba.gpu.shapes import Arrays, Shapes


def _counted(length: int, dtype: Any) -> Any:
    """An array that says how large it is, and takes no memory."""
    return np.broadcast_to(np.zeros((), dtype), (int(length),))


COUNTING = SimpleNamespace(empty=_counted, zeros=_counted)


def total(shapes: Shapes, arrays: Callable[[Shapes], Arrays]) -> int:
    """Bytes of what `arrays` makes."""
    counting = copy.copy(shapes)
    counting.xp = COUNTING
    return sum(array.nbytes for array in arrays(counting).values())


def forward_bytes(shapes: Shapes, steps: int, batch: int, save: bool) -> int:
    """What a forward takes besides its inputs."""
    matrices = shapes.parameters * shapes.types.stored.itemsize
    return matrices + total(shapes, lambda counting: counting.work(steps, batch, save))


def backward_bytes(shapes: Shapes, steps: int, batch: int) -> int:
    """What a backward takes besides its forward's tape and what arrives."""
    sequences = sum(shapes.spaces[space] for space in shapes.spec.inputs.values()) * steps * batch
    found = (sequences + 2 * shapes.parameters) * shapes.types.arithmetic.itemsize
    return found + total(shapes, lambda counting: counting.adjoints(steps, batch))


def tangent_bytes(shapes: Shapes, steps: int, batch: int, backward: bool) -> int:
    """What a direction takes besides the tape and itself; with `backward`, what its transpose takes too."""
    forward = forward_bytes(shapes, steps, batch, save=True)
    return forward + 2 * backward_bytes(shapes, steps, batch) if backward else forward


def check_free(needed: int, free: int, what: str, cures: str) -> None:
    """Refuse what does not fit.

    Raises:
        CudaMemoryError: with both numbers, and what would need less.
    """
    if needed > free:
        raise CudaMemoryError(f"{what} needs {needed} bytes on the device, and {free} are free: {cures}.")
