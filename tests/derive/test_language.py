"""The words of the language: functions against their meaning, symbols, names."""

import pickle

import mpmath
import numpy as np
import pytest
import sympy
from sympy import Rational, Symbol

from derive import language
from derive.errors import EquationError, NameRuleError, ShapeError
from derive.functions import NUMPY, TABLE, adopt, plain, positive, where
from derive.language import Cell, Eq, H, N, Vector, input, matrix, scalar, state, value, values, vector  # noqa: A004
from tests.derive.unrolled import MPMATH

ARGUMENTS = sympy.symbols("a b c", real=True)
SMOOTH = ("sigmoid", "tanh", "exp", "log", "sqrt", "sin", "cos", "softplus", "where")
KINKED = ("relu", "absolute", "maximum", "minimum", "positive")
POINTS = (Rational(-7, 3), Rational(-1, 2), Rational(2, 5), Rational(9, 4))


def arguments(name):
    return ARGUMENTS[: len(TABLE[name].rule.partials)]


def table_derivatives(name):
    """What the row says, in SymPy's own functions, with y replaced by what it is."""
    rule, u = TABLE[name].rule, arguments(name)
    return [plain(partial(TABLE[name](*u), *u)) for partial in rule.partials]


@pytest.mark.parametrize("name", SMOOTH)
def test_a_rule_is_the_derivative_of_the_exponential_form(name):
    u, meaning = arguments(name), TABLE[name].rule.meaning(*arguments(name))
    first = 1 if name == "where" else 0  # the condition is 0 or 1, so it has no derivative
    for v, said in list(zip(u, table_derivatives(name), strict=True))[first:]:
        assert sympy.simplify(sympy.diff(meaning, v) - said) == 0


@pytest.mark.parametrize("name", KINKED)
def test_a_rule_with_a_kink_is_the_derivative_on_either_side_of_it(name):
    u, meaning = arguments(name), TABLE[name].rule.meaning(*arguments(name))
    for numbers in [(p, q) for p in POINTS for q in POINTS if p != q]:
        at = dict(zip(u, numbers, strict=False))
        for v, said in zip(u, table_derivatives(name), strict=True):
            assert sympy.diff(meaning, v).subs(at) == said.subs(at)


@pytest.mark.parametrize(
    ("name", "at", "slopes"),
    [
        ("relu", (0,), [0]),
        ("absolute", (0,), [0]),
        ("positive", (0,), [0]),
        ("maximum", (3, 3), [1, 0]),
        ("minimum", (3, 3), [1, 0]),
    ],
)
def test_the_derivative_at_a_kink_is_the_one_that_is_stated(name, at, slopes):
    numbers = dict(zip(arguments(name), map(sympy.Integer, at), strict=True))
    assert [slope.subs(numbers) for slope in table_derivatives(name)] == slopes


def test_stop_is_the_identity_with_derivative_zero():
    a = ARGUMENTS[0]
    assert plain(language.stop(a)) == a
    assert sympy.diff(language.stop(a) * a, a) == language.stop(a)
    assert NUMPY["stop"](np.array([2.0 + 1e-30j])).imag == 0


def test_every_function_is_covered_by_one_of_the_tests_above():
    assert {*SMOOTH, *KINKED, "stop"} == set(TABLE)


@pytest.mark.parametrize("name", [name for name in SMOOTH if name != "where"])
def test_a_complex_step_through_numpy_gives_the_rule(name):
    points = np.array([0.3, 1.7, 6.0] if name in ("log", "sqrt") else [-30.0, -1.3, -0.2, 0.4, 2.0, 30.0])
    slopes = np.imag(NUMPY[name](points + 1e-30j)) / 1e-30
    a = ARGUMENTS[0]
    with mpmath.workdps(40):
        said = [float(table_derivatives(name)[0].subs(a, Rational(p)).evalf(30)) for p in points]
    np.testing.assert_allclose(slopes, said, rtol=1e-14)


@pytest.mark.parametrize("name", [name for name in TABLE if name not in ("where", "stop")])
@pytest.mark.parametrize("dtype", ["float32", "float64", "complex128"])
def test_numpy_evaluation_is_accurate_keeps_the_dtype_and_never_overflows(name, dtype):
    points = np.array([0.25, 3.0, 40.0] if name in ("log", "sqrt") else [-80.0, -2.5, -0.0, 0.25, 3.0, 40.0])
    rows = [points, points[::-1]][: len(TABLE[name].rule.partials)]
    given = NUMPY[name](*(row.astype(dtype) for row in rows))
    with mpmath.workdps(40):
        exact = [float(MPMATH[name](*map(mpmath.mpf, numbers))) for numbers in zip(*rows, strict=True)]
    np.testing.assert_allclose(given, exact, rtol=3e-7 if dtype == "float32" else 1e-15)
    assert given.dtype == (np.dtype("float64") if name == "positive" and dtype == "complex128" else dtype)


