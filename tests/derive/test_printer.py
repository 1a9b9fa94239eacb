"""Expressions to text: what is printed means the same, reads well and is the same in every process."""

import math

import pytest
import sympy
from hypothesis import given
from hypothesis import strategies as st
from sympy import Rational

from derive.emit.printer import code, equation
from derive.errors import PrintError
from derive.functions import TABLE, positive
from derive.language import H, N, Vector, matrix, maximum, sigmoid, state, stop, tanh, values, vectors, where, x
from derive.laws import symbols_of

a, b, c, o = values("a b c o")
c_prev = state("c")[1]
(p,) = vectors("p")
d_h, tanh_c = Vector("d_h", "adjoint", H), values("tanh_c")[0]
HALF = Rational(1, 2)

PRINTED = {
    d_h * o * (1 - tanh_c**2): "d_h * o * (1 - tanh_c * tanh_c)",
    p * c_prev: "p * c_prev",
    a * c_prev + b * o: "a * c_prev + b * o",
    1 - a: "1 - a",
    -a - 1: "-a - 1",
    a - (b - c): "a + c - b",
    a + b * c + p: "a + p + b * c",
    4 * sigmoid(a) - 2: "4 * sigmoid(a) - 2",
    a * 2 / 3 * b: "2 * a * b / 3",
    -a / 2: "-a / 2",
    a + Rational(1, 10): "(10 * a + 1) / 10",
    (2 * a + 5) / 10: "(2 * a + 5) / 10",
    c * (a + HALF): "c * ((2 * a + 1) / 2)",
    1 / (2 * a): "1 / (2 * a)",
    a * b / (c * c): "a * b / (c * c)",
    -a / b - c: "-c - a / b",
    a / (b + c): "a / (b + c)",
    a**4: "a * a * a * a",
    a**5: "a**5",
    a**-5: "1 / a**5",
    (1 - a) ** 2: "(1 - a) * (1 - a)",
    (a + b) ** 6 * c: "c * (a + b)**6",
    (-a) ** 3: "-a * a * a",
    where(a, 1, -b): "where(a, 1, -b)",
    maximum(a - b, Rational(-1, 3)): "maximum(a - b, -1 / 3)",
    stop(a + b) * c: "c * (a + b)",
    stop(a): "a",
    positive(-a) - positive(a): "positive(-a) - positive(a)",
}


@pytest.mark.parametrize("expression", PRINTED, ids=PRINTED.get)
def test_printed(expression):
    assert code(expression) == PRINTED[expression]


def back(text, expression):
    """What the text means on SymPy symbols."""
    return eval(text, {**TABLE, **{v.name: v for v in symbols_of(expression)}})  # noqa: S307 (our own text)


@pytest.mark.parametrize("expression", PRINTED, ids=PRINTED.get)
def test_printed_text_means_the_expression(expression):
    without_stop = expression.replace(lambda e: isinstance(e, stop), lambda e: e.args[0])
    meant = sympy.nsimplify(back(code(expression), expression), rational=True)
    assert sympy.simplify(meant - without_stop) == 0 or meant.has(maximum)  # -1 / 3 alone is rounded by Python


names = st.sampled_from([a, b, c, o, p, c_prev])
numbers = st.builds(Rational, st.integers(-4, 4), st.integers(1, 5))
expressions = st.recursive(
    st.one_of(names, numbers),
    lambda inner: st.one_of(
        st.builds(lambda u, v: u + v, inner, inner),
        st.builds(lambda u, v: u - v, inner, inner),
        st.builds(lambda u, v: u * v, inner, inner),
        st.builds(lambda u, v: u / (v * v + 1), inner, inner),
        st.builds(lambda u, n: u**n, inner, st.integers(0, 6)),
        st.builds(tanh, inner),
    ),
    max_leaves=8,
)


@given(expressions, st.lists(st.floats(-2, 2), min_size=6, max_size=6))
def test_any_text_computes_what_the_expression_says(expression, point):
    at = dict(zip([a, b, c, o, p, c_prev], point, strict=True))
    exact = expression.subs({v: Rational(number) for v, number in at.items()})
    exact = float(exact.replace(lambda e: isinstance(e, tanh), lambda e: sympy.tanh(e.args[0])).evalf(30))
    text = code(expression)
    found = eval(text, {"tanh": math.tanh, **{v.name: number for v, number in at.items()}})  # noqa: S307
    bound = sum(abs(number) for number in point) + 10
    assert math.isclose(found, exact, rel_tol=1e-9, abs_tol=1e-12 * bound**6)


@given(expressions)
def test_no_text_has_a_decimal_point(expression):
    assert "." not in code(expression)


def test_an_equation_shows_products_as_they_are_written():
    W, U, b_n = matrix("W", H, N), matrix("U", H, H), vectors("b_n")[0]
    assert equation(tanh(b_n + p * (U @ c_prev + b) + W @ x)) == "tanh(W @ x + b_n + p * (U @ c_prev + b))"
    assert equation((U @ c_prev) * (W @ x)) == "(W @ x) * (U @ c_prev)"
    assert equation(U @ stop(c_prev)) == "U @ stop(c_prev)"


@pytest.mark.parametrize(
    "expression",
    [
        *(2**63 * a, a + Rational(1, 2**63), 0.5 * a, sympy.pi * a, sympy.oo, sympy.I, sympy.zoo),
        *(sympy.sin(a), a**HALF, a**b, matrix("W", H, N) @ x),
    ],
    ids=str,
)
def test_what_the_generated_text_does_not_have_is_refused(expression):
    with pytest.raises(PrintError):
        code(expression)
