"""The cells of the package: their equations against the papers typed once more, and the properties the papers claim."""

import numpy as np
import pytest

import derive
from derive.cells import ORDER
from derive.functions import NUMPY
from derive.language import ONE
from derive.symbols import Product, Vector
from tests import reference_cells
from tests.derive.all_cells import PACKAGE, each

SIZES = {"N": 3, "H": 4, "P": 2, ONE: 1}


def test_cells_stand_in_historical_order():
    years = [cell.year for cell in derive.cells.values()]
    assert tuple(derive.cells) == ORDER
    assert len(derive.cells) == 11
    assert years[:3] == [1990, 1997, 2000]
    assert [cell.name for cell in derive.cells.values()] == list(ORDER)


def test_modules_have_distinct_names():
    names = [cell.module for cell in PACKAGE]
    assert len(set(names)) == len(names) == 19
    assert {"rnn_relu", "lstm1997_truncated", "peephole_io"} <= set(names)


@each(PACKAGE)
def test_a_cell_is_short_and_says_where_it_comes_from(cell):
    assert len(cell.equations) <= 25
    assert str(cell.year)[:2] in ("19", "20")
    assert len(cell.reference) > 20
    assert cell.title


# parameters per cell in terms of H and N, one bias a gate
COUNTS = {
    "rnn": "H*(N+H+1)",
    "esn": "0",
    "lstm1997": "3*H*(N+H+1)",
    "lstm": "4*H*(N+H+1)",
    "peephole": "4*H*(N+H+1) + 3*H",
    "peephole_io": "4*H*(N+H+1) + 2*H",
    "peephole_f": "4*H*(N+H+1) + H",
    "lstm_projected": "4*H*(N+P+1) + P*H",
    "coupled": "3*H*(N+H+1)",
    "gru": "3*H*(N+H+1)",
    "gru_reset_after": "3*H*(N+H) + 4*H",
    "depth_gated": "4*H*(N+H+1) + 3*H + H*N + 3*H",
}


@each([cell for cell in PACKAGE if cell.module in COUNTS])
def test_the_number_of_parameters_is_the_papers(cell):
    sizes = {"H": 5, "N": 3, "P": 2}
    count = sum(int(np.prod([sizes[space] for space in shape])) for shape in cell.shapes.values())
    assert count == eval(COUNTS[cell.module], dict(sizes))  # noqa: S307 (the table above)


def interpret(expression, values):
    """An equation on arrays, node by node: no split, no printer."""
    if isinstance(expression, Product):
        return values[expression.matrix.name] @ interpret(expression.operand, values)
    if isinstance(expression, Vector):
        return values[expression.name]
    if not expression.args:
        return float(expression)
    parts = [interpret(part, values) for part in expression.args]
    if expression.is_Add:
        return sum(parts)
    if expression.is_Mul:
        return np.prod(np.broadcast_arrays(*parts), axis=0)
    return parts[0] ** parts[1] if expression.is_Pow else NUMPY[type(expression).__name__](*parts)


def drawn(cell, random):
    return {
        name: random.normal(size=[SIZES[space] for space in symbol.shape])
        for name, symbol in {**cell.parameters, **cell.constants}.items()
    }


def advance(cell, parameters, states, inputs):
    values = {**parameters, **inputs, **{f"{name}_prev": value for name, value in states.items()}}
    for equation in cell.equations:
        values[equation.lhs.name] = interpret(equation.rhs, values)
    return {name: values[name] for name in cell.states}, values


TYPED = {
    "rnn": {}, "rnn_relu": {"activation": lambda a: np.maximum(a, 0)}, "esn": {}, "lstm1997": {}, "lstm": {},
    "lstm_projected": {}, "coupled": {}, "gru": {}, "gru_reset_after": {},
}  # fmt: skip


@each([cell for cell in PACKAGE if cell.module in TYPED])
def test_the_equations_are_the_papers_typed_a_second_time(cell):
    random = np.random.default_rng(11)
    parameters = drawn(cell, random)
    ours = theirs = {name: random.normal(size=SIZES[space]) for name, space in cell.states.items()}
    for t in range(3):
        given = random.normal(size=3)
        ours, _ = advance(cell, parameters, ours, {"x": given})
        theirs = getattr(reference_cells, cell.name)(parameters, theirs, given, t, **TYPED[cell.module])
        for name in cell.states:
            np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-13)


