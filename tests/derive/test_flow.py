"""The flow of gradients: theory that must come out exactly, and formulas held against the complex step."""

import json

import numpy as np
import pytest

import derive
import lstm_numba
from derive.flow import Curve, flow, linear_rule, lyapunov
from derive.jacobian import jacobian
from derive.parse import parse
from derive.program import split
from derive.show.flow import PlotError, as_json, draw, text
from derive.unroll import NotFiniteError, default_run, from_formula, unrolled
from tests.derive.all_cells import EVERY, each

SMALL = {"hidden": 5, "steps": 12}


def curve(measured, label):
    return next(curve for curve in measured.curves if curve.label.endswith(label))


@each(EVERY)
def test_the_printed_jacobian_is_the_complex_step_of_the_equations(cell):
    run = default_run(cell, hidden=4, steps=3, seed=1)
    run.numbers.update({name: np.abs(values) + 0.1 for name, values in run.numbers.items() if name.startswith("b")})
    blocks, program = jacobian(cell), split(cell)
    for step in unrolled(run):
        found = iter(from_formula(blocks, program, run, step))
        formula = np.block([[next(found) for _ in run.state] for _ in run.state])
        assert np.abs(formula - step.jacobian).max() <= 1e-13 * max(1, np.abs(step.jacobian).max())


@pytest.mark.parametrize("name", ["lstm", "peephole", "gru_reset_after"])
def test_a_run_starts_from_the_weights_of_a_layer(name):
    layer = lstm_numba.Layer(name, input_size=4, hidden_size=4, dtype="float64", seed=3)
    numbers = default_run(derive.cells[name], hidden=4, steps=1, seed=3).numbers
    for parameter, values in layer.parameters.items():
        np.testing.assert_array_equal(values, numbers[parameter])


def test_the_complex_step_is_the_finite_difference():
    run = default_run(derive.cells["gru"], hidden=3, steps=1, seed=0)
    (step,) = unrolled(run)
    for column in range(3):
        difference = 0
        for sign in (1, -1):
            moved = run.state["h"] + sign * 1e-6 * np.eye(3)[column]
            known = run.interpreter.step(run.cell, {**run.numbers, "x": run.inputs["x"][0], "h_prev": moved})
            difference = difference + sign * known["h"][0] / 2e-6
        np.testing.assert_allclose(difference, step.jacobian[:, column], atol=1e-9)


def test_an_rnn_at_rest_follows_w_to_the_lag():
    for measured, w in zip(linear_rule(hidden=8, steps=40, seed=3)[:3], (0.9, 1.0, 1.1), strict=True):
        np.testing.assert_allclose(measured.norms, w ** np.arange(41.0), rtol=1e-12)
        assert measured.factor == pytest.approx(w, rel=1e-12)
        assert measured.expected == w
    assert [measured.verdict for measured in linear_rule(8, 40, 3)[:3]] == ["vanishes", "keeps", "explodes"]


def test_inputs_take_more_from_the_gradient_than_the_weights_alone():
    rest, driven = linear_rule(8, 40, 3)[:3], linear_rule(8, 40, 3)[3:]
    assert all(b.factor < a.factor for a, b in zip(rest, driven, strict=True))


def test_the_carousel_of_1997_keeps_exactly_1():
    measured = flow(derive.cells["lstm1997"].variant(truncated=True), **SMALL)
    assert (curve(measured, "lstm1997_truncated: ∂c_T/∂c_t").norms == 1).all()
    assert (curve(measured, "lstm1997_truncated: c directly").norms == 1).all()
    assert (curve(measured, "lstm1997: c directly").norms == 1).all()


def test_truncation_passes_nothing_through_h():
    run = default_run(derive.cells["lstm1997"].variant(truncated=True), 4, 6, 0)
    for step in unrolled(run):
        h, c = run.rows["h"], run.rows["c"]
        assert not step.jacobian[h, h].any()
        assert not step.jacobian[c, h].any()
        np.testing.assert_array_equal(step.jacobian[c, c], np.eye(4))


def test_the_full_gradient_of_1997_is_not_1():
    norms = curve(flow(derive.cells["lstm1997"], **SMALL), "lstm1997: ∂c_T/∂c_t").norms
    assert norms[0] == 1
    assert abs(norms[-1] - 1) > 1e-3


