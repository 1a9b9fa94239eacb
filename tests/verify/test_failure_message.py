"""A failure is explained: which tensor, which element, both values, how wrong, and how to see it again."""

import json
import re

import mpmath
import numpy as np
import pytest

import derive
from derive.verify.derivative import gradient
from derive.verify.driver import Driver
from derive.verify.history import with_history
from derive.verify.problem import ProblemError, make
from derive.verify.report import CellReport, Measurement, Report, compare, worst
from derive.verify.rungs import adjoint, digits, numeric, symbolic
from derive.verify.structural import AlmostAllFromLater, InputSkipsLastStep, one_element

CELL = derive.cells["peephole"]


def report_of(*measurements):
    return Report((CellReport("peephole", "peephole", tuple(measurements)),))


def wrong_peephole():
    """p_f's adjoint loses a factor: d_p_f = d_a_f instead of d_a_f * c_prev."""
    driver = Driver.of(CELL)
    assert "d_p_f = d_a_f * c_prev" in driver.text
    return driver.changed(driver.text.replace("d_p_f = d_a_f * c_prev", "d_p_f = d_a_f"))


def test_a_wrong_formula_is_named_by_tensor_index_and_values():
    problem = make(CELL, steps=7)
    truth, wrong = gradient(problem)["parameters", "p_f"], wrong_peephole().gradient(problem)["parameters", "p_f"]
    at = int(np.argmax(np.abs(wrong - truth)))
    right_rung = numeric.forward(wrong_peephole(), problem, 1e-13)
    text = report_of(*right_rung, *numeric.full(wrong_peephole(), problem, gradient(problem), 1e-13)).text()
    assert f"peephole, dL/dp_f[{at}], float64, T=7 B=3 N=2 H=5, seed 0:" in text
    assert f"step functions  {wrong[at]:.9g}   complex step  {truth[at]:.9g}   relative error" in text
    assert "(allowed 1.0e-13)" in text
    assert "rungs passed: forward    rungs failed: gradient" in text
    assert "reproduce: derive verify peephole" in text


def test_only_the_wrong_tensor_fails():
    problem = make(CELL)
    measured = numeric.full(wrong_peephole(), problem, gradient(problem), 1e-13)
    assert [measurement.quantity for measurement in measured if not measurement.ok] == ["dL/dp_f"]


def test_a_wrong_step_is_named():
    problem, driver = make(CELL, steps=6), Driver.of(CELL).changed(sweep=InputSkipsLastStep)
    failed = worst(numeric.full(driver, problem, gradient(problem), 1e-13))
    assert failed.place.step == failed.place.index[0] == 5
    assert ", step t=5, float64" in report_of(failed).text()


def test_a_wrong_formula_shows_with_a_single_step():
    problem = make(CELL)
    measured = with_history(
        wrong_peephole(), problem, numeric.full(wrong_peephole(), problem, gradient(problem), 1e-13)
    )
    assert [m.note for m in measured if not m.ok] == ["wrong with a single step"]


def test_a_wrong_recursion_needs_two():
    problem = make(CELL)
    driver = Driver.of(CELL).changed(sweep=AlmostAllFromLater)
    measured = list(with_history(driver, problem, numeric.full(driver, problem, gradient(problem), 1e-13)))
    notes = {m.quantity: m.note for m in measured if not m.ok}
    assert notes["dL/dU_f"] == "right with 1 step, wrong from 2 on"
    assert notes["dL/dh before step 0"] == "wrong with a single step"


def test_one_wrong_element_is_found():
    problem = make(CELL)
    driver = Driver.of(CELL).changed(sweep=one_element("parameters", "U_g"))
    failed = worst(numeric.full(driver, problem, gradient(problem), 1e-13))
    assert failed.quantity == "dL/dU_g"
    assert failed.place.found == pytest.approx(1.01 * failed.place.expected)


