"""A cell written as text.

    name: my_lstm
    title: LSTM with a coupled gate
    year: 2024
    reference: who found it, and where
    states: h c
    parameters: W_i[H,N] U_i[H,H] b_i[H]
                W_g[H,N] U_g[H,H] b_g[H]
    outputs: h

    # the previous value of a state is called NAME_prev
    i = sigmoid(W_i @ x + U_i @ h_prev + b_i)
    g = tanh(W_g @ x + U_g @ h_prev + b_g)
    c = (1 - i) * c_prev + i * g
    h = i * tanh(c)

Header lines first, one equation a line, `#` begins a comment, an indented line continues the line above it; what all
lines are indented by does not count.  Blanks or commas stand between names.  A name may carry its space, `m[P]`;
without one an input has N, all others H; `[1]` is a scalar.  The space of a value follows from its equation; made of
scalars alone it has H.  `U.T @ v` multiplies by U transposed, `(U - U.T) @ v` by a bracket of matrices;
`U @ (r * h_prev)` multiplies an expression.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from textwrap import dedent
from typing import Any

import sympy

from derive import symbols
from derive.cell import Cell
from derive.errors import DeriveError
from derive.expression import Fault, ParseError, located, parse_expression, suggestion
from derive.symbols import ONE, Eq, H, Matrix, N, Product, Vector

CHARACTERS, LINES = 100_000, 1000
GIVEN = ("parameter", "constant", "input", "clock")  # roles of what a header line declares and equations read
FIELDS = ("name", "title", "year", "reference", "outputs", "initial")  # the header lines that the Cell itself keeps

HEADER = re.compile(r"([A-Za-z][A-Za-z ]*?)\s*:\s*(.*)", re.DOTALL)
EQUATION = re.compile(r"([^=<>!]*)=(?!=)(.*)", re.DOTALL)
WORD = re.compile(r"[A-Za-z_]\w*", re.ASCII)
APART = r"(?:\s*,\s*|\s+|$)"  # blanks or a comma between what a header line lists
DECLARED = re.compile(r"([^\[\]\s,]+)(?:\[([^\[\]]*)\])?" + APART)
SETTING = re.compile(r"([A-Za-z_]\w*)\s*=\s*(-?\d+(?:\.\d+)?|1/[A-Z]\w*)" + APART, re.ASCII)


@dataclass
class Draft:
    """What has been read so far."""

    name: str
    place: str
    fields: dict[str, Any] = field(default_factory=dict)
    names: dict[str, sympy.Symbol] = field(default_factory=dict)
    states: dict[str, Vector] = field(default_factory=dict)  # those that no equation has defined yet
    later: set[str] = field(default_factory=set)  # names that this line or one below defines
    equations: list[sympy.Eq] = field(default_factory=list)


def parse(text: str, name: str | None = None, *, place: str = "text") -> Cell:
    """Return the cell that `text` describes; nothing in the text is executed.

    Args:
        text: header lines and equations, as in the docstring of this module.
        name: the cell's name, where the text has no `name:` line.
        place: what messages call the text, usually its file name.

    Raises:
        ParseError: the text is not a cell, or declares what no equation reads; the message has line, column and cure.
        CellError: the equations break a law of cells.
    """
    _check_size(text, place)
    draft = Draft(name or "cell", place)
    lines = list(_lines(text))
    draft.later = {halves[1].strip() for _, line in lines if (halves := EQUATION.fullmatch(line))}
    for number, line in lines:
        _read(line, f"{place}, line {number}", draft)
    if not draft.equations:
        raise ParseError(f"{place}: no equation; write one a line, such as h = tanh(W @ x + U @ h_prev + b)")
    _check_read(draft, {word for _, line in lines if "=" in line for word in WORD.findall(line.split("=", 1)[1])})
    draft.fields.setdefault("name", draft.name)
    return _cell(draft)


def _check_read(draft: Draft, read: set[str]) -> None:
    """Refuse what is declared and in no equation: a parameter that was forgotten would not be trained."""
    declared = (name for name, symbol in draft.names.items() if symbol.role in GIVEN and name != "x")
    unread = [name for name in declared if name not in read]
    if unread:
        raise ParseError(f"{draft.place}: {', '.join(unread)} declared, but read by no equation; remove or use it")


def _cell(draft: Draft) -> Cell:
    fields = {"title": draft.fields["name"], "year": 0, "reference": "", **draft.fields}
    try:
        return Cell(equations=draft.equations, **{key: fields[key] for key in FIELDS if key in fields})
    except DeriveError as error:
        raise type(error)(f"{draft.place}: {error}") from None


def _check_size(text: str, place: str) -> None:
    if not isinstance(text, str):
        raise ParseError(f"{place}: a cell's text is a str, got {type(text).__name__}")
    if len(text) > CHARACTERS or text.count("\n") > LINES:
        raise ParseError(f"{place}: more than {CHARACTERS} characters or {LINES} lines; a cell is a few equations")


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield (number, line) without comments and blanks, continuations joined to the line that they continue."""
    number, parts = 0, list[str]()
    for place, raw in enumerate(dedent(text).splitlines(), 1):
        line = raw.split("#", 1)[0].rstrip()
        if not line:
            continue
        if line[0].isspace() and parts:
            parts.append(line.strip())
            continue
        if parts:
            yield number, " ".join(parts)
        number, parts = place, [line.strip()]
    if parts:
        yield number, " ".join(parts)


