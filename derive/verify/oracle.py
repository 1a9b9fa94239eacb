"""The oracle: a slow interpreter of a cell's *equations* on NumPy arrays.

It reads nothing that the generator makes: no stages, no printed text, no backward pass.  Each equation is evaluated
node by node in the order it is written; the time loop applies `lengths` and `resets`.  On complex arrays it carries a
complex step (see `derivative.py`), and any array may have extra axes in front of (B, space), so that K perturbed copies
are one run.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import reduce
from typing import Any

import numpy as np
import sympy

from derive.cell import Cell
from derive.symbols import Matrix, Product, Vector
from derive.verify.analytic import FUNCTIONS, KINKS, Array

Named = Mapping[str, Array]

ARITHMETIC: dict[str, Callable[[list[Any]], Any]] = {
    "Add": lambda terms: reduce(operator.add, terms),
    "Mul": lambda factors: reduce(operator.mul, factors),
    "Pow": lambda operands: operands[0] ** operands[1],
}


@dataclass
class Interpreter:
    """Evaluates the expressions of a cell over named arrays.

    Args:
        periods: one clock period a module, for cells with a clock or with block structure.
        frozen: what stop() returns, in the order of the calls; without it the real part of its argument.
        functions, quotient: the scalar functions and p / q of integers, for other numbers than NumPy's.

    Afterwards `stops` holds what stop() returned, `kink` the least distance of an argument from a kink, and `near` the
    least of those that do not lie on one.
    """

    periods: tuple[int, ...] = (1,)
    frozen: Iterator[Array] | None = None
    functions: Mapping[str, Callable[..., Any]] = field(default_factory=lambda: FUNCTIONS)
    quotient: Callable[[int, int], Any] = operator.truediv
    stops: list[Array] = field(default_factory=list)
    kink: float = np.inf
    near: float = np.inf

    def evaluate(self, expression: sympy.Basic, names: Named) -> Any:
        if isinstance(expression, Product):
            matrix = expression.matrix
            weights = self.masked(matrix.declared, names[matrix.declared.name])
            # rows of vectors are multiplied from the right: by W' for W v
            across = weights if matrix.turned else np.swapaxes(weights, -1, -2)
            operand = self.evaluate(expression.operand, names)
            # a value made of parameters alone is the same in every row, or in every unit too
            shape = np.broadcast_shapes(np.shape(operand), (1, across.shape[-2]))
            return np.broadcast_to(operand, shape) @ across
        if isinstance(expression, Vector):
            value = names[expression.name]
            return self.stop(value) if expression.stopped else value
        if isinstance(expression, sympy.Rational):
            return self.quotient(int(expression.p), int(expression.q)) if expression.q != 1 else int(expression.p)
        return self.apply(type(expression).__name__, [self.evaluate(part, names) for part in expression.args])

    def apply(self, name: str, operands: list[Any]) -> Any:
        if name in ARITHMETIC:
            return ARITHMETIC[name](operands)
        if name == "stop":
            return self.stop(*operands)
        arrays = [np.asarray(operand) for operand in operands]
        if name in KINKS and arrays[0].dtype != object:
            distances = KINKS[name](*(array.real for array in arrays))
            self.kink = float(np.min(distances, initial=self.kink))
            self.near = float(np.min(distances, where=distances != 0, initial=self.near))
        return self.functions[name](*arrays)

    def stop(self, value: Array) -> Array:
        """Return `value` as a constant: without its imaginary part, and not moved by a finite difference either."""
        self.stops.append(self.functions["stop"](value) if self.frozen is None else next(self.frozen))
        return self.stops[-1]

    def masked(self, matrix: Matrix, value: Array) -> Array:
        return value if matrix.structure is None else np.where(block_upper(value.shape[-1], self.periods), value, 0)

    def step(self, cell: Cell, names: Named) -> dict[str, Array]:
        """Return `names` together with what the equations define."""
        known = dict(names)
        for equation in cell.equations:
            known[equation.lhs.name] = self.evaluate(equation.rhs, known)
        return known


# --- The clock


def modules(size: int, count: int) -> Array:
    """The module of each of `size` units: `count` runs of neighbours."""
    return np.arange(size) * count // max(size, 1)


def block_upper(size: int, periods: tuple[int, ...]) -> Array:
    """Which elements of a block-upper matrix exist: a unit reads its own module and slower ones."""
    module = modules(size, len(periods))
    return module[:, None] <= module[None, :]


def ticks(size: int, periods: tuple[int, ...], t: int) -> Array:
    """1 for the units that are active at step t, counted from 0."""
    due = np.asarray([t % period == 0 for period in periods], float)
    return due[modules(size, len(periods))]


# --- The time loop


def run(
    cell: Cell,
    parameters: Named,
    inputs: Named,
    state: Named,
    periods: tuple[int, ...] | None = None,
    lengths: Array | None = None,
    resets: Array | None = None,
    interpreter: Interpreter | None = None,
    steps: int | None = None,
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Evaluate the equations over a sequence.

    Args:
        parameters: matrices (..., rows, columns), vectors (..., 1, size) or (size,), scalars; constants among them.
        inputs: sequences (T, ..., B, size) by name.
        state: initial states (..., B, size) by name.
        periods: one clock period a module.
        lengths: (B,) steps of each row; past them the state is held and outputs are 0.
        resets: (T, B) bool; the state returns to its initial value before that step.
        steps: T, for a cell without inputs.

    Returns:
        Outputs (T, ..., B, size) by name, and the final states (..., B, size).
    """
    interpreter = interpreter or Interpreter(periods or (1,))
    steps = next(iter(inputs.values())).shape[0] if steps is None else steps
    batch = next(iter(state.values())).shape[-2]
    lengths = np.full(batch, steps) if lengths is None else lengths
    resets = np.zeros((steps, batch), bool) if resets is None else resets
    current, history = dict(state), {name: [np.zeros((0, *state[name].shape))] for name in cell.outputs}
    for t in range(steps):
        alive = (t < lengths)[:, None]
        entering = {name: np.where(resets[t][:, None] & alive, state[name], value) for name, value in current.items()}
        known = interpreter.step(cell, _known_at(t, cell, parameters, inputs, entering, interpreter.periods))
        current = {name: np.where(alive, known[name], value) for name, value in entering.items()}
        for name, values in history.items():
            values.append(np.where(alive, known[name], np.zeros(state[name].shape[-1], np.int8)))
    return {name: _joined(values) for name, values in history.items()}, current


def _known_at(
    t: int, cell: Cell, parameters: Named, inputs: Named, entering: Named, periods: tuple[int, ...]
) -> dict[str, Array]:
    known = dict(parameters)
    known |= {name: inputs[name][t] for name in cell.inputs}
    known |= {f"{name}_prev": value for name, value in entering.items()}
    sizes = {space: entering[name].shape[-1] for name, space in cell.states.items()}
    clocks = (symbol for symbol in cell.symbols.values() if symbol.role == "clock")
    return known | {symbol.name: ticks(sizes[symbol.space], periods, t) for symbol in clocks}


def _joined(values: list[Array]) -> Array:
    # the empty array in front is all there is of a sequence without steps; copies may part only at a later step
    return np.stack(np.broadcast_arrays(*values[1:])) if len(values) > 1 else values[0]
