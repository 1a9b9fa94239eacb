"""The penalty against vanishing gradients: the generated text against differences, the paper's formula and the page."""

import numpy as np
import pytest
import sympy

import derive
from derive.errors import OptionError
from derive.penalty import FORMS, penalty_source
from derive.show import show

ROWS, H = 3, 4


@pytest.fixture
def module():
    names = {}
    exec(compile(penalty_source(), "penalty.py", "exec"), names)
    return names


@pytest.fixture
def problem():
    rng = np.random.default_rng(0)
    v, slope = rng.normal(size=(ROWS, H)), rng.uniform(0.1, 1, (ROWS, H))
    return v, slope * v, rng.normal(size=(H, H))


@pytest.mark.parametrize("form", FORMS)
def test_the_derivative_is_that_of_the_value_by_complex_step(module, problem, form):
    v, w, U = problem
    _, d_U = module["penalty"](module[form], v, w, U)
    for place in np.ndindex(U.shape):
        moved = U.astype(complex)
        moved[place] += 1e-30j
        omega, _ = module["penalty"](module[form], v, w, moved)
        assert np.sum(omega).imag / 1e-30 == pytest.approx(d_U[place], rel=1e-12)


def test_both_forms_are_the_published_formulas(module, problem):
    v, w, U = problem
    u = w @ U
    norm_u, norm_v = np.linalg.norm(u, axis=1), np.linalg.norm(v, axis=1)
    r, q = norm_u / norm_v, norm_u**2 / norm_v**2
    published = {
        "paper": ((r - 1) ** 2, 2 * (r - 1) / (norm_u * norm_v)),
        "code": ((q - 1) ** 2, 4 * (q - 1) / norm_v**2),
    }
    for form, (value, factor) in published.items():
        omega, d_U = module["penalty"](module[form], v, w, U)
        np.testing.assert_allclose(omega[:, 0], value, rtol=1e-13)
        np.testing.assert_allclose(d_U, (factor[:, None] * w).T @ u, rtol=1e-12)


@pytest.mark.parametrize("form", FORMS)
def test_the_scalar_functions_give_the_derivative_of_their_own_value(module, form):
    a, b = sympy.symbols("a b", positive=True)
    value, slope = {
        "paper": lambda: ((sympy.sqrt(a) / sympy.sqrt(b) - 1) ** 2, None),
        "code": lambda: ((a / b - 1) ** 2, None),
    }[form]()
    slope = sympy.diff(value, a)
    for numbers in ((2, 3), (0.5, 0.1)):
        found = module[form](*map(float, numbers))
        exact = [float(e.subs({a: numbers[0], b: numbers[1]})) for e in (value, slope)]
        np.testing.assert_allclose(found, exact, rtol=1e-13)


def test_an_orthogonal_matrix_and_linear_units_cost_nothing(module):
    orthogonal, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(H, H)))
    v = np.random.default_rng(2).normal(size=(ROWS, H))
    for form in FORMS:
        omega, d_U = module["penalty"](module[form], v, v, orthogonal)
        assert np.abs(omega).max() < 1e-30
        assert np.abs(d_U).max() < 1e-14


def test_a_weight_scales_each_row(module, problem):
    v, w, U = problem
    weights = np.array([[1.0], [0.0], [2.0]])
    _, d_U = module["penalty"](module["paper"], v, w, U, weights)
    rows = [module["penalty"](module["paper"], v[k : k + 1], w[k : k + 1], U)[1] for k in range(ROWS)]
    np.testing.assert_allclose(d_U, rows[0] + 2 * rows[2], rtol=1e-13)


def test_the_text_is_the_same_every_time_and_is_marked_as_generated():
    assert penalty_source() == penalty_source()
    assert "GENERATED - edit derive/penalty.py" in penalty_source()


def test_the_page_states_the_chain_in_the_names_of_the_cell():
    shown = [line.strip() for line in show(derive.cells["rnn"], "penalty").splitlines()]
    assert "w = diag(1 \N{MINUS SIGN} h²) v" in shown
    assert "u = Uᵀ w" in shown
    assert any(line.startswith("d_U = Σₜ w d_uᵀ") for line in shown)


@pytest.mark.parametrize("name", ["lstm", "gru", "esn", "clockwork"])
def test_a_cell_without_the_one_recurrent_matrix_is_told_so(name):
    with pytest.raises(OptionError, match=r"the penalty is for a step Jacobian diag\(\.\.\.\) U"):
        show(derive.cells[name], "penalty")
