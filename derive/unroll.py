"""A cell run step by step with the Jacobian of every step: what `derive.flow` measures.

The Jacobian comes from the equations by complex step: S copies of the state, each moved by 1e-30 i in one element, are
one step of the interpreter.  There is no rounding of differences, so J is exact to the last digits.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from sympy import Expr

from derive.cell import Cell
from derive.errors import DeriveError
from derive.functions import where
from derive.jacobian import Block, evaluate
from derive.program import Affine, Program, split
from derive.symbols import ONE, H, Matrix, N, Product
from derive.verify.oracle import Interpreter, ticks

Array = np.ndarray
Named = Mapping[str, Array]

PERIODS = (1, 2, 4, 8)
RADIUS = 0.9  # the spectral radius of a constant recurrent matrix, as echo state networks have it
STEP = 1e-30


class NotFiniteError(DeriveError, ArithmeticError):
    """The values of a cell leave the range of numbers, so that nothing can be measured."""


@dataclass(frozen=True)
class Run:
    """A cell with numbers for all that it reads in a number of steps.

    Args:
        numbers: parameters and constants, by name; inputs: sequences (T, 1, space); state: first states (1, space).
    """

    cell: Cell
    numbers: Named
    inputs: Named
    state: Named
    steps: int
    interpreter: Interpreter = field(default_factory=partial(Interpreter, PERIODS))

    @property
    def rows(self) -> dict[str, slice]:
        """State -> its place in the vector of all states."""
        sizes = {name: values.shape[-1] for name, values in self.state.items()}
        ends = dict(zip(sizes, np.cumsum(list(sizes.values())), strict=True))
        return {name: slice(int(ends[name]) - size, int(ends[name])) for name, size in sizes.items()}


@dataclass(frozen=True)
class Step:
    """One step: the values of every name, (1, space), and the Jacobian of all states by all previous ones."""

    known: Named
    jacobian: Array


def unrolled(run: Run) -> Iterator[Step]:
    """Yield every step of a run."""
    state = dict(run.state)
    for t in range(run.steps):
        given = {**run.numbers, **{name: inputs[t] for name, inputs in run.inputs.items()}, **_clock(run, t)}
        with np.errstate(all="ignore"):
            step = Step(run.interpreter.step(run.cell, given | _previous(state)), _jacobian(run, given, state))
        _check_finite(run, step, t)
        yield step
        state = {name: step.known[name] for name in state}


def _check_finite(run: Run, step: Step, t: int) -> None:
    lost = [name for name, values in step.known.items() if not np.isfinite(values).all()]
    if lost or not np.isfinite(step.jacobian).all():
        raise NotFiniteError(
            f"cell {run.cell.name}: {', '.join(lost) or 'the Jacobian'} is not finite at step {t} of a run with random "
            "weights and inputs; set what must be positive, or small, with initial={...}"
        )


def _jacobian(run: Run, given: Named, state: Named) -> Array:
    moved = 1j * STEP * np.eye(sum(values.shape[-1] for values in state.values()))
    entering = {name: state[name] + moved[:, rows] for name, rows in run.rows.items()}
    known = run.interpreter.step(run.cell, {**given, **_previous(entering)})
    changes = [np.imag(known[name]) / STEP for name in state]
    # row k of a change is what element k does: a column of the Jacobian
    return np.concatenate([np.broadcast_to(change, (len(moved), change.shape[-1])) for change in changes], -1).T


def _previous(state: Named) -> dict[str, Array]:
    return {f"{name}_prev": values for name, values in state.items()}


def _clock(run: Run, t: int) -> dict[str, Array]:
    sizes = {space: run.state[name].shape[-1] for name, space in run.cell.states.items()}
    clocks = (symbol for symbol in run.cell.symbols.values() if symbol.role == "clock")
    return {symbol.name: ticks(sizes[symbol.space], PERIODS, t)[None] for symbol in clocks}


# --- The printed formula, in numbers


def from_formula(blocks: tuple[Block, ...], program: Program, run: Run, step: Step) -> list[Array]:
    """Return the blocks of a step's Jacobian as the formula of `derive.jacobian` gives them."""
    names = _with_split_names(program, run, step)

    def number(expression: Expr) -> Any:
        return np.ravel(run.interpreter.evaluate(expression, names))

    return [evaluate(block, number, _matrices(run)) for block in blocks]


