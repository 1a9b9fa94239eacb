"""Layers on top of each other.

Truth: single layers composed by hand, with the same parameters, bit for bit; and differences of the loss.
"""

import numpy as np
import pytest

import lstm_numba as ln

T, B, INPUT, HIDDEN = 4, 3, 2, 5
LENGTHS = np.array([4, 0, 2])


def draw(*shape, seed=0):
    return np.random.default_rng((seed, *shape)).standard_normal(shape)


def make(cell, **options):
    stack = ln.Stack(cell, INPUT, HIDDEN, dtype="float64", **options)
    for k, (name, array) in enumerate(stack.parameters.items()):
        stack.parameters[name] = draw(*array.shape, seed=k) / 2
    return stack


def twin(stack, prefix, inputs, **options):
    """A single layer with the parameters of one of the stack's."""
    layer = ln.Layer(stack.spec.name, inputs, HIDDEN, dtype="float64", **options)
    for name in layer.parameters:
        layer.parameters[name] = stack.parameters[f"{prefix}.{name}"]
    return layer


def states_of(stack, seed=5):
    """A state for every layer, by its name in the stack."""
    names = [f"{prefix}.{state}" for prefix in stack.parameters.parts for state in stack.spec.states]
    return {name: draw(B, HIDDEN, seed=seed + k) for k, name in enumerate(names)}


def own(states, prefix):
    return {
        name.removeprefix(f"{prefix}."): array for name, array in states.items() if name.rpartition(".")[0] == prefix
    }


# --- against layers composed by hand


@pytest.mark.parametrize("lengths", [None, LENGTHS])
def test_layers_pass_on_their_outputs(lengths):
    stack, x, above = make("lstm", layers=2), draw(T, B, INPUT), draw(T, B, HIDDEN)
    state, d_state = states_of(stack), states_of(stack, seed=9)
    run = stack.forward(x, state, lengths)
    gradients = run.backward(above, d_state)

    lower, upper = twin(stack, "0", INPUT), twin(stack, "1", HIDDEN)
    first = lower.forward(x, own(state, "0"), lengths)
    second = upper.forward(first.output, own(state, "1"), lengths)
    d_second = second.backward(above, own(d_state, "1"))
    d_first = first.backward(d_second.x, own(d_state, "0"))

    np.testing.assert_array_equal(run.output, second.output)
    np.testing.assert_array_equal(run.state["0.c"], first.state["c"])
    np.testing.assert_array_equal(run.state["1.h"], second.state["h"])
    np.testing.assert_array_equal(gradients.x, d_first.x)
    for prefix, alone in (("0", d_first), ("1", d_second)):
        for name, array in alone.parameters.items():
            np.testing.assert_array_equal(gradients.parameters[f"{prefix}.{name}"], array)
        for name, array in alone.state.items():
            np.testing.assert_array_equal(gradients.state[f"{prefix}.{name}"], array)


@pytest.mark.parametrize("lengths", [None, LENGTHS])
def test_both_directions_stand_side_by_side(lengths):
    stack, x, above = make("lstm", bidirectional=True), draw(T, B, INPUT), draw(T, B, 2 * HIDDEN)
    state = states_of(stack)
    run = stack.forward(x, state, lengths)
    gradients = run.backward(above)

    onward, back = twin(stack, "0", INPUT), twin(stack, "0.reverse", INPUT, reverse=True)
    first, second = onward.forward(x, own(state, "0"), lengths), back.forward(x, own(state, "0.reverse"), lengths)
    d_first, d_second = first.backward(above[..., :HIDDEN]), second.backward(above[..., HIDDEN:])

    np.testing.assert_array_equal(run.output, np.concatenate([first.output, second.output], axis=2))
    np.testing.assert_array_equal(run.state["0.reverse.h"], second.state["h"])
    np.testing.assert_array_equal(gradients.x, d_first.x + d_second.x)
    np.testing.assert_array_equal(gradients.parameters["0.reverse.U_f"], d_second.parameters["U_f"])
    np.testing.assert_array_equal(gradients.state["0.c"], d_first.state["c"])


