"""A device in plain Python on NumPy arrays: the generated text as it is, one thread after the other.

The engine, the layer and the text are those that run on a GPU; only the kernels are not compiled.  float16 stands for
both half types.
"""

import inspect
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from types import ModuleType
from typing import Any

import numpy as np

from lstm_numba.gpu.plan import Limits, Plan
from lstm_numba.types import Types


class Interpreter:
    """A thread for each unit of each row, in turn; products by NumPy.

    With `limits`, sweeps run as one block of one thread, planned for a device of these limits.
    """

    xp, number = np, 0

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits

    def active(self) -> AbstractContextManager[Any]:
        return nullcontext()

    def settle(self) -> None:
        pass

    def is_capturing(self) -> bool:
        return False

    def unused_bytes(self) -> int:
        return 2**40

    free_bytes = unused_bytes

    def holds(self, module: ModuleType, kinds: Types, name: str, found: Plan) -> bool:
        return True

    def to_low(self, array: Any, kinds: Types) -> Any:
        return array.astype(kinds.stored)

    def steps(self, graphs: Any, run: Callable[..., None], arrays: dict[str, Any], begin: int, end: int) -> None:
        run(arrays, begin, end)

    def multiply(self, target: Any, left: Any, right: Any, kinds: Types) -> None:
        target += left.astype(target.dtype) @ right.astype(target.dtype)

    def launch(self, module: ModuleType, kinds: Types, name: str, arguments: dict[str, Any], space: str) -> None:
        arguments = {n: None if n.startswith("sums_") else value for n, value in arguments.items()}
        places = inspect.signature(getattr(module, name)).parameters
        fixed = {n: arguments[n] for n in places if n not in ("row", "unit")}
        for row, unit in np.ndindex(arguments["batch"], arguments[space]):
            getattr(module, name)(row=row, unit=unit, **fixed)

    def sweep(self, module: ModuleType, kinds: Types, name: str, arguments: dict[str, Any], found: Plan) -> None:
        # one block holds what all blocks of the plan would: its regions lie further apart
        apart = {n: n_th * 10**9 for n_th, n in enumerate(found.places)}
        getattr(module, name)(barrier=None, **{**arguments, **{n: apart[n] for n in apart if n in arguments}})
