"""Pages: exact short strings of every notation, and every page of every cell in every form."""

# ruff: noqa: RUF001 (a page has Greek letters and a true minus sign)

import json

import pytest
import sympy

import derive
from derive import cli
from derive.errors import OptionError
from derive.load import names
from derive.parse import parse
from derive.show import FORMS, PAGES, WHAT, page, show
from derive.show.nodes import IDENTITY, Chain, Diagonal, InOrder, Outer, OverTime, Partial, Pullback, Shifted, Words
from derive.show.notation import written
from derive.symbols import Matrix, Vector
from tests.derive.all_cells import EVERY, each

a, b, c = (Vector(name, "value") for name in "abc")
h, h_prev = Vector("h", "state"), Vector("h_prev", "previous")
z_i, tanh_c, alpha = Vector("z_i", "slot"), Vector("tanh_c", "value"), Vector("alpha", "parameter", "1")
d_z_i, d_c_next, d_h_prev = (Vector(f"d_{name}", "adjoint") for name in ("z_i", "c_next", "h_prev"))
dot_h_prev = Vector("dot_h_prev", "tangent")
d_W_i = Vector("d_W_i", "parameter")
W, U_i = Matrix("W", "parameter", "H", "N"), Matrix("U_i", "parameter", "H", "H")
B, H, N, T = sympy.symbols("B H N T")
sigmoid, tanh, sqrt, where = (derive.functions.TABLE[name] for name in ("sigmoid", "tanh", "sqrt", "where"))

EXPRESSIONS = [
    # expression, unicode, latex, python
    (a * b, "a ⊙ b", r"a_{t} \odot b_{t}", "a * b"),
    (1 - a, "1 − a", r"1 - a_{t}", "1 - a"),
    (-a, "−a", r"-a_{t}", "-a"),
    (2 * a, "2 a", r"2 \, a_{t}", "2 * a"),
    (a**2, "a²", r"{a_{t}}^{2}", "a * a"),
    (a**7, "a⁷", r"{a_{t}}^{7}", "a**7"),
    ((a + b) ** 2, "(a + b)²", r"{\left(a_{t} + b_{t}\right)}^{2}", "(a + b) * (a + b)"),
    (a / b, "a/b", r"\frac{a_{t}}{b_{t}}", "a / b"),
    (a * c / b**2, "(a ⊙ c)/b²", r"\frac{a_{t} \odot c_{t}}{{b_{t}}^{2}}", "a * c / (b * b)"),
    ((1 + a) / (1 - a), "(a + 1)/(1 − a)", r"\frac{a_{t} + 1}{1 - a_{t}}", "(a + 1) / (1 - a)"),
    (2 * a / 3, "(2 a)/3", r"\frac{2 \, a_{t}}{3}", "2 * a / 3"),
    (a * (1 - b), "a ⊙ (1 − b)", r"a_{t} \odot \left(1 - b_{t}\right)", "a * (1 - b)"),
    (sigmoid(z_i), "σ(z_i)", r"\sigma\left(z_{i,t}\right)", "sigmoid(z_i)"),
    (tanh(a + b), "tanh(a + b)", r"\tanh\left(a_{t} + b_{t}\right)", "tanh(a + b)"),
    (sqrt(a), "√(a)", r"\operatorname{sqrt}\left(a_{t}\right)", "sqrt(a)"),
    (where(a, b, c), "where(a, b, c)", r"\operatorname{where}\left(a_{t}, b_{t}, c_{t}\right)", "where(a, b, c)"),
    (tanh_c, "tanh_c", r"\mathrm{tanh}_{c,t}", "tanh_c"),
    (alpha * h_prev, "alpha ⊙ h_prev", r"\alpha \odot h_{t-1}", "alpha * h_prev"),
    (W @ h, "W h", r"W \, h_{t}", "W @ h"),
    (a * (W @ h), "a ⊙ (W h)", r"a_{t} \odot \left(W \, h_{t}\right)", "a * (W @ h)"),
    (d_z_i, "d_z_i", r"\mathrm{d}z_{i,t}", "d_z_i"),
    (d_c_next, "d_c_next", r"\mathrm{d}c_{t}^{\mathrm{next}}", "d_c_next"),
    (d_h_prev, "d_h_prev", r"\mathrm{d}h_{t-1}", "d_h_prev"),
    (d_W_i, "d_W_i", r"\mathrm{d}W_{i}", "d_W_i"),
    (dot_h_prev, "dot_h_prev", r"\dot{h}_{t-1}", "dot_h_prev"),
    (Pullback(U_i, d_z_i), "U_iᵀ d_z_i", r"{U_{i}}^{\top} \, \mathrm{d}z_{i,t}", "U_i.T @ d_z_i"),
    (U_i.T @ h, "U_iᵀ h", r"{U_{i}}^{\top} \, h_{t}", "U_i.T @ h"),
    (Pullback(U_i.T, d_z_i), "U_i d_z_i", r"U_{i} \, \mathrm{d}z_{i,t}", "U_i @ d_z_i"),
    (Outer(d_z_i, h_prev), "d_z_i h_prevᵀ", r"\mathrm{d}z_{i,t} \, {h_{t-1}}^{\top}", "d_z_i @ h_prev.T"),
    (OverTime(d_z_i), "Σₜ d_z_i", r"\sum_{t} \mathrm{d}z_{i,t}", "sum_t(d_z_i)"),
    (OverTime(InOrder(a, b)), "Σₜ (a + b)", r"\sum_{t} \left(a_{t} + b_{t}\right)", "sum_t(a + b)"),
    (InOrder(b, a), "b + a", "b_{t} + a_{t}", "b + a"),
    (Chain(Diagonal(a), U_i), "diag(a) U_i", r"\operatorname{diag}\left(a_{t}\right) \, U_{i}", "diag(a) @ U_i"),
    (Partial(h, h_prev), "∂h/∂h_prev", r"\frac{\partial h_{t}}{\partial h_{t-1}}", "dh_dh_prev"),
    (Shifted(d_h_prev, 1), "d_h_prev[t+1]", r"\left.\mathrm{d}h_{t-1}\right|_{t+1}", "d_h_prev[t+1]"),
    (IDENTITY, "I", "I", "I"),
    (Words("50 % of_it"), "50 % of_it", r"\text{50 \% of\_it}", "50 % of_it"),
    (8 * H**2 * T + H * N, "H N + 8 H² T", r"H \, N + 8 \, {H}^{2} \, T", "H * N + 8 * H * H * T"),
]