def test_the_depth_gated_cell_hands_its_cell_state_upwards():
    stack, x, above = make("depth_gated", layers=2), draw(T, B, INPUT), draw(T, B, HIDDEN)
    run = stack.forward(x)
    gradients = run.backward(above)

    lower, upper = twin(stack, "0", INPUT), twin(stack, "1", HIDDEN)
    first = lower.forward(x)
    second = upper.forward(first.output, c_lower=first.outputs["c"])
    d_second = second.backward(above)
    d_first = first.backward(d_second.x, d_outputs={"c": d_second.inputs["c_lower"]})

    np.testing.assert_array_equal(run.output, second.output)
    np.testing.assert_array_equal(gradients.x, d_first.x)
    np.testing.assert_array_equal(gradients.parameters["0.W_d"], d_first.parameters["W_d"])
    assert d_second.inputs["c_lower"].any()


def test_resets_reach_every_layer():
    stack, x = make("lstm", layers=2), draw(T, B, INPUT)
    resets = np.zeros((T, B), bool)
    resets[2] = True
    np.testing.assert_array_equal(stack.forward(x, resets=resets).output[2:], stack.forward(x[2:]).output)


# --- against differences


@pytest.mark.parametrize(
    ("cell", "options"),
    [
        ("lstm", {"layers": 3}),
        ("lstm", {"layers": 2, "bidirectional": True}),
        ("depth_gated", {"layers": 2, "bidirectional": True}),
    ],
)
def test_the_gradient_is_that_of_differences(cell, options):
    stack, x = make(cell, **options), draw(T, B, INPUT)
    state, d_state = states_of(stack), states_of(stack, seed=9)
    above = draw(*stack.forward(x).output.shape)
    gradients = stack.forward(x, state, LENGTHS).backward(above, d_state)
    flats = [part.flat for part in stack.parameters.parts.values()]
    kept, ways = [flat.copy() for flat in flats], [draw(flat.size, seed=k) for k, flat in enumerate(flats)]
    x_way, state_way = draw(*x.shape, seed=3), states_of(stack, seed=40)

    def loss(step):
        for flat, start, way in zip(flats, kept, ways, strict=True):
            flat[...] = start + step * way
        run = stack.forward(
            x + step * x_way, {k: v + step * state_way[k] for k, v in state.items()}, LENGTHS, save=False
        )
        return np.sum(run.output * above) + sum(np.sum(run.state[name] * array) for name, array in d_state.items())

    pulled = np.sum(gradients.x * x_way) + sum(np.sum(gradients.state[k] * v) for k, v in state_way.items())
    pulled += sum(part.flat @ way for part, way in zip(gradients.parameters.parts.values(), ways, strict=True))
    step = 1e-4
    difference = (8 * (loss(step) - loss(-step)) - (loss(2 * step) - loss(-2 * step))) / (12 * step)
    assert pulled == pytest.approx(difference, rel=1e-8)


# --- the stack itself


def test_parameters_are_named_by_layer_and_direction():
    stack = ln.Stack("gru", INPUT, HIDDEN, layers=2, bidirectional=True)
    assert [layer.reverse for layer in stack.layers] == [False, True] * 2
    assert {name: array.shape for name, array in stack.parameters.items() if name.endswith("W_z")} == {
        "0.W_z": (HIDDEN, INPUT),
        "0.reverse.W_z": (HIDDEN, INPUT),
        "1.W_z": (HIDDEN, 2 * HIDDEN),
        "1.reverse.W_z": (HIDDEN, 2 * HIDDEN),
    }


def test_layers_start_from_different_parameters():
    stack = ln.Stack("lstm", HIDDEN, HIDDEN, layers=2, bidirectional=True, seed=3)
    starts = [stack.parameters[f"{prefix}.U_i"].tobytes() for prefix in ("0", "0.reverse", "1", "1.reverse")]
    assert len(set(starts)) == 4
    again = ln.Stack("lstm", HIDDEN, HIDDEN, layers=2, bidirectional=True, seed=3)
    assert all(np.array_equal(array, stack.parameters[name]) for name, array in again.parameters.items())


def test_a_stack_of_one_layer_is_that_layer():
    stack, layer = ln.Stack("lstm", INPUT, HIDDEN, seed=4), ln.Layer("lstm", INPUT, HIDDEN, seed=4)
    x = draw(T, B, INPUT).astype("float32")
    np.testing.assert_array_equal(stack.forward(x).output, layer.forward(x).output)


def test_no_steps_and_no_rows_pass_through_a_stack():
    stack = make("lstm", layers=2, bidirectional=True)
    for shape in ((0, B), (T, 0)):
        run = stack.forward(np.zeros((*shape, INPUT)))
        assert run.output.shape == (*shape, 2 * HIDDEN)
        assert not any(array.any() for array in run.backward(run.output).parameters.values())
