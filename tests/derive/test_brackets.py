"""Brackets: expressions under a product, and sums of matrices before one.

Truth: the same cell with every bracket named, or multiplied out, by hand.
"""

import re

import pytest

import derive
from derive.cell import Cell
from derive.errors import DeriveError, EquationError, ShapeError
from derive.expression import NODES, ParseError
from derive.held import held, in_place
from derive.language import Eq, H, N, Rational, clip, matrices, scalar, sigmoid, state, stop, tanh, value, vector, x
from derive.load import CellFileError
from derive.masked import dropped
from derive.parse import parse
from derive.program import split
from derive.show import show

h, h_prev = state("h")
r, z = value("r"), value("z")
W, V = matrices("W V", H, N)
U, M = matrices("U M", H, H)
b, alpha = vector("b"), scalar("alpha")
DECLARED = {"W": "[H,N]", "V": "[H,N]", "U": "[H,H]", "M": "[H,H]", "P": "[Q,H]", "R": "[H,Q]", "b": "", "alpha": "[1]"}


def make(*equations):
    return Cell(name="mine", title="", year=2026, reference="", equations=equations)


def text(*lines):
    """The cell whose equations these are, with those of DECLARED that they read."""
    read = set(re.findall(r"\w+", " ".join(lines)))
    declared = (f"{name}{spaces}" for name, spaces in DECLARED.items() if name in read)
    return parse("\n".join(["states: h", f"parameters: {' '.join(declared)}", *lines]), "mine")


def stages(cell):
    return split(cell).stages


# --- Expressions under a product


GATES = (Eq(r, sigmoid(W @ x + U @ h_prev)),)
NAMED = {
    "a product of values": (
        [Eq(h, tanh(V @ x + M @ (r * h_prev) + b))],
        ["h = tanh(V @ x + M @ (r * h_prev) + b)"],
        [Eq(value("r_h"), r * h_prev), Eq(h, tanh(V @ x + M @ value("r_h") + b))],
    ),
    "a function": (
        [Eq(h, tanh(V @ x) + M @ tanh(r))],
        ["h = tanh(V @ x) + M @ tanh(r)"],
        [Eq(value("tanh_r"), tanh(r)), Eq(h, tanh(V @ x) + M @ value("tanh_r"))],
    ),
    "an abbreviation": (
        [Eq(h, V @ x + M @ clip(r - h_prev, 0, 1))],
        ["h = V @ x + M @ clip(r - h_prev, 0, 1)"],
        [
            Eq(value("maximum_minimum_r_h"), clip(r - h_prev, 0, 1)),
            Eq(h, V @ x + M @ value("maximum_minimum_r_h")),
        ],
    ),
    "inputs and constants": (
        [Eq(h, r + V @ (alpha * x / 2))],
        ["h = r + V @ (alpha * x / 2)"],
        [Eq(value("alpha_x", N), alpha * x / 2), Eq(h, r + V @ value("alpha_x", N))],
    ),
    "what is stopped": (
        [Eq(h, V @ x + M @ stop(r * h_prev) + r)],
        ["h = V @ x + M @ stop(r * h_prev) + r"],
        [Eq(value("r_h"), stop(r * h_prev)), Eq(h, V @ x + M @ value("r_h") + r)],
    ),
    "a product": (
        [Eq(h, r + U @ (M @ h_prev))],
        ["h = r + U @ (M @ h_prev)"],
        [Eq(value("M_h"), M @ h_prev), Eq(h, r + U @ value("M_h"))],
    ),
    "a bracket in a bracket": (
        [Eq(h, V @ x + U @ (r + M @ (r * h_prev)))],
        ["h = V @ x + U @ (r + M @ (r * h_prev))"],
        [
            Eq(value("r_h"), r * h_prev),
            Eq(value("M_r_h"), r + M @ value("r_h")),
            Eq(h, V @ x + U @ value("M_r_h")),
        ],
    ),
    "one bracket under two matrices": (
        [Eq(h, tanh(V @ x) + U @ (r * h_prev) + M.T @ (r * h_prev))],
        ["h = tanh(V @ x) + (U + M.T) @ (r * h_prev)"],
        [
            Eq(value("r_h"), r * h_prev),
            Eq(h, tanh(V @ x) + U @ value("r_h") + M.T @ value("r_h")),
        ],
    ),
}


