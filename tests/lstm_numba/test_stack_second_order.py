"""Directions through layers on top of each other.

Truth: differences of the stack's own forward and backward, the transpose and the symmetry of what is linear, torch's
double backward, and a single layer.
"""

import copy

import numpy as np
import pytest
import torch

import lstm_numba as ln
from lstm_numba import interchange
from lstm_numba.errors import ArgumentError, ShapeError, TapeError
from tests.layers import farther_apart, other_bits

STEPS, BATCH, INPUT, HIDDEN = 5, 4, 3, 6
STENCIL, SPACING = {1: 3 / 4, 2: -3 / 20, 3: 1 / 60}, 1e-3
WAYS = {"lengths": np.array([5, 0, 2, 4]), "resets": np.random.default_rng(5).random((STEPS, BATCH)) < 0.3}
STACKS = {
    "three layers": ("lstm", {"layers": 3}),
    "both directions": ("gru", {"layers": 2, "bidirectional": True}),
    "cells handed upwards": ("depth_gated", {"layers": 3}),
    "cells handed upwards, both directions": ("depth_gated", {"layers": 2, "bidirectional": True}),
    "projected": ("lstm_projected", {"layers": 2, "bidirectional": True, "P": 4}),
}
each_stack = pytest.mark.parametrize(("cell", "options"), STACKS.values(), ids=STACKS)


class Problem:
    """A stack and everything that its runs read, as one vector: x, parameters, first states."""

    def __init__(self, cell, options, seed=0):
        self.stack, self.random = ln.Stack(cell, INPUT, HIDDEN, dtype="float64", **options), np.random.default_rng(seed)
        first = self.stack.forward(np.zeros((STEPS, BATCH, INPUT)))
        self.shapes = {
            "x": (STEPS, BATCH, INPUT),
            **{("parameters", name): array.shape for name, array in self.stack.parameters.items()},
            **{("state", name): rows.shape for name, rows in first.state.items()},
        }
        self.given = {"output": first.output.shape, **{name: rows.shape for name, rows in first.state.items()}}
        self.start, self.d = self.drawn(self.shapes), self.drawn(self.given)

    def drawn(self, shapes):
        return {name: self.random.normal(0, 0.6, shape) for name, shape in shapes.items()}

    def run(self, at=None, **options):
        """A forward of a copy of the stack from these values."""
        values, stack = at or self.start, copy.deepcopy(self.stack)
        read = grouped(values)
        for name, array in read["parameters"].items():
            stack.parameters[name] = array
        return stack.forward(read["x"], read["state"], **WAYS, **options)


def grouped(values):
    found = {"x": values["x"], "parameters": {}, "state": {}}
    for name, array in values.items():
        if name != "x":
            found[name[0]][name[1]] = array
    return found


def state_of(values):
    return {name: array for name, array in values.items() if name != "output"}


def given_by(run):
    return {"output": run.output, **run.state}


def gradients_of(found):
    parameters, state = ({(kind, n): a for n, a in getattr(found, kind).items()} for kind in ("parameters", "state"))
    return {"x": found.x, **parameters, **state}


def inner(one, other):
    assert one.keys() == other.keys()
    return float(sum(np.sum(array * other[name]) for name, array in one.items()))


def pulled(run, d):
    return gradients_of(run.backward(d["output"], state_of(d)))


def curved(run, v, d, dot_d=None):
    changes = {"dot_d_output": dot_d["output"], "dot_d_state": state_of(dot_d)} if dot_d else {}
    return gradients_of(run.hvp(grouped(v), d["output"], state_of(d), **changes))


@each_stack
def test_jvp_and_hvp_are_the_differences_of_forwards_and_backwards(cell, options):
    problem = Problem(cell, options)
    v, dot_d = problem.drawn(problem.shapes), problem.drawn(problem.given)

    def at(distance):
        run = problem.run({name: array + distance * v[name] for name, array in problem.start.items()})
        d = {name: array + distance * dot_d[name] for name, array in problem.d.items()}
        return {**given_by(run), **pulled(run, d)}

    ends = {sign * k: at(sign * k * SPACING) for k in STENCIL for sign in (1, -1)}
    run = problem.run()
    found = {**given_by(run.jvp(grouped(v))), **curved(run, v, problem.d, dot_d)}
    slopes = {
        name: sum(weight * (ends[k][name] - ends[-k][name]) for k, weight in STENCIL.items()) / SPACING
        for name in found
    }
    assert farther_apart(found, slopes, 1e-8) == []


@each_stack
def test_jvp_is_the_transpose_of_the_backward(cell, options):
    problem = Problem(cell, options)
    run, v = problem.run(), problem.drawn(problem.shapes)
    pushed = inner(problem.d, given_by(run.jvp(grouped(v))))
    assert pushed == pytest.approx(inner(pulled(run, problem.d), v), rel=1e-12)


