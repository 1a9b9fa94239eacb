"""The split: which sums become slots, what gets a name, what runs when."""

import pytest

import derive
from derive.emit.printer import code
from derive.language import Cell, Eq, H, N, matrix, sigmoid, state, stop, tanh, values, vector, vectors, x
from derive.laws import symbols_of
from derive.program import Affine, Pointwise, split
from tests.derive.all_cells import EVERY, each
from tests.derive.user_cells import CELLS

h, h_prev = state("h")
i, v = values("i v")
W, U, b = matrix("W", H, N), matrix("U", H, H), vector("b")
p, k = vectors("p k")


def make(*equations):
    return Cell(name="mine", title="", year=2024, reference="", equations=equations)


def text(stage):
    """A stage in one string a line."""
    if isinstance(stage, Pointwise):
        return [f"{name} = {code(expression)}" for name, expression in stage.equations]
    return [
        f"{slot.name} = {' + '.join([f'{m} @ {w}' for m, w in slot.terms] + ([str(slot.bias)] if slot.bias else []))}"
        for slot in stage.slots
    ]


def shape(cell):
    return [(type(stage).__name__, stage.level, stage.space) for stage in split(cell).stages]


def test_an_lstm_is_four_products_and_scalar_mathematics():
    affine, pointwise = split(derive.cells["lstm"]).stages
    assert text(affine) == [f"z_{gate} = W_{gate} @ x + U_{gate} @ h_prev + b_{gate}" for gate in "ifgo"]
    assert text(pointwise) == [
        "i = sigmoid(z_i)",
        "f = sigmoid(z_f)",
        "g = tanh(z_g)",
        "o = sigmoid(z_o)",
        "c = f * c_prev + g * i",
        "tanh_c = tanh(c)",
        "h = o * tanh_c",
    ]
    assert [v.name for v in pointwise.reads] == ["z_i", "z_f", "z_g", "z_o", "c_prev"]
    assert [v.name for v in pointwise.writes] == ["h", "c"]


def test_products_into_several_spaces_are_followed_by_their_own_mathematics():
    q, q_prev = state("q", "Q")
    into_h = Eq(h, tanh(W @ x + U @ h_prev))
    into_q = Eq(q, matrix("V", "Q", N) @ x + q_prev)
    assert shape(make(into_h, into_q)) == [
        ("Affine", 1, H), ("Pointwise", 1, H), ("Affine", 1, "Q"), ("Pointwise", 1, "Q"),
    ]  # fmt: skip


def test_a_sum_that_several_stages_read_is_a_value_of_its_own_stage():
    a, r = values("a r")
    cell = make(Eq(a, W @ x + U @ h_prev), Eq(r, sigmoid(a) * h_prev), Eq(h, tanh(matrix("V", H, H) @ r) * a))
    first, second = split(cell).pointwise
    assert text(first)[0] == "a = z_a"
    assert [(v.name, v.role) for v in second.reads] == [("z_h", "slot"), ("a", "value")]


def test_equal_sums_in_several_stages_are_one_value():
    (r,) = values("r")
    cell = make(Eq(r, sigmoid(W @ x) * h_prev), Eq(h, tanh(U @ r) * (W @ x)))
    first, second = split(cell).pointwise
    assert text(first)[0] == "a_r = z_r"
    assert "a_r" not in {v.name for v in second.reads if v.role == "slot"}


def test_a_parameter_multiplied_as_it_is_and_under_stop_has_two_names():
    first, *_ = split(make(Eq(h, tanh(U @ p + U @ stop(p) + W @ x) * h_prev))).stages
    assert sorted(text(first)) == ["p_held = p", "p_held_2 = p"]


def test_a_vector_has_one_matrix_in_a_slot():
    affine, pointwise = split(make(Eq(h, tanh(W @ x + U @ h_prev + matrix("V", H, N) @ x + b)))).stages
    assert text(affine) == ["z_h_2 = W @ x", "z_h = V @ x + U @ h_prev + b"]
    assert text(pointwise)[0] == "a_h = z_h + z_h_2"


def test_a_sum_that_is_multiplied_under_stop_only_is_a_value():
    (v,) = values("v")
    stages = split(make(Eq(v, W @ x + b), Eq(h, tanh(U @ stop(v)) + h_prev))).stages
    assert text(stages[1]) == ["v = z_v"]