@pytest.mark.parametrize(("expression", "unicode", "latex", "python"), EXPRESSIONS, ids=[e[1] for e in EXPRESSIONS])
def test_an_expression_has_one_spelling_in_each_notation(expression, unicode, latex, python):
    assert [written(expression, notation) for notation in ("unicode", "latex", "python")] == [unicode, latex, python]


def test_a_stopped_operand_is_shown_as_stopped():
    cell = derive.cells["lstm1997"].variant(truncated=True)
    assert "z_i = W_i x + U_i stop(h_prev) + b_i" in show(cell, "program")
    assert r"U_{i} \, \operatorname{stop}\left(h_{t-1}\right)" in show(cell, "program", "latex")


# --- Pages


def lines(text):
    return [line.strip() for line in text.splitlines()]


def columns(text):
    """Lines with their columns one space apart."""
    return [" ".join(line.split()) for line in text.splitlines()]


def test_the_gradients_of_the_lstm_stand_beside_the_equations_that_they_reverse():
    shown = columns(show(derive.cells["lstm"], "gradients"))
    expected = [
        "d_h = ∂L/∂h + d_h_prev[t+1]",
        "d_c_next = d_c_prev[t+1]",
        "d_o = d_h ⊙ tanh_c h = o ⊙ tanh(c)",
        "d_c = d_c_next + d_h ⊙ o ⊙ (1 − tanh_c²) h = o ⊙ tanh(c)",
        "d_f = d_c ⊙ c_prev c = f ⊙ c_prev + g ⊙ i",
        "d_c_prev = d_c ⊙ f c = f ⊙ c_prev + g ⊙ i",
        "d_z_f = d_f ⊙ f ⊙ (1 − f) f = σ(z_f)",
        "d_h_prev = U_iᵀ d_z_i + U_fᵀ d_z_f + U_gᵀ d_z_g + U_oᵀ d_z_o",
        "d_U_f = Σₜ d_z_f h_prevᵀ",
        "d_b_o = Σₜ d_z_o",
    ]
    places = [shown.index(line) for line in expected]
    assert places == sorted(places)


def test_an_adjoint_with_terms_from_two_stages_is_added_to():
    shown = columns(show(derive.cells["gru"], "gradients"))
    assert [line for line in shown if line.startswith("d_h_prev")] == [
        "d_h_prev = d_h ⊙ z h = n ⊙ (1 − z) + z ⊙ h_prev",
        "d_h_prev += d_rh ⊙ r rh = r ⊙ h_prev",
        "d_h_prev += U_rᵀ d_z_r + U_zᵀ d_z_z",
    ]
    assert r"\mathrm{d}h_{t-1} &\mathrel{{+}{=}} " in show(derive.cells["gru"], "gradients", "latex")


def test_a_peephole_is_summed_over_the_steps_like_every_parameter():
    assert "d_p_f = Σₜ d_a_f ⊙ c_prev" in lines(show(derive.cells["peephole"], "gradients"))


def test_a_trained_scalar_is_summed_over_the_units_too():
    cell = parse("states: h\nparameters: s[1] W[H,N]\nh = s * tanh(W @ x)")
    assert any("d_s = Σₜ" in line and "over the units, too" in line for line in lines(show(cell, "gradients")))


