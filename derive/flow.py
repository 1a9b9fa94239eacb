"""How gradients flow through time: the norm of dh_T/dh_t = J_T J_{T-1} ... J_{t+1} against the lag T - t.

Three things are measured:
    the linear rule   an rnn at rest with U = w Q, Q orthogonal: the norm is w**lag, so w < 1 vanishes, w > 1 explodes;
    driven            the same rnn with inputs: tanh' < 1 takes more from the gradient at every step;
    the cell          at its default initialisation: each state, all states together, and each state's direct path,
                      on which the other states are held fixed: the constant error carousel of 1997 keeps it at 1.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from derive.cell import Cell
from derive.jacobian import Block, jacobian
from derive.load import named
from derive.program import split
from derive.unroll import Array, Run, Step, default_run, from_formula, unrolled

W_REC = (0.9, 1.0, 1.1)
FEW = 3  # steps on which the printed formula is held against the complex step
CLOSE = 0.002  # a factor a step this near to 1 keeps a gradient for hundreds of steps


@dataclass(frozen=True)
class Curve:
    """One norm against the lag.

    Args:
        label: what was measured.
        norms: the spectral norm at lag 0, 1, ... T.
        expected: the factor a step that theory gives, where it gives one.
    """

    label: str
    norms: Array
    expected: float | None = None

    @property
    def factor(self) -> float:
        """The factor a step: exp of the slope of log norm against the lag; 0 if the norm reaches 0."""
        if (self.norms < np.finfo(float).tiny).any():
            return 0.0
        lags = np.flatnonzero(np.isfinite(self.norms))  # what explodes leaves the range of numbers at last
        slope, _ = np.polyfit(lags, np.log(self.norms[lags]), 1)
        return float(np.exp(slope))

    @property
    def verdict(self) -> str:
        """What happens to a gradient in the long run."""
        return "vanishes" if self.factor < 1 - CLOSE else "explodes" if self.factor > 1 + CLOSE else "keeps"


@dataclass(frozen=True)
class Flow:
    """What was measured of a cell.

    Args:
        rule: the rnn with U = w Q, at rest and driven; curves: the cell, and its variants that differ in one flag.
        exponents: finite-time Lyapunov exponents of all states together, largest first.
        formula_error: largest difference of the printed Jacobian from the complex step, by the largest element.
    """

    cell: Cell
    hidden: int
    steps: int
    seed: int
    rule: tuple[Curve, ...]
    curves: tuple[Curve, ...]
    exponents: tuple[float, ...]
    formula_error: float


def flow(cell: Cell, hidden: int = 32, steps: int = 100, seed: int = 0) -> Flow:
    """Measure how gradients of `cell` flow through `steps` steps with `hidden` units."""
    run = default_run(cell, hidden, steps, seed)
    taken = tuple(unrolled(run))
    curves = [*_curves(run, taken)]
    for variant in _flagged(cell):
        other = default_run(variant, hidden, steps, seed)
        curves += _curves(other, tuple(unrolled(other)))
    exponents = lyapunov([step.jacobian for step in taken])
    rule = linear_rule(hidden, steps, seed)
    return Flow(cell, hidden, steps, seed, rule, tuple(curves), exponents, _error(run, taken))


def lyapunov(jacobians: list[Array]) -> tuple[float, ...]:
    """Return (1/T) sum log |R_jj| of the QR factors on the way, largest first; a direction that dies gives -inf."""
    frame = np.eye(len(jacobians[0]))
    total = np.zeros(len(frame))
    for step in jacobians:
        frame, triangle = np.linalg.qr(step @ frame)
        with np.errstate(divide="ignore"):
            total += np.log(np.abs(np.diag(triangle)))
    return tuple(float(value) for value in np.sort(total / len(jacobians))[::-1])


def linear_rule(hidden: int, steps: int, seed: int) -> tuple[Curve, ...]:
    """Return the rnn with U = w Q, first at rest, where it is linear, then driven by inputs."""
    runs = [(w, _scaled_rnn(w, hidden, steps, seed)) for w in W_REC]
    rest = [_state_curve(_at_rest(run), f"rnn at rest, U = {w} Q", w) for w, run in runs]
    return (*rest, *(_state_curve(run, f"rnn driven, U = {w} Q") for w, run in runs))


def _scaled_rnn(w: float, hidden: int, steps: int, seed: int) -> Run:
    run = default_run(named("rnn"), hidden, steps, seed)
    orthogonal, _ = np.linalg.qr(np.random.default_rng(seed).normal(0, 1, (hidden, hidden)))
    return replace(run, numbers={**run.numbers, "U": w * orthogonal})


def _at_rest(run: Run) -> Run:
    """No input and no bias: h stays 0, where tanh' = 1."""
    inputs = {name: np.zeros_like(values) for name, values in run.inputs.items()}
    return replace(run, inputs=inputs, numbers={**run.numbers, "b": np.zeros_like(run.numbers["b"])})


