"""6. The ladder: a cell's kernels held against its equations, rung by rung, and a failure explained.

report = derive.verify.run([derive.cells["lstm"]], quick=True)
report.ok, print(report.text())
"""

from __future__ import annotations

from collections.abc import Iterable
from time import perf_counter

from derive.cell import Cell
from derive.verify.ladder import Ladder, climb
from derive.verify.report import CellReport, Report, versions

__all__ = ["CellReport", "Ladder", "Report", "run", "verify"]


def run(cells: Iterable[Cell], quick: bool = False, sources: Iterable[str] | None = None) -> Report:
    """Verify every cell.

    Args:
        cells: of the package, or one's own.
        quick: one problem a rung where there could be several.
        sources: how a command line spells each cell; its name and options if not given.

    Returns:
        A report: `ok`, `text()` for people, `json()` for programs, and every measurement.
    """
    chosen = tuple(cells)
    spelled = tuple(sources) if sources is not None else tuple(map(spelling, chosen))
    found = (verify(Ladder(cell, quick), source) for cell, source in zip(chosen, spelled, strict=True))
    return Report(tuple(found), quick, versions())


def verify(ladder: Ladder, source: str | None = None) -> CellReport:
    """Climb one ladder; `source` is how a command line spells the cell."""
    start = perf_counter()
    measurements = climb(ladder)
    return CellReport(ladder.cell.module, source or spelling(ladder.cell), measurements, perf_counter() - start)


def spelling(cell: Cell) -> str:
    """`peephole:peepholes=io`: the name, and the options that are not the default."""
    changed = {option: value for option, value in cell.chosen.items() if value != cell.options[option][0]}
    others = [f"{option}={str(value).lower() if value is True else value}" for option, value in changed.items()]
    return f"{cell.name}:{','.join(others)}" if others else cell.name
