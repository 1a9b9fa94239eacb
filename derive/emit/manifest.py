"""Everything that is generated: {path: text}.  The only list, read by `derive generate` and by `derive check` alike."""

from collections.abc import Iterable

from derive.cell import Cell
from derive.emit.module import module_text


def manifest(cells: Iterable[Cell]) -> dict[str, str]:
    """The files of these cells, every variant one module, relative to the folder of generated modules."""
    variants = [variant for cell in cells for variant in cell.variants()]
    return {f"{variant.module}.py": _text(variant) for variant in variants}


def _text(cell: Cell) -> str:
    return module_text(cell, source=f"derive/cells/{cell.name}.py", command=f"derive generate {cell.name}")