@pytest.mark.parametrize("what", NAMED)
def test_a_bracket_under_a_product_is_named(what):
    in_python, in_text, by_hand = NAMED[what]
    cell, same = make(*GATES, *in_python), text("r = sigmoid(W @ x + U @ h_prev)", *in_text)
    assert stages(cell) == stages(same)
    assert cell.equations_hash == same.equations_hash
    assert stages(cell) == stages(make(*GATES, *by_hand))


@pytest.mark.parametrize(
    ("names", "operand", "made"),
    [
        ("a b", "a * b", "a_b"),
        ("a b", "2 * a", "a_2"),
        ("a b", "a - b * h_prev", "a_b_h"),
        ("a b", "b * (tanh(a) - 1)", "b_tanh_a"),
        ("a b", "M.T @ (a * b)", "M_a_b"),
        ("z b", "z * h_prev", "zh"),  # z_h is the pre-activation of h
        ("d e", "d * e", "de"),  # d_e is an adjoint
        ("a a_h", "a * h_prev", "ah"),
        ("d _e", "d + tanh(_e)", "dtanh_e"),
        ("a_long_name_of_a_gate another_long_name_of_one", "a_long_name_of_a_gate * another_long_name_of_one",
         "a_long_name_of_a_gate_another_long_name_"),
    ],
)  # fmt: skip
def test_a_name_has_the_letters_of_its_bracket_and_none_that_means_something(names, operand, made):
    first, second = names.split()
    lines = (f"{first} = W @ x", f"{second} = tanh(V @ x)", f"h = U @ ({operand}) + M @ {first} + {second}")
    cell = parse("states: h\nparameters: W[H,N] V[H,N] U[H,H] M[H,H]\n" + "\n".join(lines))
    assert [name.name for name in in_place(cell)][-1] == made


def test_a_bracket_has_one_name_in_all_equations():
    cell = make(*GATES, Eq(z, tanh(U @ (r * h_prev) + W @ x)), Eq(h, z + M @ (r * h_prev)))
    assert [equation.lhs.name for equation in held(cell)] == ["r", "r_h", "z", "h"]


def test_the_pages_show_a_bracket_in_its_place():
    cell = make(*GATES, Eq(h, tanh(V @ x + M @ (r * h_prev))))
    assert "h = tanh(V x + M (r ⊙ h_prev))" in show(cell, "equations")
    assert "z_h = V x + M (r ⊙ h_prev)" in show(cell, "program")
    assert "d_M = Σₜ d_z_h (r ⊙ h_prev)ᵀ" in show(cell, "gradients")
    assert "d_r = d_r_h ⊙ h_prev    " in show(cell, "gradients")
    assert "dot_M (r ⊙ h_prev)" in show(cell, "second")
    assert r"M \, \left(r_{t} \odot h_{t-1}\right)" in cell._repr_latex_()


def test_cells_made_from_a_cell_keep_its_brackets():
    lines = ("r = sigmoid(W @ x + U @ h_prev)", "z = sigmoid(V @ x + M @ (r * h_prev))", "h = z + R @ tanh(P @ h_prev)")
    cell = text(*lines)
    assert "M @ (kept_h * r)" in dropped(cell).canonical
    assert derive.coupled(cell, {"z": "r"}).equations[1].rhs == 1 - r
    other = derive.activated(cell, {"h": "softsign"})
    assert other.values["a_h"] == "Q"
    assert "R @ (a_h / (absolute(a_h) + 1))" in other.canonical


# --- Matrices in brackets

SUMS = {
    "W - V": W @ x - V @ x,
    "-W": -(W @ x),
    "2 * W": 2 * (W @ x),
    "W / 3 + 2 * V": W @ x / 3 + 2 * (V @ x),
    "alpha * W": alpha * (W @ x),
    "(1 - alpha) * (W + V) + alpha * (W - V)": (W @ x) + (1 - 2 * alpha) * (V @ x),
    "2 * (W - 3 * (V - W))": 8 * (W @ x) - 6 * (V @ x),
}


