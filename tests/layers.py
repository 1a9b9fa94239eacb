"""Layers and numbers for tests of the kernels, and everything that a run gives by name, to be compared bit by bit."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np

import lstm_numba as ln

Arrays = dict[str, np.ndarray]
# Sizes of the spaces that a cell has besides N and H.
FURTHER: dict[str, dict[str, int]] = {"lstm_projected": {"P": 5}}


@dataclass(frozen=True)
class Numbers:
    """What a run reads: sequences (T, B, space), states (B, space), and the derivatives of a loss."""

    inputs: Arrays
    state: Arrays
    d_output: np.ndarray
    d_state: Arrays

    def each(self, change: Callable[[np.ndarray], np.ndarray]) -> "Numbers":
        """Every array changed."""
        inputs, state, d_state = (
            {name: change(array) for name, array in group.items()} for group in (self.inputs, self.state, self.d_state)
        )
        return Numbers(inputs, state, change(self.d_output), d_state)

    def rows(self, rows: Any) -> "Numbers":
        return self.each(lambda array: array[:, rows] if array.ndim == 3 else array[rows])

    def steps(self, steps: Any) -> "Numbers":
        return self.each(lambda array: array[steps] if array.ndim == 3 else array)

    def cast(self, dtype: str) -> "Numbers":
        return self.each(lambda array: array.astype(dtype))

    def ending(self, d_state: Arrays) -> "Numbers":
        return Numbers(self.inputs, self.state, self.d_output, d_state)

    def starting(self, state: Arrays) -> "Numbers":
        return Numbers(self.inputs, state, self.d_output, self.d_state)


def random_layer(
    cell: str, inputs: int, hidden: int, dtype: str = "float64", seed: int = 0, **options: Any
) -> ln.Layer:
    """A layer whose parameters are all random, biases too."""
    layer = ln.Layer(cell, inputs, hidden, dtype=dtype, **{**FURTHER.get(cell, {}), **options})
    random = np.random.default_rng(seed)
    for name, array in layer.parameters.items():
        layer.parameters[name] = random.normal(0, 0.6, array.shape).round(3)
    return layer


def numbers_for(layer: ln.Layer, steps: int, batch: int, seed: int = 0) -> Numbers:
    random = np.random.default_rng((seed, 1))

    def draw(*shape: int) -> np.ndarray:
        return random.standard_normal(shape).round(3).astype(layer.dtype)

    spec, spaces = layer.spec, layer.spaces
    inputs = {name: draw(steps, batch, spaces[space]) for name, space in spec.inputs.items()}
    state, d_state = ({name: draw(batch, spaces[space]) for name, space in spec.states.items()} for _ in range(2))
    return Numbers(inputs, state, draw(steps, batch, spaces[spec.states[spec.outputs[0]]]), d_state)


# --- running


def forward(layer: ln.Layer, numbers: Numbers, **options: Any) -> ln.Run:
    further = dict(numbers.inputs)
    return layer.forward(further.pop(layer.spec.main), numbers.state, **options, **further)


def values(run: ln.Run) -> Arrays:
    """Outputs and final states."""
    return {**run.outputs, **{f"final {name}": array for name, array in run.state.items()}}


def sequence_gradients(gradients: ln.Gradients) -> Arrays:
    """What belongs to rows: gradients of sequences and of first states."""
    groups = {"d": gradients.inputs, "d first": gradients.state}
    return {f"{group} {name}": array for group, arrays in groups.items() for name, array in arrays.items()}


def parameter_gradients(gradients: ln.Gradients) -> Arrays:
    return {f"d {name}": array for name, array in gradients.parameters.items()}


def backward(run: ln.Run, numbers: Numbers) -> ln.Gradients:
    return run.backward(numbers.d_output, numbers.d_state)


def by_row(layer: ln.Layer, numbers: Numbers, **options: Any) -> Arrays:
    """Everything that a run gives but the gradients of the parameters."""
    run = forward(layer, numbers, **options)
    return {**values(run), **sequence_gradients(backward(run, numbers))}


def everything(layer: ln.Layer, numbers: Numbers, **options: Any) -> Arrays:
    run = forward(layer, numbers, **options)
    gradients = backward(run, numbers)
    return {**values(run), **sequence_gradients(gradients), **parameter_gradients(gradients)}


def second_order(run: ln.Run, numbers: Numbers, direction: Mapping[str, Any]) -> Arrays:
    """What a direction changes: outputs, final states, gradients."""
    tangent, found = run.jvp(direction), run.hvp(direction, numbers.d_output, numbers.d_state)
    groups = {
        "": tangent.outputs,
        "final": tangent.state,
        "d": found.inputs,
        "d ": found.parameters,
        "d first": found.state,
    }
    return {f"{group} {name}": array for group, arrays in groups.items() for name, array in arrays.items()}


# --- comparing


def other_bits(found: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray]) -> list[str]:
    """Names of arrays that are not the same bit for bit; -0 is 0."""
    assert found.keys() == expected.keys()
    return [name for name in expected if not np.array_equal(found[name], expected[name], equal_nan=True)]


def farther_apart(found: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray], tolerance: float) -> list[str]:
    """Names of arrays whose difference is more than `tolerance` of their norm."""
    assert found.keys() == expected.keys()
    apart = {name: np.linalg.norm(found[name] - array) for name, array in expected.items()}
    return [name for name, array in expected.items() if not apart[name] <= tolerance * np.linalg.norm(array)]


def select(arrays: Arrays, rows: Any) -> Arrays:
    """Some rows of what belongs to rows."""
    return {name: array[:, rows] if array.ndim == 3 else array[rows] for name, array in arrays.items()}


def side_by_side(parts: Iterable[Arrays]) -> Arrays:
    """What belongs to rows, from parts of a batch."""
    first, *rest = parts
    return {
        name: np.concatenate([array, *(part[name] for part in rest)], axis=1 if array.ndim == 3 else 0)
        for name, array in first.items()
    }


def added(parts: Iterable[Arrays]) -> Arrays:
    return reduce(lambda a, b: {name: a[name] + b[name] for name in a}, parts)


# --- gradients


def loss(run: ln.Run, numbers: Numbers) -> float:
    output, *_ = run.outputs.values()
    return float(np.sum(output * numbers.d_output) + sum(np.sum(run.state[k] * d) for k, d in numbers.d_state.items()))


def slopes(layer: ln.Layer, numbers: Numbers, step: float = 1e-4) -> tuple[float, float]:
    """The loss's slope along a random direction of everything that a run reads: by differences, by the backward."""
    along, theta = numbers_for(layer, *numbers.d_output.shape[:2], seed=77), layer.parameters.flat.copy()
    way = np.random.default_rng(78).standard_normal(theta.size)

    def moved(scale: float) -> float:
        layer.parameters.flat[...] = theta + scale * way
        inputs = {name: array + scale * along.inputs[name] for name, array in numbers.inputs.items()}
        state = {name: array + scale * along.state[name] for name, array in numbers.state.items()}
        return loss(forward(layer, Numbers(inputs, state, numbers.d_output, numbers.d_state), save=False), numbers)

    difference = (8 * (moved(step) - moved(-step)) - (moved(2 * step) - moved(-2 * step))) / (12 * step)
    layer.parameters.flat[...] = theta
    gradients = backward(forward(layer, numbers), numbers)
    pulled = [np.sum(gradients.inputs[k] * array) for k, array in along.inputs.items()]
    pulled += [np.sum(gradients.state[k] * array) for k, array in along.state.items()]
    return difference, float(np.sum(pulled) + gradients.parameters.flat @ way)
