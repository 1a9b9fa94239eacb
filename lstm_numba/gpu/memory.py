"""How many bytes a run needs on the device, counted before anything is taken."""

import copy
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

from lstm_numba.errors import CudaMemoryError

if TYPE_CHECKING:
    from lstm_numba.gpu.engine import CudaEngine


def _counted(length: int, dtype: Any) -> Any:
    """An array that says how large it is, and takes no memory."""
    return np.broadcast_to(np.zeros((), dtype), (int(length),))


COUNTING = SimpleNamespace(xp=SimpleNamespace(empty=_counted, zeros=_counted))


def forward_bytes(engine: "CudaEngine", steps: int, batch: int, save: bool) -> int:
    """What a forward takes besides its inputs."""
    counting = _counting(engine)
    weights = engine.theta.flat.size * engine.types.stored.itemsize
    return weights + _total(counting.work(steps, batch, save))


def backward_bytes(engine: "CudaEngine", steps: int, batch: int) -> int:
    """What a backward takes besides its forward's tape and what arrives."""
    sequences = sum(engine.spaces[space] for space in engine.spec.inputs.values()) * steps * batch
    sums = engine.theta.flat.size * 2
    found = (sequences + sums) * engine.types.arithmetic.itemsize
    return found + _total(_counting(engine).adjoints(steps, batch))


def _counting(engine: "CudaEngine") -> "CudaEngine":
    found = copy.copy(engine)
    found.device = COUNTING
    return found


def _total(arrays: dict[str, Any]) -> int:
    return sum(array.nbytes for array in arrays.values())


def check_free(needed: int, free: int, what: str, cures: str) -> None:
    """Refuse what does not fit.

    Raises:
        CudaMemoryError: with both numbers, and what would need less.
    """
    if needed > free:
        raise CudaMemoryError(f"{what} needs {needed} bytes on the device, and {free} are free: {cures}.")