@pytest.mark.parametrize("bracket", SUMS)
def test_a_bracket_of_matrices_is_multiplied_out(bracket):
    there = eval(f"({bracket}) @ x", globals())  # noqa: S307 (our own)
    assert (there - SUMS[bracket]).expand() == 0
    cell = text(f"h = tanh(({bracket}) @ x + b)")
    assert (cell.equations[0].rhs.args[0] - b - SUMS[bracket]).expand() == 0


def test_a_bracket_is_transposed_and_multiplies_a_bracket():
    assert (U - U.T).T @ h_prev == U.T @ h_prev - U @ h_prev
    assert (U + 2 * M.T) @ (r * h_prev) == U @ (r * h_prev) + 2 * (M.T @ (r * h_prev))
    assert Rational(1, 2) * U @ h_prev == (U / 2) @ h_prev == U @ h_prev / 2
    assert str(2 * U - M.T / 3 + (alpha - 1) * M) == "2 * U - (1/3) * M.T + (alpha - 1) * M"


# --- What is refused

REFUSED = {
    "h = tanh((W + U) @ x)": ("(W + U): matrices of one bracket have one shape, but W is H x N, U is H x H"),
    "h = W @ x + U @ (b * x)": "U @ (b * x) needs a vector over H, but x is over N; U is H x H as declared",
    "h = W @ x + U @ (b * (P @ h_prev))": "but P @ h_prev is over Q",
    "h = W @ x + U @ (2 * alpha)": "U @ (2 * alpha) needs a vector over H, but 2 * alpha is one number",
    "h = W @ x + U @ M @ h_prev": "U @ M: a matrix multiplies a vector; write W @ (V @ v) for two matrices",
    "h = W @ x + U @ (M * b)": "M is a matrix: multiply it with a vector first, M @ x",
    "h = W @ x + b * U @ h_prev": "U is a matrix: multiply it with a vector first, U @ x",
    "h = W @ x + tanh(U - M)": "U - M is a matrix: multiply it with a vector first, (U - M) @ x",
    "h = W @ x + (U - M)": "U - M is a matrix: multiply it with a vector first, (U - M) @ x",
    "h = W @ x + (U + b) @ h_prev": "U is a matrix",
    "h = U - M": "U - M is a matrix; multiply a vector by it: (U - M) @ v",
}  # fmt: skip


@pytest.mark.parametrize("equation", REFUSED)
def test_a_bracket_that_means_nothing_is_refused_as_it_is_written(equation):
    with pytest.raises(DeriveError) as caught:
        text(equation)
    assert REFUSED[equation] in str(caught.value)


def test_a_python_cell_is_refused_alike(tmp_path):
    with pytest.raises(ShapeError, match=r"\(U - W\): .*U is H x H, W is H x N"):
        U - W
    with pytest.raises(EquationError, match=r"U - M is a matrix; multiply a vector by it: \(U - M\) @ v"):
        make(Eq(h, W @ x + tanh(U - M)))
    with pytest.raises(EquationError, match="U is a matrix; multiply a vector by it"):
        make(Eq(h, W @ x + M @ (U * h_prev)))
    with pytest.raises(EquationError, match="a vector stands before the product"):
        b * U @ h_prev
    file = tmp_path / "mine.py"
    file.write_text("from derive.language import *\nb = vector('b')\nb * matrix('U', H, H) @ (b * b)\n")
    with pytest.raises(CellFileError, match=r"line 3: .* left of @ stands a matrix or a bracket of matrices"):
        derive.load(file)


def test_brackets_that_would_double_with_each_level_are_refused():
    equation = "h_prev"
    for _ in range(12):
        equation = f"(U - M) @ ({equation})"
    with pytest.raises(ParseError, match=f"multiplied out to more than {NODES} nodes"):
        text(f"h = {equation}")
