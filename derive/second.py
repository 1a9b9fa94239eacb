"""Second order: the tangent of a stage's transpose, forward over reverse.

The transpose of a Pointwise stage is named equations like the stage itself, so it is differentiated the same way.  With
dot_v the change of v along a direction, each line d_v = e(d_y, ..., y, ...) gets

    dot_d_v = sum over the symbols s of the line of (de/ds) * dot_s

where the changes of the incoming adjoints come with them, those of the forward's values from the stage's own tangent.

stop(u) and the condition of where(c, a, b) are no longer special here: the value of the one changes like any other,
DOT_STOP = 1; the slopes of where are 0 or 1, and 0 or 1 does not change.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import groupby

import sympy
from sympy import Add, Expr

from derive.differentiate import PASSIVE, Equation, Vjp, jvp, tangent, vjp
from derive.functions import unstopped, where
from derive.laws import symbols_of
from derive.program import Pointwise
from derive.symbols import Vector


@dataclass(frozen=True)
class VjpJvp:
    """The transpose of a Pointwise stage and its tangent, line by line."""

    stage: Pointwise
    incoming: tuple[tuple[Vector, Vector], ...]  # the adjoints of what the stage writes, and their tangents
    equations: tuple[Equation, ...]  # for each equation that is reversed: its adjoints, then their tangents
    saved: tuple[Vector, ...]  # what the lines read of the forward step
    moved: tuple[tuple[Vector, Vector], ...]  # those of them whose tangents the lines read too
    outputs: tuple[tuple[Vector, Vector, Vector], ...]  # what the stage reads, its adjoint, the adjoint's tangent


def vjp_jvp(stage: Pointwise) -> VjpJvp:
    """Differentiate the transpose of a stage along a direction of all that it reads."""
    back, moving = vjp(with_fixed_conditions(stage)), _moving(stage)
    moving |= {*back.incoming, *(name for name, _, _ in back.equations)}
    equations = tuple(_beside(back, moving))
    read = {symbol.name for _, expression, _ in equations for symbol in symbols_of(expression)}
    return VjpJvp(
        stage=stage,
        incoming=tuple((d, tangent(d)) for d in back.incoming),
        equations=equations,
        saved=back.saved,
        moved=tuple((v, tangent(v)) for v in back.saved if tangent(v).name in read),
        outputs=tuple((v, d, tangent(d)) for v, d in back.outputs),
    )


def with_fixed_conditions(stage: Pointwise) -> Pointwise:
    """The stage with the conditions of its where() marked as symbols that no tangent moves; they keep their names."""

    def fixed(expression: Expr) -> Expr:
        if not isinstance(expression, where):
            return expression
        condition, *branches = expression.args
        c = unstopped(condition)
        return where(Vector(c.name, c.role, c.space, stopped=True), *branches)

    return replace(stage, equations=tuple((name, fixed(expression)) for name, expression in stage.equations))


def released(expression: Expr) -> Expr:
    """Conditions that were marked as fixed are the symbols that they were."""
    marked = {v for v in expression.atoms(Vector) if v.stopped}
    return expression.xreplace({v: Vector(v.name, v.role, v.space) for v in marked})


def _moving(stage: Pointwise) -> set[Vector]:
    """The reads and lines of a stage that change along a direction."""
    changed = {dot for dot, expression, _ in jvp(stage).equations if expression != 0}
    reads = {v for v in stage.reads if v.role not in PASSIVE}
    return reads | {name for name, _ in stage.equations if tangent(name) in changed}


def _beside(back: Vjp, moving: set[Vector]) -> Iterator[Equation]:
    for source, lines in groupby(back.equations, key=lambda line: line[2]):
        adjoints = list(lines)
        yield from ((name, released(expression), source) for name, expression, _ in adjoints)
        yield from ((tangent(name), _tangent(expression, moving), source) for name, expression, _ in adjoints)


def _tangent(expression: Expr, moving: set[Vector]) -> Expr:
    """The tangent of one line, its slopes in as few factors as they have."""
    free = unstopped(expression)
    slopes = {v: sympy.diff(free, v) for v in dict.fromkeys(symbols_of(free)) if v in moving}
    return released(Add(*(sympy.factor_terms(slope) * tangent(v) for v, slope in slopes.items())))
