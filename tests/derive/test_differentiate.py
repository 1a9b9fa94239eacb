"""The derivation is the derivative.  Mathematical truth: SymPy differentiates composed stages and unrolled cells."""

from random import Random

import mpmath
import pytest
import sympy

import derive
from derive.differentiate import DOT_STOP, PASSIVE, Transpose, Vjp, adjoint, gradients, jvp, partials, tangent, vjp
from derive.emit.printer import code
from derive.functions import Elementwise, unstopped
from derive.language import Cell, Eq, H, N, clock, matrix, sigmoid, state, stop, tanh, value, vector, where, x
from derive.laws import symbols_of
from derive.parse import parse
from derive.program import split
from tests.derive.all_cells import EVERY, each
from tests.derive.unrolled import Unrolled
from tests.derive.user_cells import CELLS

h, h_prev = state("h")
c, c_prev = state("c")
W, U, b, p = matrix("W", H, N), matrix("U", H, H), vector("b"), vector("p")


def composed(stage):
    """Line -> its expression in what the stage reads."""
    values = {}
    for name, expression in stage.equations:
        values[name] = expression.xreplace(values)
    return values


def settled(derivation, stage):
    """Derived name -> its expression in incoming names and what the stage reads."""
    values = composed(stage)
    derived = {}
    for name, expression, _ in derivation.equations:
        derived[name] = expression.xreplace(derived).xreplace(values)
    return derived


def is_zero(expression):
    return sympy.expand(expression) == 0 or sympy.simplify(sympy.together(expression)) == 0


def stages(cells):
    return [
        pytest.param(stage, id=f"{cell.module}-{number}")
        for cell in cells
        for number, stage in enumerate(split(cell).pointwise, 1)
    ]


every_stage = pytest.mark.parametrize("stage", stages(EVERY))


@every_stage
def test_adjoints_are_sympys_derivatives_of_the_composed_stage(stage):
    found, values = vjp(stage), composed(stage)
    objective = sum(d * values[write] for write, d in zip(stage.writes, found.incoming, strict=True))
    derived = settled(found, stage)
    given = dict(found.outputs)
    for v in stage.reads:
        if v.role not in PASSIVE:
            ours = derived[given[v]] if v in given else 0
            assert is_zero(sympy.diff(objective, v) - ours), v


@every_stage
def test_tangents_are_sympys_derivatives_of_the_composed_stage(stage):
    found, values = jvp(stage), composed(stage)
    derived = settled(found, stage)
    for write, dot in zip(stage.writes, found.outputs, strict=True):
        for lets_through, written in ((0, values[write]), (1, unstopped(values[write]))):
            slope = sum(sympy.diff(written, v) * dot_v for v, dot_v in found.incoming)
            assert is_zero(unstopped(slope - derived[dot].xreplace({DOT_STOP: sympy.Integer(lets_through)})))


@every_stage
def test_each_adjoint_is_assigned_once_after_what_it_reads(stage):
    for found in (vjp(stage), jvp(stage)):
        incoming = found.incoming if isinstance(found, Vjp) else tuple(dot for _, dot in found.incoming)
        known = {*incoming, *found.saved, DOT_STOP}
        for name, expression, _ in found.equations:
            assert name not in known
            assert set(symbols_of(expression)) <= known
            known.add(name)


@every_stage
def test_only_what_is_used_is_saved_and_both_sweeps_save_the_same(stage):
    stops = any(expression.has(DOT_STOP) for _, expression, _ in jvp(stage).equations)
    assert vjp(stage).saved == jvp(stage).saved or (
        stops and set(vjp(stage).saved) < {*jvp(stage).saved, *stage.writes}
    )
    assert all(v in (*stage.reads, *(name for name, _ in stage.equations)) for v in vjp(stage).saved)


@every_stage
def test_what_has_no_derivative_gets_no_adjoint(stage):
    assert not [v for v, _ in vjp(stage).outputs if v.role in PASSIVE]


# --- The unrolled cell: T = 3, N = H = 2, 50 digits


