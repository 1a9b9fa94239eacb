"""Costs against what is known: parameter counts of the papers, shapes, and the text that runs."""

import math

import pytest
import sympy

import derive
from derive.cost import MODULES, B, T, applications, cost, operations
from derive.expression import parse_expression
from derive.parse import parse
from derive.symbols import Vector
from tests.derive.all_cells import EVERY, each

H, N, P = sympy.symbols("H N P", integer=True, positive=True)
P1 = H * (N + H + 1)

PARAMETERS = {
    "rnn": P1,
    "lstm1997": 3 * P1,
    "lstm": 4 * P1,
    "peephole": 4 * P1 + 3 * H,
    "lstm_projected": 4 * H * (N + P + 1) + P * H,
    "coupled": 3 * P1,
    "esn": 0,
    "clockwork": H * N + H**2 * (MODULES + 1) / (2 * MODULES) + H,
    "gru": 3 * P1,
    "gru_reset_after": 3 * P1 + H,
    "depth_gated": 4 * P1 + H * N + H + 5 * H,
}


@pytest.mark.parametrize("name", derive.cells)
def test_a_cell_has_as_many_parameters_as_its_paper_says(name):
    assert sympy.simplify(cost(derive.cells[name]).parameters - PARAMETERS[name]) == 0


SIZES = {"N": 3, "H": 4, "P": 5, "R": 6, "1": 1}


@each([cell for cell in EVERY if cell.name != "clockwork"])
def test_parameters_are_the_sizes_of_the_shapes(cell):
    counted = cost(cell).parameters
    expected = sum(math.prod(SIZES[space] for space in shape) for shape in cell.shapes.values())
    assert counted.subs({symbol: SIZES[symbol.name] for symbol in counted.free_symbols}) == expected


def test_the_lstm_costs_what_its_products_cost_and_a_little():
    counted = cost(derive.cells["lstm"])
    assert counted.forward.coeff(N) == 8 * H  # four products with x, 2 H N each
    assert counted.forward.coeff(H, 2) == 8
    assert counted.backward.coeff(N) == 16 * H
    assert counted.backward.coeff(H, 2) == 16
    assert counted.forward_applications == 5 * H
    assert counted.backward_applications == 0
    assert counted.sequence_forward == sympy.expand(T * B * (counted.forward + 5 * H))
    assert counted.tape == 6 * H  # i f g o, tanh_c and the history of c


def test_what_a_later_product_multiplies_is_kept_too():
    assert cost(derive.cells["gru"]).tape == 4 * H  # r z n, and r * h_prev for the gradient of U_n


def test_a_reservoir_has_no_weight_gradient_to_compute():
    counted = cost(derive.cells["esn"])
    assert counted.parameters == 0
    assert counted.backward.coeff(H, 2) == 2
    assert cost(derive.cells["rnn"]).backward.coeff(H, 2) == 4


def test_a_truncated_gradient_saves_the_products_with_the_transposed_weights():
    full, truncated = (cost(derive.cells["lstm1997"].variant(truncated=flag)) for flag in (False, True))
    assert sympy.expand(full.backward - truncated.backward).coeff(H, 2) == 6


def test_bytes_scale_with_the_size_of_a_number():
    single, double = (cost(derive.cells["gru"], itemsize) for itemsize in (4, 8))
    assert sympy.expand(double.bytes_forward - 2 * single.bytes_forward) == 0
    assert sympy.expand(double.bytes_backward - 2 * single.bytes_backward) == 0


def test_a_long_batch_is_worth_more_operations_a_byte():
    counted = cost(derive.cells["lstm"])
    intensity = [float.__truediv__(*counted.example(T=100, B=rows, N=256, H=256)) for rows in (1, 16, 64)]
    assert intensity == sorted(intensity)


COUNTED = {
    "a": 0, "-a": 0, "a + b": 1, "a - 2*b": 2, "a*a*b": 2, "a/b": 1, "1/a": 1, "1 - a**3": 3, "(1 - a)*b": 2, "a**9": 1,
}  # fmt: skip


@pytest.mark.parametrize("text", COUNTED)
def test_operations_are_counted_as_they_are_printed(text):
    assert operations(parse_expression(text, {name: Vector(name, "value") for name in "ab"})) == COUNTED[text]


def test_functions_are_counted_apart_and_stop_is_free():
    expression = parse_expression("tanh(a) + sigmoid(stop(a)) * exp(-a)", {"a": Vector("a", "value")})
    assert (operations(expression), applications(expression)) == (2, 3)


def test_a_projection_brings_its_own_size():
    cell = parse("states: h[P]\nparameters: W[H,N] V[P,H]\nm = W @ x\nh = V @ m")
    P = sympy.Symbol("P", integer=True, positive=True)
    assert sympy.expand(cost(cell).parameters - (H * N + H * P)) == 0
