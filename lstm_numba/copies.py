"""Copies of layers, in this process or another: kernels are not copied but found again.

A layer of a module that is not in this package, of a cell built by its user, say, takes the module's text along.
"""

import importlib
import inspect
import linecache
import sys
from functools import cache
from types import ModuleType
from typing import TYPE_CHECKING, Any

from lstm_numba import generated

if TYPE_CHECKING:
    from lstm_numba.layer import Layer


def class_of(layer: "Layer") -> type["Layer"]:
    """The layer's class, or the first of its bases that another process can import."""
    return next(c for c in type(layer).__mro__ if getattr(sys.modules.get(c.__module__), c.__qualname__, None) is c)


def reference(module: ModuleType) -> tuple[str, str | None]:
    """A module's name, and its text if it is not one of ours."""
    name = module.__name__
    return name, None if name.startswith(f"{generated.__name__}.") else inspect.getsource(module)


def unpickled(made: type["Layer"], name: str, text: str | None, state: dict[str, Any]) -> "Layer":
    return revived(made, module_of(name, text), state)


def module_of(name: str, text: str | None) -> ModuleType:
    """The module that `reference` described."""
    return importlib.import_module(name) if text is None else from_text(name, text)


def revived(made: type["Layer"], module: ModuleType, state: dict[str, Any]) -> "Layer":
    """A layer with this state, and engines of its own."""
    layer = made.__new__(made)
    layer._revive(module, state)
    return layer


@cache
def from_text(name: str, text: str) -> ModuleType:
    """A module without a file, its text where tracebacks and `inspect` look for it."""
    module = ModuleType(name)
    module.__file__ = f"{name}.py"
    linecache.cache[module.__file__] = (len(text), None, text.splitlines(keepends=True), module.__file__)
    exec(compile(text, module.__file__, "exec"), module.__dict__)  # noqa: S102  (a pickle is trusted, or it is not opened)
    return module