def test_a_stopped_input_is_a_value_that_gives_no_adjoint_back():
    cell = make(Eq(h, tanh(W @ stop(x) + U @ h_prev)))
    stages = split(cell).stages
    assert text(stages[0]) == ["x_held = x"]
    assert text(stages[1]) == ["z_h = U @ h_prev + W @ x_held"]


SHAPES = {
    "lstm": [("Affine", 1, H), ("Pointwise", 1, H)],
    "gru": [("Affine", 1, H), ("Pointwise", 1, H), ("Affine", 2, H), ("Pointwise", 2, H)],
    "gru_reset_after": [("Affine", 1, H), ("Pointwise", 1, H)],
    "depth_gated": [("Affine", 1, H), ("Pointwise", 1, H)],
    "lstm1997": [("Affine", 1, H), ("Pointwise", 1, H)],
    "projected": [("Affine", 1, H), ("Pointwise", 1, H), ("Affine", 2, "P"), ("Pointwise", 2, "P")],
    "lem": [("Affine", 1, H), ("Pointwise", 1, H), ("Affine", 2, H), ("Pointwise", 2, H)],
    "multiplicative": [("Affine", 1, H), ("Pointwise", 1, H), ("Affine", 2, H), ("Pointwise", 2, H)],
    "mut3": [
        ("Pointwise", 0, H),
        ("Affine", 1, H),
        ("Pointwise", 1, H),
        ("Affine", 2, H),
        ("Pointwise", 2, H),
    ],
    "deep": [("Affine", 1, H), ("Pointwise", 1, H), ("Affine", 2, H), ("Pointwise", 2, H)],
    "plain": [("Pointwise", 0, H)],
}


@pytest.mark.parametrize("name", SHAPES)
def test_stages_alternate_as_the_products_do(name):
    assert shape(CELLS[name] if name in CELLS else derive.cells[name]) == SHAPES[name]


def test_further_terms_of_a_pre_activation_stay_pointwise():
    affine, pointwise = split(make(Eq(h, sigmoid(W @ x + U @ h_prev + p * h_prev + b)))).stages
    assert text(affine) == ["z_h = W @ x + U @ h_prev + b"]
    assert text(pointwise) == ["a_h = z_h + p * h_prev", "h = sigmoid(a_h)"]


def test_a_bias_that_occurs_twice_is_no_part_of_a_slot():
    affine, pointwise = split(make(Eq(h, sigmoid(W @ x + b) * b))).stages
    assert text(affine) == ["z_h = W @ x"]
    assert "a_h = b + z_h" in text(pointwise)


def test_several_sums_of_an_equation_are_numbered_from_the_outside_in():
    affine, _ = split(make(Eq(h, tanh(W @ x + b + p * (U @ h_prev + k))))).stages
    assert text(affine) == ["z_h = W @ x + b", "z_h_2 = U @ h_prev + k"]


def test_a_sum_keeps_together_under_a_common_factor():
    affine, pointwise = split(make(Eq(h, tanh(-(W @ x + U @ h_prev + b)) + 2 * (U @ h_prev)))).stages
    assert sorted(text(affine)) == ["z_h = U @ h_prev", "z_h_2 = W @ x + U @ h_prev + b"]
    assert "a_h = -z_h_2" in text(pointwise)


def test_equal_sums_share_a_slot():
    affine, pointwise = split(make(Eq(i, sigmoid(W @ x)), Eq(h, i * tanh(W @ x)))).stages
    assert text(affine) == ["z_i = W @ x"]
    assert text(pointwise) == ["i = sigmoid(z_i)", "tanh_z_i = tanh(z_i)", "h = i * tanh_z_i"]


def test_an_exactly_affine_value_is_the_slot_itself_but_a_state_keeps_its_line():
    assert text(split(CELLS["min_gru"]).stages[0]) == ["z_z = W_z @ x", "n = W_n @ x"]
    assert text(split(CELLS["projected"]).stages[2]) == ["z_q = W_qm @ m"]
    assert text(split(CELLS["projected"]).stages[3]) == ["q = z_q"]


