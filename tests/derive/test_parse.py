"""Text cells: what a text means, and that a hostile or mistaken text gives one clear error and runs nothing."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

import derive
from derive.errors import DeriveError, ShapeError
from derive.expression import NODES, ParseError, parse_expression
from derive.parse import parse
from derive.symbols import Vector

LSTM = """
name: lstm_text
title: LSTM with forget gate
year: 2000
reference: Gers, Schmidhuber & Cummins 2000
states: h c
parameters: W_i[H,N] W_f[H,N] W_g[H, N] W_o[H,N]
            U_i[H,H] U_f[H,H] U_g[H,H] U_o[H,H]
            b_i b_f b_g[H] b_o
outputs: h
initial: b_f=1 b_o=-0.5

# gates
i = sigmoid(W_i @ x + U_i @ h_prev + b_i)
f = sigmoid(W_f @ x + U_f @ h_prev + b_f)
g = tanh(W_g @ x + U_g @ h_prev
         + b_g)             # a line goes on where it is indented
o = sigmoid(W_o @ x + U_o @ h_prev + b_o)
c = f * c_prev + i * g
h = o * tanh(c)
"""

HEAD = "states: h\nparameters: W[H,N] U[H,H] b s[1]\n"


def problem(equation, head=HEAD):
    """The message that a text ending in this line gives."""
    with pytest.raises(DeriveError) as caught:
        parse(head + equation)
    return str(caught.value)


def test_a_text_and_a_python_file_give_the_same_equations():
    cell = derive.parse(LSTM)
    assert cell.equations == derive.cells["lstm"].equations
    assert (cell.name, cell.year, cell.outputs, cell.states) == ("lstm_text", 2000, ("h",), {"h": "H", "c": "H"})
    assert cell.initial == {"b_f": 1, "b_o": -0.5}
    assert set(cell.parameters) == set(derive.cells["lstm"].parameters)


def test_a_value_has_the_space_of_its_equation():
    cell = parse(
        "states: h[P] c\nparameters: W[H,N] U[H,P] V[P,H] s[1]\n"
        "m = s * tanh(W @ x + U @ h_prev)\nc = c_prev + m\nh = V @ c"
    )
    assert cell.values == {"m": "H"}
    assert cell.states == {"h": "P", "c": "H"}


def test_blanks_or_commas_stand_between_names():
    equations = "h = tanh(W @ x + U @ h_prev + b)\nc = h + c_prev"
    commas = "states: h, c\nparameters: W[H, N], U[H,H] ,b\noutputs: h, c\ninitial: b=1, W=1/H"
    blanks = "states: h c\nparameters: W[H,N] U[H,H] b\noutputs: h c\ninitial: b=1 W=1/H"
    assert derive.parse(f"{commas}\n{equations}", "mine") == derive.parse(f"{blanks}\n{equations}", "mine")
    assert "', c' is not a name" in problem("h = b", "states: h,, c\n")


def test_inputs_constants_and_structure_are_declared_like_parameters():
    cell = parse(
        "inputs: u[N] mask[H]\nstates: h\nconstants: W[H,N] alpha[1]\nparameters: U[H,H,block_upper]\nclock: tick\n"
        "h = where(tick, mask * tanh(W @ u + alpha * h_prev), h_prev) + U @ h_prev"
    )
    assert cell.inputs == {"u": "N", "mask": "H"}
    assert set(cell.constants) == {"W", "alpha"}
    assert cell.parameters["U"].structure == "block_upper"
    assert cell.clock


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("a + b*2", "a + 2*b"),
        ("-a/3", "-a/3"),
        ("(1 - a)**2", "(1 - a)**2"),
        ("a**-1", "1/a"),
        ("maximum(a, 0)", "maximum(a, 0)"),
        ("where(a > b, a, b)", "where(positive(a - b), a, b)"),
        ("stop(a) * sqrt(b)", "sqrt(b)*stop(a)"),
    ],
)
def test_arithmetic_means_what_it_says(text, meaning):
    names = {name: Vector(name, "value") for name in "ab"}
    assert str(parse_expression(text, names)) == meaning


@pytest.mark.parametrize(
    ("equation", "said"),
    [
        ("h = tahn(x)", "Did you mean tanh?"),
        ("h = w @ x", "unknown name 'w'. Did you mean W?"),
        ("h = tanh(W @ x + q)", "unknown name 'q'. There is: h_prev, W, U, b, s, x."),
        ("h = tanh(W @ x + m_prev)", "the header says what it is, e.g. states: m."),
        ("h = tanh(h)", "h has no new value yet; write h_prev"),
        ("a = c\nc = a\nh = a", "c has no value yet: move its equation up; what depends on itself is a state"),
        ("a = tanh(a)\nh = a", "a has no value yet"),
        ("h = W x", "a product is W @ v or a * b"),
        ("h = h_{t-1}", "the value of the step before h_prev"),
        ("h = b if s > 0 else h_prev", "a choice is where(a > b, c, d)"),
        ("h = b ^ 2", "a power is **"),
        ("h = W.H @ h_prev", "no dot, but for W.T, a matrix W transposed"),
        ("h = b.T @ h_prev", "no dot, but for W.T, a matrix W transposed"),
        ("h = W.T * b", "W.T is a matrix: multiply it with a vector first, W.T @ x"),
        ("h = W @ [x, h_prev]", "W @ x + U @ h_prev"),
        ("h = softmax(b)", "ones @ s gives it"),
        ("h = sigmoid", "sigmoid is a function: write sigmoid(...)"),
        ("h = sigmoid(b, b)", "sigmoid takes 1 argument, got 2"),
        ("h = sigmoid(u=b)", "without names"),
        ("h = W * b", "W is a matrix: multiply it with a vector first, W @ x"),
        ("h = b @ x", "the left side of @ is a matrix"),
        ("h = 0.25 * b", "write the fraction, here 1/4"),
        ("h = b ** 0.5", "not exact"),
        ("h = b ** s", "an exponent is an integer"),
        ("h = b / 0", "division by zero"),
        ("h = 1000001 * b", "make it a parameter"),
        ("h = where(0 < b < 1, b, b)", "one comparison"),
        ("h = b < 1", "compare cannot stand in an equation"),
        ("h =", "not an expression"),
        ("h = tanh(b", "not an expression"),
        ("h == b", "neither a header line"),
        ("h b", "neither a header line"),
        ("tanh = b", "'tanh' is a function of the language"),
        ("lambda = b", "'lambda' is a Python keyword"),
        ("__class__ = b", "Python's own"),
        ("d_b = b", "an adjoint"),
        ("b = b", "has a meaning already"),
        ("i = b\ni = b\nh = i", "has a meaning already"),
        ("stats: h", "unknown header 'stats'. Did you mean states"),
        ("states: h", "a second time"),
        ("h = b\ninputs: x", "stands below an equation"),
    ],
)
def test_a_mistake_is_explained_with_its_cure(equation, said):
    assert said in problem(equation)


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ("states: h[", "is not a name with its space"),
        ("states: h[H,H]", "is not a name with its space"),
        ("states: h\nparameters: W[H,N,block_upper,1]", "is not a name with its space"),
        ("states: h\nparameters: W[h,N]", "'h' is not a space"),
        ("states: h h", "declared twice"),
        ("states: 1h", "is not a name"),
        ("year: last", "four digits"),
        ("name: my cell", "is not a name"),
        ("initial: b=one", "is not NAME=NUMBER"),
        ("states: h\nparameters: U[H,H,diagonal]", "'diagonal' is not a structure"),
    ],
)
def test_a_header_that_cannot_be_read_says_why(header, said):
    assert said in problem("h = 1", header + "\n")


def test_the_message_shows_the_line_and_the_place_in_it():
    text = "name: mine\nstates: h\nparameters: W[H,N]\nh = tanh(W @ y)"
    with pytest.raises(ParseError) as caught:
        parse(text, place="mine.cell")
    assert str(caught.value) == (
        "mine.cell, line 4: unknown name 'y'. There is: h_prev, W, x. If it is new, the header says what it is, e.g. "
        "parameters: y[H,N] or y[H], inputs: y.\n    tanh(W @ y)\n             ^"
    )


@pytest.mark.parametrize("header", ["parameters: p", "constants: p[H,H]", "inputs: p[H]", "clock: p"])
def test_what_is_declared_and_never_read_is_refused(header):
    with pytest.raises(ParseError, match="p declared, but read by no equation"):
        parse(f"states: h\n{header}\nh = h_prev")


def test_the_laws_of_cells_hold_for_texts_too():
    with pytest.raises(ShapeError, match=r"mine\.cell: .*h is over H, but x is over N"):
        parse("states: h\nh = x", place="mine.cell")


HOSTILE = [
    "__import__('os').system('touch pwned')",
    "().__class__.__bases__[0].__subclasses__()",
    "b.__class__",
    "b.real",
    "b[0]",
    "[b]",
    "(b, b)",
    "{b: b}",
    "{b}",
    "(lambda: b)()",
    "(lambda b: b)(b)",
    "[b for b in b]",
    "(b for b in b)",
    "f'{b}'",
    "'b'",
    "b'b'",
    "True",
    "None",
    "...",
    "1j",
    "1e400",
    "b if b else b",
    "b and b",
    "not b",
    "~b",
    "b % b",
    "b // b",
    "b << b",
    "(b := b)",
    "await b",
    "yield b",
    "*b",
    "b; import os",
    "eval(b)",
    "exec('1')",
    "open('x')",
    "getattr(b, b)",
    "tanh.__init__(b)",
    "tanh(*b)",
    "tanh(**b)",
    "print(b)",
    "9**9**9",
    "9**9**9**9",
    "2**(b*0+9999999)",
    "((((2*b)**16)**16)**16)**16",
    "b**-99",
    "(" * 300 + "b" + ")" * 300,
    "-" * 3000 + "b",
    "(" * 90 + "b" + ")" * 90 + "+(" * 90,
    "+".join(["b"] * NODES),
    "b" * 5000,
    "b\0b",
    "\N{MATHEMATICAL ITALIC SMALL B}",
    "b + \N{RIGHT-TO-LEFT OVERRIDE}",
    "\\N{DIGIT ONE}",
    "#",
    "b" + " " * 5000,
]


@pytest.mark.parametrize("expression", HOSTILE)
def test_a_hostile_expression_is_refused(expression, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ParseError):
        parse_expression(expression, {"b": Vector("b", "value")})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "text", ["", "\n\n", "# nothing", "states: h", "\0", "x" * 200_000, "a\n" * 2000, " = ", "=", ":"]
)
def test_a_text_that_is_no_cell_is_refused(text):
    with pytest.raises(DeriveError):
        parse(text)


@pytest.mark.parametrize("text", [None, b"h = 1", 1])
def test_only_text_is_parsed(text):
    with pytest.raises(ParseError, match="a cell's text is a str"):
        parse(text)


FRAGMENTS = st.sampled_from(
    [*"abhWUx0129+-*/@()[]{}.,:=<>!#'\"\\ \n\t_", "**", "tanh", "h_prev", "states: h\n", "\n h = ", "where("]
)


@given(st.lists(FRAGMENTS, max_size=40).map("".join))
def test_no_text_gives_anything_but_a_cell_or_a_clear_error(text):
    with contextlib.suppress(DeriveError):
        assert parse(HEAD + text).equations


@given(st.text(max_size=60))
def test_no_expression_gives_anything_but_an_expression_or_a_clear_error(text):
    with contextlib.suppress(ParseError):
        parse_expression(text, {"b": Vector("b", "value")})


def test_what_is_made_of_scalars_alone_is_over_the_units_of_h():
    cell = parse("states: h\nparameters: W[H,N] s[1]\nk = sigmoid(s)\nh = W @ x + k * h_prev")
    assert cell.values == {"k": "H"}


def test_a_number_may_be_one_over_a_size():
    text = "states: h\nparameters: W[H,N]\nconstants: mean[S,H] ones[H,S]\ninitial: mean={}\n"
    text += "m = mean @ h_prev\nh = tanh(W @ x) - ones @ m"
    assert parse(text.format("1/H")).initial == {"mean": "1/H"}
    with pytest.raises(DeriveError, match="give one number, or '1/H' for a mean"):
        parse(text.format("1/Q"))
    with pytest.raises(ParseError, match="is not NAME=NUMBER"):
        parse(text.format("2/H"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("inputs: x dt[1]\nstates: h\nparameters: W[H,N]\nh = dt * (W @ x)", "dt has one number in each row; give it"),
        ("states: h s[1]\nparameters: W[H,N]\nh = W @ x + s_prev\ns = h", "declare s over a space, one of size 1"),
        (
            "states: h\nparameters: W[H,N]\nh = softmax(W @ x)",
            "softmax is over all units, a function over one; a sum is",
        ),
        ("states: h\nparameters: W[H,1]\nh = W @ x", "W: H x 1; name the space of one number, say S"),
        ("states: h c\nparameters: W[H,N]\nh = W @ x\nc = 1", "the right side has no name in it; declare a constant"),
        ("states: h\nparameters: W[H,N]\nh = tanh(2) * (W @ x)", "tanh(2) is one number; declare a scalar constant"),
    ],
)
def test_a_number_where_the_units_should_be_gets_its_cure(text, said):
    with pytest.raises(DeriveError) as caught:
        parse(text)
    assert said in str(caught.value)


def test_a_comparison_that_is_decided_already_takes_its_branch():
    cell = parse("states: h\nparameters: p q\nh = where(q > q, p, q) * h_prev")
    assert list(cell.parameters) == ["q"]
