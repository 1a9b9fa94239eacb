"""The oracle is the papers: it agrees with loops typed from them, and has the properties they state.

Truth checked here: the *equations* of the cells and the interpreter, not any generated code.  Slopes come from complex
steps.
"""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest

import derive
from derive.verify.derivative import central_difference, directional, gradient, random_directions
from derive.verify.oracle import block_upper, modules, run, ticks
from derive.verify.problem import CLEARANCE, PERIODS, make
from derive.verify.report import norm_error
from tests import reference_cells as papers
from tests.derive.user_cells import CELLS as USER_CELLS

STEPS = {
    "rnn": papers.rnn,
    "rnn_relu": partial(papers.rnn, activation=lambda a: np.maximum(a, 0)),
    "esn": papers.esn,
    "lstm1997": papers.lstm1997,
    "lstm1997_truncated": papers.lstm1997,
    "lstm": papers.lstm,
    "lstm_projected": papers.lstm_projected,
    "peephole": papers.peephole,
    "coupled": papers.coupled,
    "gru": papers.gru,
    "gru_reset_after": papers.gru_reset_after,
    "depth_gated": papers.depth_gated,
    "clockwork": partial(papers.clockwork, periods=PERIODS),
    **{f"peephole_{gates}": partial(papers.peephole, peepholes=gates) for gates in ("i", "f", "o", "if", "io", "fo")},
}
CELLS = {cell.module: cell for name in derive.cells for cell in derive.cells[name].variants()}


def logistic(a):
    return 1 / (1 + np.exp(-a))


def close(found, expected, allowed=1e-13):
    assert norm_error(np.asarray(found), np.asarray(expected)) <= allowed


# --- The papers


@pytest.mark.parametrize("name", CELLS)
def test_the_equations_are_the_paper(name):
    problem = make(CELLS[name], steps=6)
    outputs, state = problem.forward()
    expected = papers.unroll(STEPS[name], {**problem.parameters, **problem.constants}, problem.state, problem.inputs)
    for output, values in outputs.items():
        close(values, expected[output])
    for output, values in state.items():
        close(values, expected[output][-1])


def test_every_cell_of_the_package_has_a_paper():
    assert set(STEPS) == set(CELLS)


@pytest.mark.parametrize("name", ["lstm", "clockwork"])
def test_a_row_that_ends_early_is_that_row_alone(name):
    problem = make(CELLS[name], steps=5, lengths=True)
    outputs, state = problem.forward()
    for row, length in enumerate(problem.lengths):
        alone = replace(
            problem,
            lengths=None,
            inputs={key: values[:length, row : row + 1] for key, values in problem.inputs.items()},
            state={key: values[row : row + 1] for key, values in problem.state.items()},
            d_outputs={key: values[:length, row : row + 1] for key, values in problem.d_outputs.items()},
        )
        short, last = alone.forward()
        close(outputs["h"][:length, row], short["h"][:, 0])
        assert not outputs["h"][length:, row].any()
        close(state["h"][row], last["h"][0])


def test_a_reset_is_a_new_start():
    problem = make(CELLS["lstm"], steps=4)
    marks = np.zeros((4, problem.batch), bool)
    marks[2] = True
    whole, _ = replace(problem, resets=marks).forward()
    second = replace(
        problem,
        inputs={"x": problem.inputs["x"][2:]},
        d_outputs={"h": problem.d_outputs["h"][2:]},
    )
    assert np.array_equal(whole["h"][2:], second.forward()[0]["h"])


def test_steps_of_a_clock_count_from_zero():
    assert ticks(6, (1, 2, 4), 0).tolist() == [1, 1, 1, 1, 1, 1]
    assert ticks(6, (1, 2, 4), 3).tolist() == [1, 1, 0, 0, 0, 0]
    assert ticks(6, (1, 2, 4), 6).tolist() == [1, 1, 1, 1, 0, 0]


def test_a_module_reads_itself_and_slower_ones():
    assert modules(6, 3).tolist() == [0, 0, 1, 1, 2, 2]
    assert block_upper(4, (1, 2)).astype(int).tolist() == [[1, 1, 1, 1], [1, 1, 1, 1], [0, 0, 1, 1], [0, 0, 1, 1]]


# --- Its derivatives


