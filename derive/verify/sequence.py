"""What surrounds a step in a sequence: what step t is given, which rows are alive, which weights exist."""

from __future__ import annotations

import numpy as np

from derive.symbols import Matrix
from derive.verify.analytic import Array
from derive.verify.oracle import block_upper, ticks
from derive.verify.problem import Problem

Named = dict[str, Array]


def known_at(problem: Problem, t: int, entering: Named) -> Named:
    """Everything that step t is given, by name; what stands past a row's end is not looked at."""
    alive, _ = masks(problem, t)
    known = {**problem.parameters, **problem.constants}
    known |= {name: np.where(alive, sequence[t], 0) for name, sequence in problem.inputs.items()}
    known |= {f"{name}_prev": value for name, value in entering.items()}
    clocks = [symbol for symbol in problem.cell.symbols.values() if symbol.role == "clock"]
    return known | {v.name: ticks(problem.size[v.space], problem.periods or (1,), t) for v in clocks}


def masks(problem: Problem, t: int) -> tuple[Array, Array]:
    """(B, 1): which rows are alive at step t, which of them are reset before it."""
    alive = np.ones(problem.batch, bool) if problem.lengths is None else t < problem.lengths
    again = np.zeros(problem.batch, bool) if problem.resets is None else problem.resets[t] & alive
    return alive[:, None], again[:, None]


def masked(matrix: Matrix, value: Array, problem: Problem) -> Array:
    """What exists of a declared matrix."""
    if matrix.structure is None:
        return value
    return np.where(block_upper(value.shape[-1], problem.periods or (1,)), value, 0)


def weights(matrix: Matrix, known: Named, problem: Problem) -> Array:
    value = masked(matrix.declared, known[matrix.declared.name], problem)
    return value.T if matrix.turned else value
