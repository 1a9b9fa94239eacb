"""One expression -> one line of Python, the same text in every process.

    code(d_h * o * (1 - t**2))    d_h * o * (1 - t * t)
    equation(b + W @ x)           W @ x + b

Integers only: a rational factor p/q is printed as (p * x) / q, so that the text is exact on any kind of number.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from math import lcm, log10
from typing import Any

import sympy
from sympy import Add, Expr, Integer, Mul, Pow, Rational

from derive.errors import PrintError
from derive.functions import Elementwise, stop
from derive.symbols import Matrix, Product, Vector

SUM, TERM, ATOM = range(3)  # how tightly a text binds
LARGEST = 2**63 - 1
LONGEST_PRODUCT = 4  # x**4 is x * x * x * x, x**5 stays a power

# factors: adjoint first, then what is trained, computed, given; then names; then what is in brackets
RANKS = {"adjoint": 0, "tangent": 0, "parameter": 1, "constant": 1, "slot": 2, "value": 2, "state": 2}
GIVEN, BRACKETS = 3, 4
# products: the input's first, then the recurrent ones
OPERANDS = {"input": 0, "previous": 1}
NO_PRODUCT = 3


@dataclass(frozen=True)
class Fraction:
    """sign * number * prod(above) / (divisor * prod(below)), the factors in printing order."""

    sign: int
    number: int
    above: tuple[Expr, ...]
    divisor: int
    below: tuple[Expr, ...]


def fraction(term: Expr) -> Fraction:
    """Split one term of a sum into what is printed above and below the stroke."""
    number, rest = term.as_coeff_Mul(rational=True)
    above: list[Expr] = []
    below: list[Expr] = []
    for factor in Mul.make_args(rest):
        base, power = factor.as_base_exp()
        if power.is_Integer and factor != 1:
            _spread(base, int(power), above, below)
        elif factor != 1:
            above.append(factor)
    return Fraction(
        sign=-1 if number < 0 else 1,
        number=abs(int(number.p)),
        above=tuple(sorted(above, key=_factor_key)),
        divisor=int(number.q),
        below=tuple(sorted(below, key=_factor_key)),
    )


def _spread(base: Expr, power: int, above: list[Expr], below: list[Expr]) -> None:
    """x**3 becomes three factors, x**-2 two below the stroke, x**7 stays one."""
    side = above if power > 0 else below
    side += [base] * abs(power) if abs(power) <= LONGEST_PRODUCT else [Pow(base, abs(power), evaluate=False)]


def _factor_key(factor: Expr) -> tuple[int, int, str]:
    if isinstance(factor, (Vector, Matrix)):
        return RANKS.get(factor.role, GIVEN), 0, factor.name
    return BRACKETS, _product_rank(factor), equation(factor)


def _term_key(term: Expr) -> tuple[Any, ...]:
    parts = fraction(term)
    rank = min(map(_product_rank, parts.above), default=NO_PRODUCT)
    size = len(parts.above) + len(parts.below)
    return parts.sign < 0, term.is_number, rank, size, equation(term)


def _product_rank(factor: Expr) -> int:
    if not isinstance(factor, Product):
        return NO_PRODUCT
    # an operand that is no name is printed too: in the message that refuses it
    operand = factor.operand.args[0] if isinstance(factor.operand, stop) else factor.operand
    return OPERANDS.get(getattr(operand, "role", ""), NO_PRODUCT - 1)


def terms(expression: Expr) -> tuple[Expr, ...]:
    """The terms of a sum in printing order: positive before negative, products, then short before long."""
    return tuple(sorted(Add.make_args(expression), key=_term_key))


def arguments(expression: Expr) -> tuple[Expr, ...]:
    """The arguments of a node from left to right as printed; SymPy's own order is by class and name."""
    if isinstance(expression, Add):
        return terms(expression)
    if isinstance(expression, Mul):
        return tuple(sorted(expression.args, key=lambda a: (not a.is_number, *_factor_key(a))))
    return tuple(expression.args)


# --- One rule for each kind of node: the text and how tightly it binds

Printed = tuple[str, int]


class Printer:
    """Expressions to text by a table of rules."""

    def __init__(self, rules: dict[type, Callable[["Printer", Any], Printed]]) -> None:
        self.rules = rules

    def __call__(self, expression: Expr, level: int = SUM) -> str:
        text, binds = self._rule(expression)(self, expression)
        return text if binds >= level else f"({text})"

    def _rule(self, expression: Expr) -> Callable[["Printer", Any], Printed]:
        for kind in type(expression).__mro__:
            if kind in self.rules:
                return self.rules[kind]
        raise PrintError(f"{expression} ({type(expression).__name__}) has no form in the generated text")


