"""The scalar functions of the language: one row each, and everything else is read from the row.

A row states the partial derivatives in terms of the output y and the inputs u, the evaluation on Python numbers and
NumPy arrays (real or complex, without overflow), and the meaning in SymPy's own functions, from which the tests derive
the partial derivatives again.

Kinks: relu'(0) = 0, |0|' = 0, and at a tie maximum and minimum pass the derivative to their first argument.
"""

# ruff: noqa: ARG005  -- a rule takes the output and all inputs, whichever it uses

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import sympy
from sympy import Expr, Function, Integer, Rational

ZERO = Integer(0)


@dataclass(frozen=True)
class Rule:
    """One row of the table."""

    partials: tuple[Callable[..., Expr], ...]  # d y / d u_k as a function of (y, u_1, u_2, ...)
    numpy: Callable[..., Any]
    meaning: Callable[..., Expr]


class Elementwise(Function):
    """A function of the table; its derivative is the rule's."""

    rule: ClassVar[Rule]

    def fdiff(self, argindex: int = 1) -> Expr:
        return self.rule.partials[argindex - 1](self, *self.args)

    def _eval_is_real(self) -> bool:
        return True


# --- Evaluation: the exponential only ever sees a non-positive real part, and a complex number is ordered by its real
# --- part, so that a complex step (x + 1e-30 i) follows the branch of x.


def _sigmoid(u: Any) -> Any:
    right = np.real(u) >= 0
    with np.errstate(under="ignore"):
        e = np.exp(np.where(right, -u, u))
        return np.where(right, np.ones_like(e), e) / (1 + e)


def _exp(u: Any) -> Any:
    with np.errstate(under="ignore"):
        return np.exp(u)


def _softplus(u: Any) -> Any:
    right = np.real(u) > 0
    with np.errstate(under="ignore"):
        e = np.exp(np.where(right, -u, u))
        # log(1 + e); NumPy's log1p of a complex number forgets a small real part
        return np.where(right, u, 0) + 2 * np.arctanh(e / (2 + e))


def _relu(u: Any) -> Any:
    return np.where(np.real(u) > 0, u, np.where(np.real(u) <= 0, 0, u))[()]  # a NaN is neither


def _absolute(u: Any) -> Any:
    return np.where(np.real(u) > 0, u, np.where(np.real(u) < 0, -u, np.real(u)))[()]


def _maximum(a: Any, b: Any) -> Any:
    takes_b = (np.real(b) > np.real(a)) | (np.asarray(b) != b)  # b != b: a NaN is never lost
    return np.where(takes_b, b, a)[()]


def _minimum(a: Any, b: Any) -> Any:
    takes_b = (np.real(b) < np.real(a)) | (np.asarray(b) != b)
    return np.where(takes_b, b, a)[()]


def _positive(u: Any) -> Any:
    return np.where(np.real(u) > 0, np.ones_like(np.real(u)), 0)[()]


def _where(condition: Any, a: Any, b: Any) -> Any:
    return np.where(np.real(condition) != 0, a, b)[()]


# --- The table

TABLE: dict[str, type[Elementwise]] = {}


def _define(name: str, rule: Rule, **extra: Any) -> type[Elementwise]:
    body = {"rule": rule, "nargs": len(rule.partials), "__module__": __name__, **extra}
    TABLE[name] = type(name, (Elementwise,), body)
    return TABLE[name]


