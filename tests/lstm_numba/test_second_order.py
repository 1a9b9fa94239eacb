"""Directions: jvp and hvp of every cell, with lengths, resets and in both senses of time.

Truth: double backward of torch loops in float64, differences of our own backward, and runs of parts.  The ladder of
`derive verify` holds the same kernels against complex steps.
"""

import copy

import numpy as np
import pytest
import torch

import derive
import lstm_numba as ln
from lstm_numba.errors import ArgumentError, DtypeError, ShapeError, TapeError
from tests.derive.user_cells import CELLS as USER_CELLS
from tests.layers import Numbers, farther_apart, forward, numbers_for, other_bits, random_layer, second_order
from tests.lstm_numba.test_torch_agrees import CASES, T, differing, leaves, named, unrolled
from tests.lstm_numba.test_torch_agrees import Problem as TorchProblem

STEPS, BATCH, INPUT, HIDDEN = 6, 5, 3, 7
STENCIL, SPACING = {1: 3 / 4, 2: -3 / 20, 3: 1 / 60}, 1e-3
LENGTHS = np.array([6, 0, 3, 5, 1])
RESETS = np.random.default_rng(5).random((STEPS, BATCH)) < 0.3


def direction_for(layer, steps=STEPS, batch=BATCH, seed=1):
    """A random direction of everything, and random cotangents with it."""
    drawn, random = numbers_for(layer, steps, batch, seed), np.random.default_rng(seed)
    parameters = {n: random.normal(size=a.shape).astype(layer.dtype) for n, a in layer.parameters.items()}
    return {**drawn.inputs, "parameters": parameters, "state": drawn.state}, drawn


def scaled(direction, factor):
    return {
        name: {key: factor * array for key, array in value.items()} if isinstance(value, dict) else factor * value
        for name, value in direction.items()
    }


# --- torch differentiates its own backward


@pytest.mark.parametrize("case", CASES, ids=named)
def test_jvp_and_hvp_equal_torchs_double_backward(case):
    name, options = case
    ours = TorchProblem(name, options, seed=1)
    inputs, p, s, output, final = unrolled(ours, name, options)
    adjoints = leaves({"output": ours.d_output, **{f"final {key}": ours.d_state[key] for key in final}})
    direction, _ = direction_for(ours.layer, T, len(ours.x[0]))
    for key, mask in ours.layer._masks.items():
        direction["parameters"][key][mask] = 0

    # g = J' d, and of <g, v> the derivative by d is J v, by what was read H v
    read = [*inputs.values(), *p.values(), *s.values()]
    along = (
        [direction[k] for k in inputs] + [direction["parameters"][k] for k in p] + [direction["state"][k] for k in s]
    )
    pulled = torch.autograd.grad(
        [output, *final.values()], read, list(adjoints.values()), create_graph=True, allow_unused=True
    )
    pairs = [(g, torch.tensor(v)) for g, v in zip(pulled, along, strict=True) if g is not None and g.requires_grad]
    torch.autograd.backward(sum((g * v).sum() for g, v in pairs))

    tangent, found = ours.run.jvp(direction), ours.run.hvp(direction, ours.d_output, ours.d_state)
    changes = {"output": tangent.output, **{f"final {key}": tangent.state[key] for key in final}}
    assert differing(changes, adjoints) == []
    if not options.get("truncated"):  # torch holds a detached value still, ours is the derivative of what is computed
        assert differing(found.inputs, inputs) == []
        assert differing(found.parameters, p) == []
        assert differing(found.state, s) == []


# --- the change of a backward


CELLS = ("lstm", "gru", "clockwork", "depth_gated")
every_way = pytest.mark.parametrize("reverse", [False, True], ids=["forwards", "backwards"])
each_cell = pytest.mark.parametrize("cell", CELLS)


def made(cell, reverse=False, **options):
    periods = {"periods": (1, 2, 4, 8, 3, 6, 1)} if cell == "clockwork" else {}
    layer = random_layer(cell, INPUT, HIDDEN, reverse=reverse, **periods, **options)
    numbers = numbers_for(layer, STEPS, BATCH)
    return layer, numbers


def moved(layer, numbers, direction, along, distance):
    """A copy of the layer, and the numbers, a distance away."""
    other = copy.deepcopy(layer)
    for name, change in direction["parameters"].items():
        other.parameters[name][...] += distance * change
    inputs = {name: array + distance * direction[name] for name, array in numbers.inputs.items()}
    state = {name: array + distance * direction["state"][name] for name, array in numbers.state.items()}
    d_state = {name: array + distance * along.d_state[name] for name, array in numbers.d_state.items()}
    return other, Numbers(inputs, state, numbers.d_output + distance * along.d_output, d_state)