def test_the_adjoint_identity_says_which_tensor():
    problem, driver = make(CELL), Driver.of(CELL)
    measured = list(adjoint.identity(wrong_peephole(), driver, problem, 1e-13))
    assert [m.quantity for m in measured if not m.ok] == ["<v, J u>, u in all tensors", "<v, J u>, u in dL/dp_f"]


def test_a_wrong_derivation_shows_the_difference(monkeypatch):
    program = Driver.of(CELL).program
    monkeypatch.setattr(symbolic, "composed", doubled(symbolic.composed, "d_p_f"))
    failed = [m for m in symbolic.derivation_is_the_derivative(program) if not m.ok]
    assert failed[0].quantity == "d_p_f"
    assert "derivation - sympy.diff = " in report_of(*failed).text()


def doubled(composed, name):
    def wrong(equations, known=None):
        return {v: 2 * e if v.name == name else e for v, e in composed(equations, known).items()}

    return wrong


def test_not_a_number_is_infinitely_wrong():
    measured = compare(
        "gradient", "dL/dx", ("kernel", "oracle"), np.array([1.0, np.nan]), np.ones(2), 1e-3, "a problem"
    )
    assert not measured.ok
    assert measured.error == np.inf
    assert measured.place.index == (1,)


def test_a_wrong_shape_is_infinitely_wrong():
    assert compare("gradient", "dL/dx", ("kernel", "oracle"), np.ones(2), np.ones(3), 1e-3, "").error == np.inf


def test_a_gradient_that_should_be_zero_admits_nothing_else():
    zero = np.zeros(3)
    assert compare("gradient", "dL/dx", ("kernel", "oracle"), zero, zero, 1e-13, "").ok
    assert not compare("gradient", "dL/dx", ("kernel", "oracle"), zero + 1e-300, zero, 1e-13, "").ok


def test_the_worst_is_what_exceeds_its_allowance_by_most():
    def measured(error, allowed):
        return Measurement("rung", "", ("", ""), error, allowed)

    assert worst([measured(1e-9, 1e-10), measured(1e-13, 1e-15)]).error == 1e-13
    assert worst([measured(0.0, 0.0), measured(1e-20, 0.0)]).error == 1e-20
    assert np.isnan(worst([measured(1.0, 1e-15), measured(np.nan, 1.0)]).error)


def test_a_report_is_json_even_with_infinities():
    measured = Measurement("gradient", "dL/dx", ("kernel", "oracle"), np.inf, 1e-13)
    found = json.loads(report_of(measured).json())
    assert found["ok"] is False
    assert found["cells"][0]["measurements"][0]["error"] == "inf"
    assert set(found["versions"]) == {"python", "numpy", "numba", "sympy"} or not found["versions"]


def test_the_table_has_a_line_for_each_rung():
    problem, driver = make(CELL), Driver.of(CELL)
    text = report_of(*numeric.full(driver, problem, gradient(problem), 1e-13)).text()
    assert re.search(r"^peephole  gradient  complex step +\d+ +\d\.\de-1\d +1\.0e-13 +ok$", text, re.MULTILINE)


def test_a_cell_outside_the_domain_of_its_functions_is_said_to_be():
    from derive.cell import Cell
    from derive.language import Eq, H, N, log, matrix, state, vector, x

    h, h_prev = state("h")
    cell = Cell(
        name="impossible", title="", year=2024, reference="",
        equations=[Eq(h, log(-h_prev**2) + matrix("W", H, N) @ x + vector("b"))],
    )  # fmt: skip
    with pytest.raises(ProblemError, match="none of 1000 random problems gives finite numbers"):
        make(cell)


def test_a_derivative_that_is_off_by_a_rounding_shows_in_fifty_digits(monkeypatch):
    # 1 - t^2 is not the slope of (1 + 1e-16) tanh, though no kernel could tell
    nearly = np.frompyfunc(lambda u: mpmath.tanh(u) * (1 + mpmath.mpf(10) ** -16), 1, 1)
    monkeypatch.setitem(digits.FUNCTIONS, "tanh", nearly)
    assert any(not measured.ok for measured in digits.hold(Driver.of(CELL).program))
