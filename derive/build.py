"""A cell -> a layer class, at once: generate the text, put it on disk, import it."""

from __future__ import annotations

import importlib.util
import linecache
import sys
from functools import cache
from types import ModuleType
from typing import TYPE_CHECKING, Any

from derive.cell import Cell
from derive.emit.module import module_text

if TYPE_CHECKING:
    from lstm_numba import Layer


def build(cell: Cell) -> type[Layer]:
    """Return a class that behaves as `lstm_numba.Layer` without the name: `build(cell)(input_size=N, hidden_size=H)`.

    The kernels are compiled when they first run.  The text is kept beside the compiled kernels, in the user's cache.
    """
    from lstm_numba import Layer

    module = module_of(cell)

    class BuiltLayer(Layer):
        """A layer of a cell built from its equations."""

        source = cell

        def __init__(self, input_size: int, hidden_size: int, **settings: Any) -> None:
            super().__init__(module, input_size, hidden_size, **settings)

    BuiltLayer.__name__ = BuiltLayer.__qualname__ = cell.module
    BuiltLayer.__doc__ = f"{cell.title}.  Arguments as `lstm_numba.Layer`, without the name."
    return BuiltLayer


@cache
def module_of(cell: Cell) -> ModuleType:
    """The generated module of a cell, imported."""
    text = module_text(cell, source="the cell's file", command="derive generate FILE.py")
    return _imported(cell, text)


def _imported(cell: Cell, text: str) -> ModuleType:
    """The module from a file in the cache folder, or from memory where there is none."""
    from derive.emit.store import store
    from lstm_numba.cpu.cache import folder

    name, home = f"lstm_numba_built_{cell.module}_{cell.equations_hash[:16]}", folder()
    if home is None:
        return _from_memory(name, text)
    store({f"{name}.py": text}, home, complete=False)
    spec = importlib.util.spec_from_file_location(name, home / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # a kernel from the disk cache looks its module up by name
    spec.loader.exec_module(module)
    return module


def _from_memory(name: str, text: str) -> ModuleType:
    """The module with its text where tracebacks and `inspect` look for it."""
    module = ModuleType(name)
    module.__file__ = f"<{name}>"
    linecache.cache[module.__file__] = (len(text), None, text.splitlines(keepends=True), module.__file__)
    exec(compile(text, module.__file__, "exec"), module.__dict__)  # noqa: S102  (our own text, from checked names)
    return module
