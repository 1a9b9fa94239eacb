"""A problem: numbers for everything a cell reads, and a loss, from a seed.

Random, asymmetric and of few decimals: no size equals another one, no weight is symmetric, states start away from zero,
and a failing case can be typed by hand.  The loss is linear in what leaves the layer,

    L = sum_t <d_y[t], y[t]> + <d_s, s[T]>          y: outputs, s: final states

so its gradient is one pull-back of (d_y, d_s), and every output has its own weight in it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from sympy import Expr

from derive.cell import Cell
from derive.errors import DeriveError
from derive.functions import positive, where
from derive.laws import walk
from derive.symbols import ONE, H, N
from derive.verify.analytic import Array
from derive.verify.oracle import Interpreter, block_upper, run

Named = Mapping[str, Array]

PERIODS = (1, 2, 4)
ATTEMPTS = 1000
# Of the numbers that are drawn, and the most columns of a matrix whose numbers are spread as widely.
SPREAD, NARROW = 0.6, 5
# How far every argument stays from a kink where finite differences are taken.
CLEARANCE = 0.005


class ProblemError(DeriveError, ValueError):
    """No random problem is inside the domain of the cell's functions."""


@dataclass(frozen=True, repr=False)
class Problem:
    """Everything a run of a cell reads, and the cotangents of what it gives.

    Args:
        parameters, constants: by name, shaped as the cell says.
        inputs: sequences (T, B, space); state: initial states (B, space).
        d_outputs: cotangents of the outputs (T, B, space); d_state: cotangents of the final states (B, space).
        lengths, resets: as in a layer's forward, or None.
    """

    cell: Cell
    seed: int
    parameters: Named
    constants: Named
    inputs: Named
    state: Named
    d_outputs: Named
    d_state: Named
    lengths: Array | None = None
    resets: Array | None = None

    @property
    def periods(self) -> tuple[int, ...] | None:
        return PERIODS if needs_periods(self.cell) else None

    @property
    def steps(self) -> int:
        return next(iter(self.d_outputs.values())).shape[0]

    @property
    def batch(self) -> int:
        return next(iter(self.state.values())).shape[0]

    @cached_property
    def size(self) -> dict[str, int]:
        """Space -> size, as a layer is made: read from the arrays."""
        arrays = {**self.inputs, **self.state, **self.parameters, **self.constants}
        axes = (zip(self.cell.shape(name)[::-1], array.shape[::-1], strict=False) for name, array in arrays.items())
        return dict(pair for pairs in axes for pair in pairs)

    def __repr__(self) -> str:
        sizes = " ".join(f"{space}={size}" for space, size in self.size.items())
        extras = [name for name in ("lengths", "resets") if getattr(self, name) is not None]
        shape = f"T={self.steps} B={self.batch} {sizes}"
        return ", ".join([shape, *extras, f"seed {self.seed}"])

    def tensors(self) -> Iterator[tuple[str, str, Array]]:
        """Everything a gradient is taken of: (group, name, values)."""
        for group in ("inputs", "parameters", "state"):
            for name, values in getattr(self, group).items():
                yield group, name, values

    def with_tensor(self, group: str, name: str, values: Array) -> Problem:
        return self._with({group: {**getattr(self, group), name: values}})

    def cast(self, dtype: Any) -> Problem:
        """The same problem with every array rounded to `dtype`."""
        return self.mapped(lambda values: values.astype(dtype, copy=False))

    def mapped(self, change: Callable[[Array], Array]) -> Problem:
        """The same problem with every array changed."""
        groups = ("parameters", "constants", "inputs", "state", "d_outputs", "d_state")
        return self._with({group: {k: change(v) for k, v in getattr(self, group).items()} for group in groups})

    def _with(self, changed: dict[str, Any]) -> Problem:
        return replace(self, **changed)

    def forward(self, interpreter: Interpreter | None = None) -> tuple[dict[str, Array], dict[str, Array]]:
        """Run the oracle: outputs and final states."""
        known = {**self.parameters, **self.constants}
        periods = self.periods
        rows = self.lengths, self.resets
        return run(self.cell, known, self.inputs, self.state, periods, *rows, interpreter, self.steps)


def needs_periods(cell: Cell) -> bool:
    return cell.clock or any(getattr(symbol, "structure", None) for symbol in cell.symbols.values())