@every_way
@each_cell
def test_hvp_is_the_difference_of_two_backwards_and_jvp_that_of_two_forwards(cell, reverse):
    layer, numbers = made(cell, reverse)
    direction, along = direction_for(layer)
    ways = {"lengths": LENGTHS, "resets": RESETS}

    def at(distance):
        other, near = moved(layer, numbers, direction, along, distance)
        run = forward(other, near, **ways)
        gradients = run.backward(near.d_output, near.d_state)
        return {**named_gradients(gradients), **named_values(run)}

    def slope(name):
        return sum(weight * (ends[k][name] - ends[-k][name]) for k, weight in STENCIL.items()) / SPACING

    ends = {sign * k: at(sign * k * SPACING) for k in STENCIL for sign in (1, -1)}
    run = forward(layer, numbers, **ways)
    changes = {"dot_d_output": along.d_output, "dot_d_state": along.d_state}
    found = named_gradients(run.hvp(direction, numbers.d_output, numbers.d_state, **changes))
    found |= named_values(run.jvp(direction))
    assert farther_apart(found, {name: slope(name) for name in found}, 1e-8) == []


def named_values(run):
    return {**run.outputs, **{f"final {name}": array for name, array in run.state.items()}}


def named_gradients(gradients):
    groups = gradients.inputs, gradients.parameters, gradients.state
    return {
        f"d {kind} {n}": a
        for kind, group in zip(("sequence", "", "first"), groups, strict=True)
        for n, a in group.items()
    }


@each_cell
def test_no_direction_gives_zeros_and_a_direction_counts_linearly(cell):
    layer, numbers = made(cell)
    run = forward(layer, numbers, lengths=LENGTHS, resets=RESETS)
    v, u = (direction_for(layer, seed=seed)[0] for seed in (1, 2))
    both = {k: {n: v[k][n] + u[k][n] for n in v[k]} if isinstance(v[k], dict) else v[k] + u[k] for k in v}
    once, twice, of_u, of_both = (second_order(run, numbers, d) for d in (v, scaled(v, 2), u, both))
    assert other_bits(twice, {name: 2 * array for name, array in once.items()}) == []
    assert farther_apart(of_both, {name: array + of_u[name] for name, array in once.items()}, 1e-13) == []
    for nothing in ({}, scaled(v, 0), {"parameters": None, "state": {}}):
        assert not any(array.any() for array in second_order(run, numbers, nothing).values())


def test_a_change_of_the_cotangents_adds_their_backward():
    layer, numbers = made("gru")
    direction, along = direction_for(layer)
    run = forward(layer, numbers, lengths=LENGTHS, resets=RESETS)
    changes = {"dot_d_outputs": {"h": along.d_output}, "dot_d_state": along.d_state}
    total = named_gradients(run.hvp(direction, numbers.d_output, numbers.d_state, **changes))
    fixed = named_gradients(run.hvp(direction, numbers.d_output, numbers.d_state))
    pulled = named_gradients(run.backward(along.d_output, along.d_state))
    assert farther_apart(total, {name: array + pulled[name] for name, array in fixed.items()}, 1e-13) == []


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_any_order_of_calls_gives_the_same_bits(dtype):
    layer, numbers = made("gru", dtype=dtype)
    direction, _ = direction_for(layer)
    alone = second_order(forward(layer, numbers), numbers, direction)
    run = forward(layer, numbers)
    before = named_gradients(run.backward(numbers.d_output, numbers.d_state))
    for _ in range(2):
        assert other_bits(second_order(run, numbers, direction), alone) == []
    assert other_bits(named_gradients(run.backward(numbers.d_output, numbers.d_state)), before) == []
    assert all(array.dtype == dtype for array in alone.values())


def test_float32_is_float64_to_rounding():
    layer, numbers = made("gru", dtype="float32")
    direction, _ = direction_for(layer)
    wide = random_layer("gru", INPUT, HIDDEN, dtype="float64")
    wide.parameters.flat[...] = layer.parameters.flat
    exactly = {
        name: {key: array.astype("float64") for key, array in value.items()} if isinstance(value, dict)
        else value.astype("float64")
        for name, value in direction.items()
    }  # fmt: skip
    found = second_order(forward(layer, numbers, lengths=LENGTHS), numbers, direction)
    expected = second_order(forward(wide, numbers.cast("float64"), lengths=LENGTHS), numbers.cast("float64"), exactly)
    assert farther_apart(found, expected, 5e-6) == []