def _symbol(_printer: Printer, symbol: sympy.Symbol) -> Printed:
    return symbol.name, ATOM


def _integer(_printer: Printer, number: Integer) -> Printed:
    return _whole(number), ATOM if number >= 0 else SUM


def digits(number: Any) -> int:
    """How many; Python writes no number of more than 4300."""
    return int(log10(abs(int(number)))) + 1


def _whole(number: Any) -> str:
    """Of an integer that compiled code can hold."""
    if abs(number) > LARGEST:
        raise PrintError(
            f"a whole number of {digits(number)} digits, above or below a stroke: compiled code holds those up "
            "to 2**63 - 1; choose numbers nearer to 1, or a parameter"
        )
    return str(number)


def _sum(printer: Printer, expression: Add) -> Printed:
    divisor = _common_divisor(expression)
    if divisor > 1:
        whole = Add(*(term * divisor for term in expression.args))
        return f"{printer(whole, TERM)} / {_whole(divisor)}", TERM
    first, *rest = terms(expression)
    text = printer(first)
    for term in rest:
        sign = "-" if fraction(term).sign < 0 else "+"
        text += f" {sign} {printer(abs_term(term), TERM)}"
    return text, SUM


def _common_divisor(expression: Add) -> int:
    """x + 1/10 is (10 * x + 1) / 10: a rational alone would be rounded by Python before it meets x."""
    numbers = [term.as_coeff_Mul(rational=True)[0] for term in expression.args]
    alone = any(term.is_Rational and not term.is_Integer for term in expression.args)
    return lcm(*(int(number.q) for number in numbers)) if alone else 1


def abs_term(term: Expr) -> Expr:
    """The term without its sign."""
    return -term if fraction(term).sign < 0 else term


def _term(printer: Printer, expression: Expr) -> Printed:
    parts = fraction(expression)
    above = [printer(factor, ATOM) for factor in parts.above]
    if parts.number != 1 or not above:
        above.insert(0, _whole(parts.number))
    below = [printer(factor, ATOM) for factor in parts.below]
    if parts.divisor != 1:
        below.insert(0, _whole(parts.divisor))
    sign = "-" if parts.sign < 0 else ""
    text = sign + " * ".join(above)
    if below:
        text += f" / {below[0]}" if len(below) == 1 else f" / ({' * '.join(below)})"
    return text, SUM if sign else TERM


def _power(printer: Printer, expression: Pow) -> Printed:
    if not expression.exp.is_Integer:
        raise PrintError(f"{sympy.sstr(expression)}: the generated text has integer exponents only")
    if expression.exp > LONGEST_PRODUCT:
        return _any_power(printer, expression)
    return _term(printer, expression)


def _any_power(printer: Printer, expression: Pow) -> Printed:
    return f"{printer(expression.base, ATOM)}**{printer(expression.exp, ATOM)}", ATOM


def _application(printer: Printer, expression: Elementwise) -> Printed:
    return f"{type(expression).__name__}({', '.join(map(printer, expression.args))})", ATOM


def _passed(printer: Printer, expression: Elementwise) -> Printed:
    return printer._rule(expression.args[0])(printer, expression.args[0])


def _product(printer: Printer, product: Product) -> Printed:
    return f"{product.matrix.name} @ {printer(product.operand, ATOM)}", TERM


RULES: dict[type, Callable[[Printer, Any], Printed]] = {
    sympy.Symbol: _symbol,
    Integer: _integer,
    Rational: _term,
    Add: _sum,
    Mul: _term,
    Pow: _power,
    Elementwise: _application,
}

# what runs: stop() only matters to the derivative, and products are the runtime's
_code = Printer({**RULES, stop: _passed})
# what a person reads: also what no law has looked at yet, in SymPy's own words
UNCHECKED = {Product: _product, sympy.Basic: lambda _, e: (sympy.sstr(e), SUM)}
UNCHECKED[Pow] = lambda printer, e: (_power if e.exp.is_Integer else _any_power)(printer, e)
_equation = Printer({**RULES, **UNCHECKED})

code = lru_cache(maxsize=4096)(_code.__call__)
equation = lru_cache(maxsize=4096)(_equation.__call__)
