"""What the docs say of each cell, written from the equations.   python scripts/pages.py [--check]

    README.md             the table of cells
    docs/cells/NAME.md    all that is derived, as formulas
"""

import re
import sys
from pathlib import Path

from sympy import expand

import derive
from derive.cell import Cell
from derive.cost import cost
from derive.show import show

ROOT = Path(__file__).resolve().parents[1]
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
    link = f"[`{cell.name}`](docs/cells/{cell.name}.md)"
    return link, cell.title, str(cell.year), " ".join(cell.states), count(cell), options


def table() -> str:
    """Every cell of the package, in historical order."""
    rows = [HEADER, ("---",) * len(HEADER), *(row(derive.cells[name]) for name in derive.cells)]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in rows)


def readme() -> str:
    """README's text with the table of today."""
    pattern = re.escape(BEGIN) + ".*?" + re.escape(END)
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return re.sub(pattern, lambda _: BEGIN + table() + END, text, flags=re.DOTALL)


def pages() -> dict[str, str]:
    """Path -> text."""
    cells = {f"docs/cells/{name}.md": show(cell, "all", "markdown") + "\n" for name, cell in derive.cells.items()}
    return {"README.md": readme(), **cells}


def is_written(path: str, text: str) -> bool:
    file = ROOT / path
    return file.exists() and file.read_text(encoding="utf-8") == text


def main() -> int:
    """Write the pages, or with --check only say which are not as they should be."""
    stale = {path: text for path, text in pages().items() if not is_written(path, text)}
    if "--check" in sys.argv:
        for path in stale:
            print(f"{path}: not what the equations give; to fix: python scripts/pages.py")
        return int(bool(stale))
    for path, text in stale.items():
        (ROOT / path).parent.mkdir(parents=True, exist_ok=True)
        (ROOT / path).write_text(text, encoding="utf-8")
        print(f"wrote {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