# --- What the papers claim


def test_the_carousel_of_1997_has_slope_exactly_one():
    found = derive.vjp(derive.split(derive.cells["lstm1997"]).pointwise[0])
    slopes = {name.name: expression for name, expression, _ in found.equations}
    assert slopes["d_c_prev"].name == "d_c"


def test_truncation_changes_no_value():
    full, truncated = derive.cells["lstm1997"].variants()
    random = np.random.default_rng(3)
    parameters, states, inputs = drawn(full, random), {"h": np.ones(4), "c": np.ones(4)}, {"x": np.ones(3)}
    for name, value in advance(full, parameters, states, inputs)[0].items():
        assert (value == advance(truncated, parameters, states, inputs)[0][name]).all()


def test_without_peephole_weights_a_peephole_lstm_is_an_lstm():
    random = np.random.default_rng(4)
    cell, other = derive.cells["peephole"], derive.cells["lstm"]
    parameters = drawn(cell, random) | dict.fromkeys(("p_i", "p_f", "p_o"), np.zeros(4))
    states, inputs = {"h": random.normal(size=4), "c": random.normal(size=4)}, {"x": random.normal(size=3)}
    ours, theirs = (advance(c, parameters, states, inputs)[0] for c in (cell, other))
    for name in states:
        np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-15)


def test_coupled_gates_keep_the_cell_inside_the_unit_interval():
    random, cell = np.random.default_rng(6), derive.cells["coupled"]
    parameters = {name: 5 * value for name, value in drawn(cell, random).items()}
    states = {"h": np.zeros(4), "c": np.ones(4)}
    for _ in range(20):
        states, _ = advance(cell, parameters, states, {"x": random.normal(size=3)})
        assert abs(states["c"]).max() <= 1
        assert abs(states["h"]).max() < np.tanh(1)


@pytest.mark.parametrize("name", ["gru", "gru_reset_after"])
def test_an_open_update_gate_keeps_the_state(name):
    random, cell = np.random.default_rng(8), derive.cells[name]
    parameters = drawn(cell, random) | {"b_z": np.full(4, 60.0)}
    before = random.normal(size=4)
    after, _ = advance(cell, parameters, {"h": before}, {"x": np.zeros(3)})
    np.testing.assert_array_equal(after["h"], before)


def test_a_closed_depth_gate_leaves_an_lstm_with_peepholes():
    random, cell, other = np.random.default_rng(9), derive.cells["depth_gated"], derive.cells["peephole"]
    parameters = drawn(cell, random) | {"b_d": np.full(4, -800.0)}
    states = {"h": random.normal(size=4), "c": random.normal(size=4)}
    inputs = {"x": random.normal(size=3), "c_lower": random.normal(size=4)}
    ours, theirs = (advance(c, parameters, states, inputs)[0] for c in (cell, other))
    for name in states:
        np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-14)


def test_a_unit_that_does_not_tick_keeps_its_state():
    random, cell = np.random.default_rng(10), derive.cells["clockwork"]
    before, tick = random.normal(size=4), np.array([1.0, 0.0, 1.0, 0.0])
    after, _ = advance(cell, drawn(cell, random), {"h": before}, {"x": np.ones(3), "tick": tick})
    assert (after["h"][[1, 3]] == before[[1, 3]]).all()
    assert (after["h"][[0, 2]] != before[[0, 2]]).all()


def test_an_echo_state_network_trains_nothing_and_without_leak_is_an_rnn():
    cell = derive.cells["esn"]
    assert cell.parameters == {}
    assert list(cell.constants) == ["alpha", "W_in", "W", "b"]
    random = np.random.default_rng(12)
    constants = drawn(cell, random) | {"alpha": np.ones(())}
    states, inputs = {"h": random.normal(size=4)}, {"x": random.normal(size=3)}
    rnn = {"W": constants["W_in"], "U": constants["W"], "b": constants["b"]}
    ours, _ = advance(cell, constants, states, inputs)
    theirs, _ = advance(derive.cells["rnn"], rnn, states, inputs)
    np.testing.assert_allclose(ours["h"], theirs["h"], rtol=1e-15)
