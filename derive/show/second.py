"""The page of the second order: every stage along a direction, then every transpose, in the order of the run."""

from __future__ import annotations

from collections.abc import Iterator

import sympy
from sympy import Expr

from derive.cell import Cell
from derive.differentiate import DOT_STOP, Transpose, adjoint, jvp, tangent
from derive.held import in_place
from derive.program import Affine, Pointwise, Program, Slot, split
from derive.second import vjp_jvp
from derive.show.document import Document, Line, Section
from derive.show.nodes import InOrder, Outer, OverTime, Pullback
from derive.show.pages import head
from derive.symbols import ONE, Matrix, Product, Vector

FORWARD = """dot_v is the change of v along a direction of all that the cell reads; dot_stop, if there is one,
is 0 for a tangent and 1 for the change of a gradient."""
BACKWARD = "Beside each change of an adjoint the line of the gradient that changes."
SUMS = "Summed over the steps and the rows of the batch, as the gradients are."


def second(cell: Cell) -> Document:
    """Each line of a run and of its transpose, differentiated once more."""
    program = split(cell)
    shown = in_place(cell)
    forward = (Section(f"{_named(stage)}, along a direction", tuple(_pushed(stage, shown))) for stage in program.stages)
    stages = [stage for stage in reversed(program.stages) if isinstance(stage, Pointwise) or Transpose(stage).operands]
    backward = (Section(f"{_named(stage)}, transposed, along it", tuple(_pulled(stage))) for stage in stages)
    sections = Section("forward", text=FORWARD), *forward, Section("backward", text=BACKWARD), *backward
    sums = Section("parameters", tuple(_sums(program, shown)), SUMS)
    return Document(cell.module, "second", f"{head(cell)}: second order", (*sections, sums))


def _named(stage: Affine | Pointwise) -> str:
    return f"{type(stage).__name__.lower()} over {stage.space}"


# --- Forward


def _pushed(stage: Affine | Pointwise, shown: dict[Vector, Expr]) -> Iterator[Line]:
    if isinstance(stage, Affine):
        yield from (Line(tangent(slot.symbol), _joined(_slot(slot)).xreplace(shown)) for slot in stage.slots)
    else:
        yield from (Line(dot, expression, source) for dot, expression, source in jvp(stage).equations)


def _slot(slot: Slot) -> Iterator[Expr]:
    """W dot_v + dot_W v + dot_b."""
    for matrix, v in slot.terms:
        yield Product(matrix, tangent(v)) * (DOT_STOP if v.stopped else 1)
        if matrix.is_trained:
            yield Product(_dot(matrix), v)
    if slot.bias is not None and slot.bias.is_trained:
        yield Vector(f"dot_{slot.bias.name}", slot.bias.role, slot.bias.space)  # no step of time is its index


# --- Backward


def _pulled(stage: Affine | Pointwise) -> Iterator[Line]:
    """Changes of adjoints; those of parameters come last, as sums."""
    if isinstance(stage, Affine):
        for v, pairs in Transpose(stage).operands.items():
            yield Line(tangent(adjoint(v)), _joined(part for pair in pairs for part in _transposed(*pair)), adds=True)
        return
    yield from (line for line, is_sum in _changes(stage) if not is_sum)


def _transposed(matrix: Matrix, d: Vector) -> Iterator[Expr]:
    yield Pullback(matrix, tangent(d))
    if matrix.is_trained:
        yield Pullback(_dot(matrix), d)


def _changes(stage: Pointwise) -> Iterator[tuple[Line, bool]]:
    both = vjp_jvp(stage)
    reversed_lines = {tangent(name): sympy.Eq(name, e, evaluate=False) for name, e, _ in both.equations}
    summed = {dot for v, _, dot in both.outputs if v.role == "parameter"}
    for name, expression, _ in both.equations:
        if name in reversed_lines:
            yield Line(name, expression, reversed_lines[name]), name in summed


def _sums(program: Program, shown: dict[Vector, Expr]) -> Iterator[Line]:
    for transpose in map(Transpose, program.affine):
        for matrix, pairs in transpose.matrices.items():
            terms = (part for a, b in pairs for part in (Outer(tangent(a), b), Outer(a, tangent(b))))
            yield _summed(matrix.name, _joined(terms).xreplace(shown))
        yield from (_summed(bias.name, tangent(d)) for bias, d in transpose.biases.items())
    changes = (line for stage in program.pointwise for line, is_sum in _changes(stage) if is_sum)
    yield from (Line(line.left, OverTime(line.right), line.beside) for line in changes)


def _summed(name: str, expression: Expr) -> Line:
    return Line(Vector(f"dot_d_{name}", "parameter", ONE), OverTime(expression))


def _dot(matrix: Matrix) -> Matrix:
    if matrix.turned:
        return _dot(matrix.turned).T
    return Matrix(f"dot_{matrix.name}", matrix.role, matrix.rows, matrix.columns)


def _joined(terms: Iterator[Expr]) -> Expr:
    parts = list(terms)
    return parts[0] if len(parts) == 1 else InOrder(*parts)
