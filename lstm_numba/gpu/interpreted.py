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

from lstm_numba.gpu import compiler
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

    def unwrite(self, array: Any) -> None:
        array.view(f"u{array.itemsize}").fill(2 ** (8 * array.itemsize) - 1)

    def to_low(self, array: Any, kinds: Types) -> Any:
        return array.astype(kinds.stored)

    def steps(self, graphs: Any, run: Callable[..., None], arrays: dict[str, Any], count: int) -> None:
        run(arrays, count)

    def multiply(self, target: Any, left: Any, right: Any, kinds: Types) -> None:
        target += left.astype(target.dtype) @ right.astype(target.dtype)

    def launch(self, module: ModuleType, kinds: Types, name: str, arguments: dict[str, Any], space: str) -> None:
        arguments = {n: None if n.startswith("sums_") else value for n, value in arguments.items()}
        functions = [getattr(module, n) for n in compiler.of_unit(module, name)]
        given = {n: value for n, value in arguments.items() if n not in ("row", "unit", "read")}
        fixed = [{n: given[n] for n in inspect.signature(f).parameters if n in given} for f in functions]
        for row, unit in np.ndindex(arguments["batch"], arguments[space]):
            read = [{"read": f(row=row, unit=unit, **given)} for f, given in zip(functions[1:], fixed[1:], strict=True)]
            functions[0](row=row, unit=unit, **fixed[0], **(read[0] if read else {}))

    def sweep(self, module: ModuleType, kinds: Types, name: str, arguments: dict[str, Any], found: Plan) -> None:
        # one block holds what all blocks of the plan would: its regions lie further apart
        apart = {n: n_th * 10**9 for n_th, n in enumerate(found.places)}
        getattr(module, name)(**{**arguments, **{n: apart[n] for n in apart if n in arguments}})