def test_what_a_product_multiplies_is_a_value_also_where_it_is_exactly_affine():
    first, copied, second, _ = split(CELLS["deep"]).stages
    assert text(first) == ["z_g = U_g @ h_prev + b_g"]
    assert text(copied) == ["g = z_g"]
    assert text(second) == ["z_h_2 = W_n @ x + U_n @ g", "z_h = U_m @ g"]
    assert second.slots[0].operands[1].role == "value"


def test_an_application_used_twice_has_one_name():
    lines = text(split(make(Eq(i, tanh(h_prev) * p), Eq(h, tanh(h_prev) + i))).stages[0])
    assert lines == ["tanh_h_prev = tanh(h_prev)", "i = p * tanh_h_prev", "h = i + tanh_h_prev"]


def test_new_names_avoid_those_of_the_cell():
    a_h, tanh_h_prev = vectors("a_h tanh_h_prev")
    lines = text(split(make(Eq(h, tanh(h_prev) + sigmoid(a_h * h_prev) + tanh_h_prev))).stages[0])
    assert "tanh_h_prev_2 = tanh(h_prev)" in lines
    assert "a_h_2 = a_h * h_prev" in lines


def test_scalar_mathematics_that_no_product_waits_for_runs_after_the_first_products():
    waits, late = values("waits late")
    stages = split(make(Eq(waits, p * h_prev), Eq(late, k * h_prev), Eq(h, U @ waits + late))).stages
    assert [type(stage) for stage in stages] == [Pointwise, Affine, Pointwise]
    assert text(stages[0]) == ["waits = p * h_prev"]
    assert text(stages[2]) == ["late = k * h_prev", "h = late + z_h"]


def test_a_stopped_operand_is_read_by_the_product_and_marked():
    affine, pointwise = split(make(Eq(h, tanh(W @ x + U @ stop(h_prev))))).stages
    assert [(w.name, w.stopped) for w in affine.slots[0].operands] == [("x", False), ("h_prev", True)]
    assert [w.name for w in pointwise.reads] == ["z_h"]


def test_slots_stand_so_that_the_slots_of_an_operand_are_one_run():
    affine = split(derive.cells["gru_reset_after"]).stages[0]
    assert [slot.name for slot in affine.slots] == ["z_n", "z_r", "z_z", "z_n_2"]
    assert [slot.rank for slot in affine.slots] == [0, 1, 1, 2]


def test_a_stage_reads_slots_states_inputs_clock_values_parameters_in_this_order():
    reads = split(derive.cells["depth_gated"]).stages[1].reads
    assert [w.role for w in reads] == ["slot"] * 5 + ["previous", "input"] + ["parameter"] * 5
    assert [w.name for w in split(derive.cells["clockwork"]).stages[1].reads] == ["z_h", "h_prev", "tick"]
    assert [w.name for w in split(CELLS["lem"]).stages[3].reads] == ["z_y", "y_prev", "D_1"]


@each(EVERY)
def test_every_name_is_written_before_it_is_read(cell):
    known = {*cell.inputs, *cell.parameters, *cell.constants, *(f"{state}_prev" for state in cell.states)}
    known |= {name for name, symbol in cell.symbols.items() if symbol.role == "clock"}
    for stage in split(cell).stages:
        if isinstance(stage, Affine):
            assert all(w.name in known for slot in stage.slots for w in slot.operands)
            known |= {slot.name for slot in stage.slots}
            continue
        assert {w.name for w in stage.reads} <= known
        inside = {w.name for w in stage.reads}
        for name, expression in stage.equations:
            assert {w.name for w in symbols_of(expression)} <= inside
            assert name.space == stage.space
            inside.add(name.name)
        known |= {w.name for w in stage.writes}
    assert set(cell.states) <= known


@each(EVERY)
def test_every_state_is_written_once_and_every_parameter_is_used(cell):
    program = split(cell)
    written = [w.name for stage in program.pointwise for w in stage.writes]
    assert sorted(name for name in written if name in cell.states) == sorted(cell.states)
    used = {m.name for stage in program.affine for slot in stage.slots for m, _ in slot.terms}
    used |= {slot.bias.name for stage in program.affine for slot in stage.slots if slot.bias is not None}
    used |= {w.name for stage in program.pointwise for w in stage.reads}
    assert {*cell.parameters, *cell.constants} <= used
