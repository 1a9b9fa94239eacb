"""The table of cells in README.md, written from the equations.   python scripts/pages.py [--check]"""

import re
import sys
from pathlib import Path

from sympy import expand

import derive
from derive.cell import Cell
from derive.cost import cost

README = Path(__file__).resolve().parents[1] / "README.md"
BEGIN, END = "<!-- cells: written by scripts/pages.py -->\n", "<!-- end of cells -->"
HEADER = ("cell", "", "year", "states", "trained numbers", "options")


def option(name: str, values: tuple[object, ...]) -> str:
    """An option with its values, the default first."""
    return f"`{name}` = {', '.join(map(str, values))}"


def count(cell: Cell) -> str:
    """The number of trained numbers, as short as it can be written."""
    formula = cost(cell).parameters
    return min(str(formula), str(expand(formula)), key=len).replace("**2", "²").replace("*", " ")


def row(cell: Cell) -> tuple[str, ...]:
    options = "; ".join(option(*pair) for pair in cell.options.items())
    if cell.clock:
        options = "`periods` = one for each module"
    return f"`{cell.name}`", cell.title, str(cell.year), " ".join(cell.states), count(cell), options


def table() -> str:
    """Every cell of the package, in historical order."""
    rows = [HEADER, ("---",) * len(HEADER), *(row(derive.cells[name]) for name in derive.cells)]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in rows)


def updated(text: str) -> str:
    """README's text with the table of today."""
    pattern = re.escape(BEGIN) + ".*?" + re.escape(END)
    return re.sub(pattern, lambda _: BEGIN + table() + END, text, flags=re.DOTALL)


def main() -> int:
    """Write README.md, or with --check only say whether it is as it should be."""
    text = README.read_text(encoding="utf-8")
    if updated(text) == text:
        return 0
    if "--check" in sys.argv:
        print("README.md: the table of cells is not what the equations give; to fix: python scripts/pages.py")
        return 1
    README.write_text(updated(text), encoding="utf-8")
    print("wrote README.md")
    return 0


if __name__ == "__main__":
    sys.exit(main())