positive: type[Elementwise] = _define(
    "positive",
    Rule(
        partials=(lambda y, u: ZERO,),
        numpy=_positive,
        meaning=lambda u: sympy.Piecewise((1, u > 0), (0, True)),
    ),
)
sigmoid = _define(
    "sigmoid",
    Rule(
        partials=(lambda y, u: y * (1 - y),),
        numpy=_sigmoid,
        meaning=lambda u: 1 / (1 + sympy.exp(-u)),
    ),
)
tanh = _define(
    "tanh",
    Rule(
        partials=(lambda y, u: 1 - y**2,),
        numpy=np.tanh,
        meaning=lambda u: (sympy.exp(u) - sympy.exp(-u)) / (sympy.exp(u) + sympy.exp(-u)),
    ),
)
relu = _define(
    "relu",
    Rule(
        partials=(lambda y, u: positive(y),),
        numpy=_relu,
        meaning=lambda u: sympy.Piecewise((u, u > 0), (0, True)),
    ),
)
exp = _define(
    "exp",
    Rule(partials=(lambda y, u: y,), numpy=_exp, meaning=sympy.exp),
)
log = _define(
    "log",
    Rule(partials=(lambda y, u: 1 / u,), numpy=np.log, meaning=sympy.log),
)
sqrt = _define(
    "sqrt",
    Rule(partials=(lambda y, u: 1 / (2 * y),), numpy=np.sqrt, meaning=sympy.sqrt),
)
# neither is a function of y: the sign of the other is lost
sin: type[Elementwise] = _define(
    "sin",
    Rule(partials=(lambda y, u: cos(u),), numpy=np.sin, meaning=sympy.sin),
)
cos: type[Elementwise] = _define(
    "cos",
    Rule(partials=(lambda y, u: -sin(u),), numpy=np.cos, meaning=sympy.cos),
)
softplus = _define(
    "softplus",
    Rule(
        # 1 - exp(-y) is the same in terms of y, but cancels for u << 0
        partials=(lambda y, u: sigmoid(u),),
        numpy=_softplus,
        meaning=lambda u: sympy.log(1 + sympy.exp(u)),
    ),
)
absolute = _define(
    "absolute",
    Rule(
        partials=(lambda y, u: positive(u) - positive(-u),),
        numpy=_absolute,
        meaning=lambda u: sympy.Piecewise((u, u > 0), (-u, u < 0), (0, True)),
    ),
)
maximum = _define(
    "maximum",
    Rule(
        partials=(lambda y, a, b: 1 - positive(b - a), lambda y, a, b: positive(b - a)),
        numpy=_maximum,
        meaning=lambda a, b: sympy.Piecewise((b, b - a > 0), (a, True)),
    ),
)
minimum = _define(
    "minimum",
    Rule(
        partials=(lambda y, a, b: 1 - positive(a - b), lambda y, a, b: positive(a - b)),
        numpy=_minimum,
        meaning=lambda a, b: sympy.Piecewise((b, a - b > 0), (a, True)),
    ),
)

# --- Comparisons become 0/1 values: the language has one kind of value.

INDICATORS: dict[type, Callable[[Expr, Expr], Expr]] = {
    sympy.StrictGreaterThan: lambda a, b: positive(a - b),
    sympy.StrictLessThan: lambda a, b: positive(b - a),
    sympy.GreaterThan: lambda a, b: 1 - positive(b - a),
    sympy.LessThan: lambda a, b: 1 - positive(a - b),
}


def _where_eval(cls: type, condition: Expr, a: Expr, b: Expr) -> Expr | None:
    if condition in (sympy.true, sympy.false):  # SymPy knows that p > p is false
        return a if condition else b
    indicator = INDICATORS.get(type(condition))
    return cls(indicator(*condition.args), a, b) if indicator else None


where = _define(
    "where",
    Rule(
        # the condition is 0 or 1 and is never differentiated
        partials=(lambda y, c, a, b: ZERO, lambda y, c, a, b: c, lambda y, c, a, b: 1 - c),
        numpy=_where,
        meaning=lambda c, a, b: c * a + (1 - c) * b,
    ),
    eval=classmethod(_where_eval),
)
stop = _define(
    "stop",
    Rule(
        # the identity whose derivative is zero; the real part, so that a complex step sees the zero too
        partials=(lambda y, u: ZERO,),
        numpy=np.real,
        meaning=lambda u: u,
    ),
    eval=classmethod(lambda cls, u: u if u.is_number or isinstance(u, cls) else None),
)

NUMPY: dict[str, Callable[..., Any]] = {name: function.rule.numpy for name, function in TABLE.items()}

# SymPy's own functions, for whoever writes `from sympy import tanh` or `abs(x)` in a cell
SYMPY_TWINS: dict[type, type[Elementwise]] = {
    sympy.tanh: tanh,
    sympy.exp: exp,
    sympy.log: log,
    sympy.sin: sin,
    sympy.cos: cos,
    sympy.Abs: absolute,
    sympy.Max: maximum,
    sympy.Min: minimum,
}


def adopt(expression: Expr) -> Expr:
    """Write SymPy's own functions as those of the table; what has no twin stays and is refused by the cell."""
    twins = tuple(SYMPY_TWINS)
    adopted = expression.replace(
        lambda e: isinstance(e, twins),
        lambda e: SYMPY_TWINS[type(e)](*sorted(e.args, key=sympy.default_sort_key)),
    )
    half = Rational(1, 2)
    return adopted.replace(
        lambda e: e.is_Pow and abs(e.exp) == half,
        lambda e: sqrt(e.base) ** int(2 * e.exp),
    )


def unstopped(expression: Expr) -> Expr:
    """The same values, and every derivative goes through."""
    return expression.replace(stop, lambda u: u)


def plain(expression: Expr) -> Expr:
    """The same expression in SymPy's own functions: what the mathematics of the table is proved against."""
    return expression.replace(
        lambda e: isinstance(e, Elementwise),
        lambda e: e.rule.meaning(*e.args),
    )
