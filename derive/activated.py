"""A cell from a cell: the same equations with other activations, or with the arguments of activations clipped.

    activated(derive.cells["lstm"], {"i": "hard_sigmoid", "h": "leaky_relu(alpha=0.2)"}, clip=3)

What comes out is an ordinary cell, generated and verified like any.  The activations are those of ONNX's operators,
with the parameters that they have there; what is a number here is a number in the equations.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any

import sympy
from sympy import Expr, Rational

from derive.abbreviations import ABBREVIATIONS, Abbreviation
from derive.cell import Cell
from derive.errors import OptionError
from derive.expression import suggestion
from derive.functions import maximum, minimum, relu, sigmoid, softplus, tanh
from derive.laws import spaces_of
from derive.symbols import Eq, Product, Vector, value

# What an equation applies, and may apply something else in place of.
APPLIED = (sigmoid, tanh, relu, softplus)
NO_ACTIVATIONS = ("rsqrt", "sign", "surrogate")
ACTIVATIONS = {
    **{function.__name__: Abbreviation(function.__name__, function) for function in APPLIED},
    "linear": Abbreviation("linear", lambda u: u),
    "affine": Abbreviation("affine", lambda u, alpha, beta: alpha * u + beta, {"alpha": None, "beta": None}),
    **{name: row for name, row in ABBREVIATIONS.items() if name not in NO_ACTIVATIONS},
}

SPELLING = re.compile(r"\s*(\w+)\s*(?:\((.*)\))?\s*", re.ASCII)
NUMBER = re.compile(r"-?\d{1,40}(\.\d{1,40})?([eE][-+]?\d{1,2})?|-?\d{1,40}/[1-9]\d{0,39}", re.ASCII)


@dataclass(frozen=True)
class Applied:
    """An activation and numbers for its parameters."""

    name: str
    numbers: Mapping[str, Rational]

    def __str__(self) -> str:
        given = ", ".join(f"{parameter}={_spelled(number)}" for parameter, number in self.numbers.items())
        return f"{self.name}({given})" if given else self.name

    def __call__(self, u: Expr) -> Expr:
        return ACTIVATIONS[self.name].formula(u, **self.numbers)


def _spelled(number: Rational) -> str:
    """A decimal, or a quotient that is none."""
    decimal = repr(float(number))
    return decimal if Rational(decimal) == number else f"{number.p}/{number.q}"


def activated(cell: Cell, activations: Mapping[str, str] | None = None, clip: float | None = None) -> Cell:
    """The cell whose equations apply other activations.

    Args:
        activations: what an equation defines -> what it applies instead: a name of the table, with numbers for its
            parameters in their order or by name, "hard_sigmoid(0.2, 0.5)", "elu(alpha=2)".
        clip: c > 0: the argument of every activation that holds a matrix product is kept in [-c, c].

    The argument of an activation that has changed is a value of its own, a_i.

    Raises:
        OptionError: no such equation or activation, a number that is none, or nothing to be clipped.
    """
    changes = {name: _parsed(cell, name, text) for name, text in _checked(activations).items()}
    for name in changes:
        _check_name(cell, name)
    bound = None if clip is None else _bound(cell, clip)
    equations = [new for e in cell.equations for new in _changed(cell, e, changes.get(e.lhs.name), bound)]
    chosen = {**cell.chosen, **({"activations": {name: str(one) for name, one in changes.items()}} if changes else {})}
    chosen |= {} if bound is None else {"clip": float(bound)}
    return Cell(
        name=cell.name,
        title=", ".join([cell.title, *(f"{name} by {one}" for name, one in changes.items()), *_said(bound)]),
        year=cell.year,
        reference=cell.reference,
        equations=equations,
        outputs=cell.outputs,
        initial=cell.initial,
        options={name: (one,) for name, one in chosen.items()},
        chosen=chosen,
    )


def _said(bound: Rational | None) -> list[str]:
    return [] if bound is None else [f"sums clipped at {float(bound)!r}"]


# --- one equation


def _changed(cell: Cell, equation: sympy.Eq, new: Applied | None, bound: Rational | None) -> Iterator[sympy.Eq]:
    """The equation, after those that define the arguments of its activations where these have to have a name."""
    named: list[sympy.Eq] = []

    def replaced(node: Expr) -> Expr:
        (u,) = node.args
        clipped = u if bound is None or not u.has(Product) else maximum(-bound, minimum(bound, u))
        if new is None and clipped is u:
            return node
        if not isinstance(clipped, Vector):
            space = next(iter(spaces_of(clipped).values()), equation.lhs.space)  # under a product another one
            name = value(_fresh(cell, f"a_{equation.lhs.name}", len(named)), space)
            named.append(Eq(name, clipped))
            clipped = name
        return (new or type(node))(clipped)

    rhs = equation.rhs.replace(lambda node: isinstance(node, APPLIED), replaced)
    yield from named
    yield Eq(equation.lhs, rhs)


def _applied(equation: sympy.Eq) -> set[Expr]:
    """Where the equation applies an activation."""
    return set(equation.rhs.find(lambda node: isinstance(node, APPLIED)))


def _fresh(cell: Cell, name: str, others: int) -> str:
    name = f"{name}_{others + 1}" if others else name
    while name in cell.symbols:
        name = f"{name}_"
    return name


# --- what a user gives


def _checked(activations: Any) -> Mapping[str, str]:
    if not isinstance(activations, Mapping | None):
        kind = type(activations).__name__
        raise OptionError(f'activations must be a dict, equation -> activation, {{"i": "hard_sigmoid"}}; got {kind}')
    return activations or {}


def _check_name(cell: Cell, name: str) -> None:
    found = {e.lhs.name: len(_applied(e)) for e in cell.equations}
    if found.get(name) != 1:
        able = ", ".join(lhs for lhs, count in found.items() if count == 1)
        raise OptionError(f"cell {cell.name}: no equation of {name!r} applies one activation; these do: {able}")


def _parsed(cell: Cell, name: str, text: Any) -> Applied:
    place = f"cell {cell.name}: the activation of {name}"
    halves = SPELLING.fullmatch(text) if isinstance(text, str) else None
    if halves is None:
        raise OptionError(f'{place} is {text!r}, expected a name such as "softsign" or "hard_sigmoid(0.2, 0.5)"')
    if halves[1] not in ACTIVATIONS:
        raise OptionError(f"{place} is {halves[1]!r}, which is not one.{suggestion(halves[1], ACTIVATIONS)}")
    known = ACTIVATIONS[halves[1]].parameters
    given = _numbers(place, halves[1], halves[2], known)
    found = {parameter: given.get(parameter, default) for parameter, default in known.items()}
    missing = [parameter for parameter, number in found.items() if number is None]
    if missing:
        raise OptionError(f"{place}, {halves[1]}, needs {missing[0]}: write {halves[1]}({missing[0]}=...)")
    return Applied(halves[1], {parameter: Rational(number) for parameter, number in found.items()})


def _numbers(place: str, activation: str, text: str | None, known: Mapping[str, Any]) -> dict[str, str]:
    """What stands in the brackets, by parameter."""
    found: dict[str, str] = {}
    for k, part in enumerate(text.split(",") if text and text.strip() else []):
        name, equals, number = part.partition("=")
        name, number = (name.strip(), number.strip()) if equals else ([*known, ""][min(k, len(known))], part.strip())
        if name not in known or name in found or not NUMBER.fullmatch(number):
            takes = ", ".join(known) or "no parameters"
            raise OptionError(f"{place}: {activation} takes {takes}, each a number and once; got {part.strip()!r}")
        found[name] = number
    return found


def _bound(cell: Cell, clip: Any) -> Rational:
    if not any(node.has(Product) for equation in cell.equations for node in _applied(equation)):
        raise OptionError(f"cell {cell.name}: no activation is applied to a matrix product, so there is none to clip")
    if isinstance(clip, bool) or not isinstance(clip, Real) or not 0 < float(clip) < float("inf"):
        raise OptionError(f"clip must be a number above 0, got {clip!r}")
    return Rational(str(clip))
