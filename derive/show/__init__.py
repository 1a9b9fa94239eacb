"""Show what is derived: `show(cell, what, form)`.

    what    equations, gradients, second, jacobian, program, cost, all; penalty (of a simple recurrence)
    form    unicode (a terminal), latex, markdown (a page), python, json

Everything shown comes from the equations through the same derivation as the kernels.
"""

from __future__ import annotations

from collections.abc import Callable

from derive.cell import Cell
from derive.differentiate import Derivation
from derive.errors import OptionError
from derive.expression import suggestion
from derive.show import gradients as gradients_page
from derive.show import pages
from derive.show.document import FORMS, Document, Section, latex_lines, render
from derive.show.penalty import penalty
from derive.show.second import second

PAGES: dict[str, Callable[[Cell], Document]] = {
    "equations": pages.equations,
    "gradients": gradients_page.gradients,
    "second": second,
    "jacobian": pages.jacobian,
    "program": pages.program,
    "cost": pages.cost,
}
PARTICULAR: dict[str, Callable[[Cell], Document]] = {"penalty": penalty}  # pages that not every cell has
WHAT = (*PAGES, *PARTICULAR, "all")

__all__ = ["FORMS", "PAGES", "WHAT", "latex_of_cell", "latex_of_derivation", "page", "show"]


def show(cell: Cell, what: str = "equations", form: str = "unicode") -> str:
    """Return one page of `cell` as text.

    Args:
        cell: any cell.
        what: one of `WHAT`.
        form: one of `FORMS`.

    Raises:
        OptionError: `what` or `form` is none of them.
    """
    _check("page", what, WHAT)
    _check("form", form, FORMS)
    return render(page(cell, what), form)


def page(cell: Cell, what: str) -> Document:
    """Return one page as data."""
    if what != "all":
        return {**PAGES, **PARTICULAR}[what](cell)
    documents = [make(cell) for make in PAGES.values()]
    sections = tuple(
        Section(_heading(document.what, section.title), section.lines, section.text)
        for document in documents
        for section in document.sections
    )
    return Document(cell.module, "all", pages.head(cell), sections)


def _heading(what: str, title: str) -> str:
    return title if title.startswith(what) else f"{what}: {title}"


def _check(kind: str, given: str, allowed: object) -> None:
    if given not in allowed:  # type: ignore[operator]
        raise OptionError(f"there is no {kind} {given!r}.{suggestion(given, allowed)}")  # type: ignore[arg-type]


def latex_of_cell(cell: Cell) -> str:
    """What a notebook shows of a cell."""
    return latex_lines(pages.equations(cell).sections[0].lines)


def latex_of_derivation(derivation: Derivation) -> str:
    """What a notebook shows of a derivation."""
    document = gradients_page.document(derivation)
    return latex_lines(tuple(line for section in document.sections for line in section.lines))