def _read(line: str, place: str, draft: Draft) -> None:
    try:
        header = HEADER.fullmatch(line)
        if header and "=" not in header[1]:
            _read_header(header[1].lower(), header[2], draft)
        else:
            _read_equation(line, place, draft)
    except ParseError:
        raise
    except (Fault, DeriveError) as error:
        raise ParseError(located(place, line, str(error), getattr(error, "column", None))) from None


def _read_header(key: str, rest: str, draft: Draft) -> None:
    if key not in HEADERS:
        raise Fault(f"unknown header {key!r}.{suggestion(key, HEADERS)}")
    if draft.equations:
        raise Fault(f"{key}: stands below an equation; header lines come first")
    if key in draft.fields:
        raise Fault(f"{key}: a second time; put all of it in one line, continued by indented lines")
    draft.fields[key] = HEADERS[key](rest, draft)


def _read_equation(line: str, place: str, draft: Draft) -> None:
    halves = EQUATION.fullmatch(line)
    if halves is None:
        raise Fault("neither a header line (name: my_cell) nor an equation (h = tanh(a))")
    name, text = halves[1].strip(), halves[2].strip()
    symbols.check_name(name)
    _declare_standard(draft)
    _check_order(text, place, draft)
    right = parse_expression(text, draft.names, place)
    draft.equations.append(Eq(_defined(name, right, draft), right))


def _check_order(text: str, place: str, draft: Draft) -> None:
    for word in WORD.finditer(text):
        name = word[0]
        if name in draft.states:
            problem = f"{name} has no new value yet; write {name}_prev for the previous one, or move this equation down"
        elif name in draft.later and name not in draft.names:
            problem = (
                f"{name} has no value yet: move its equation up; what depends on itself is a state, read as NAME_prev"
            )
        else:
            continue
        raise ParseError(located(place, text, problem, word.start()))


def _declare_standard(draft: Draft) -> None:
    """Without an `inputs:` line there is the input x."""
    if "inputs" not in draft.fields and "x" not in draft.names:
        draft.names["x"] = symbols.input("x")


def _defined(name: str, right: sympy.Expr, draft: Draft) -> Vector:
    if name in draft.states:
        state = draft.states.pop(name)
        draft.names[name] = state
        return state
    if name in draft.names:
        raise Fault(f"{name!r} has a meaning already; every name is defined once")
    draft.names[name] = symbols.value(name, _space(right))
    return draft.names[name]