@each_stack
def test_the_hessian_is_symmetric_and_changes_of_the_cotangents_add_their_backward(cell, options):
    problem = Problem(cell, options)
    run, u, v = problem.run(), problem.drawn(problem.shapes), problem.drawn(problem.shapes)
    of_u, of_v = curved(run, u, problem.d), curved(run, v, problem.d)
    assert inner(of_u, v) == pytest.approx(inner(of_v, u), rel=1e-11)
    dot_d = problem.drawn(problem.given)
    total, alone = curved(run, u, problem.d, dot_d), pulled(run, dot_d)
    assert farther_apart(total, {name: array + alone[name] for name, array in of_u.items()}, 1e-12) == []


def test_hvp_equals_torchs_double_backward():
    problem = Problem("lstm", {"layers": 2, "bidirectional": True})
    x, v = problem.start["x"], problem.drawn(problem.shapes)["x"]
    for layer in problem.stack.layers:
        layer.parameters.flat[...] = problem.random.normal(0, 0.5, layer.parameters.flat.size)
    module = torch.nn.LSTM(INPUT, HIDDEN, num_layers=2, bidirectional=True, dtype=torch.float64)
    weights = interchange.to_torch(problem.stack)
    module.load_state_dict({key: torch.from_numpy(array) for key, array in weights.items()})

    leaf = torch.tensor(x, requires_grad=True)
    output, _ = module(leaf)
    (pulled_back,) = torch.autograd.grad(output, leaf, torch.tensor(problem.d["output"]), create_graph=True)
    (expected,) = torch.autograd.grad(pulled_back, leaf, torch.tensor(v))
    _, found = problem.stack.hvp(x, {"x": v}, problem.d["output"])
    assert farther_apart({"x": found.x}, {"x": expected.numpy()}, 1e-12) == []


def test_a_stack_of_one_layer_has_the_derivatives_of_that_layer():
    stack, layer = (kind("gru", INPUT, HIDDEN, seed=4) for kind in (ln.Stack, ln.Layer))
    x, d, v = (
        np.random.default_rng(k).normal(size=(STEPS, BATCH, n)).astype("float32") for k, n in enumerate((3, 6, 3))
    )
    w = np.ones((HIDDEN, INPUT), "float32")
    run, tangents = stack.jvp(x, {"x": v, "parameters": {"0.W_z": w}}, **WAYS)
    alone, expected = layer.jvp(x, {"x": v, "parameters": {"W_z": w}}, **WAYS)
    assert other_bits(tangents.outputs, expected.outputs) == []
    assert tangents.output is tangents.outputs["h"]
    found, expected = run.hvp({"x": v}, d), alone.hvp({"x": v}, d)
    assert other_bits(dict(found.parameters), {f"0.{name}": a for name, a in expected.parameters.items()}) == []
    assert other_bits(found.inputs, expected.inputs) == []


def test_any_order_of_calls_gives_the_same_bits():
    problem = Problem("depth_gated", {"layers": 2, "bidirectional": True})
    v, run = problem.drawn(problem.shapes), problem.run()
    before, once = pulled(run, problem.d), curved(run, v, problem.d)
    run.jvp(grouped(v))
    assert other_bits(curved(run, v, problem.d), once) == []
    assert other_bits(pulled(run, problem.d), before) == []


@pytest.mark.parametrize(
    ("direction", "error", "words"),
    [
        ({"y": 0}, ArgumentError, "direction has no entry 'y': it takes x, parameters, state"),
        ({"parameters": {"W_i": 0}}, ArgumentError, r"direction\['parameters'\] has no entry 'W_i': it takes 0.W_i"),
        ({"state": {"2.h": 0}}, ArgumentError, r"direction\['state'\] has no entry '2.h': it takes 0.h, 0.c, 1.h"),
        ({"x": np.zeros((2, 1, 3))}, ShapeError, r"direction\['x'\] has shape \(2, 1, 3\), expected \(2, 2, 3\)"),
    ],
)
def test_what_is_no_direction_of_a_stack(direction, error, words):
    run = ln.Stack("lstm", INPUT, HIDDEN, layers=2, dtype="float64").forward(np.zeros((2, 2, INPUT)))
    for call in (run.jvp, run.hvp):
        with pytest.raises(error, match=words):
            call(direction)


@pytest.mark.parametrize("save", [False, "states"])
def test_a_stack_that_kept_too_little_has_no_derivatives(save):
    run = ln.Stack("lstm", INPUT, HIDDEN, layers=2, dtype="float64").forward(np.zeros((2, 2, INPUT)), save=save)
    for call in (run.jvp, run.hvp):
        with pytest.raises(TapeError, match="save=True"):
            call({})