@every_way
def test_lengths_mean_shorter_runs_along_a_direction_too(reverse):
    layer, numbers = made("lstm", reverse)
    direction, _ = direction_for(layer)
    run = forward(layer, numbers, lengths=LENGTHS)
    tangent, found = run.jvp(direction), run.hvp(direction, numbers.d_output, numbers.d_state)
    for row, length in enumerate(LENGTHS):
        here = slice(row, row + 1)
        part = numbers.rows(here).steps(slice(0, length))
        its = {**direction, "x": direction["x"][:length, here], "state": rows(direction["state"], here)}
        alone = forward(layer, part)
        assert np.array_equal(alone.jvp(its).output, tangent.output[:length, here])
        assert not tangent.output[length:, row].any()
        pulled = alone.hvp(its, part.d_output, part.d_state)
        assert np.array_equal(pulled.x, found.x[:length, here])
        assert not found.x[length:, row].any()
        assert other_bits(pulled.state, rows(found.state, here)) == []


def rows(states, here):
    return {name: array[here] for name, array in states.items()}


def test_what_stands_past_a_rows_end_is_ignored_in_directions():
    layer, numbers = made("gru")
    direction, along = direction_for(layer)
    run = forward(layer, numbers, lengths=LENGTHS)
    past = np.arange(STEPS)[:, None] >= LENGTHS
    spoiled = {**direction, "x": np.where(past[..., None], np.nan, direction["x"])}
    nan = np.where(past[..., None], np.nan, along.d_output)
    clean = named_gradients(run.hvp(direction, numbers.d_output, dot_d_output=along.d_output))
    assert other_bits(named_gradients(run.hvp(spoiled, numbers.d_output, dot_d_output=nan)), clean) == []
    assert other_bits(run.jvp(spoiled).outputs, run.jvp(direction).outputs) == []


@pytest.mark.parametrize(("steps", "batch"), [(0, 3), (3, 0), (0, 0), (1, 1), (2, 40)])
def test_any_size(steps, batch):
    layer = random_layer("lstm", INPUT, HIDDEN)
    numbers = numbers_for(layer, steps, batch)
    direction, _ = direction_for(layer, steps, batch)
    run = forward(layer, numbers)
    tangent, found = run.jvp(direction), run.hvp(direction, numbers.d_output, numbers.d_state)
    assert tangent.output.shape == (steps, batch, HIDDEN)
    if steps == 0:
        assert other_bits(tangent.state, direction["state"]) == []
        assert not any(array.any() for array in named_gradients(found).values())
    left = np.sum(tangent.output * numbers.d_output) + inner(tangent.state, numbers.d_state)
    pulled = run.backward(numbers.d_output, numbers.d_state)
    right = np.sum(pulled.x * direction["x"]) + inner(pulled.state, direction["state"])
    assert left == pytest.approx(right + inner(pulled.parameters, direction["parameters"]), rel=1e-12)


def inner(one, other):
    return float(sum(np.sum(array * other[name]) for name, array in one.items()))


# --- unusual cells


def test_a_matrix_has_no_direction_where_its_structure_is_zero():
    layer, numbers = made("clockwork")
    direction, _ = direction_for(layer)
    run, mask = forward(layer, numbers), layer._masks["U"]
    expected = second_order(run, numbers, direction)
    direction["parameters"]["U"] = np.where(mask, np.nan, direction["parameters"]["U"])
    found = second_order(run, numbers, direction)
    assert other_bits(found, expected) == []
    assert not found["d  U"][mask].any()


def test_a_condition_that_comes_from_outside_has_no_direction():
    layer = derive.build(USER_CELLS["odd"])(INPUT, HIDDEN, dtype="float64")
    layer.parameters.flat[...] = np.random.default_rng(0).normal(size=layer.parameters.flat.size)
    numbers = numbers_for(layer, STEPS, BATCH)
    numbers.inputs["mask"][...] = numbers.inputs["mask"] > 0
    run = forward(layer, numbers)
    found = second_order(run, numbers, {"mask": np.ones((STEPS, BATCH, HIDDEN))})
    assert not any(array.any() for array in found.values())


