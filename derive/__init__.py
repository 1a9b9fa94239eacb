"""Write a recurrent cell as equations; get its gradients derived and its kernels generated and proved.

The way of the data has six steps, which ARCHITECTURE.md tells; the module that begins one has its number: 1. cell,
2. program, 3. differentiate, 4. emit/module, 5. lstm_numba/layer, 6. verify.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # for type checkers, which see a module where a function has its name: HOME once more
    from collections.abc import Mapping

    from derive.activated import activated as activated
    from derive.build import build as build
    from derive.cell import Cell as Cell
    from derive.cell import family as family
    from derive.coupled import coupled as coupled
    from derive.differentiate import gradients as gradients
    from derive.differentiate import jvp as jvp
    from derive.differentiate import vjp as vjp
    from derive.errors import DeriveError as DeriveError
    from derive.load import load as load
    from derive.parse import parse as parse
    from derive.program import split as split
    from derive.symbols import Eq as Eq

    cells: Mapping[str, Cell]

# public name -> the module that defines it; imported when first asked for, so that `import derive` stays light
HOME = {
    "Cell": "derive.cell",
    "family": "derive.cell",
    "Eq": "derive.symbols",
    "load": "derive.load",
    "parse": "derive.parse",
    "split": "derive.program",
    "vjp": "derive.differentiate",
    "jvp": "derive.differentiate",
    "gradients": "derive.differentiate",
    "activated": "derive.activated",
    "coupled": "derive.coupled",
    "build": "derive.build",
    "DeriveError": "derive.errors",
}

__all__ = [*HOME, "cells"]  # noqa: PLE0604 (the keys are strings)


class _Package(ModuleType):
    """A package whose `load` is the function even after `import derive.load`."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in HOME and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> Any:
    if name == "cells":
        return import_module("derive.cells")  # the folder of cells is itself the mapping name -> Cell
    if name not in HOME:
        raise AttributeError(f"module 'derive' has no attribute {name!r}")
    value = getattr(import_module(HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
