"""What must hold between runs, for sizes and options that Hypothesis chooses; and every property can fail.

Truth checked here: the compiled kernels against other runs of themselves and against the oracle, at random sizes; then
the properties themselves, each against a subject that breaks it.
"""

from dataclasses import replace
from functools import cache, partial
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import derive
from derive.verify import memory, properties
from derive.verify.derivative import gradient
from derive.verify.driver import Driver
from derive.verify.kernel import Kernel
from derive.verify.ladder import PROPERTIES
from derive.verify.problem import make
from derive.verify.rungs import numeric

CELLS = ("lstm", "gru", "clockwork", "depth_gated", "rnn", "esn")
repeatable = settings(derandomize=True, database=None, deadline=None, max_examples=25, print_blob=True)


@cache
def kernel(name, dtype="float64"):
    from lstm_numba import Layer

    cell = derive.cells[name]
    return Kernel(cell, partial(Layer, cell.name, **cell.chosen), dtype)


@st.composite
def problems(draw, cell, least=0):
    """Sizes of 0, 1, odd and around the registers' 4, 8 and 16; rows that end and states that are reset, or not."""
    steps, batch = draw(st.integers(least, 9)), draw(st.integers(least, 17))
    inputs, hidden = draw(st.integers(1, 9)), draw(st.sampled_from([1, 2, 3, 5, 8, 15, 17, 33]))
    marks = {"lengths": draw(st.booleans()), "resets": draw(st.booleans())}
    return make(cell, steps, batch, inputs, hidden, seed=draw(st.integers(0, 99)), **marks)


def violations(measured):
    return [measurement for measurement in measured if not measurement.ok]


@pytest.mark.parametrize("name", CELLS)
@repeatable
@given(data=st.data())
def test_kernels_are_the_oracle_at_any_size(name, data):
    problem = data.draw(problems(derive.cells[name]))
    allowed = 1e-13 * np.sqrt(max(problem.steps, 1))
    assert not violations(numeric.forward(kernel(name), problem, allowed))
    assert not violations(numeric.full(kernel(name), problem, gradient(problem), allowed))


@pytest.mark.parametrize("claim", PROPERTIES, ids=lambda claim: claim.__name__)
@pytest.mark.parametrize("name", CELLS[:3])
@repeatable
@given(data=st.data())
def test_properties_hold_at_any_size(name, claim, data):
    problem = data.draw(problems(derive.cells[name]))
    with np.errstate(invalid="ignore"):  # NaN is handed in on purpose
        assert not violations(claim(kernel(name), problem))


@pytest.mark.parametrize("claim", PROPERTIES, ids=lambda claim: claim.__name__)
def test_properties_hold_in_single_precision(claim):
    problem = make(derive.cells["lstm"], 5, 7, 3, 9).cast(np.float32)
    with np.errstate(invalid="ignore"):
        assert not violations(claim(kernel("lstm", "float32"), problem))


@repeatable
@given(problem=problems(derive.cells["lstm"]), threads=st.integers(2, 9))
def test_threads_change_no_bit(problem, threads):
    several, one = kernel("lstm").with_threads(threads), kernel("lstm")
    found, expected = several.gradient(problem), one.gradient(problem)
    assert all(np.array_equal(found[key], expected[key]) for key in expected)
    assert np.array_equal(several.forward(problem).outputs["h"], one.forward(problem).outputs["h"])


# --- Each property can fail


class Spoiled:
    """The step functions, with what they give changed afterwards."""

    name, exact = "spoiled", False

    def __init__(self, outputs=lambda values, _: values, slope=lambda values, *_: values):
        self.driver, self.outputs, self.slope = Driver.of(derive.cells["gru"]), outputs, slope
        self.runs = 0

    def forward(self, problem):
        self.runs += 1
        run = self.driver.forward(problem)
        outputs = {name: self.outputs(values, problem) for name, values in run.outputs.items()}
        return SimpleNamespace(outputs=outputs, state=run.state)

    def gradient(self, problem, inputs=None, parameters=None):
        self.runs += 1
        found = self.driver.gradient(problem, inputs, parameters)
        return {key: self.slope(values, key, problem) for key, values in found.items()}