def test_a_silent_clockwork_unit_passes_its_gradient_on_unchanged():
    run = default_run(derive.cells["clockwork"], 8, 2, 0)
    _, second = unrolled(run)  # at step 1 only the first two of eight units are active
    np.testing.assert_array_equal(second.jacobian[2:], np.eye(8)[2:])


def test_lyapunov_exponents_of_a_constant_map_are_the_logarithms_of_its_eigenvalues():
    rotation, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))
    step = rotation @ np.diag([1.5, 1.0, 0.25]) @ rotation.T
    np.testing.assert_allclose(lyapunov([step] * 400), np.log([1.5, 1.0, 0.25]), atol=0.02)


def test_lyapunov_exponents_add_up_to_the_logarithm_of_the_volume():
    steps = [step.jacobian for step in unrolled(default_run(derive.cells["gru"], 4, 9, 0))]
    volume = sum(np.linalg.slogdet(step)[1] for step in steps) / len(steps)
    assert sum(lyapunov(steps)) == pytest.approx(volume, rel=1e-10)


def test_a_direction_that_dies_has_the_exponent_minus_infinity():
    assert lyapunov([np.diag([1.0, 0.0])] * 3) == (0.0, -np.inf)


@pytest.mark.parametrize(
    ("norms", "factor", "verdict"),
    [
        (0.5 ** np.arange(9.0), 0.5, "vanishes"),
        (1.3 ** np.arange(9.0), 1.3, "explodes"),
        (np.ones(9), 1.0, "keeps"),
        (np.array([1.0, 0.0, 0.0]), 0.0, "vanishes"),
    ],
)
def test_the_factor_a_step_is_fitted_to_the_logarithms(norms, factor, verdict):
    measured = Curve("", norms)
    assert measured.factor == pytest.approx(factor)
    assert measured.verdict == verdict


def test_what_explodes_beyond_the_numbers_is_infinite_and_still_fitted():
    cell = parse("states: h\nparameters: u\ninitial: u=100\nh = u * h_prev")
    measured = flow(cell, hidden=2, steps=200)
    assert measured.curves[0].norms[-1] == np.inf
    assert measured.curves[0].factor == pytest.approx(100)
    assert "> 1e308" in text(measured)
    assert json.loads(as_json(measured))["curves"][0]["norms"][-1] is None


def test_a_cell_that_leaves_the_numbers_is_one_clear_error():
    cell = parse("states: h\nparameters: b\ninitial: b=-1\nl = log(b)\nh = l + h_prev")
    with pytest.raises(NotFiniteError, match=r"cell cell: l, h is not finite at step 0 .* initial="):
        flow(cell, **SMALL)


def test_the_same_seed_gives_the_same_figures():
    first, again, other = (flow(derive.cells["rnn"], seed=seed, **SMALL) for seed in (1, 1, 2))
    assert as_json(first) == as_json(again) != as_json(other)


# --- What is printed


def test_the_report_names_every_curve_and_states_the_agreement():
    shown = text(flow(derive.cells["lstm"], **SMALL))
    for words in ("∂c/∂c_prev = diag(f)", "rnn at rest, U = 0.9 Q", "lstm: ∂h_T/∂h_t", "lstm: c directly", "Lyapunov"):
        assert words in shown
    assert "0.9000  vanishes, 0.9 expected" in shown
    assert "stays exactly 1" in text(flow(derive.cells["lstm1997"], **SMALL))


@each([derive.cells["rnn"], derive.cells["lstm1997"], derive.cells["esn"]])
def test_the_report_is_also_strict_json(cell):
    page = json.loads(as_json(flow(cell, **SMALL)))
    assert page["cell"] == cell.module
    assert all(len(entry["norms"]) == SMALL["steps"] + 1 for entry in (*page["rule"], *page["curves"]))
    assert page["formula_error"] < 1e-13


def test_the_picture_is_written_where_it_is_asked_for(tmp_path):
    pytest.importorskip("matplotlib")
    draw(flow(derive.cells["lstm1997"], **SMALL), tmp_path / "flow.svg")
    assert "<svg" in (tmp_path / "flow.svg").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", ["flow.unknown", "no/such/folder/flow.png"])
def test_a_picture_that_cannot_be_drawn_is_one_clear_error(tmp_path, path):
    pytest.importorskip("matplotlib")
    with pytest.raises(PlotError, match="cannot draw"):
        draw(flow(derive.cells["rnn"], **SMALL), tmp_path / path)
