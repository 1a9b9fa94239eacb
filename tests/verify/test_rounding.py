"""A result in which everything cancels is measured against what cancels in it; one that nothing leads to is not."""

from dataclasses import replace

import numpy as np
import pytest

from derive.parse import parse
from derive.verify.derivative import gradient
from derive.verify.driver import Driver
from derive.verify.problem import make
from derive.verify.report import compare
from derive.verify.rounding import of_gradient, of_run
from derive.verify.rungs import numeric

# z is 0 with one unit, v's gradient too; nothing leads from p to the loss
TEXT = """
states: h z s
parameters: W[H,N] M[H,H] v p
outputs: h z
s = p * s_prev
z = M @ h_prev - M.T @ h_prev
h = tanh(W @ x + v * z)
"""
CELL, ALLOWED = parse(TEXT), 1e-13


@pytest.fixture(scope="module")
def problem():
    made = make(CELL, steps=3, hidden=1)
    return replace(made, d_state={name: 0 * values for name, values in made.d_state.items()})


def failing(measured):
    return [measurement.quantity for measurement in measured if not measurement.ok]


def held(problem, key, error):
    """dL/d(key), exactly 0, with an error of this size in it."""
    truth = gradient(problem)[key]
    assert not truth.any()
    terms = of_gradient(problem, *key)
    return compare("gradient", "", ("", ""), truth + error, truth, ALLOWED, problem, lambda: terms)


def test_what_cancels_is_as_large_as_its_terms(problem):
    h, weight = np.abs(problem.state["h"]).max(), np.abs(problem.parameters["M"]).max()
    assert 0.01 * h < of_gradient(problem, "parameters", "M") < 100
    assert 0.01 * h * weight < of_run(problem, "z", final=False) < 100


def test_what_nothing_leads_to_has_no_terms_and_admits_nothing(problem):
    assert of_gradient(problem, "parameters", "p") == 0
    assert held(problem, ("parameters", "p"), 0.0).ok
    assert held(problem, ("parameters", "p"), 1e-300).error == np.inf


@pytest.mark.parametrize("name", ["M", "v"])
def test_what_cancels_admits_its_roundings_and_no_more(problem, name):
    assert held(problem, ("parameters", name), 3e-17).ok
    assert not held(problem, ("parameters", name), 1e-12).ok


def test_a_kernel_whose_terms_do_not_cancel_quite_is_found(problem):
    driver = Driver.of(CELL)
    truth = gradient(problem)
    assert failing(numeric.full(driver, problem, truth, ALLOWED)) == []
    planted = driver.changed(driver.text.replace("d_z_z_2 = -d_z\n", "d_z_z_2 = -d_z * 1.00000001\n"))
    assert "dL/dM" in failing(numeric.full(planted, problem, truth, ALLOWED))


def test_a_forward_whose_terms_do_not_cancel_quite_is_found(problem):
    driver = Driver.of(CELL)
    assert failing(numeric.forward(driver, problem, ALLOWED)) == []
    planted = driver.changed(driver.text.replace("z = z_z - z_z_2", "z = z_z - z_z_2 * 1.00000001"))
    assert {"z", "final z"} <= set(failing(numeric.forward(planted, problem, ALLOWED)))
