"""The tangent of a transpose is the derivative of the transpose.

Truth: SymPy differentiates the composed transposes, and twice the loss of the unrolled cell, with 50 digits.
"""

from random import Random

import mpmath
import numpy as np
import pytest
import sympy

import derive
from derive.build import module_of
from derive.differentiate import vjp
from derive.emit.printer import code
from derive.functions import unstopped
from derive.language import Cell, Eq, H, N, input, matrix, state, tanh, where, x  # noqa: A004
from derive.laws import symbols_of
from derive.program import split
from derive.second import released, vjp_jvp, with_fixed_conditions
from lstm_numba.cpu.interpreted import PlainLayer
from tests.derive.all_cells import EVERY, each
from tests.derive.unrolled import SIZES, STEPS, Unrolled
from tests.derive.user_cells import CELLS

STAGES = [
    pytest.param(stage, id=f"{cell.module}-{number}")
    for cell in EVERY
    for number, stage in enumerate(split(cell).pointwise, 1)
]
every_stage = pytest.mark.parametrize("stage", STAGES)
h, h_prev = state("h")


def composed(equations):
    values = {}
    for name, expression, *_ in equations:
        values[name] = unstopped(expression).xreplace(values)
    return values


@every_stage
def test_tangents_of_adjoints_are_sympys_derivatives_of_the_composed_transpose(stage):
    found, adjoints = vjp_jvp(stage), composed(vjp(with_fixed_conditions(stage)).equations)
    derived, moving = composed(found.equations), dict((*found.incoming, *found.moved))
    for _, d, dot in found.outputs:
        change = released(sum(sympy.diff(adjoints[d], s) * moved for s, moved in moving.items()))
        assert sympy.expand(sympy.numer(sympy.together(derived[dot] - change))) == 0, d


@every_stage
def test_the_adjoints_are_those_of_the_first_order(stage):
    first, both = vjp(stage), vjp_jvp(stage)
    lines = {name.name: code(expression) for name, expression, _ in both.equations}
    assert {name.name: code(expression) for name, expression, _ in first.equations}.items() <= lines.items()
    assert [v.name for v in both.saved] == [v.name for v in first.saved]


@every_stage
def test_each_line_is_assigned_once_after_what_it_reads(stage):
    found = vjp_jvp(stage)
    known = {v.name for pair in (*found.incoming, *found.moved) for v in pair} | {v.name for v in found.saved}
    for name, expression, _ in found.equations:
        assert name.name not in known
        assert {v.name for v in symbols_of(expression)} <= known
        known.add(name.name)


def test_the_lstms_second_order_in_full():
    (stage,) = split(derive.cells["lstm"]).pointwise
    lines = [f"{name} = {code(expression)}" for name, expression, _ in vjp_jvp(stage).equations]
    assert lines[:4] == [
        "d_o = d_h * tanh_c",
        "d_c = d_c_next + d_h * o * (1 - tanh_c * tanh_c)",
        "dot_d_o = d_h * dot_tanh_c + dot_d_h * tanh_c",
        (
            "dot_d_c = dot_d_c_next + d_h * dot_o * (1 - tanh_c * tanh_c) + dot_d_h * o * (1 - tanh_c * tanh_c)"
            " - 2 * d_h * dot_tanh_c * o * tanh_c"
        ),
    ]
    assert "dot_d_z_i = d_i * dot_i * (1 - 2 * i) + dot_d_i * i * (1 - i)" in lines


def test_a_condition_is_0_or_1_and_has_no_tangent_but_as_a_factor_it_has():
    mask = input("mask", H)
    equation = Eq(h, where(mask, tanh(matrix("W", H, N) @ x), h_prev) + mask * h_prev)
    (stage,) = split(Cell(name="mine", title="", year=2024, reference="", equations=[equation])).pointwise
    lines = [f"{name} = {code(expression)}" for name, expression, _ in vjp_jvp(stage).equations]
    assert "d_h_prev = d_h * mask + d_t_h * (1 - mask)" in lines
    assert "dot_d_h_prev = d_h * dot_mask + dot_d_h * mask + dot_d_t_h * (1 - mask)" in lines


# --- The unrolled cell, differentiated twice: T = 3, N = H = 2


def as_given(unrolled, leaves):
    """Leaves of an unrolled cell as arrays: parameters, sequences (T, 1, space), first states (1, space)."""
    cell = unrolled.cell

    def array(name, *shape):
        sizes = tuple(SIZES[space] for space in shape)
        return np.array([float(leaves[f"{name}[{','.join(map(str, at))}]"]) for at in np.ndindex(sizes)]).reshape(sizes)

    given = {**cell.parameters, **cell.constants}
    parameters = {
        name: array(name, *(symbol.shape or ("1",))).reshape([SIZES[s] for s in symbol.shape])
        for name, symbol in given.items()
    }
    sequences = {
        name: np.stack([array(f"{name}@{t}", space) for t in range(STEPS)])[:, None]
        for name, space in cell.inputs.items()
    }
    return parameters, sequences, {name: array(f"{name}_prev", space)[None] for name, space in cell.states.items()}


# one cell of each structure; what stop() cuts is no gradient of anything
UNROLLED = [derive.cells[name] for name in ("rnn", "esn", "clockwork", "gru", "lstm")]
UNROLLED += [CELLS[name] for name in ("fast_grnn", "projected", "slstm")]


def layer_of(cell):
    further = {space: SIZES[space] for space in cell.states.values() if space != "H"}
    periods = {"periods": (1, 2)} if cell.clock else {}
    return PlainLayer(module_of(cell), SIZES["N"], SIZES["H"], dtype="float64", **further, **periods)


def inner(one, other):
    return sum(np.sum(values * other[name]) for name, values in one.items())


@each(UNROLLED)
def test_a_hessian_times_a_direction_is_the_loss_of_the_unrolled_cell_differentiated_twice(cell):
    random, unrolled, layer = Random(3), Unrolled(cell), layer_of(cell)
    fixed = [name for name in unrolled.leaves if name.partition("[")[0] in cell.constants]
    u, v = ({n: 0 if n in fixed else mpmath.mpf(random.randint(-9, 9)) / 7 for n in unrolled.leaves} for _ in range(2))
    with mpmath.workdps(50):
        expected = float(unrolled.twice_along(u, v))
    parameters, sequences, first = as_given(unrolled, unrolled.leaves)
    for name, value in parameters.items():
        ({**layer.parameters, **layer.constants})[name][...] = value
    moved, direction, dot_first = as_given(unrolled, v)
    direction |= {"parameters": {name: moved[name] for name in layer.parameters}, "state": dot_first}
    d_outputs, d_state = cotangents(unrolled)
    main = sequences.pop(layer.spec.main)
    _, found = layer.hvp(main, direction, None, d_state, d_outputs=d_outputs, state=first, **sequences)
    onto, dot_sequences, dot_states = as_given(unrolled, u)
    total = inner(found.parameters, onto) + inner(found.inputs, dot_sequences) + inner(found.state, dot_states)
    assert total == pytest.approx(expected, rel=1e-12)


def cotangents(unrolled):
    """The weights of the loss, of outputs at every step and of the states that are no outputs at the last."""
    cell, weights = unrolled.cell, unrolled.weights
    outputs = {
        name: np.array([[[weights[t, name, j] for j in range(SIZES[cell.states[name]])]] for t in range(STEPS)], float)
        for name in cell.outputs
    }
    others = {name: space for name, space in cell.states.items() if name not in cell.outputs}
    last = {n: np.array([[weights[STEPS - 1, n, j] for j in range(SIZES[s])]], float) for n, s in others.items()}
    return outputs, last
