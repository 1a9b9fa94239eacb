"""The whole product in a few seconds: read this first."""

import numpy as np
import pytest

import derive
import lstm_numba as ln
from derive.language import Cell, Eq, H, N, matrix, state, tanh, vector, x

T, B, INPUTS, UNITS = 4, 3, 2, 5


def sequences(seed=0, features=INPUTS):
    return np.random.default_rng(seed).standard_normal((T, B, features))


# --- equations


def test_a_cell_is_its_equations():
    cell = derive.cells["coupled"]
    assert [str(equation.lhs) for equation in cell.equations] == ["i", "f", "g", "o", "c", "h"]
    assert list(cell.states) == ["h", "c"]
    assert cell.shape("W_i") == ("H", "N")


def test_gradients_keep_the_names_of_the_equations():
    lines = str(derive.gradients(derive.cells["lstm"])).splitlines()
    assert "d_c = d_c_next + d_h * o * (1 - tanh_c * tanh_c)" in lines
    assert "d_z_f = d_f * f * (1 - f)" in lines
    assert "d_U_f += outer(d_z_f, h_prev)" in lines


def test_a_wrong_equation_is_one_clear_error():
    h, h_prev = state("h")
    with pytest.raises(derive.DeriveError, match="h"):
        Cell(name="endless", title="", year=2026, reference="", equations=[Eq(h_prev, tanh(h))])


# --- kernels


def test_a_layer_maps_sequences_to_sequences():
    layer = ln.Layer("gru", INPUTS, UNITS, dtype="float64")
    run = layer.forward(sequences())
    assert run.output.shape == (T, B, UNITS)
    np.testing.assert_array_equal(run.state["h"], run.output[-1])


def test_a_gradient_is_the_slope_of_the_loss():
    layer, data, step = ln.Layer("lstm", INPUTS, UNITS, dtype="float64"), sequences(), 1e-6
    gradients = layer.forward(data).backward(np.ones((T, B, UNITS)))

    def loss(change):
        layer.parameters["U_f"][1, 2] += change
        total = layer.forward(data, save=False).output.sum()
        layer.parameters["U_f"][1, 2] -= change
        return total

    slope = (loss(step) - loss(-step)) / (2 * step)
    assert gradients.parameters["U_f"][1, 2] == pytest.approx(slope, rel=1e-6)
    assert gradients.x.shape == data.shape
    assert set(gradients.state) == {"h", "c"}


def test_short_rows_hold_their_state_and_give_zeros():
    layer, data = ln.Layer("lstm", INPUTS, UNITS, dtype="float64"), sequences()
    run = layer.forward(data, lengths=[4, 1, 0])
    assert not run.output[1:, 1].any()
    np.testing.assert_array_equal(run.state["h"][1], run.output[0, 1])
    assert not run.state["h"][2].any()


def test_a_reset_row_starts_again():
    layer, data = ln.Layer("gru", INPUTS, UNITS, dtype="float64"), sequences()
    resets = np.zeros((T, B), bool)
    resets[2] = True
    np.testing.assert_array_equal(layer.forward(data, resets=resets).output[2:], layer.forward(data[2:]).output)


def test_threads_do_not_change_a_bit():
    one, two = (ln.Layer("lstm", INPUTS, UNITS, dtype="float64", threads=threads) for threads in (1, 2))
    first, second = (layer.forward(sequences()).backward(np.ones((T, B, UNITS))) for layer in (one, two))
    np.testing.assert_array_equal(first.parameters.flat, second.parameters.flat)


def test_a_shape_that_does_not_fit_is_one_clear_error():
    with pytest.raises(ln.LstmNumbaError, match="input_size"):
        ln.Layer("lstm", INPUTS, UNITS).forward(np.zeros((T, B, INPUTS + 1), "float32"))


# --- both


def test_a_cell_of_ones_own_takes_four_lines():
    h, h_prev = state("h")
    W, U, b = matrix("W", H, N), matrix("U", H, H), vector("b")
    cell = Cell(name="mine", title="Mine", year=2026, reference="here", equations=[Eq(h, tanh(W @ x + U @ h_prev + b))])
    mine, theirs = derive.build(cell)(INPUTS, UNITS, dtype="float64"), ln.Layer("rnn", INPUTS, UNITS, dtype="float64")
    mine.parameters.flat[:] = theirs.parameters.flat
    np.testing.assert_array_equal(mine.forward(sequences()).output, theirs.forward(sequences()).output)