class Mixed(Spoiled):
    """Gradients that depend on whether an input's, or a parameter's, is wanted."""

    def gradient(self, problem, inputs=None, parameters=None):
        found, is_mixed = super().gradient(problem, inputs, parameters), () in (inputs, parameters)
        return {key: values + 1e-9 * is_mixed for key, values in found.items()}


class Generous(Spoiled):
    """Gradients of all inputs and parameters, whatever is wanted."""

    def gradient(self, problem, inputs=None, parameters=None):
        return super().gradient(problem)


def of_the_batch(values, problem):
    return values + 1e-9 * problem.batch


def of_the_length(values, problem):
    return values + 1e-9 * problem.steps


def of_the_padding(values, problem):
    return values + np.nan_to_num(problem.inputs["x"]).sum() * 1e-9


def quadratic(values, key, problem):
    return values * (1 + abs(problem.d_state["h"]).sum())


def of_the_memory(values, problem):
    return values + np.empty(1)[0] * 0


def of_the_layout(values, problem):
    return values + 1e-9 * problem.inputs["x"].flags.c_contiguous


def writing(values, problem):
    problem.inputs["x"][...] = 0
    return values


def across_rows(values, problem):
    return values + problem.inputs["x"][0].sum() * 1e-9


def hiding(values, problem):
    return np.nan_to_num(values)


BREAKERS = {
    properties.batch_splits: Spoiled(of_the_batch),
    properties.sequence_splits: Spoiled(of_the_length),
    properties.resets_restart: Spoiled(of_the_length),
    properties.padding_is_ignored: Spoiled(of_the_padding),
    properties.gradient_is_linear: Spoiled(slope=quadratic),
    properties.inputs_are_left_out: Mixed(),
    properties.parameters_are_left_out: Mixed(),
    memory.poison_does_not_show: Spoiled(of_the_memory),
    memory.layout_does_not_matter: Spoiled(of_the_layout),
    memory.nan_stays_in_its_row: Spoiled(across_rows),
}


@pytest.mark.parametrize("claim", BREAKERS, ids=lambda claim: claim.__name__)
def test_a_property_sees_what_breaks_it(claim):
    problem = make(derive.cells["gru"], steps=5, batch=4)
    with np.errstate(invalid="ignore"):
        assert violations(claim(BREAKERS[claim], problem))


@pytest.mark.parametrize("claim", [properties.inputs_are_left_out, properties.parameters_are_left_out])
def test_a_gradient_that_nobody_wanted_is_seen(claim):
    assert violations(claim(Generous(), make(derive.cells["gru"])))


def test_a_run_that_does_not_repeat_is_seen():
    subject = Spoiled()
    subject.outputs = lambda values, _: values + 1e-9 * subject.runs
    assert violations(memory.runs_repeat(subject, make(derive.cells["gru"])))


def test_a_write_to_an_input_is_seen():
    with pytest.raises(ValueError, match="read-only"):
        list(memory.inputs_stay(Spoiled(writing), make(derive.cells["gru"])))


def test_a_lost_nan_is_seen():
    with np.errstate(invalid="ignore"):
        found = violations(memory.nan_stays_in_its_row(Spoiled(hiding), make(derive.cells["gru"])))
    assert "the NaN was lost" in found[0].note


def test_every_property_has_something_that_breaks_it():
    assert set(PROPERTIES) == {*BREAKERS, memory.runs_repeat, memory.inputs_stay}


def test_properties_leave_the_problem_as_it_was():
    problem = make(derive.cells["gru"], steps=5, batch=4)
    kept = replace(problem, inputs={"x": problem.inputs["x"].copy()})
    for claim in PROPERTIES:
        with np.errstate(invalid="ignore"):
            list(claim(Driver.of(problem.cell), problem))
    assert np.array_equal(problem.inputs["x"], kept.inputs["x"])
    assert problem.inputs["x"].flags.writeable
