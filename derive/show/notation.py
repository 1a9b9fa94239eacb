"""Three notations for one tree: `unicode` for a terminal, `latex` for a page, `python` for a file.

    python     d_c = d_c_next + d_h * o * (1 - tanh_c * tanh_c)
    unicode    d_c = d_c_next + d_h ⊙ o ⊙ (1 − tanh_c²)
    latex      \\mathrm{d}c_{t} = ...

The order of terms and factors is the one of the generated text (`derive.emit.printer`), so a page reads like the file.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

import sympy
from sympy import Add, Expr, Integer, Mul, Pow, Rational
from sympy.printing.latex import greek_letters_set

from derive.emit.printer import ATOM, RULES, SUM, TERM, Printed, Printer, abs_term, fraction, terms
from derive.emit.printer import _product as python_product
from derive.functions import Elementwise
from derive.show.nodes import Chain, Diagonal, InOrder, Node, Outer, OverTime, Partial, Pullback, Shifted, Words
from derive.symbols import Matrix, Product, Vector

Rule = Callable[[Printer, Any], Printed]


@dataclass(frozen=True)
class Notation:
    """What differs between two notations; the rules below are written once.

    Args:
        times: between elementwise factors; scale: between a number and what it multiplies; space: in a matrix product.
        minus: the sign; power, fraction, brackets, transpose, function: templates.
        over_time, diagonal, partial: templates of the nodes.
        name: a symbol; shift: a symbol at another step.
    """

    times: str
    scale: str
    space: str
    minus: str
    power: Callable[[str, int], str]
    fraction: Callable[[str, str], str]
    brackets: str
    transpose: str
    over_time: str
    diagonal: str
    partial: str
    name: Callable[[sympy.Symbol], str]
    shift: Callable[[str, int], str]
    functions: dict[str, str] = field(default_factory=dict)
    application: str = "{0}({1})"


# --- The rules, for unicode and latex


def rules(notation: Notation) -> dict[type, Rule]:
    """Return the printing rules of a notation."""
    return {kind: _bound(rule, notation) for kind, rule in TREE.items()}


def _bound(rule: Callable[[Notation, Printer, Any], Printed], notation: Notation) -> Rule:
    return lambda printer, expression: rule(notation, printer, expression)


def _symbol(notation: Notation, _printer: Printer, symbol: sympy.Symbol) -> Printed:
    name = notation.name(symbol)
    return notation.application.format(notation.functions.get("stop", "stop"), name) if _stopped(symbol) else name, ATOM


def _stopped(symbol: sympy.Symbol) -> bool:
    return getattr(symbol, "stopped", False)


def _integer(notation: Notation, _printer: Printer, number: Integer) -> Printed:
    return str(number).replace("-", notation.minus), ATOM if number >= 0 else SUM


def _sum(notation: Notation, printer: Printer, expression: Add) -> Printed:
    first, *rest = terms(expression)
    text = printer(first)
    for term in rest:
        sign = notation.minus if fraction(term).sign < 0 else "+"
        text += f" {sign} {printer(abs_term(term), TERM)}"
    return text, SUM


def _term(notation: Notation, printer: Printer, expression: Expr) -> Printed:
    parts = fraction(expression)
    is_fraction = bool(parts.below) or parts.divisor != 1
    above = _factors(notation, printer, parts.above, alone=is_fraction and parts.number == 1)
    below = _factors(notation, printer, parts.below, alone=parts.divisor == 1)
    times = notation.times if expression.has(Vector) else notation.scale  # 4 H N is a number, not a vector
    text = _scaled(notation, parts.number, above, times)
    if is_fraction:
        text = notation.fraction(text, _scaled(notation, parts.divisor, below, times))
    return (notation.minus + text, SUM) if parts.sign < 0 else (text, TERM if len(parts.above) > 1 or below else ATOM)


def _scaled(notation: Notation, number: int, factors: list[str], times: str) -> str:
    """2 a b; a factor of one is not written."""
    product = times.join(factors)
    return f"{number}{notation.scale}{product}" if factors and number != 1 else product or str(number)


def _factors(notation: Notation, printer: Printer, factors: tuple[Expr, ...], alone: bool) -> list[str]:
    if alone and len(factors) == 1 and not factors[0].is_Pow:
        return [printer(factors[0])]  # the stroke of a fraction brackets it
    counts = Counter(factors)  # x, x is x squared; a Counter keeps the order
    return [_power_text(notation, printer, base, count) for base, count in counts.items()]


def _power_text(notation: Notation, printer: Printer, base: Expr, count: int) -> str:
    base, inner = (base.base, int(base.exp)) if isinstance(base, Pow) else (base, 1)
    return printer(base, ATOM) if count * inner == 1 else notation.power(printer(base, ATOM), count * inner)


def _application(notation: Notation, printer: Printer, expression: Elementwise) -> Printed:
    name = type(expression).__name__
    arguments = ", ".join(map(printer, expression.args))
    return notation.application.format(notation.functions.get(name, name), arguments), ATOM


def _product(notation: Notation, printer: Printer, product: Product) -> Printed:
    return notation.space.join([printer(product.matrix), printer(product.operand, ATOM)]), TERM


def _in_order(notation: Notation, printer: Printer, expression: InOrder) -> Printed:
    del notation
    return " + ".join(printer(term, TERM) for term in expression.args), SUM


def _chain(notation: Notation, printer: Printer, expression: Chain) -> Printed:
    return notation.space.join(printer(factor, ATOM) for factor in expression.args), TERM


def _outer(notation: Notation, printer: Printer, expression: Outer) -> Printed:
    left, right = (printer(part, ATOM) for part in expression.args)
    return notation.space.join([left, notation.transpose.format(right)]), TERM


def _matrix(notation: Notation, printer: Printer, matrix: Matrix) -> Printed:
    return notation.transpose.format(printer(matrix.turned)) if matrix.turned else notation.name(matrix), ATOM


def _pullback(notation: Notation, printer: Printer, expression: Pullback) -> Printed:
    pulled, vector = expression.args
    if isinstance(pulled, Matrix) and pulled.turned:  # transposed twice
        return _product(notation, printer, Product(pulled.T, vector))
    matrix, vector = (printer(part, ATOM) for part in expression.args)
    return notation.space.join([notation.transpose.format(matrix), vector]), TERM


def _over_time(notation: Notation, printer: Printer, expression: OverTime) -> Printed:
    inner = printer(expression.args[0], SUM if "(" in notation.over_time else TERM)
    return notation.over_time.format(inner), TERM


def _diagonal(notation: Notation, printer: Printer, expression: Diagonal) -> Printed:
    return notation.diagonal.format(printer(expression.args[0])), ATOM


def _partial(notation: Notation, printer: Printer, expression: Partial) -> Printed:
    return notation.partial.format(*(printer(part) for part in expression.args)), ATOM


def _shifted(notation: Notation, printer: Printer, expression: Shifted) -> Printed:
    symbol, shift = expression.args
    return notation.shift(printer(symbol), int(shift)), ATOM


TREE: dict[type, Callable[[Notation, Printer, Any], Printed]] = {
    sympy.Symbol: _symbol,
    Matrix: _matrix,
    Integer: _integer,
    Rational: _term,
    Add: _sum,
    Mul: _term,
    Pow: _term,
    Elementwise: _application,
    Product: _product,
    InOrder: _in_order,
    Chain: _chain,
    Outer: _outer,
    Pullback: _pullback,
    OverTime: _over_time,
    Diagonal: _diagonal,
    Partial: _partial,
    Shifted: _shifted,
}

NODES = {kind: rule for kind, rule in TREE.items() if issubclass(kind, Node)}


# --- Names in LaTeX

TAILS = {"_next": r"\mathrm{next}", "_later": r"\mathrm{later}"}


def latex_name(symbol: sympy.Symbol) -> str:
    """h_{t}, h_{t-1}, W_{i}; the adjoint d_z_i is \\mathrm{d}z_{i,t}, the tangent dot_z_i is \\dot{z}_{i,t}."""
    if isinstance(symbol, Words):
        return symbol.name if len(symbol.name) == 1 else rf"\text{{{_escaped(symbol.name)}}}"
    for prefix, mark in (("dot_d_", r"\dot{{\mathrm{{d}}{}}}"), ("d_", r"\mathrm{{d}}{}"), ("dot_", r"\dot{}")):
        if symbol.name.startswith(prefix):
            return _derivative_name(symbol.name.removeprefix(prefix), mark, getattr(symbol, "role", ""))
    if isinstance(symbol, Vector | Matrix):
        return _indexed(symbol.name, symbol.role)
    return symbol.name


def _derivative_name(name: str, mark: str, role: str) -> str:
    tail = next((tail for tail in TAILS if name.endswith(tail)), "")
    stem = name.removesuffix(tail) if tail else name
    role = "previous" if stem.endswith("_prev") else role
    letter, index = _split(stem.removesuffix("_prev"))
    power = f"^{{{TAILS[tail]}}}" if tail else ""
    return mark.format(f"{{{letter}}}" if "dot" in mark else letter) + _subscript(index, role) + power


def _indexed(name: str, role: str) -> str:
    letter, index = _split(name.removesuffix("_prev") if role == "previous" else name)
    return letter + _subscript(index, role)


def _split(name: str) -> tuple[str, list[str]]:
    letter, _, index = name.partition("_")
    return _letter(letter), [_letter(part) for part in index.split("_") if part]


def _subscript(index: list[str], role: str) -> str:
    time = {"parameter": [], "constant": [], "previous": ["t-1"]}.get(role, ["t"])
    parts = index + time
    return f"_{{{','.join(parts)}}}" if parts else ""


def _letter(part: str) -> str:
    if part in GREEK:
        return f"\\{part}"
    return part if len(part) == 1 else rf"\mathrm{{{part}}}"


def _escaped(text: str) -> str:
    return text.replace("_", r"\_").replace("%", r"\%").replace("&", r"\&").replace("#", r"\#")


GREEK = frozenset(greek_letters_set) - {"omicron"}  # LaTeX has no \\omicron


# --- The notations

SUPERSCRIPTS = str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻")

MINUS, SIGMA = "\N{MINUS SIGN}", "\N{GREEK SMALL LETTER SIGMA}"

UNICODE = Notation(
    times=" ⊙ ", scale=" ", space=" ", minus=MINUS,
    power=lambda base, power: base + str(power).translate(SUPERSCRIPTS),
    fraction=lambda above, below: f"{_wrapped(above)}/{_wrapped(below)}",
    brackets="({})", transpose="{}ᵀ", over_time="Σₜ {}", diagonal="diag({})", partial="∂{}/∂{}",
    name=lambda symbol: symbol.name,
    shift=lambda name, shift: name + (f"[t{'+' if shift > 0 else MINUS}{abs(shift)}]" if shift else "[t]"),
    functions={"sigmoid": SIGMA, "sqrt": "√"},
)  # fmt: skip

LATEX = Notation(
    times=r" \odot ", scale=r" \, ", space=r" \, ", minus="-",
    power=lambda base, power: f"{{{base}}}^{{{power}}}",
    fraction=lambda above, below: rf"\frac{{{above}}}{{{below}}}",
    brackets=r"\left({}\right)", transpose=r"{{{}}}^{{\top}}", over_time=r"\sum_{{t}} {}",
    diagonal=r"\operatorname{{diag}}\left({}\right)", partial=r"\frac{{\partial {}}}{{\partial {}}}",
    name=latex_name,
    shift=lambda name, shift: rf"\left.{name}\right|_{{t{shift:+d}}}" if shift else name,
    functions={
        "sigmoid": r"\sigma", "tanh": r"\tanh", "exp": r"\exp", "log": r"\log", "sin": r"\sin",
        "cos": r"\cos", "maximum": r"\max", "minimum": r"\min",
        **{name: rf"\operatorname{{{name}}}" for name in ("relu", "softplus", "where", "stop", "positive", "sqrt")},
        "absolute": r"\operatorname{abs}",
    },
    application=r"{0}\left({1}\right)",
)  # fmt: skip

PYTHON = Notation(
    times=" * ", scale=" * ", space=" @ ", minus="-",
    power=lambda base, power: f"{base}**{power}",
    fraction=lambda above, below: f"{above} / {below}",
    brackets="({})", transpose="{}.T", over_time="sum_t({})", diagonal="diag({})", partial="d{}_d{}",
    name=lambda symbol: symbol.name,
    shift=lambda name, shift: f"{name}[t{f'{shift:+d}' if shift else ''}]",
)  # fmt: skip


def _wrapped(text: str) -> str:
    return text if " " not in text or _is_one_group(text) else f"({text})"


def _is_one_group(text: str) -> bool:
    """(a + b), but not (a) ⊙ (b)."""
    depth = list(accumulate((letter == "(") - (letter == ")") for letter in text))
    return text.startswith("(") and depth.index(0) == len(text) - 1


class Bracketed(Printer):
    """The printer with the notation's own brackets."""

    def __init__(self, notation: Notation, table: dict[type, Rule]) -> None:
        super().__init__(table)
        self.brackets = notation.brackets

    def __call__(self, expression: Expr, level: int = SUM) -> str:
        text, binds = self._rule(expression)(self, expression)
        return text if binds >= level else self.brackets.format(text)


PRINTERS: dict[str, Printer] = {
    "unicode": Bracketed(UNICODE, rules(UNICODE)),
    "latex": Bracketed(LATEX, rules(LATEX)),
    # the generator's own rules, so that what is shown as Python is what is generated
    "python": Printer({**RULES, Product: python_product, **{k: r for k, r in rules(PYTHON).items() if k in NODES}}),
}


def written(expression: Expr, notation: str) -> str:
    """Return the expression in "unicode", "latex" or "python"."""
    return PRINTERS[notation](expression)
