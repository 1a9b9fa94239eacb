"""Cells of a structure that none of the package's has, built from their equations.

Truth: differences of the loss.  What all cells have in common is tested in `tests/verify`.
"""

import numpy as np
import pytest

import derive
from derive.language import Cell, Eq, H, N, input, matrix, scalar, sigmoid, state, tanh, value, vector, x  # noqa: A004
from lstm_numba.errors import ArgumentError, OptionError
from tests.layers import numbers_for, slopes

h, h_prev = state("h")


def cell(name, *equations):
    return Cell(name=name, title=name, year=2026, reference="test", equations=equations)


def made(name, *equations, **sizes):
    layer = derive.build(cell(name, *equations))(3, 5, dtype="float64", **sizes)
    layer.parameters.flat[...] = np.random.default_rng(0).normal(0, 0.5, layer.parameters.flat.size)
    return layer


def check(layer):
    for batch in (1, 7):
        difference, pulled = slopes(layer, numbers_for(layer, 3, batch))
        assert pulled == pytest.approx(difference, rel=1e-8)


def test_a_cell_without_a_product():
    keep, new, v = input("keep", H), input("new", H), vector("v")
    layer = made("no_product", Eq(h, keep * h_prev + (1 - keep) * v * new))
    assert layer.spec.main == "keep"
    check(layer)


def test_x_comes_first_also_where_another_sequence_is_read_before_it():
    mask, a = input("mask", H), value("a")
    layer = made("mask_first", Eq(a, mask * h_prev), Eq(h, tanh(matrix("W", H, N) @ x + matrix("U", H, H) @ a)))
    assert layer.spec.main == "x"
    run = layer.forward(np.ones((2, 4, 3)), mask=np.ones((2, 4, 5)))
    assert run.backward(run.output).x.shape == (2, 4, 3)
    check(layer)


def test_a_space_of_its_own_has_its_size():
    m, W_m = value("m", "P"), matrix("W_m", "P", N)
    equations = Eq(m, tanh(W_m @ x)), Eq(h, sigmoid(matrix("U_m", H, "P") @ m) * h_prev + vector("b"))
    layer = made("own_space", *equations, P=2)
    assert layer.parameters["W_m"].shape == (2, 3)
    check(layer)
    with pytest.raises(ArgumentError, match="has a space P: give its size"):
        made("own_space", *equations)
    with pytest.raises(OptionError, match="P must be at least 1"):
        made("own_space", *equations, P=0)


def test_a_number_that_two_spaces_read_has_one_gradient():
    q, q_prev = state("q", "P")
    s, W_q = scalar("s"), matrix("W_q", "P", N)
    equations = Eq(q, tanh(s * (W_q @ x) + q_prev)), Eq(h, s * h_prev + matrix("V", H, "P") @ q)
    check(made("number", *equations, P=40))


def test_a_parameter_is_multiplied():
    check(made("given", Eq(h, tanh(matrix("W", H, N) @ x + matrix("U", H, H) @ vector("b")) * h_prev)))


def test_a_cell_that_reads_no_sequence_is_one_clear_error():
    with pytest.raises(ArgumentError, match="reads no sequence"):
        made("silent", Eq(h, tanh(vector("u") * h_prev)))