@each(EVERY)
def test_backpropagation_through_time_is_the_derivative_of_the_unrolled_cell(cell):
    random = Random(7)
    with mpmath.workdps(50):
        unrolled = Unrolled(cell)
        fixed = [name for name in unrolled.leaves if name.partition("[")[0] in cell.constants]
        direction = {name: mpmath.mpf(0 if name in fixed else random.randint(1, 9)) for name in unrolled.leaves}
        ours = mpmath.fsum(unrolled.derived[name] * direction[name] for name in unrolled.leaves)
        assert mpmath.almosteq(unrolled.along(direction), ours, rel_eps=mpmath.mpf(10) ** -45)
        assert all(unrolled.derived[name] == 0 for name in fixed)


NESTED = [derive.cells["rnn"], derive.cells["esn"], derive.cells["clockwork"], CELLS["min_gru"], CELLS["ind_rnn"]]


@each(NESTED)
def test_every_single_derivative_is_that_of_one_nested_expression(cell):
    with mpmath.workdps(50):
        unrolled = Unrolled(cell)
        for name in unrolled.leaves:
            if name.partition("[")[0] not in cell.constants:
                assert mpmath.almosteq(unrolled.nested(name), unrolled.derived[name], 1e-45, 1e-45), name


def test_the_comparison_notices_a_gradient_that_is_not_stopped():
    with mpmath.workdps(50):
        full, truncated = (Unrolled(cell) for cell in derive.cells["lstm1997"].variants())
        object.__setattr__(truncated, "leaves", full.leaves)
        assert abs(full.derived["W_i[0,0]"] - truncated.derived["W_i[0,0]"]) > 1e-6


# --- What the text says


def lines(found):
    return [f"{name} = {code(expression)}" for name, expression, _ in found.equations]


def stage_of(*equations):
    cell = Cell(name="mine", title="", year=2024, reference="", equations=equations)
    return split(cell).pointwise[-1]


def test_the_lstm_is_differentiated_as_in_a_textbook():
    found = vjp(split(derive.cells["lstm"]).pointwise[0])
    assert lines(found) == [
        "d_o = d_h * tanh_c",
        "d_c = d_c_next + d_h * o * (1 - tanh_c * tanh_c)",
        "d_i = d_c * g",
        "d_f = d_c * c_prev",
        "d_g = d_c * i",
        "d_c_prev = d_c * f",
        "d_z_i = d_i * i * (1 - i)",
        "d_z_f = d_f * f * (1 - f)",
        "d_z_g = d_g * (1 - g * g)",
        "d_z_o = d_o * o * (1 - o)",
    ]
    assert [v.name for v in found.incoming] == ["d_h", "d_c_next"]
    assert [v.name for v in found.saved] == ["c_prev", "i", "f", "g", "o", "tanh_c"]
    assert [(v.name, d.name) for v, d in found.outputs][-2:] == [("z_o", "d_z_o"), ("c_prev", "d_c_prev")]


def test_a_peephole_passes_the_output_gates_error_to_the_new_cell_first():
    found = lines(vjp(split(derive.cells["peephole"]).pointwise[0]))
    assert "d_c = d_c_next + d_a_o * p_o + d_h * o * (1 - tanh_c * tanh_c)" in found
    assert "d_c_prev = d_a_f * p_f + d_a_i * p_i + d_c * f" in found
    assert "d_p_o = d_a_o * c" in found


def test_a_value_that_a_later_stage_needs_too_receives_from_both():
    gate = value("gate")
    stage = split(
        Cell(
            name="mine", title="", year=2024, reference="",
            equations=[Eq(gate, sigmoid(W @ x)), Eq(c, gate * c_prev), Eq(h, tanh(U @ c) * gate)],
        )
    ).pointwise[0]  # fmt: skip
    found = vjp(stage)
    assert [d.name for d in found.incoming] == ["d_c", "d_gate_later"]
    assert "d_gate = d_gate_later + d_c * c_prev" in lines(found)


def test_derivatives_of_functions_use_their_outputs():
    y, u = value("y"), value("u")
    assert partials(y, sigmoid(u)) == {u: y * (1 - y)}
    assert partials(y, tanh(u)) == {u: 1 - y**2}
    assert all(isinstance(f, Elementwise) for f in (sigmoid(u), tanh(u)))


