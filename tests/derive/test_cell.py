"""A cell checks itself: every law has an error that names the cell, the equation and the cure."""

import pickle
from inspect import signature

import pytest
import sympy
from sympy import Rational

import derive
import lstm_numba as ln
from derive.cell import SETTINGS, Cell, family
from derive.errors import (
    CellError,
    EquationError,
    MissingStateError,
    NameRuleError,
    OptionError,
    RedefinedNameError,
    ShapeError,
    UndefinedNameError,
    UnknownCellError,
    UnknownFunctionError,
)
from derive.language import (
    Eq,
    H,
    N,
    Vector,
    clock,
    matrix,
    scalar,
    sigmoid,
    state,
    stop,
    tanh,
    value,
    values,
    vector,
    x,
)
from derive.laws import ARGUMENTS

h, h_prev = state("h")
c, c_prev = state("c")
i, q = values("i q")
W, U, b, nu = matrix("W", H, N), matrix("U", H, H), vector("b"), scalar("nu")


def make(*equations, name="mine", **rest):
    return Cell(name=name, title="", year=2024, reference="", equations=equations, **rest)


REFUSED = {
    "no equations": ([], EquationError, "no equations", "give it a list"),
    "not an equation": ([3], EquationError, "is not an equation", "write Eq"),
    "an expression is defined": ([Eq(h + 1, h_prev)], EquationError, "is not a name", "values()"),
    "a previous state is defined": ([Eq(h_prev, h_prev)], EquationError, "role previous", "values()"),
    "a parameter is defined": ([Eq(b, h_prev)], EquationError, "role parameter", "values()"),
    "a scalar value": ([Eq(value("q", "1"), nu), Eq(h, h_prev)], ShapeError, "one element a unit", "over a space"),
    "a hostile name": (
        [Eq(h, Vector("__import__('os')", "parameter") + h_prev)],
        NameRuleError,
        "not a name",
        "use letters",
    ),
    "a decimal fraction": ([Eq(h, 0.5 * h_prev)], EquationError, "rounded number", "Rational"),
    "a huge number": ([Eq(h, 10**400 * h_prev)], EquationError, "with 401 digits", "make it a parameter"),
    "a number too long to write": ([Eq(h, 10**5000 * h_prev)], EquationError, "with 5001 digits", "nearer to 1"),
    "a tiny number": ([Eq(h, h_prev + Rational(1, 10**19))], EquationError, "with 20 digits", "nearer to 1"),
    "an irrational number": ([Eq(h, sympy.pi * h_prev)], EquationError, "pi", "scalar constant"),
    "infinity": ([Eq(h, h_prev + sympy.oo)], EquationError, "oo", "scalar constant"),
    "a fractional power": ([Eq(h, h_prev ** Rational(1, 3))], EquationError, "integer exponent", "exp and log"),
    "a variable power": ([Eq(h, h_prev**b)], EquationError, "integer exponent", "exp and log"),
    "a symbol of SymPy": ([Eq(h, sympy.Symbol("b") * h_prev)], UndefinedNameError, "not declared", "vectors()"),
    "an unknown function": ([Eq(h, sympy.asin(h_prev))], UnknownFunctionError, "asin", "sigmoid, tanh"),
    "a product with the wrong space": ([Eq(h, tanh(U @ x))], ShapeError, "over N", "needs a vector over H"),
    "a bare matrix": ([Eq(h, W * h_prev)], EquationError, "W is a matrix", "W @ v"),
    "spaces in a sum": ([Eq(h, h_prev + x)], ShapeError, "x is over N", "only a matrix product"),
    "spaces in a product": ([Eq(h, h_prev * x)], ShapeError, "x is over N", "only a matrix product"),
    "a space across the equation": ([Eq(h, sigmoid(x))], ShapeError, "h is over H", "only a matrix product"),
    "a product into another space": (
        [Eq(h, h_prev + matrix("V", N, H) @ h_prev)],
        ShapeError,
        "V @ h_prev is over N",
        "only a matrix product",
    ),
    "one name, two things": ([Eq(h, W @ x + vector("W"))], RedefinedNameError, "declared twice", "rename one"),
    "one name, two states": (
        [Eq(h, state("h", "P")[1] + h_prev)],
        RedefinedNameError,
        "previous over P",
        "rename one",
    ),
    "the name of a pre-activation": (
        [Eq(i, h_prev), Eq(h, i + vector("z_i"))],
        NameRuleError,
        "pre-activation of i",
        "rename z_i",
    ),
    "the name of a previous value": (
        [Eq(value("h_prev"), W @ x), Eq(h, value("h_prev"))],
        NameRuleError,
        "the previous value of h",
        "rename h_prev",
    ),
    "a name defined twice": ([Eq(h, h_prev), Eq(h, 2 * h_prev)], RedefinedNameError, "a value already", "own name"),
    "a name never defined": ([Eq(h, i * h_prev)], UndefinedNameError, "never defined", "add Eq(i"),
    "a name defined later": ([Eq(h, i * h_prev), Eq(i, h_prev)], UndefinedNameError, "later equation", "move that"),
    "a state for its previous value": ([Eq(i, h), Eq(h, i)], UndefinedNameError, "no new value yet", "write h_prev"),
    "a state without a new value": ([Eq(h, h_prev + c_prev)], MissingStateError, "reads c_prev", "add Eq(c"),
    "no state": ([Eq(i, x), Eq(q, i)], MissingStateError, "defines no state", "state('h')"),
    "a previous value of another space": (
        [Eq(h, U @ state("h", "P")[1])],
        ShapeError,
        "over P",
        "needs a vector over H",
    ),
    "a value never read": ([Eq(i, h_prev), Eq(h, h_prev)], EquationError, "never read", "remove it"),
    "two clocks": ([Eq(h, clock("t1") * h_prev + clock("t2"))], EquationError, "the clocks t2, t1", "computes one"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_cell_refuses(what):
    equations, error, rule, cure = REFUSED[what]
    with pytest.raises(error) as caught:
        make(*equations)
    assert isinstance(caught.value, (CellError, ValueError))
    message = str(caught.value)
    assert "mine" in message
    assert rule in message
    assert cure in message
    if len(equations) and isinstance(equations[0], sympy.Eq) and "cell mine, equation" in message:
        assert any(f"equation {equation.lhs} = " in message for equation in equations)


def test_an_error_shows_the_equation_as_it_is_written():
    with pytest.raises(UndefinedNameError) as caught:
        make(Eq(h, tanh(W @ x + U @ (i * h_prev) + b)))
    assert "equation h = tanh(W @ x + U @ (i * h_prev) + b): i is never defined" in str(caught.value)


@pytest.mark.parametrize("name", ["", "a b", "class", "../x", "__init__", "d_x"])
def test_the_name_of_a_cell_becomes_a_file_and_is_checked(name):
    with pytest.raises(NameRuleError, match="the cell's name"):
        make(Eq(h, h_prev), name=name)


@pytest.mark.parametrize(
    "text", ['a """ b', "a\nb", "a\\", "a\x00b", "a\u2028b", 3], ids=["quotes", "line", "backslash", "nul", "ls", "int"]
)
@pytest.mark.parametrize("field", ["title", "reference"])
def test_what_is_copied_into_a_docstring_cannot_end_it(field, text):
    given = {"title": "", "reference": "", field: text}
    with pytest.raises(CellError, match="one line without"):
        Cell(name="mine", year=2024, equations=[Eq(h, h_prev)], **given)


def test_the_year_is_a_number():
    with pytest.raises(CellError, match="whole number"):
        Cell(name="mine", title="", year="2024", reference="", equations=[Eq(h, h_prev)])


def test_an_option_that_would_not_make_a_module_name_is_refused():
    @family(depth=("one", "../two"))
    def cell(depth):
        return make(Eq(h, h_prev))

    with pytest.raises(NameRuleError, match="module"):
        cell.variant(depth="../two")


def test_a_previous_value_has_the_space_of_the_new_one():
    with pytest.raises(ShapeError, match="take both from one state"):
        make(Eq(h, matrix("V", H, "P") @ state("h", "P")[1]))


def test_outputs_are_states_and_initial_values_are_numbers_of_parameters():
    with pytest.raises(UndefinedNameError, match="output 'c'"):
        make(Eq(h, h_prev), outputs=("c",))
    with pytest.raises(UndefinedNameError, match=r"initial\['W_i'\]"):
        make(Eq(h, W @ x), initial={"W_i": 1})
    with pytest.raises(CellError, match="give one number"):
        make(Eq(h, W @ x), initial={"W": "orthogonal"})
    for number in (float("nan"), float("inf"), 10**400, True):
        with pytest.raises(CellError, match="give one number"):
            make(Eq(h, W @ x), initial={"W": number})
    with pytest.raises(UndefinedNameError, match=r"'h'\] is a state, which begins at 0; .*state="):
        make(Eq(h, W @ x), initial={"h": 1})
    with pytest.raises(RedefinedNameError, match="a state twice"):
        make(Eq(h, W @ x), outputs=("h", "h"))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"outputs": "hc"}, "give a list"),
        ({"outputs": h}, "give a list"),
        ({"equations": Eq(h, W @ x)}, "give a list"),
        ({"initial": [("W", 1)]}, "give a dict"),
    ],
)
def test_a_field_of_the_wrong_kind_is_refused(fields, said):
    with pytest.raises(CellError, match=said):
        Cell(**{"name": "mine", "title": "", "year": 1, "reference": "", "equations": [Eq(h, W @ x)], **fields})


