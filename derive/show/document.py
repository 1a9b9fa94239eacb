"""A page as data, and its five forms.

    Document   a title and sections
    Section    a heading, a sentence, lines
    Line       left = right, and beside it the equation that the line comes from

Every page has every form, because a page says what is shown and a form how.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from textwrap import wrap
from typing import Any

import sympy
from sympy import Expr

from derive.show.nodes import InOrder, Words
from derive.show.notation import written

WIDEST = 72  # the column beside starts here at the latest
LONGEST = 110  # a longer sum gets a line for each term


@dataclass(frozen=True)
class Line:
    """`left = right`, or `left += right`; `beside` is the equation that it reverses, `note` a few words."""

    left: Expr
    right: Expr
    beside: sympy.Eq | None = None
    note: str = ""
    adds: bool = False


@dataclass(frozen=True)
class Section:
    """Lines under a heading."""

    title: str
    lines: tuple[Line, ...] = ()
    text: str = ""


@dataclass(frozen=True)
class Document:
    """What one page shows of a cell."""

    cell: str
    what: str
    title: str
    sections: tuple[Section, ...]


def render(document: Document, form: str) -> str:
    """Return the page as "unicode", "latex", "markdown", "python" or "json"; the text ends without a newline."""
    return FORMS[form](document)


# --- Unicode and Python: columns of text


def _unicode(document: Document) -> str:
    parts = [document.title, *(block(section, "unicode", "", "    ") for section in document.sections)]
    return "\n\n".join(parts)


def _python(document: Document) -> str:
    parts = [f"# {document.title}", *(block(section, "python", "# ", "") for section in document.sections)]
    return "\n\n".join(parts)


def block(section: Section, notation: str, comment: str, indent: str) -> str:
    """Return a section as columns of text: `comment` before words, `indent` before lines."""
    head = [comment + section.title] if section.title else []
    head += [comment + indent + text for line in section.text.splitlines() for text in wrap(line, LONGEST)]
    if notation == "python" and any(isinstance(line.left, Words) for line in section.lines):
        indent = "# "  # a table of facts, not assignments
    rows = [(_equation(line, notation, indent), _beside(line, notation)) for line in section.lines]
    width = min(max((len(text) for text, beside in rows if beside), default=0), WIDEST)
    mark = "  # " if notation == "python" else "    "
    return "\n".join([*head, *(text.ljust(width) + mark + beside if beside else text for text, beside in rows)])


def _equation(line: Line, notation: str, indent: str) -> str:
    head = f"{indent}{written(line.left, notation)} {'+=' if line.adds else '='} "
    text = written(line.right, notation)
    if len(head + text) <= LONGEST or notation == "python" or not isinstance(line.right, InOrder):
        return head + text
    # a long sum: one term a line, the plus signs below each other
    return head + f"\n{' ' * (len(head) - 2)}+ ".join(written(term, notation) for term in line.right.args)


def _beside(line: Line, notation: str) -> str:
    parts = [] if line.beside is None else [_reversed(line.beside, notation)]
    return "   ".join([*parts, *([line.note] if line.note else [])])


def _reversed(equation: sympy.Eq, notation: str) -> str:
    return f"{written(equation.lhs, notation)} = {written(equation.rhs, notation)}"


# --- LaTeX and Markdown: aligned blocks


def _latex(document: Document) -> str:
    parts = [rf"\section*{{{_plain(document.title)}}}"]
    for section in document.sections:
        parts += [rf"\subsection*{{{_plain(section.title)}}}"] if section.title else []
        parts += [_plain(section.text)] if section.text else []
        parts += [_aligned(section, r"\begin{align*}", r"\end{align*}")] if section.lines else []
    return "\n\n".join(parts)


def _markdown(document: Document) -> str:
    parts = [f"# {document.title}"]
    for section in document.sections:
        parts += [f"## {section.title}"] if section.title else []
        parts += [section.text] if section.text else []
        parts += [_aligned(section, "$$\n\\begin{aligned}", "\\end{aligned}\n$$")] if section.lines else []
    return "\n\n".join(parts)


def _aligned(section: Section, begin: str, end: str) -> str:
    return "\n".join([begin, " \\\\\n".join(_row(line) for line in section.lines), end])


def _row(line: Line) -> str:
    relation = r"\mathrel{{+}{=}}" if line.adds else "="
    row = f"{written(line.left, 'latex')} &{relation} {_latex_right(line.right)}"
    if line.beside is not None:
        row += f" && {_reversed(line.beside, 'latex')}"
    return row + (rf" && \text{{{_plain(line.note)}}}" if line.note else "")


def _latex_right(right: Expr) -> str:
    text = written(right, "latex")
    if len(text) <= 2 * LONGEST or not isinstance(right, InOrder):
        return text
    return " \\\\\n&\\quad + ".join(written(term, "latex") for term in right.args)


def _plain(text: str) -> str:
    escaped = {"_": r"\_", "%": r"\%", "&": r"\&", "#": r"\#", "^": r"\^{}", "$": r"\$", "{": r"\{", "}": r"\}"}
    return "".join(escaped.get(letter, letter) for letter in text)


def latex_lines(lines: tuple[Line, ...]) -> str:
    """Return lines as a notebook shows them: `_repr_latex_` of Cell and Derivation."""
    return r"$$\begin{aligned}" + r" \\ ".join(map(_row, lines)) + r"\end{aligned}$$"


# --- JSON


def _json(document: Document) -> str:
    sections = [
        {"title": section.title, "text": section.text, "lines": [_entry(line) for line in section.lines]}
        for section in document.sections
    ]
    page = {"cell": document.cell, "what": document.what, "title": document.title, "sections": sections}
    return json.dumps(page, indent=2, ensure_ascii=False)


def _entry(line: Line) -> dict[str, Any]:
    entry: dict[str, Any] = {"name": written(line.left, "python")}
    entry |= {notation: written(line.right, notation) for notation in ("python", "unicode", "latex")}
    if line.beside is not None:
        entry["reverses"] = _reversed(line.beside, "python")
    entry |= {"adds": True} if line.adds else {}
    return entry | ({"note": line.note} if line.note else {})


FORMS: dict[str, Callable[[Document], str]] = {
    "unicode": _unicode,
    "latex": _latex,
    "markdown": _markdown,
    "python": _python,
    "json": _json,
}
"""Form -> what renders it."""
