"""What a forward leaves for its backward, as a tensor that an operator can return and take.

An operator must be a function of its arguments, and a backward works in the very arrays that its forward has filled.
So the operator returns a *reserve*: one number, always 0, whose storage keeps the forward's run alive and whose address
finds it again.  Whoever holds the reserve holds the run; when autograd lets go of it, the arrays go back to the layer.
A reserve that was copied finds nothing, and then the forward is run once more: the results are the same bits.
"""

from typing import Any
from weakref import WeakValueDictionary

import numpy as np
import torch
from torch import Tensor

RUNS: "WeakValueDictionary[int, Any]" = WeakValueDictionary()


class _Owner(np.ndarray):
    """The reserve's memory; the tensor that is made of it keeps it, and it keeps the run."""

    run: Any


def reserve(run: Any) -> Tensor:
    """A tensor (1,) of int64 that finds the run as long as it lives; with None, one that finds nothing."""
    memory = np.zeros(1, np.int64).view(_Owner)
    tensor = torch.from_numpy(memory)
    if run is not None:
        memory.run = run
        RUNS[tensor.data_ptr()] = run
    return tensor


def kept(tensor: Tensor) -> Any:
    """The run of a reserve, or None where it is a copy or nothing was kept."""
    return RUNS.get(tensor.data_ptr())