@pytest.mark.parametrize("name", [name for name in TABLE if name not in ("positive", "where")])
def test_a_nan_stays_a_nan(name):
    for place in range(len(TABLE[name].rule.partials)):
        ones = [np.array([1.0]) for _ in TABLE[name].rule.partials]
        ones[place] = np.array([np.nan])
        assert np.isnan(NUMPY[name](*ones)).all()


def test_comparisons_become_zero_one_values():
    a, b, c = ARGUMENTS
    assert where(a > b, a, c) == where(positive(a - b), a, c)
    assert where(a < b, a, c) == where(positive(b - a), a, c)
    assert where(a >= b, a, c) == where(1 - positive(b - a), a, c)
    assert where(a <= b, a, c) == where(1 - positive(a - b), a, c)


def test_sympys_own_functions_are_taken_for_ours():
    a, b, _ = ARGUMENTS
    theirs = sympy.tanh(a) + abs(b) + sympy.sqrt(a) + sympy.Max(a, b) + 1 / sympy.sqrt(b)
    ours = language.tanh(a) + language.absolute(b) + language.sqrt(a) + language.maximum(a, b) + 1 / language.sqrt(b)
    assert adopt(theirs) == ours


# --- Symbols


def test_symbols_are_equal_by_name_role_and_space():
    assert value("i") == value("i")
    assert value("i") != vector("i")
    assert value("i") != value("i", "P")
    assert value("i") != Symbol("i", real=True)
    assert matrix("W", H, N) != matrix("W", N, H)


def test_symbols_and_products_survive_pickling():
    h, h_prev = state("h")
    for thing in (h, h_prev, matrix("U", H, H, structure="block_upper") @ h_prev, language.tanh(h)):
        assert pickle.loads(pickle.dumps(thing)) == thing  # noqa: S301 (our own bytes)


def test_plurals_give_tuples_and_singulars_one_symbol():
    assert values("i, f") == (Vector("i", "value", H), Vector("f", "value", H))
    assert values("i") == (value("i"),)
    assert scalar("nu").shape == ()
    assert matrix("W", H, N).shape == (H, N)


@pytest.mark.parametrize(
    "name",
    ["", "1a", "a-b", "a b", "é", "a\n", "x" * 65, "lambda", "None", "__import__", "d_h", "dot_h", "tanh", 3, None],
)
def test_names_that_are_not_plain_are_refused(name):
    with pytest.raises(NameRuleError):
        input(name)


@pytest.mark.parametrize("space", ["n", "2", "", "H H", 3, None])
def test_spaces_are_upper_case_names(space):
    with pytest.raises(ShapeError):
        value("i", space)


def test_declarations_refuse_unknown_roles_and_structures():
    with pytest.raises(EquationError, match="role"):
        matrix("W", H, N, role="input")
    with pytest.raises(EquationError, match="structure"):
        matrix("W", H, H, structure="banded")
    with pytest.raises(ShapeError, match="square"):
        matrix("W", H, N, structure="block_upper")


def test_a_matrix_multiplies_a_vector_only():
    with pytest.raises(EquationError, match=r"write W @ \(V @ v\)"):
        matrix("W", H, N) @ matrix("V", N, H)
    x, W, b = input("x"), matrix("W", H, N), vector("b")
    with pytest.raises(EquationError, match="the left side of @ is a matrix or a bracket"):
        (b * W) @ x
    with pytest.raises(EquationError, match="x is a vector; write W @ v"):
        x @ W


def test_a_transposed_matrix_is_the_declared_one_read_along_its_columns():
    W = matrix("W", H, N)
    assert (W.T.name, W.T.shape, W.T.role) == ("W.T", (N, H), "parameter")
    assert W.T.T == W.T.declared == W != W.T
    assert pickle.loads(pickle.dumps(W.T)) == W.T  # noqa: S301 (our own)
    assert W.T.declared.shape == (H, N)
    assert matrix("U", H, H, structure="block_upper").T.structure is None
    assert matrix("U", H, H, structure="block_upper").T != matrix("U", H, H).T


def test_a_transposed_matrix_is_no_parameter_of_its_own():
    W, U, (h, h_prev), x = matrix("W", H, N), matrix("U", H, H), state("h"), input("x")
    cell = Cell(name="a", title="a", year=2026, reference="", equations=[Eq(h, W @ x + U @ h_prev - U.T @ h_prev)])
    assert cell.shapes == {"W": (H, N), "U": (H, H)}
    only = Cell(name="a", title="a", year=2026, reference="", equations=[Eq(h, W @ x + U.T @ h_prev)])
    assert only.shapes == cell.shapes
    with pytest.raises(ShapeError, match=r"needs a vector over H, but x is over N; W is H x N as declared"):
        Cell(name="a", title="a", year=2026, reference="", equations=[Eq(h, W.T @ x + h_prev)])


def test_a_product_cannot_be_differentiated_element_by_element():
    x = input("x")
    with pytest.raises(EquationError, match="split"):
        sympy.diff(matrix("W", H, N) @ x, x)
