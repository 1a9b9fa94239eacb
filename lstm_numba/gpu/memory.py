"""How many bytes a run needs on the device, counted before anything is taken."""

import copy
from types import SimpleNamespace
from typing import Any

import numpy as np

from lstm_numba.errors import CudaMemoryError
from lstm_numba.gpu.shapes import Arrays, Shapes


def _counted(length: int, dtype: Any) -> Any:
    """An array that says how large it is, and takes no memory."""
    return np.broadcast_to(np.zeros((), dtype), (int(length),))


COUNTING = SimpleNamespace(empty=_counted, zeros=_counted)


def forward_bytes(shapes: Shapes, parameters: int, steps: int, batch: int, save: bool) -> int:
    """What a forward takes besides its inputs."""
    return parameters * shapes.types.stored.itemsize + _total(_counting(shapes).work(steps, batch, save))


def backward_bytes(shapes: Shapes, parameters: int, steps: int, batch: int) -> int:
    """What a backward takes besides its forward's tape and what arrives."""
    sequences = sum(shapes.spaces[space] for space in shapes.spec.inputs.values()) * steps * batch
    found = (sequences + 2 * parameters) * shapes.types.arithmetic.itemsize
    return found + _total(_counting(shapes).adjoints(steps, batch))


def _counting(shapes: Shapes) -> Shapes:
    found = copy.copy(shapes)
    found.xp = COUNTING
    return found


def _total(arrays: Arrays) -> int:
    return sum(array.nbytes for array in arrays.values())


def check_free(needed: int, free: int, what: str, cures: str) -> None:
    """Refuse what does not fit.

    Raises:
        CudaMemoryError: with both numbers, and what would need less.
    """
    if needed > free:
        raise CudaMemoryError(f"{what} needs {needed} bytes on the device, and {free} are free: {cures}.")