def test_a_family_is_a_function_of_its_options_that_returns_a_cell():
    with pytest.raises(OptionError, match="a tuple of its values"):
        family(gates="io")
    with pytest.raises(OptionError, match="a tuple of its values"):
        family(gates=())
    for name in ("reverse", "dtype", "P"):
        with pytest.raises(NameRuleError, match=f"a layer takes {name}="):
            family(**{name: (False, True)})
    with pytest.raises(CellError, match=r"end it with return Cell"):
        family(gates=("i", "o"))(lambda gates: None)


def test_what_the_equations_say_is_read_from_them():
    cell = derive.cells["lstm"]
    assert cell.states == {"h": H, "c": H}
    assert cell.outputs == ("h",)
    assert cell.inputs == {"x": N}
    assert cell.gates == ("i", "f", "g", "o")
    assert list(cell.parameters) == [f"{kind}_{gate}" for gate in "ifgo" for kind in "WUb"]
    assert (cell.shape("W_i"), cell.shape("b_i")) == ((H, N), (H,))
    assert not cell.constants
    assert not cell.clock


def test_the_output_is_the_last_state_unless_others_are_named():
    assert make(Eq(c, h_prev), Eq(h, c_prev)).states == {"h": H, "c": H}
    assert make(Eq(c, h_prev), Eq(h, c_prev), outputs=("c", "h")).states == {"c": H, "h": H}