def make(
    cell: Cell,
    steps: int = 4,
    batch: int = 3,
    inputs: int = 2,
    hidden: int = 5,
    seed: int = 0,
    lengths: bool = False,
    resets: bool = False,
    clearance: float = 0.0,
) -> Problem:
    """Return the problem of `seed`, or of the first seed after it that is finite and keeps its distance from kinks.

    A cell that lies on a kink whatever its numbers are, as relu(relu(a)) does, may do so.

    Args:
        lengths, resets: whether rows end early (one at once), whether states are reset on the way.
        clearance: least distance from a kink; CLEARANCE where finite differences will be taken.
    """
    for attempt in range(ATTEMPTS):
        # relu(relu(a)) is on a kink whatever is drawn; more decimals then keep numbers from meeting there by chance
        on_kinks, above_zero = attempt > ATTEMPTS // 8, attempt > ATTEMPTS // 2
        problem = _draw(cell, seed + attempt, (steps, batch, inputs, hidden), 4 if on_kinks else 2, above_zero)
        problem = replace(
            problem,
            lengths=_some_lengths(steps, batch) if lengths else None,
            resets=_some_resets(steps, batch) if resets else None,
        )
        if is_regular(problem, clearance, on_kinks):
            return problem
    raise ProblemError(
        f"cell {cell.name}: none of {ATTEMPTS} random problems gives finite numbers at a distance of {clearance} from "
        "the kinks of its functions; is there a log or sqrt of something negative?"
    )


def is_regular(problem: Problem, clearance: float = 0.0, on_kinks: bool = False) -> bool:
    """Whether all numbers are finite and keep their distance from kinks; with `on_kinks` some may lie on one."""
    interpreter = Interpreter(problem.periods or (1,))
    with np.errstate(all="ignore"):
        outputs, state = problem.forward(interpreter)
    finite = all(np.isfinite(values).all() for values in (*outputs.values(), *state.values()))
    return bool(finite and (interpreter.near if on_kinks else interpreter.kink) >= clearance)


def conditions(cell: Cell) -> set[str]:
    """What must be 0 or 1: names that decide a `where`, unless through a comparison."""
    branches = (node for equation in cell.equations for node in walk(equation.rhs) if isinstance(node, where))
    return {
        symbol.name for branch in branches for symbol in branch.args[0].free_symbols if not _compares(branch.args[0])
    }


def _compares(condition: Expr) -> bool:
    return any(isinstance(node, positive) for node in walk(condition))


def sizes(cell: Cell, inputs: int, hidden: int) -> dict[str, int]:
    """Space -> size; a space beyond N and H gets the next free size above H."""
    spaces = {space: None for symbol in cell.symbols.values() for space in symbol.shape}
    others = [space for space in spaces if space not in (N, H, ONE)]
    # modules have equal sizes
    hidden = -(-hidden // len(PERIODS)) * len(PERIODS) if needs_periods(cell) else hidden
    return {N: inputs, H: hidden, ONE: 1} | {space: hidden + 1 + k for k, space in enumerate(others)}


def _draw(cell: Cell, seed: int, shape: tuple[int, int, int, int], decimals: int, above_zero: bool) -> Problem:
    steps, batch, inputs, hidden = shape
    size, rng = sizes(cell, inputs, hidden), np.random.default_rng(seed)

    def numbers(*axes: int, spread: float = SPREAD) -> Array:
        # few decimals, never 0: a zero would hide a lost factor
        drawn = np.round(rng.normal(0, spread, axes), decimals)
        return np.where(drawn == 0, 0.01, np.abs(drawn) if above_zero else drawn)

    binary = conditions(cell)

    def values(name: str, *axes: int, spread: float = SPREAD) -> Array:
        return rng.integers(0, 2, axes).astype(float) if name in binary else numbers(*axes, spread=spread)

    def weights(names: Iterable[str]) -> dict[str, Array]:
        shapes = {name: tuple(size[space] for space in cell.shape(name)) for name in names}
        drawn = {name: values(name, *shape, spread=_spread(shape)) for name, shape in shapes.items()}
        return {name: _structured(cell, name, weight) for name, weight in drawn.items()}

    return Problem(
        cell,
        seed,
        parameters=weights(cell.parameters),
        constants=weights(cell.constants),
        inputs={name: values(name, steps, batch, size[space]) for name, space in cell.inputs.items()},
        state={name: numbers(batch, size[space]) for name, space in cell.states.items()},
        d_outputs={name: numbers(steps, batch, size[cell.states[name]]) for name in cell.outputs},
        d_state={name: numbers(batch, size[space]) for name, space in cell.states.items()},
    )


def _spread(shape: tuple[int, ...]) -> float:
    """Of a parameter's numbers: a row of a wide matrix amplifies no more than one of a narrow one, rounding neither."""
    return SPREAD if len(shape) < 2 else SPREAD * np.sqrt(NARROW / max(shape[-1], NARROW))


def _structured(cell: Cell, name: str, values: Array) -> Array:
    structure = getattr(cell.symbols[name], "structure", None)
    return values if structure is None else np.where(block_upper(values.shape[-1], PERIODS), values, 0)


def _some_lengths(steps: int, batch: int) -> Array:
    # T, 0, T - 1, 1, T - 2, 2 ...: whole, empty and everything between
    row = np.arange(batch)
    return np.where(row % 2 == 0, steps - row // 2, row // 2).clip(0, steps)


def _some_resets(steps: int, batch: int) -> Array:
    # a different step in each row; step 0, where a reset changes nothing, among them
    return (np.arange(steps)[:, None] + np.arange(batch)[None, :]) % 3 == 0
