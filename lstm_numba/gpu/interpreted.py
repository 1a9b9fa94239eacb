"""A device in plain Python on NumPy arrays: the generated text as it is, one thread after the other.

The engine, the layer and the text are those that run on a GPU; only the kernels are not compiled.  float16 stands for
both half types.
"""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np


class Interpreter:
    """Runs units over rows and units of a layer, products with NumPy."""

    xp = np

    def __init__(self, stored: Any = None) -> None:
        self.stored = stored

    def to_low(self, array: Any) -> Any:
        return array if self.stored is None else array.astype(self.stored)

    def steps(self, run: Callable[..., None], arrays: dict[str, Any], begin: int, end: int) -> None:
        run(arrays, begin, end)

    def multiply(self, target: Any, left: Any, right: Any) -> None:
        """target += left @ right, summed in the target's type."""
        target += left.astype(target.dtype) @ right.astype(target.dtype)

    def launch(
        self, module: ModuleType, types: Any, name: str, arguments: dict[str, Any], rows: int, units: int
    ) -> None:
        unit_function = getattr(module, name)
        nothing = np.zeros(0)
        arguments = {n: nothing if n.startswith("sums_") else value for n, value in arguments.items()}
        for row in range(rows):
            for unit in range(units):
                unit_function(**{**arguments, "row": row, "unit": unit})