def _space(expression: sympy.Expr) -> str:
    """The space of an expression: that of its first operand that is not a scalar; the cell checks that all agree.

    What is made of scalars alone is the same for all units of H.
    """
    for node in sympy.preorder_traversal(expression):
        if isinstance(node, Product):
            return node.matrix.rows
        if isinstance(node, Vector) and node.space != ONE:
            return node.space
    return H


# --- Header lines: one reader each


def _text(rest: str, draft: Draft) -> str:
    del draft
    return " ".join(rest.split())


def _cell_name(rest: str, draft: Draft) -> str:
    del draft
    return symbols.check_name(rest.strip())


def _year(rest: str, draft: Draft) -> int:
    del draft
    if not re.fullmatch(r"\d{4}", rest.strip(), re.ASCII):
        raise Fault(f"year: a number of four digits, got {rest.strip()[:40]!r}")
    return int(rest)


def _inputs(rest: str, draft: Draft) -> None:
    for name, spaces in _declared(rest, 1):
        _add(draft, symbols.input(name, *(spaces or (N,))))


def _states(rest: str, draft: Draft) -> None:
    for name, spaces in _declared(rest, 1):
        state, previous = symbols.state(name, *(spaces or (H,)))
        _add(draft, previous)
        draft.states[name] = state


def _symbols(role: str) -> Callable[[str, Draft], None]:
    def read(rest: str, draft: Draft) -> None:
        for name, spaces in _declared(rest, 3):
            _add(draft, _parameter(name, role, *spaces))

    return read


def _parameter(name: str, role: str, rows: str = H, columns: str = "", structure: str | None = None) -> Matrix | Vector:
    if not columns:
        return symbols.vector(name, rows, role=role)
    return symbols.matrix(name, rows, columns, role=role, structure=structure)


def _clock(rest: str, draft: Draft) -> None:
    for name, spaces in _declared(rest, 1):
        _add(draft, symbols.clock(name, *(spaces or (H,))))


def _outputs(rest: str, draft: Draft) -> tuple[str, ...]:
    del draft
    return tuple(symbols.check_name(name) for name in rest.replace(",", " ").split())


def _initial(rest: str, draft: Draft) -> dict[str, int | float | str]:
    del draft
    text, end, settings = rest.strip(), 0, {}
    while match := SETTING.match(text, end):
        settings[match[1]] = _number(match[2])
        end = match.end()
    if end != len(text):
        raise Fault(f"initial: {text[end:][:40]!r} is not NAME=NUMBER, such as b_f=1 or mean=1/H")
    return settings


def _number(text: str) -> int | float | str:
    return text if "/" in text else float(text) if "." in text else int(text)


def _declared(rest: str, most: int) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Read `W_i[H,N] b_i[H] s` as (name, spaces) pairs."""
    text, end = rest.strip(), 0
    while end < len(text):
        match = DECLARED.match(text, end)
        spaces = tuple(part.strip() for part in match[2].split(",")) if match and match[2] is not None else ()
        if match is None or not match[0] or len(spaces) > most:
            example = "b or b[P] or W[H,N]" if most > 1 else "x or x[P]"
            raise Fault(f"{text[end:][:40]!r} is not a name with its space, such as {example}")
        yield match[1], spaces
        end = match.end()


def _add(draft: Draft, symbol: sympy.Symbol) -> None:
    if symbol.name in draft.names or symbol.name in draft.states:
        raise Fault(f"{symbol.name!r} is declared twice")
    draft.names[symbol.name] = symbol


HEADERS: dict[str, Callable[[str, Draft], Any]] = {
    "name": _cell_name,
    "title": _text,
    "year": _year,
    "reference": _text,
    "inputs": _inputs,
    "states": _states,
    "parameters": _symbols("parameter"),
    "constants": _symbols("constant"),
    "clock": _clock,
    "outputs": _outputs,
    "initial": _initial,
}
"""What a header line may be called, and what reads it."""