def test_a_value_that_nothing_moves():
    """The operand of a product of constants: its tangent is the number 0, not a register."""
    language = derive.language
    h, h_prev = language.state("h")
    k, fixed = language.value("k"), language.vector("fixed", role="constant")
    W, U = language.matrix("W", "H", "N"), language.matrix("U", "H", "H")
    equations = [language.Eq(k, fixed**2), language.Eq(h, language.tanh(W @ language.x + U @ k) * h_prev)]
    cell = derive.Cell(name="still", title="", year=2026, reference="", equations=equations)
    layer = derive.build(cell)(INPUT, HIDDEN, dtype="float64")
    layer._theta.flat[...] = np.random.default_rng(0).normal(size=layer._theta.flat.size)
    numbers = numbers_for(layer, STEPS, BATCH)
    direction, _ = direction_for(layer)
    tangent, pulled = forward(layer, numbers).jvp(direction), forward(layer, numbers).backward(numbers.d_output)
    groups = (pulled.inputs, direction), (pulled.state, direction["state"])
    right = sum(inner(*group) for group in (*groups, (pulled.parameters, direction["parameters"])))
    assert float(np.sum(tangent.output * numbers.d_output)) == pytest.approx(right, rel=1e-12)


# --- calls


def test_a_layer_runs_and_differentiates_at_once():
    layer, numbers = made("depth_gated")
    direction, along = direction_for(layer)
    x, further = numbers.inputs["x"], {"c_lower": numbers.inputs["c_lower"]}
    ways = {"state": numbers.state, "lengths": LENGTHS, "resets": RESETS}
    run, tangent = layer.jvp(x, direction, **ways, **further)
    assert other_bits(tangent.outputs, run.jvp(direction).outputs) == []
    changes = {"dot_d_output": along.d_output, "dot_d_state": along.d_state}
    run, found = layer.hvp(x, direction, numbers.d_output, numbers.d_state, **changes, **ways, **further)
    again = run.hvp(direction, numbers.d_output, numbers.d_state, **changes)
    assert other_bits(named_gradients(found), named_gradients(again)) == []
    assert tangent.output is tangent.outputs["h"]


X, ROWS = np.ones((STEPS, BATCH, INPUT)), np.ones((BATCH, HIDDEN))


@pytest.mark.parametrize(
    ("direction", "error", "words"),
    [
        ([X], ArgumentError, "direction must be a dict with keys from x, parameters, state, got list"),
        ({"y": X}, ArgumentError, "direction has no entry 'y': it takes x, parameters, state"),
        ({"x": X[1:]}, ShapeError, r"direction\['x'\] has shape \(5, 5, 3\), expected \(6, 5, 3\): the shape of x"),
        ({"x": X.astype("float32")}, DtypeError, r"direction\['x'\] must be float64, the layer's dtype, got float32"),
        ({"parameters": X}, ArgumentError, r"direction\['parameters'\] must be a dict"),
        ({"parameters": {"V": X}}, ArgumentError, r"direction\['parameters'\] has no entry 'V': it takes W_i, "),
        ({"parameters": {"b_i": ROWS}}, ShapeError, r"\['b_i'\] has shape \(5, 7\), expected \(7\): the shape of para"),
        ({"state": {"x": ROWS}}, ArgumentError, r"direction\['state'\] has no entry 'x': it takes h, c"),
        ({"state": {"h": ROWS.T}}, ShapeError, r"direction\['state'\]\['h'\] has shape \(7, 5\), expected \(5, 7\)"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_what_is_no_direction(direction, error, words):
    run = ln.Layer("lstm", INPUT, HIDDEN, dtype="float64").forward(X)
    for call in (run.jvp, run.hvp):
        with pytest.raises(error, match=words):
            call(direction)


def test_changes_of_cotangents_are_checked_as_the_cotangents_are():
    run = ln.Layer("lstm", INPUT, HIDDEN, dtype="float64").forward(X)
    with pytest.raises(ShapeError, match="dot_d_output has shape"):
        run.hvp({}, dot_d_output=X)
    with pytest.raises(ArgumentError, match="dot_d_output is the derivative of h, and dot_d_outputs names it too"):
        run.hvp({}, dot_d_output=run.output, dot_d_outputs={"h": run.output})
    with pytest.raises(ArgumentError, match=r"dot_d_state has no entry 'q'"):
        run.hvp({}, dot_d_state={"q": ROWS})


def test_a_run_that_kept_nothing_has_no_derivatives():
    run = ln.Layer("lstm", INPUT, HIDDEN, dtype="float64").forward(X, save=False)
    for call in (run.jvp, run.hvp):
        with pytest.raises(TapeError, match="save=True"):
            call({"x": X})
