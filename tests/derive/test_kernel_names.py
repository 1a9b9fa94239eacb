"""Names of a cell beside those of the kernels.

Truth: a name that both would use is refused in one sentence; any other works.
"""

from functools import partial

import pytest

from derive.build import module_of
from derive.emit.module import module_text
from derive.errors import NameRuleError
from derive.language import Cell, Eq, H, N, matrix, sigmoid, state, tanh, value, vector, x
from derive.parse import parse
from derive.verify.curvature import Along
from derive.verify.derivative import gradient
from derive.verify.driver import Driver
from derive.verify.kernel import Kernel
from derive.verify.problem import make
from derive.verify.rungs.numeric import full
from derive.verify.rungs.second import hvp
from lstm_numba.cpu.interpreted import PlainLayer

h, h_prev = state("h")
W, U, b = matrix("W", H, N), matrix("U", H, H), vector("b")


def cell(name):
    gate = value(name)
    return Cell(
        name="named",
        title="A cell",
        year=2026,
        reference="none",
        equations=[Eq(gate, sigmoid(W @ x + b)), Eq(h, gate * tanh(U @ h_prev))],
    )


@pytest.mark.parametrize("name", ["all_h", "out_h", "slots_1"])
def test_an_array_of_the_kernels(name):
    with pytest.raises(NameRuleError, match=rf"cell named: {name} .*give it another name in the equations"):
        module_text(cell(name), "", "")


@pytest.mark.parametrize("name", ["at", "turned"])
def test_a_place_of_the_kernels(name):
    with pytest.raises(NameRuleError, match=rf"{name} would stand in the kernels beside their own \w+_{name}"):
        module_text(cell(name), "", "")


@pytest.mark.parametrize("name", ["lengths", "resets", "state", "save", "self", "parameters"])
def test_an_argument_of_a_layer(name):
    with pytest.raises(NameRuleError, match=rf"the input {name} is given to a layer by its name"):
        parse(f"inputs: x {name}[H]\nstates: h\nparameters: W[H,N]\nh = W @ x + {name}")


def test_what_the_text_throws_away():
    with pytest.raises(NameRuleError, match="'_' marks what"):
        value("_")


# One cell, every kind of symbol under a name that the kernels use for something of their own.
STRANGE = """
inputs: x {4}[H]
states: {0}
parameters: {2}[H,N] {3} U[H,H] {5}[1]
{1} = sigmoid({2} @ x + {3} * {4}) * {5}
held = {1} * {0}_prev
{0} = {1} * tanh(U @ held + {2} @ x) + (1 - {1}) * {0}_prev
"""


@pytest.mark.parametrize(
    "names",
    [
        ("row", "load", "tick", "lanes", "first", "counts"),
        ("out_gate", "all_of_it", "range", "max", "len", "min"),
        ("panels_1", "units_2", "slot_1", "unit", "given", "width"),
        ("step", "step_1", "step_1_vjp", "multiply_1_x", "unit_forward_1", "row_"),
        ("a_row", "x_row", "slots_row", "tanh_row", "my_row", "dot"),
        ("g" * 50, "g" * 51, "g" * 52, "g" * 53, "g" * 54, "g" * 55),
    ],
    ids=lambda names: names[0],
)
def test_other_names(names):
    found = parse(STRANGE.format(*names))
    kernel = Kernel(found, partial(PlainLayer, module_of(found)))
    along = Along.random(make(found, steps=2, batch=2, inputs=2, hidden=3))
    truth = along.hvp(Driver.of(found))
    measured = [*full(kernel, along.problem, gradient(along.problem), 1e-13), *hvp(kernel, along, truth, 1e-12)]
    assert all(measurement.ok for measurement in measured)