def test_a_reservoir_trains_nothing():
    assert "None is trained." in show(derive.cells["esn"], "gradients")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("rnn", ["∂h/∂h_prev = diag(1 − h²) U"]),
        ("lstm", ["∂h/∂c_prev = diag(f ⊙ o ⊙ (1 − tanh_c²))", "∂c/∂c_prev = diag(f)"]),
        ("lstm1997", ["∂c/∂c_prev = I"]),
        ("peephole", ["∂c/∂c_prev = diag(f + f ⊙ c_prev ⊙ p_f ⊙ (1 − f) + g ⊙ i ⊙ p_i ⊙ (1 − i))"]),
        ("gru", ["+ diag((1 − n²) ⊙ (1 − z)) U_n diag(r ⊙ h_prev ⊙ (1 − r)) U_r"]),
    ],
)
def test_the_jacobian_is_the_textbook_one(name, expected):
    shown = show(derive.cells[name], "jacobian").replace("p_f ⊙ f ⊙ c_prev", "f ⊙ c_prev ⊙ p_f")
    shown = shown.replace("p_i ⊙ g ⊙ i", "g ⊙ i ⊙ p_i")
    assert [line for line in expected if line not in lines(shown)] == []


def test_the_truncated_lstm_passes_nothing_back_to_h():
    shown = lines(show(derive.cells["lstm1997"].variant(truncated=True), "jacobian"))
    assert "∂h/∂h_prev = 0" in shown
    assert "∂c/∂h_prev = 0" in shown


def test_python_equations_are_python():
    cell = derive.cells["lstm"]
    text = show(cell, "equations", "python")
    compile(text, "equations", "exec")
    assert "c = f * c_prev + g * i" in lines(text)


def balanced(text):
    """Whether every group, delimiter and environment of a LaTeX text is closed."""
    plain = text.replace(r"\{", "").replace(r"\}", "")
    depths = [plain[:place].count("{") - plain[:place].count("}") for place in range(len(plain) + 1)]
    pairs = [(r"\left(", r"\right)"), (r"\left.", r"\right|"), (r"\begin{align*}", r"\end{align*}")]
    return min(depths) == 0 == depths[-1] and all(plain.count(a) == plain.count(b) for a, b in pairs)


@each(EVERY)
def test_every_page_of_every_cell_has_every_form(cell):
    check_forms(cell, "all")  # every section of every page


@pytest.mark.parametrize("what", [*PAGES, "penalty"])
def test_every_page_stands_on_its_own_in_every_form(what):
    check_forms(derive.cells["rnn"], what)


def check_forms(cell, what):
    shown = {form: show(cell, what, form) for form in FORMS}
    assert all(text and text == text.rstrip("\n") for text in shown.values())
    assert balanced(shown["latex"])
    assert balanced(shown["markdown"])
    assert shown["markdown"].count("$$") % 2 == 0
    assert json.loads(shown["json"])["what"] == what
    assert "Vector" not in "".join(shown.values())


def test_json_has_every_line_in_every_notation():
    document = json.loads(show(derive.cells["lstm"], "gradients", "json"))
    entries = [line for section in document["sections"] for line in section["lines"]]
    reversed_c = next(line for line in entries if line["name"] == "d_f")
    assert reversed_c == {
        "name": "d_f",
        "python": "d_c * c_prev",
        "unicode": "d_c ⊙ c_prev",
        "latex": r"\mathrm{d}c_{t} \odot c_{t-1}",
        "reverses": "c = f * c_prev + g * i",
    }


def test_the_page_of_everything_has_the_sections_of_every_page():
    sections = [section.title for section in page(derive.cells["gru"], "all").sections]
    assert [title.split(":")[0] for title in sections] == sorted(
        (title.split(":")[0] for title in sections), key=list(PAGES).index
    )
    assert {title.split(":")[0] for title in sections} == set(PAGES)


def test_a_notebook_shows_equations_and_gradients():
    cell = derive.cells["lstm"]
    assert cell._repr_latex_().startswith(r"$$\begin{aligned}i_{t} &= \sigma")
    assert r"\mathrm{d}c_{t}" in derive.gradients(cell)._repr_latex_()
    assert balanced(cell._repr_latex_())
    assert balanced(derive.gradients(cell)._repr_latex_())


@pytest.mark.parametrize(("what", "form"), [("gradient", "unicode"), ("equations", "html")])
def test_an_unknown_page_or_form_says_what_there_is(what, form):
    with pytest.raises(OptionError, match=r"there is no (page|form)"):
        show(derive.cells["rnn"], what, form)


def test_the_command_line_offers_exactly_the_pages_and_forms_that_there_are():
    assert sorted(cli.WHAT) == sorted(WHAT)
    assert sorted(cli.FORMS) == sorted(FORMS)


def test_pages_do_not_depend_on_what_was_shown_before():
    first = [show(derive.cells[name], "all") for name in names()]
    assert [show(derive.cells[name], "all") for name in reversed(names())] == first[::-1]
