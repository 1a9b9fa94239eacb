"""The page of the penalty against vanishing gradients: only for a cell with one recurrent matrix."""

from __future__ import annotations

from collections.abc import Iterator

import sympy

from derive.cell import Cell
from derive.differentiate import vjp
from derive.errors import OptionError
from derive.jacobian import jacobian
from derive.penalty import FORMS, SQUARES, u
from derive.program import Pointwise
from derive.show.document import Document, Line, Section
from derive.show.nodes import Chain, Diagonal, Outer, OverTime, Pullback
from derive.symbols import ONE, H, Matrix, Vector

CONSTANT = "v is dE/dh of the step; v and the diagonal are constants."


def penalty(cell: Cell) -> Document:
    """Return both forms and their derivative by the recurrent matrix of `cell`.

    Raises:
        OptionError: the step Jacobian is not diag(...) U with one trained U, so "the" recurrent matrix does not exist.
    """
    head, matrix = _recurrence(cell)
    sections = (
        Section("one step", tuple(_definitions(head, matrix)), CONSTANT),
        *(Section(f"form {name!r}", tuple(_form(stage, matrix))) for name, stage in FORMS.items()),
    )
    return Document(cell.module, "penalty", f"{cell.module}: penalty against vanishing gradients", sections)


def _recurrence(cell: Cell) -> tuple[sympy.Expr, Matrix]:
    """The head and the matrix of a step Jacobian diag(head) U."""
    blocks = jacobian(cell)
    words = blocks[0].words if len(blocks) == 1 else ()
    if len(words) == 1 and len(words[0][1]) == 1:
        head, ((matrix, inner),) = words[0]
        if inner == 1 and matrix.is_trained and not matrix.turned:
            return head, matrix
    raise OptionError(
        f"cell {cell.name}: the penalty is for a step Jacobian diag(...) U with one trained U, such as that of rnn; "
        f"see derive show {cell.name} --what jacobian"
    )


def _definitions(head: sympy.Expr, matrix: Matrix) -> Iterator[Line]:
    v, w = Vector("v", "value", H), Vector("w", "value", H)
    yield Line(w, Chain(Diagonal(head), v))
    yield Line(u, Pullback(matrix, w))
    yield Line(Vector("square_u", "value", ONE), Pullback(u, u))
    yield Line(Vector("square_v", "value", ONE), Pullback(v, v))


def _form(stage: Pointwise, matrix: Matrix) -> Iterator[Line]:
    for name, expression in stage.equations:
        yield Line(name, expression)
    for name, expression, source in (*vjp(stage).equations, *vjp(SQUARES).equations):
        yield Line(name, expression, source)
    product = Outer(Vector("w", "value", H), Vector("d_u", "adjoint", H))
    yield Line(Vector(f"d_{matrix.name}", "parameter", ONE), OverTime(product), note="u = U' w, transposed")
