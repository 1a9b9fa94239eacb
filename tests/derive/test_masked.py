"""Masks inside the recurrence: what the transformed equations say, and that they are cells like any other."""

import pytest

import derive
from derive.emit.printer import equation
from derive.errors import OptionError
from derive.masked import dropped, zoned
from tests.derive.user_cells import CELLS


def lines(cell):
    return [f"{e.lhs} = {equation(e.rhs)}" for e in cell.equations]


def test_gates_and_products_read_what_was_kept_and_the_carry_does_not():
    assert lines(dropped(derive.cells["gru"])) == [
        "kept_h = h_prev * keep_h",
        "r = sigmoid(W_r @ x + U_r @ kept_h + b_r)",
        "z = sigmoid(W_z @ x + U_z @ kept_h + b_z)",
        "rh = kept_h * r",
        "n = tanh(W_n @ x + U_n @ rh + b_n)",
        "h = n * (1 - z) + z * h_prev",
    ]


def test_a_product_in_a_states_own_equation_reads_what_was_kept():
    assert lines(dropped(derive.cells["rnn"])) == ["kept_h = h_prev * keep_h", "h = tanh(W @ x + U @ kept_h + b)"]


def test_every_state_may_stay_and_the_other_equations_read_the_new_values():
    assert lines(zoned(derive.cells["lstm"]))[4:] == [
        "new_c = f * c_prev + g * i",
        "new_h = o * tanh(new_c)",
        "h = h_prev * zone_h + new_h * (1 - zone_h)",
        "c = c_prev * zone_c + new_c * (1 - zone_c)",
    ]


def test_zoneout_of_one_state_leaves_the_others():
    assert list(zoned(derive.cells["lstm"], ["c"]).inputs) == ["x", "zone_c"]


@pytest.mark.parametrize("name", derive.cells)
def test_every_cell_takes_both_masks_and_keeps_outputs_and_parameters(name):
    for cell in derive.cells[name].variants():
        found = zoned(dropped(cell))
        assert found.outputs == cell.outputs
        assert found.shapes == cell.shapes
        assert found.initial == cell.initial
        assert found.name == f"{cell.module}_dropped_zoned"


def test_where_nothing_recurs_there_is_nothing_to_drop():
    with pytest.raises(OptionError, match="nothing to drop"):
        dropped(CELLS["min_gru"])
    with pytest.raises(OptionError, match="no state 'q'"):
        zoned(derive.cells["gru"], ["q"])
