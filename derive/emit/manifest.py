"""Everything that is generated: {path: text}.  The only list, read by `derive generate` and by `derive check` alike."""

from collections import Counter
from collections.abc import Iterable

from derive.cell import Cell
from derive.emit.module import module_text
from derive.emit.store import StoreError
from derive.load import named, names
from derive.penalty import penalty_source


def manifest(cells: Iterable[Cell] | None = None) -> dict[str, str]:
    """The files of these cells, every variant one module, relative to the folder of generated modules.

    Without `cells`: every cell of the package, and what belongs to no cell.
    """
    if cells is None:
        return {**manifest(map(named, names())), "penalty.py": penalty_source()}
    variants = [variant for cell in cells for variant in cell.variants()]
    twice = next((name for name, number in Counter(variant.module for variant in variants).items() if number > 1), None)
    if twice is not None:
        raise StoreError(f"two of the cells are called {twice}: each is one file, {twice}.py; give one another name")
    return {f"{variant.module}.py": _text(variant) for variant in variants}


def _text(cell: Cell) -> str:
    if cell.name in names() and cell in named(cell.name).variants():  # a changed copy may have kept the name
        return module_text(cell, source=f"derive/cells/{cell.name}.py", command=f"derive generate {cell.name}")
    return module_text(cell, source="the cell's file", command="derive generate FILE")
