"""Derivatives of the oracle that no chain rule has touched.

    complex step         dL/dy = Im L(y + i s) / s                              s = 1e-30: nothing is subtracted
    central differences  dL/dy = sum_k w_k (L(y + k e) - L(y - k e)) / e + O(e^6),   k = 1, 2, 3

All elements of a tensor are perturbed in one run: copy k of the tensor differs in element k.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from derive.verify.analytic import Array
from derive.verify.oracle import Interpreter
from derive.verify.problem import Problem

Named = Mapping[str, Array]
Gradient = dict[tuple[str, str], Array]

STEP = 1e-30
# Three spacings, times what a sequence makes of them, must not reach over a kink.
SPACING, KINK_SHARE = 4e-3, 1 / 30
STENCIL = {1: 3 / 4, 2: -3 / 20, 3: 1 / 60}
# Elements of one perturbed tensor, copies included: bounds the memory of a run.
CHUNK = 4_000_000


def loss(problem: Problem, interpreter: Interpreter | None = None) -> Any:
    """Return <d_y, y> + <d_s, s[T]>, one value a copy."""
    outputs, state = problem.forward(interpreter)
    total: Any = 0
    for name, weight in problem.d_outputs.items():
        total = total + np.einsum("t...bn,tbn->...", outputs[name], weight)
    for name, weight in problem.d_state.items():
        total = total + np.einsum("...bn,bn->...", state[name], weight)
    return total


def gradient(problem: Problem, method: Callable[[Problem, str, str, Array], Array] | None = None) -> Gradient:
    """Return dL/d(tensor) for every input, parameter and initial state, by (group, name)."""
    slope = method or complex_step
    return {(group, name): each_element(problem, group, name, slope) for group, name, _ in problem.tensors()}


def each_element(problem: Problem, group: str, name: str, slope: Callable[..., Array]) -> Array:
    """Return dL/d(tensor), a chunk of its elements at a time."""
    values = getattr(problem, group)[name]
    rows, found = max(1, CHUNK // max(values.size, 1)), np.zeros(values.size)
    for start in range(0, values.size, rows):
        chosen = slice(start, min(start + rows, values.size))
        found[chosen] = slope(problem, group, name, np.eye(values.size)[chosen].reshape(-1, *values.shape))
    return found.reshape(values.shape)


def complex_step(
    problem: Problem, group: str, name: str, directions: Array, interpreter: Interpreter | None = None
) -> Array:
    """Return the derivative along each of `directions` (K, *shape of the tensor)."""
    values = getattr(problem, group)[name]
    moved = problem.with_tensor(group, name, spread(group, values + 1j * STEP * directions))
    return np.imag(loss(moved, interpreter)) / STEP


def central_difference(problem: Problem, group: str, name: str, directions: Array) -> Array:
    """The same from real numbers alone; what stop() holds back is frozen at the unmoved point."""
    values, base = getattr(problem, group)[name], Interpreter(problem.periods or (1,))
    loss(problem, base)
    spacing = min(SPACING, KINK_SHARE * base.near)

    def at(distance: float) -> Array:
        moved = problem.with_tensor(group, name, spread(group, values + distance * directions))
        return loss(moved, Interpreter(problem.periods or (1,), frozen=iter(base.stops)))

    return sum(weight * (at(k * spacing) - at(-k * spacing)) for k, weight in STENCIL.items()) / spacing


def directional(problem: Problem, tangents: Mapping[tuple[str, str], Array]) -> Array:
    """Return the derivative of L along K joint directions: (group, name) -> (K, *shape)."""
    moved = problem
    for (group, name), direction in tangents.items():
        values = getattr(problem, group)[name]
        moved = moved.with_tensor(group, name, spread(group, values + 1j * STEP * direction))
    return np.imag(loss(moved)) / STEP


def spread(group: str, copies: Array) -> Array:
    """Bring K copies of a tensor, (K, *shape), into the form that the oracle broadcasts."""
    if group == "inputs":  # time stays in front
        return np.moveaxis(copies, 0, 1)
    if group == "state" or copies.ndim == 3:
        return copies
    return copies.reshape(len(copies), 1, -1)  # vectors and scalars: one row for the batch


def random_directions(problem: Problem, count: int, seed: int) -> dict[tuple[str, str], Array]:
    """Signed random directions for all tensors at once."""
    rng = np.random.default_rng(seed)
    return {(group, name): rng.normal(size=(count, *values.shape)) for group, name, values in problem.tensors()}