@pytest.mark.parametrize("cell", [*CELLS.values(), *USER_CELLS.values()], ids=lambda cell: cell.module)
def test_complex_steps_and_finite_differences_agree(cell):
    problem = make(cell, steps=3, batch=2, hidden=3, lengths=True, resets=True, clearance=CLEARANCE)
    stepped, differenced = gradient(problem), gradient(problem, central_difference)
    for key, slope in stepped.items():
        if key[1] != "mask":  # 0 or 1: nothing lies between
            close(differenced[key], slope, 1e-9)


@pytest.mark.parametrize("name", ["gru", "depth_gated"])
def test_a_slope_along_a_direction_is_the_gradient_along_it(name):
    problem = make(CELLS[name])
    along, slope = random_directions(problem, 8, seed=3), gradient(problem)
    expected = sum(np.reshape(u * slope[key], (8, -1)).sum(1) for key, u in along.items())
    close(directional(problem, along), expected)


def test_stop_holds_back_both_kinds_of_derivative():
    problem = make(CELLS["lstm1997_truncated"])
    full = gradient(replace(problem, cell=CELLS["lstm1997"]))
    stopped = gradient(problem)
    assert norm_error(stopped["parameters", "U_i"], full["parameters", "U_i"]) > 1e-3
    for key, slope in gradient(problem, central_difference).items():
        close(slope, stopped[key], 1e-9)


@pytest.mark.parametrize(("steps", "batch"), [(0, 3), (4, 0), (0, 0)])
def test_nothing_to_do_gives_the_first_state_and_no_gradient(steps, batch):
    problem = make(CELLS["lstm"], steps=steps, batch=batch)
    outputs, state = problem.forward()
    assert outputs["h"].shape == (steps, batch, 5)
    assert np.array_equal(state["c"], problem.state["c"])
    slope = gradient(problem)
    assert not any(slope["parameters", name].any() for name in problem.parameters)
    assert np.array_equal(slope["state", "c"], problem.d_state["c"])


@pytest.mark.parametrize("size", [(0, 3), (3, 0)])
def test_nothing_to_do_has_no_kink_beside_a_number_either(size):
    """maximum(0, a) with no a: the number is there, what it is compared with is not."""
    cell = derive.parse("states: h\nparameters: W[H,N]\nh = maximum(0, minimum(1, W @ x + h_prev))", "hard")
    problem = make(cell, *size, clearance=CLEARANCE)
    assert not gradient(problem)["parameters", "W"].any()


def test_the_oracle_runs_in_any_precision():
    problem = make(CELLS["gru"])
    single, double = problem.cast(np.float32), problem.cast(np.float32).cast(np.float64)
    outputs, _ = run(single.cell, single.parameters, single.inputs, single.state)
    assert outputs["h"].dtype == np.float32
    close(outputs["h"], double.forward()[0]["h"], 1e-6)


# --- What the papers say must hold


def jacobian(problem, of, by):
    """d(final state `of`) / d(initial state or input `by`), one row of a batch of one."""
    assert problem.batch == 1
    rows, key = [], ("state", by) if by in problem.state else ("inputs", by)
    for j in range(problem.size[problem.cell.states[of]]):
        wanted = {name: np.zeros_like(values) for name, values in problem.d_state.items()}
        wanted[of][0, j] = 1
        silent = {name: np.zeros_like(values) for name, values in problem.d_outputs.items()}
        rows.append(gradient(replace(problem, d_state=wanted, d_outputs=silent))[key].ravel())
    return np.array(rows)


def one_step(name, **given):
    problem = make(CELLS[name], steps=1, batch=1)
    p, s = {**problem.parameters, **given}, {key: values[0] for key, values in problem.state.items()}
    return replace(problem, parameters=p), p, s, problem.inputs["x"][0, 0]


def gate(p, name, x, h, cell=None):
    look = p[f"p_{name}"] * cell if cell is not None else 0
    return logistic(p[f"W_{name}"] @ x + p[f"U_{name}"] @ h + look + p[f"b_{name}"])


def test_the_carousel_passes_the_gradient_unchanged():
    # truncated 1997 gradient: dc[T]/dc[0] = I, bit for bit, whatever the sequence
    problem = make(CELLS["lstm1997_truncated"], steps=12, batch=1)
    assert np.array_equal(jacobian(problem, "c", "c"), np.eye(5))


