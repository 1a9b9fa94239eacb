"""L0, on symbols: the printed text is the derivation, and the derivation is the derivative.

    text        the generated text, run on symbols, gives the expressions that were derived
    derivation  the reverse and the forward sweep give what sympy.diff makes of a whole stage in one expression
    table       the partial derivatives of each function in use are those of its meaning in SymPy's own functions

The first two are proofs: the difference of two expressions expands to 0; where the expansion would have too many terms,
it is 0 to 35 digits at points.  The third is exact to 35 digits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from math import prod
from typing import Any

import mpmath
import sympy
from sympy import Add, Expr, Symbol

from derive.differentiate import DOT_STOP, vjp
from derive.emit.scalar import Step, StepFunction, functions_used, scalar_source, steps
from derive.functions import TABLE, plain, unstopped
from derive.program import Program
from derive.second import released, with_fixed_conditions
from derive.symbols import Vector
from derive.verify.driver import executed
from derive.verify.oracle import Interpreter
from derive.verify.report import Measurement
from derive.verify.rungs.digits import FUNCTIONS

SIDES = ("derivation", "sympy.diff")
DIGITS = 40
ALLOWED = 10.0 ** (5 - DIGITS)
POINTS = 3
TERMS = 20_000
SHOWN = 200

Pair = tuple[str, Expr, Expr]  # what, as it is, as it should be
PASSIVE = ("clock", "constant")


def text_is_the_derivation(program: Program) -> Iterator[Measurement]:
    """Run the generated text on symbols and compare with the derived expressions."""
    functions = executed(scalar_source(program), TABLE, sympy.Integer)
    for step in steps(program):
        derived = step.stage.equations, step.vjp.equations, step.jvp.equations, step.vjp_jvp.equations
        for function, equations in zip(step.functions, derived, strict=True):
            found = _called(functions[function.name], function, step)
            for name, expected in _by_name(composed(equations)).items():
                if name in found:
                    yield proof(f"{name} of {function.name}", ("text", "derivation"), found[name], expected)


def derivation_is_the_derivative(program: Program) -> Iterator[Measurement]:
    """Differentiate each stage as one expression of what it reads and compare with the two sweeps."""
    for step in steps(program):
        inlined = composed(step.stage.equations)
        for pairs in (_reverse_pairs(step, inlined), _forward_pairs(step, inlined), _second_pairs(step)):
            for what, found, expected in pairs:
                yield proof(what, SIDES, found, expected)


def table_is_true(program: Program) -> Iterator[Measurement]:
    """Hold the partial derivatives of the functions in use against their meaning, at points on either side of kinks."""
    for name in functions_used(scalar_source(program)):
        function = TABLE[name]
        u = sympy.symbols(f"u:{len(function.rule.partials)}", real=True)
        for k, partial in enumerate(function.rule.partials):
            if name != "stop" and (name, k) != ("where", 0):  # declared to be constants
                slope, expected = plain(partial(function(*u), *u)), sympy.diff(plain(function(*u)), u[k])
                points = [dict(zip(u, point, strict=True)) for point in _points(len(u), name)]
                error = max(abs(sympy.N((slope - expected).subs(point), DIGITS)) for point in points)
                yield Measurement("symbols", f"d{name}/du{k}", SIDES, float(error), ALLOWED, "on numbers")


def _points(count: int, name: str) -> list[tuple[sympy.Rational, ...]]:
    """Points inside the domain, above, between and below the kinks."""
    numbers = [sympy.Rational(*fraction) for fraction in ((1, 3), (7, 5), (-2, 7), (5, 2), (-9, 4))]
    usable = [abs(number) for number in numbers] if name in ("log", "sqrt") else numbers
    points = [tuple(usable[(j + k) % len(usable)] for k in range(count)) for j in range(len(usable))]
    # a condition is 0 or 1
    return [(sympy.Integer(j % 2), *rest) for j, (_, *rest) in enumerate(points)] if name == "where" else points


# --- Both sides


def composed(equations: Iterable[tuple[Any, ...]], known: Mapping[Vector, Expr] | None = None) -> dict[Vector, Expr]:
    """Name -> one expression of what the equations read."""
    inlined = dict(known or {})
    for name, expression, *_ in equations:
        inlined[name] = expression.xreplace(inlined)
    return inlined


def _by_name(inlined: Mapping[Vector, Expr]) -> dict[str, Expr]:
    # a value passes through stop() unchanged, so the text has none
    return {name.name: unstopped(expression) for name, expression in inlined.items()}


def _called(function: Callable[..., Any], printed: StepFunction, step: Step) -> dict[str, Expr]:
    known: dict[str, Symbol] = {v.name: v for v in step.stage.reads}
    known |= {v.name: v for v in (*step.vjp.incoming, *step.vjp.saved, *step.jvp.saved)}
    known |= {dot.name: dot for _, dot in (*step.jvp.incoming, *step.vjp_jvp.incoming, *step.vjp_jvp.moved)}
    known |= {DOT_STOP.name: DOT_STOP}
    results = function(*(known[name] for name in printed.arguments))
    return dict(zip(printed.results, map(sympy.sympify, results), strict=True))


def _reverse_pairs(step: Step, inlined: dict[Vector, Expr]) -> Iterator[Pair]:
    """d_v = d/dv of the sum over writes of incoming adjoint * write; no adjoint means zero."""
    total = Add(*(d * inlined[w] for w, d in zip(step.stage.writes, step.vjp.incoming, strict=True)))
    adjoints, outputs = composed(step.vjp.equations), dict(step.vjp.outputs)
    for v in step.stage.reads:
        if v.role not in PASSIVE:
            found = adjoints[outputs[v]].xreplace(inlined) if v in outputs else sympy.Integer(0)
            yield f"d_{v}", found, sympy.diff(total, v)


def _forward_pairs(step: Step, inlined: dict[Vector, Expr]) -> Iterator[Pair]:
    """dot_y = sum over reads of dy/dv * dot_v, where stop() holds and where it lets through."""
    tangents, moving = composed(step.jvp.equations), dict(step.jvp.incoming)
    names = {f"dot_{name}": expression for name, expression in inlined.items()}
    for dot, found in tangents.items():
        y = names[dot.name]
        for through, value in ((0, y), (1, unstopped(y))):
            expected = Add(*(sympy.diff(value, v) * moved for v, moved in moving.items()))
            at = {DOT_STOP: sympy.Integer(through)}
            yield f"{dot}, dot_stop = {through}", unstopped(found.xreplace(inlined).xreplace(at)), unstopped(expected)


def _second_pairs(step: Step) -> Iterator[Pair]:
    """dot_d_v = sum over incoming adjoints and saved values s of d(d_v)/ds * dot_s, conditions being fixed."""
    adjoints = composed(vjp(with_fixed_conditions(step.stage)).equations)
    tangents, moving = composed(step.vjp_jvp.equations), dict((*step.vjp_jvp.incoming, *step.vjp_jvp.moved))
    for _, d, dot in step.vjp_jvp.outputs:
        value = unstopped(adjoints[d])
        expected = Add(*(sympy.diff(value, s) * moved for s, moved in moving.items()))
        yield str(dot), unstopped(tangents[dot]), released(expected)


# --- Proving


def proof(quantity: str, sides: tuple[str, str], found: Expr, expected: Expr) -> Measurement:
    """Error 0 if the difference of two expressions expands to 0, else 1 and the difference."""
    if max(_expanded(found, {}), _expanded(expected, {})) > TERMS:
        return _on_numbers(quantity, sides, found, expected)
    difference = sympy.expand(found - expected)
    if difference != 0:  # quotients need a common denominator
        difference = sympy.expand(sympy.numer(sympy.together(difference)))
    note = "" if difference == 0 else f"{sides[0]} - {sides[1]} = {_shortened(str(difference))}"
    return Measurement("symbols", quantity, sides, float(difference != 0), 0.0, "on symbols", note=note)


def _expanded(expression: Expr, known: dict[Expr, int]) -> int:
    """How many terms an expansion would have, those inside of functions too."""
    if expression not in known:
        inside = [_expanded(part, known) for part in expression.args]
        if expression.is_Pow and expression.exp.is_Integer:
            known[expression] = inside[0] ** min(abs(int(expression.exp)), TERMS)
        else:
            known[expression] = prod(inside) if expression.is_Mul else max(sum(inside), 1)
    return known[expression]


def _on_numbers(quantity: str, sides: tuple[str, str], found: Expr, expected: Expr) -> Measurement:
    """The largest relative difference at points between 0 and 1, each node of both expressions evaluated once."""
    symbols = sorted(found.free_symbols | expected.free_symbols, key=str)
    errors = []
    with mpmath.workdps(DIGITS):
        for k in range(POINTS):
            # the golden ratio's multiples: far from each other and from 0
            names = {s.name: mpmath.frac((j + 1) * mpmath.phi + mpmath.mpf(k) / POINTS) for j, s in enumerate(symbols)}
            oracle = _Remembering(functions=FUNCTIONS, quotient=lambda p, q: mpmath.mpf(p) / q)
            one, other = oracle.evaluate(found, names), oracle.evaluate(expected, names)
            errors.append(abs(one - other) / max(abs(other), 1))
    return Measurement("symbols", quantity, sides, float(max(errors)), ALLOWED, "on numbers")


class _Remembering(Interpreter):
    """An interpreter that evaluates an expression which occurs many times once."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.known: dict[Any, Any] = {}

    def evaluate(self, expression: Any, names: Mapping[str, Any]) -> Any:
        if expression not in self.known:
            self.known[expression] = super().evaluate(expression, names)
        return self.known[expression]


def _shortened(text: str) -> str:
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 3]}..."