def test_clocks_constants_and_stopped_values_have_no_derivative():
    tick, fixed = clock(), vector("fixed", role="constant")
    found = vjp(stage_of(Eq(h, where(tick, fixed * h_prev, stop(p) + p * stop(h_prev)))))
    assert [v.name for v, _ in found.outputs] == ["h_prev", "p"]
    found = vjp(stage_of(Eq(h, stop(h_prev) * fixed)))
    assert (found.outputs, found.equations, found.saved) == ((), (), ())


def test_a_value_that_does_not_move_has_tangent_zero():
    tick, fixed = clock(), vector("fixed", role="constant")
    found = jvp(stage_of(Eq(h, tick * fixed)))
    assert lines(found) == ["dot_h = 0"]
    assert found.incoming == ()


def test_along_a_tangent_stop_has_the_slope_dot_stop():
    assert lines(jvp(stage_of(Eq(h, stop(h_prev))))) == ["dot_h = dot_h_prev * dot_stop"]
    assert lines(jvp(stage_of(Eq(h, h_prev - stop(h_prev))))) == ["dot_h = dot_h_prev * (1 - dot_stop)"]


def test_an_affine_stage_is_transposed():
    transpose = Transpose(split(derive.cells["rnn"]).affine[0])
    assert list(transpose.lines()) == [
        "d_x += W.T @ d_z_h",
        "d_h_prev += U.T @ d_z_h",
        "d_W += outer(d_z_h, x)",
        "d_U += outer(d_z_h, h_prev)",
        "d_b += d_z_h",
    ]


def test_a_transposed_matrix_is_transposed_back_and_its_gradient_too():
    transpose = Transpose(split(CELLS["tied"]).affine[-1])
    assert list(transpose.lines()) == [
        "d_h += W @ d_z_y",
        "d_m += W @ d_z_y",
        "d_W += outer(h, d_z_y) + outer(m, d_z_y)",
    ]


def test_a_stopped_operand_gets_nothing_but_its_matrix_does():
    transpose = Transpose(split(derive.cells["lstm1997"].variant(truncated=True)).affine[0])
    assert [v.name for v in transpose.operands] == ["x"]
    assert [m.name for m in transpose.matrices] == ["W_i", "U_i", "W_g", "U_g", "W_o", "U_o"]


def test_constants_of_a_reservoir_get_nothing_but_pass_errors_on():
    transpose = Transpose(split(derive.cells["esn"]).affine[0])
    assert [v.name for v in transpose.operands] == ["x", "h_prev"]
    assert (transpose.matrices, transpose.biases) == ({}, {})


def test_time_is_stated_once():
    derivation = gradients(derive.cells["lstm"])
    assert derivation.recursion == {
        "h": "dL_t/dh_t + d_h_prev of step t+1",
        "c": "d_c_prev of step t+1",
    }
    assert str(derivation).startswith("# time: what step t receives\nd_h = dL_t/dh_t + d_h_prev of step t+1\n")
    assert [type(stage).__name__ for stage in gradients(derive.cells["gru"]).stages] == ["Vjp", "Transpose"] * 2


def test_names_of_adjoints_and_tangents():
    assert (adjoint(c).name, adjoint(c, "_next").name, tangent(c).name) == ("d_c", "d_c_next", "dot_c")


def test_the_direct_path_through_the_cell_of_a_peephole_lstm_is_not_only_the_forget_gate():
    # d c / d c_prev = f + c_prev f (1 - f) p_f + g i (1 - i) p_i, h_prev held fixed
    stage = split(derive.cells["peephole"]).pointwise[0]
    v = {symbol.name: symbol for symbol in [*stage.reads, *(name for name, _ in stage.equations)]}
    values = composed(stage)
    i, f, g = (values[v[name]] for name in "ifg")
    said = f + c_prev * f * (1 - f) * v["p_f"] + g * i * (1 - i) * v["p_i"]
    assert is_zero(sympy.diff(values[v["c"]], c_prev) - said)


def test_a_slot_that_only_stop_reads_has_the_adjoint_zero():
    cell = parse("states: h\nparameters: W[H,N] U[H,H] p\nh = stop(tanh(W @ x + U @ h_prev)) * p")
    found = vjp(split(cell).pointwise[0])
    assert ("d_z_h", 0) in [(name.name, expression) for name, expression, _ in found.equations]
    assert [v.name for v, _ in found.outputs] == ["p", "z_h"]