def test_a_closed_input_gate_keeps_the_state_for_ever():
    problem = make(CELLS["lstm1997"], steps=12)
    shut = problem.with_tensor("parameters", "b_i", np.full(5, -800.0))
    assert np.array_equal(shut.forward()[1]["c"], problem.state["c"])


def test_the_state_of_1997_grows_by_at_most_two_a_step():
    problem = make(CELLS["lstm1997"], steps=9)
    history = papers.unroll(papers.lstm1997, problem.parameters, problem.state, problem.inputs)["c"]
    assert np.all(np.abs(history[-1] - problem.state["c"]) < 2 * 9)
    close(problem.forward()[1]["c"], history[-1])


def test_the_forget_gate_is_the_direct_slope_of_the_cell():
    problem, p, s, x = one_step("lstm")
    close(jacobian(problem, "c", "c"), np.diag(gate(p, "f", x, s["h"])))


def test_peepholes_add_to_the_direct_slope_of_the_cell():
    # dc/dc_prev = f + c_prev f (1 - f) p_f + g i (1 - i) p_i
    problem, p, s, x = one_step("peephole")
    i, f = gate(p, "i", x, s["h"], s["c"]), gate(p, "f", x, s["h"], s["c"])
    g = np.tanh(p["W_g"] @ x + p["U_g"] @ s["h"] + p["b_g"])
    close(jacobian(problem, "c", "c"), np.diag(f + s["c"] * f * (1 - f) * p["p_f"] + g * i * (1 - i) * p["p_i"]))


def test_peepholes_of_zero_are_the_lstm():
    problem = make(CELLS["lstm"])
    closed = {**problem.parameters, **{f"p_{k}": np.zeros(5) for k in "ifo"}}
    blind = replace(problem, cell=CELLS["peephole"], parameters=closed)
    assert np.array_equal(blind.forward()[0]["h"], problem.forward()[0]["h"])


def test_coupled_gates_keep_the_cell_between_its_bounds():
    problem = make(CELLS["coupled"], steps=30)
    large = {name: 20 * values for name, values in problem.parameters.items()}
    problem = replace(
        problem, parameters=large, state={"h": problem.state["h"], "c": np.clip(problem.state["c"], -1, 1)}
    )
    outputs, state = problem.forward()
    assert np.all(np.abs(state["c"]) <= 1)
    assert np.all(np.abs(outputs["h"]) <= np.tanh(1))


def gru_terms(name):
    problem, p, s, x = one_step(name)
    h, z, r = s["h"], gate(p, "z", x, s["h"]), gate(p, "r", x, s["h"])
    return problem, p, h, x, z, r


def test_the_jacobian_of_the_gru():
    problem, p, h, x, z, r = gru_terms("gru")
    n = np.tanh(p["W_n"] @ x + p["U_n"] @ (r * h) + p["b_n"])
    inner = p["U_n"] @ (np.diag(r) + np.diag(h * r * (1 - r)) @ p["U_r"])
    close(jacobian(problem, "h", "h"), gru_jacobian(p, h, z, n, inner))


def test_the_jacobian_of_the_gru_that_resets_after():
    problem, p, h, x, z, r = gru_terms("gru_reset_after")
    recurrent = p["U_n"] @ h + p["b_hn"]
    n = np.tanh(p["W_n"] @ x + p["b_n"] + r * recurrent)
    inner = np.diag(r) @ p["U_n"] + np.diag(recurrent * r * (1 - r)) @ p["U_r"]
    close(jacobian(problem, "h", "h"), gru_jacobian(p, h, z, n, inner))


def gru_jacobian(p, h, z, n, inner):
    # J = diag(z) + diag((h - n) z (1 - z)) U_z + diag((1 - z)(1 - n^2)) M
    return np.diag(z) + np.diag((h - n) * z * (1 - z)) @ p["U_z"] + np.diag((1 - z) * (1 - n * n)) @ inner


@pytest.mark.parametrize("name", ["gru", "gru_reset_after"])
def test_a_gru_that_keeps_everything_is_frozen(name):
    problem = make(CELLS[name], steps=7).with_tensor("parameters", "b_z", np.full(5, 60.0))
    assert np.array_equal(problem.forward()[1]["h"], problem.state["h"])