def _state_curve(run: Run, label: str, expected: float | None = None) -> Curve:
    return Curve(label, _norms([step.jacobian for step in unrolled(run)], slice(None)), expected)


# --- The cell


def _curves(run: Run, taken: tuple[Step, ...]) -> Iterator[Curve]:
    name, jacobians = run.cell.module, [step.jacobian for step in taken]
    for state, rows in run.rows.items():
        yield Curve(f"{name}: ∂{state}_T/∂{state}_t", _norms(jacobians, rows))
    if len(run.rows) > 1:
        yield Curve(f"{name}: all states", _norms(jacobians, slice(None)))
    for block in jacobian(run.cell):
        if block.previous.name == f"{block.state.name}_prev" and block.direct != 0:
            yield _direct_curve(run, taken, block)


def _norms(jacobians: list[Array], rows: slice) -> Array:
    """||(J_T ... J_{T-k+1})[rows, rows]|| for k = 0, 1, ... T."""
    product = np.eye(len(jacobians[0]))
    norms = [1.0]
    for step in reversed(jacobians):
        with np.errstate(over="ignore", invalid="ignore"):
            product = product @ step
        block = product[rows, rows]
        norms.append(float(np.linalg.norm(block, 2)) if np.isfinite(block).all() else np.inf)
    return np.array(norms)


def _direct_curve(run: Run, taken: tuple[Step, ...], block: Block) -> Curve:
    """The norm of a product of diagonal matrices is the largest product of elements."""
    program = split(run.cell)
    only = replace(block, words=((block.direct, ()),))
    diagonals = [np.diag(from_formula((only,), program, run, step)[0]) for step in reversed(taken)]
    with np.errstate(over="ignore"):
        products = np.cumprod([np.ones_like(diagonals[0]), *diagonals], axis=0)
    return Curve(f"{run.cell.module}: {block.state.name} directly", np.abs(products).max(axis=1))


def _flagged(cell: Cell) -> Iterator[Cell]:
    """The cell with one flag turned the other way: the truncated LSTM beside the full one."""
    for option, values in cell.options.items():
        if set(values) == {True, False}:
            yield cell.variant(**{**cell.chosen, option: not cell.chosen[option]})


def _error(run: Run, taken: tuple[Step, ...]) -> float:
    blocks, program = jacobian(run.cell), split(run.cell)
    few = taken[:FEW]
    formulas = [np.block(_by_row(from_formula(blocks, program, run, step), run)) for step in few]
    errors = [np.abs(formula - step.jacobian).max() for formula, step in zip(formulas, few, strict=True)]
    return float(max(errors) / max(np.abs(step.jacobian).max() for step in few))


def _by_row(blocks: list[Array], run: Run) -> list[list[Array]]:
    count = len(run.state)
    return [blocks[start : start + count] for start in range(0, len(blocks), count)]
