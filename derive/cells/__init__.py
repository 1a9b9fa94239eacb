"""The cells of the package in historical order: `derive.cells["lstm"]`.  A new one is a file here and a line below."""

import sys
from collections.abc import Iterator, Mapping
from importlib import import_module
from types import ModuleType

from derive.cell import Cell
from derive.errors import UnknownCellError

ORDER = (
    "rnn",
    "lstm1997",
    "lstm",
    "peephole",
    "esn",
    "clockwork",
    "lstm_projected",
    "gru",
    "gru_reset_after",
    "coupled",
    "depth_gated",
)


class _Cells(ModuleType, Mapping[str, Cell]):
    """This folder as a mapping: a cell's file is read when the cell is asked for."""

    # A mapping compares its items and has no hash; tools that walk sys.modules put modules in sets.
    __eq__ = ModuleType.__eq__
    __hash__ = ModuleType.__hash__

    def __getitem__(self, name: str) -> Cell:
        if name not in ORDER:
            raise UnknownCellError(f"there is no cell {name!r}; there are {', '.join(ORDER)}")
        return import_module(f"derive.cells.{name}").cell

    def __iter__(self) -> Iterator[str]:
        return iter(ORDER)

    def __len__(self) -> int:
        return len(ORDER)


sys.modules[__name__].__class__ = _Cells
