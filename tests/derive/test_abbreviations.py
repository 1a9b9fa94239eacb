"""What is written out where it is applied: values, derivatives, arguments, and that nothing grows without end."""

import numpy as np
import pytest
import sympy

from derive import language
from derive.abbreviations import ABBREVIATIONS
from derive.differentiate import partials
from derive.errors import EquationError
from derive.expression import ParseError, parse_expression
from derive.functions import NUMPY
from derive.language import Eq, H, N, matrix, state, surrogate, vector, x
from derive.parse import parse
from derive.program import split
from derive.symbols import Vector

U = np.array([-3.0, -0.5, 0.0, 0.4, 2.5])
u, v = Vector("u", "value"), Vector("v", "value")
VALUES = {
    "silu(u)": U / (1 + np.exp(-U)),
    "mish(u)": U * np.tanh(np.log1p(np.exp(U))),
    "softsign(u)": U / (1 + abs(U)),
    "sign(u)": np.sign(U),
    "rsqrt(u**2 + 1)": 1 / np.sqrt(U**2 + 1),
    "clip(u, -1/2, 2)": np.clip(U, -0.5, 2),
    "hard_tanh(u)": np.clip(U, -1, 1),
    "hard_sigmoid(u)": np.clip(U / 5 + 0.5, 0, 1),
    "hard_sigmoid(u, 1/6)": np.clip(U / 6 + 0.5, 0, 1),
    "scaled_tanh(u, 2, 1/3)": 2 * np.tanh(U / 3),
    "leaky_relu(u)": np.where(U < 0, U / 100, U),
    "leaky_relu(u, 1/5)": np.where(U < 0, U / 5, U),
    "thresholded_relu(u, 1)": np.where(U > 1, U, 0),
    "elu(u)": np.where(U < 0, np.expm1(np.minimum(U, 0)), U),
    "surrogate(positive(u), u, 1 / (1 + u**2))": U > 0,
}


def on_numbers(expression):
    return sympy.lambdify([u], expression, [NUMPY, "numpy"])(U) * np.ones_like(U)


@pytest.mark.parametrize("text", VALUES)
def test_an_abbreviation_stands_for_its_formula(text):
    np.testing.assert_allclose(on_numbers(parse_expression(text, {"u": u})), VALUES[text], rtol=1e-14, atol=1e-15)


def test_every_abbreviation_is_tested_and_a_word_of_the_language():
    assert {text.partition("(")[0] for text in VALUES} == ABBREVIATIONS.keys() <= set(language.__all__)


def test_a_surrogate_has_the_slope_that_it_is_given_and_no_other():
    slopes = partials(Vector("s", "value"), surrogate(language.positive(u), u, v**2))
    assert {name: language.stop(slope) for name, slope in slopes.items()} == {u: language.stop(language.stop(v**2))}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("clip(u)", "clip takes 3 arguments, got 1"),
        ("elu(u, 1, 2)", "elu takes 1 to 2 arguments, got 3"),
        ("silu()", "silu takes 1 argument, got 0"),
        ("silu", r"silu is a function: write silu\(...\)"),
        ("selu(u)", "unknown function 'selu'. Did you mean .*elu"),
        ("silu(" * 30 + "u" + ")" * 30, "silu would be written out with more than 400 nodes: name its argument first"),
        ("elu(" * 12 + "u" + ")" * 12, "elu would be written out"),
    ],
)
def test_a_text_that_applies_one_wrongly_is_told_where(text, message):
    with pytest.raises(ParseError, match=message):
        parse_expression(text, {"u": u})


def test_python_is_told_the_same():
    with pytest.raises(EquationError, match=r"elu\(u, alpha=1\) got 3 arguments"):
        language.elu(u, 1, 2)


def test_what_is_written_twice_is_summed_once_and_keeps_its_bias():
    h, h_prev = state("h")
    total = matrix("W", H, N) @ x + matrix("U", H, H) @ h_prev + vector("b")
    cell = language.Cell(name="a", title="a", year=2026, reference="", equations=[Eq(h, language.silu(total))])
    (slot,) = split(cell).affine[0].slots
    assert slot.bias == vector("b")


def test_two_sums_that_share_a_bias_keep_it_apart():
    cell = parse("states: h\nparameters: W[H,N] U[H,H] b\nh = silu(W @ x + b) * tanh(U @ h_prev + b)")
    assert [slot.bias for slot in split(cell).affine[0].slots] == [None, None]


def test_a_name_of_ones_own_may_be_that_of_an_abbreviation():
    assert parse("states: h\nparameters: W[H,N]\nclip = tanh(W @ x)\nh = clip * h_prev + clip(h_prev, -1, 1)").name