def _matrices(run: Run) -> dict[str, Array]:
    symbols = (run.cell.symbols[name] for name in run.numbers)
    masked = run.interpreter.masked
    found = {s: masked(s, run.numbers[s.name]) for s in symbols if isinstance(s, Matrix)}
    turned = {matrix.T.name: value.T for matrix, value in found.items()}
    return turned | {matrix.name: value for matrix, value in found.items()}


def _with_split_names(program: Program, run: Run, step: Step) -> dict[str, Array]:
    """The values of a step together with the names that splitting has made: z_i, tanh_c ..."""
    names = dict(step.known)
    for stage in program.stages:
        if isinstance(stage, Affine):
            for slot in stage.slots:
                bias = np.zeros(1) if slot.bias is None else names[slot.bias.name]
                names[slot.name] = sum((run.interpreter.evaluate(Product(*term), names) for term in slot.terms), bias)
        else:
            for name, expression in stage.equations:
                names[name.name] = run.interpreter.evaluate(expression, names)
    return names


# --- Numbers


def default_run(cell: Cell, hidden: int, steps: int, seed: int) -> Run:
    """A run at the default initialisation of a layer, driven by standard normal inputs."""
    rng, size = np.random.default_rng(seed), _sizes(cell, hidden)
    numbers = _initial(cell, size, rng)
    inputs = {name: rng.normal(0, 1, (steps, 1, size[space])) for name, space in cell.inputs.items()}
    inputs |= {name: (inputs[name] > 0).astype(float) for name in _conditions(cell)}
    return Run(cell, numbers, inputs, {name: np.zeros((1, size[space])) for name, space in cell.states.items()}, steps)


def _initial(cell: Cell, size: dict[str, int], rng: np.random.Generator) -> dict[str, Array]:
    """Uniform in +-1/sqrt(H), biases 0, and what the cell says of some: what a layer starts from, seed for seed."""
    bound, numbers, biases = 1 / np.sqrt(size[H]), dict[str, Array](), _biases(cell)
    for name, symbol in {**cell.parameters, **cell.constants}.items():
        shape = [size[space] for space in symbol.shape]
        if name in cell.initial:
            said = cell.initial[name]
            numbers[name] = np.full(shape, 1 / size[said.removeprefix("1/")] if isinstance(said, str) else float(said))
        elif name in biases and symbol.is_trained:
            numbers[name] = np.zeros(shape)
        else:
            numbers[name] = rng.uniform(-bound, bound, shape)
    return numbers | {name: _scaled(numbers[name]) for name, symbol in cell.constants.items() if symbol.shape == (H, H)}


def _biases(cell: Cell) -> set[str]:
    return {slot.bias.name for stage in split(cell).affine for slot in stage.slots if slot.bias is not None}


def _conditions(cell: Cell) -> tuple[str, ...]:
    """The inputs that choose between two values: masks of 0 and 1."""
    chosen = (choice.args[0] for equation in cell.equations for choice in equation.rhs.atoms(where))
    conditions = {str(condition) for condition in chosen}
    return tuple(name for name in cell.inputs if name in conditions)


def _sizes(cell: Cell, hidden: int) -> dict[str, int]:
    """Every space has `hidden` elements: norms of square blocks can be compared."""
    spaces = [space for symbol in cell.symbols.values() for space in symbol.shape]
    return {N: hidden, H: hidden, **dict.fromkeys(spaces, hidden), ONE: 1}


def _scaled(matrix: Array) -> Array:
    return matrix * (RADIUS / max(np.abs(np.linalg.eigvals(matrix)).max(), np.finfo(float).tiny))