def test_cells_are_compared_and_hashed_by_content():
    one, other = make(Eq(h, W @ x + b)), make(Eq(h, W @ x + b))
    assert one == other
    assert hash(one) == hash(other)
    assert one.equations_hash == other.equations_hash
    assert one.equations_hash != make(Eq(h, W @ x - b)).equations_hash
    assert pickle.loads(pickle.dumps(one)) == one  # noqa: S301 (our own bytes)


def test_the_canonical_text_reads_like_the_cell():
    assert make(Eq(h, tanh(b + U @ h_prev + W @ x))).canonical.splitlines() == [
        "mine",
        "W: parameter H N",
        "x: input N",
        "U: parameter H H",
        "h_prev: previous H",
        "b: parameter H",
        "h: state H",
        "h = tanh(W @ x + U @ h_prev + b)",
        "outputs: h",
    ]


# --- Families


def test_the_first_value_of_an_option_is_the_default_and_the_others_name_the_module():
    @family(squash=("tanh", "sigmoid"), biased=(True, False), cut=(False, True))
    def cell(squash, biased, cut):
        before = stop(h_prev) if cut else h_prev
        return make(Eq(h, {"tanh": tanh, "sigmoid": sigmoid}[squash](U @ before + W @ x + int(biased) * b)))

    assert cell.module == "mine"
    assert cell.chosen == {"squash": "tanh", "biased": True, "cut": False}
    assert cell.variant(squash="sigmoid", cut=True).module == "mine_sigmoid_cut"
    assert cell.variant(biased=False).module == "mine_no_biased"
    assert cell.variant(cut=True).variant(biased=False).chosen == {"squash": "tanh", "biased": False, "cut": False}
    assert [variant.module for variant in cell.variants()][:3] == ["mine", "mine_cut", "mine_no_biased"]
    assert len(set(cell.variants())) == 8


def test_an_unknown_option_or_value_is_refused_with_those_that_exist():
    cell = derive.cells["peephole"]
    with pytest.raises(OptionError, match="its options: peepholes"):
        cell.variant(activation="tanh")
    with pytest.raises(OptionError, match="'ifo', 'i'"):
        cell.variant(peepholes="g")
    with pytest.raises(OptionError, match="none"):
        derive.cells["lstm"].variant(peepholes="i")


def test_an_unknown_cell_is_refused_with_those_that_exist():
    with pytest.raises(UnknownCellError, match="rnn, lstm1997, lstm"):
        derive.cells["lstn"]
    with pytest.raises(KeyError):
        derive.cells["lstn"]


@pytest.mark.parametrize("made", [ln.Layer, ln.Stack])
def test_no_option_or_input_of_a_cell_has_the_name_of_another_argument(made):
    """Layer(..., reverse=True) of a cell with such an option would silently be the other thing."""
    assert set(signature(made).parameters) - {"options", "settings"} <= set(SETTINGS)
    for method in (made.forward, made.jvp, made.hvp):
        taken = {name for name in signature(method).parameters if not name.startswith(("d_", "dot_"))}
        assert taken - {"x", "inputs"} <= set(ARGUMENTS)