@pytest.mark.parametrize("name", ["gru", "gru_reset_after"])
def test_a_gru_never_leaves_its_bounds(name):
    problem = make(CELLS[name], steps=30)
    wild = replace(problem, parameters={key: 20 * values for key, values in problem.parameters.items()})
    assert np.all(np.abs(wild.forward()[0]["h"]) <= max(1, np.abs(problem.state["h"]).max()))


def test_the_depth_gate_is_the_slope_by_the_lower_cell():
    # dc/dc_lower = d + c_lower d (1 - d) l_d,   dc/dc_prev gains c_lower d (1 - d) p_d
    problem, p, s, x = one_step("depth_gated")
    low, h, c = problem.inputs["c_lower"][0, 0], s["h"], s["c"]
    i, f = gate(p, "i", x, h, c), gate(p, "f", x, h, c)
    g = np.tanh(p["W_g"] @ x + p["U_g"] @ h + p["b_g"])
    d = logistic(p["W_d"] @ x + p["p_d"] * c + p["l_d"] * low + p["b_d"])
    close(jacobian(problem, "c", "c_lower"), np.diag(d + low * d * (1 - d) * p["l_d"]))
    peepholes = f + c * f * (1 - f) * p["p_f"] + g * i * (1 - i) * p["p_i"]
    close(jacobian(problem, "c", "c"), np.diag(peepholes + low * d * (1 - d) * p["p_d"]))


def test_a_closed_depth_gate_leaves_a_peephole_lstm():
    problem = make(CELLS["depth_gated"])
    shut = problem.with_tensor("parameters", "b_d", np.full(5, -800.0))
    own = {name: values for name, values in problem.parameters.items() if name in CELLS["peephole"].parameters}
    plain = replace(problem, cell=CELLS["peephole"], parameters=own, inputs={"x": problem.inputs["x"]})
    assert np.array_equal(shut.forward()[0]["h"], plain.forward()[0]["h"])


def test_a_clock_that_always_ticks_is_an_rnn_with_a_masked_matrix():
    problem = make(CELLS["clockwork"], steps=6)
    known = problem.parameters
    awake, _ = run(problem.cell, known, problem.inputs, problem.state, periods=(1, 1, 1))
    plain, _ = run(CELLS["rnn"], known, problem.inputs, problem.state)  # the problem's U is masked already
    assert np.array_equal(awake["h"], plain["h"])


def test_one_module_of_period_one_is_the_rnn():
    problem = make(CELLS["rnn"], steps=6)
    awake, _ = run(CELLS["clockwork"], problem.parameters, problem.inputs, problem.state, periods=(1,))
    assert np.array_equal(awake["h"], problem.forward()[0]["h"])


def test_a_silent_module_copies_state_and_gradient():
    whole = make(CELLS["clockwork"], steps=3, batch=1)  # steps 1 and 2 are silent for the units of period 4
    first = replace(
        whole,
        inputs={"x": whole.inputs["x"][:1]},
        d_outputs={"h": whole.d_outputs["h"][:1]},
    )
    assert np.array_equal(whole.forward()[1]["h"][:, 4:], first.forward()[1]["h"][:, 4:])
    assert np.array_equal(jacobian(whole, "h", "h")[4:], jacobian(first, "h", "h")[4:])


def test_masked_weights_have_no_gradient():
    problem = make(CELLS["clockwork"], steps=6)
    slope = gradient(problem)["parameters", "U"]
    assert not slope[~block_upper(6, PERIODS)].any()
    assert slope[block_upper(6, PERIODS)].all()


def test_a_reservoir_that_contracts_forgets_where_it_began():
    problem = make(CELLS["esn"], steps=200, hidden=6)
    w = problem.constants["W"]
    known = {**problem.constants, "W": 0.8 * w / np.linalg.norm(w, 2), "alpha": np.asarray(0.7)}
    ends = [
        run(problem.cell, known, problem.inputs, {"h": start})[1]["h"]
        for start in (problem.state["h"], -9 * problem.state["h"])
    ]
    close(*ends, 1e-6)


def test_nothing_in_a_reservoir_is_trained():
    assert not CELLS["esn"].parameters
    assert {group for group, _ in gradient(make(CELLS["esn"]))} == {"inputs", "state"}
