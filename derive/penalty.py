"""The penalty against vanishing gradients (Pascanu, Mikolov & Bengio 2013), its derivative derived like that of a cell.

With v = dE/dh of a step, w = diag(phi'(a)) v and u = U' w, what the step passes back to h_prev,

    paper    omega = (|u| / |v| - 1)**2
    code     omega = (|u|**2 / |v|**2 - 1)**2          as in the authors' program

Only the immediate derivative by U is taken: v and phi' are held constant, so there is no second pass through time.  The
chain is that of any cell: pointwise, a sum over units, pointwise, and the product u = U' w transposed.
"""

from __future__ import annotations

import sympy

from derive.differentiate import Equation, vjp
from derive.emit.printer import code, equation
from derive.functions import sqrt
from derive.program import Pointwise
from derive.symbols import ONE, Eq, H, Vector

REFERENCE = """R. Pascanu, T. Mikolov, Y. Bengio, "On the difficulty of training recurrent neural networks",
           ICML 2013, arXiv 1211.5063"""

square_u, square_v = Vector("square_u", "slot", ONE), Vector("square_v", "constant", ONE)
norm_u, norm_v, ratio, omega = (Vector(name, "value", ONE) for name in ("norm_u", "norm_v", "ratio", "omega"))
u, square = Vector("u", "slot", H), Vector("square_u", "value", H)


def _stage(space: str, read: Vector, lines: list[sympy.Eq]) -> Pointwise:
    last = lines[-1].lhs
    equations = tuple((line.lhs, line.rhs) for line in lines)
    return Pointwise(2, space, equations, reads=(read, square_v), writes=(last,), sources=tuple(lines))


NORMS = [Eq(norm_u, sqrt(square_u)), Eq(norm_v, sqrt(square_v))]
FORMS = {
    "paper": _stage(ONE, square_u, [*NORMS, Eq(ratio, norm_u / norm_v), Eq(omega, (ratio - 1) ** 2)]),
    "code": _stage(ONE, square_u, [Eq(ratio, square_u / square_v), Eq(omega, (ratio - 1) ** 2)]),
}
FORMULAS = {"paper": "omega = (|u| / |v| - 1)**2", "code": "omega = (|u|**2 / |v|**2 - 1)**2"}
SQUARES = _stage(H, u, [Eq(square, u**2)])


# --- The text

HEADER = '''"""Penalty against vanishing gradients: its value, and its derivative by the recurrent matrix.

GENERATED - edit derive/penalty.py, then run

    derive generate

Reference  {reference}

    w = diag(phi'(a)) v,   u = U' w,   v = dE/dh of the step
{formulas}

A row is one step of one sequence.  A row where v or u is 0 has no ratio to differentiate: leave it out.
"""

from lstm_numba.functions import sqrt
'''

FUNCTION = '''def {name}(square_u, square_v, d_omega=1):
    """Return omega and d_square_u, of |u|**2 and |v|**2; d_omega is the weight of omega in the loss."""
    # {formula}
{forward}

{reverse}

    return omega, d_square_u
'''

PENALTY = '''def penalty(form, v, w, U, d_omega=1):
    """Return omega (R, 1) of each row and d_U (H, H), summed over rows.

    form is `paper` or `code`; v and w are (R, H), U is (H, H), d_omega a number or (R, 1).
    """
    # u = U' w, a row of u at a time
    u = w @ U
    square_u = (u * u).sum(axis=-1, keepdims=True)
    square_v = (v * v).sum(axis=-1, keepdims=True)

    omega, d_square_u = form(square_u, square_v, d_omega)

{squares}

    # u = U' w
    d_U = w.T @ d_u

    return omega, d_U
'''


def penalty_source() -> str:
    """Return the module text: `paper`, `code`, and `penalty` that applies one of them to rows of vectors."""
    formulas = "\n".join(f"    {name:7}{formula}" for name, formula in FORMULAS.items())
    functions = [_function(name, stage) for name, stage in FORMS.items()]
    array = PENALTY.format(squares=_lines(vjp(SQUARES).equations))
    return "\n\n".join([HEADER.format(reference=REFERENCE, formulas=formulas), *functions, array])


def _function(name: str, stage: Pointwise) -> str:
    forward = "\n".join(f"    {line} = {code(expression)}" for line, expression in stage.equations)
    return FUNCTION.format(name=name, formula=FORMULAS[name], forward=forward, reverse=_lines(vjp(stage).equations))


def _lines(equations: tuple[Equation, ...]) -> str:
    """Assignments, each under the equation that it reverses."""
    return "\n".join(
        f"    # {source.lhs} = {equation(source.rhs)}\n    {name} = {code(expression)}"
        for name, expression, source in equations
        if source is not None
    )
