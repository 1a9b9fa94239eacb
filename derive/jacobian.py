"""The step Jacobian of a cell, block by block, from the same partial derivatives as the gradients.

A block is how one new state depends on one previous state: a sum of words, each a product of diagonal and dense ones,

    diag(a_0) M_1 diag(a_1) M_2 ... diag(a_k)

The rules are those of the tangent, read as matrices:

    pointwise   y = F(u, v)          J[y] = diag(dF/du) J[u] + diag(dF/dv) J[v]
    affine      z = W u + U v + b    J[z] = W J[u] + U J[v]
    start       J[h_prev] = I        with respect to h_prev, nothing with respect to the others
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from sympy import Add, Expr, Integer

from derive.cell import Cell
from derive.differentiate import partials
from derive.program import Affine, Pointwise, Program, split
from derive.symbols import Matrix, Vector

Tail = tuple[tuple[Matrix, Expr], ...]  # what stands to the right of the first diagonal: M_1, a_1, M_2, a_2 ...
Words = dict[Tail, Expr]  # tail -> a_0; the heads of equal tails are added
Column = dict[str, Words]  # name -> how it depends on one previous state


@dataclass(frozen=True)
class Block:
    """d(state)/d(previous): the sum over its words of diag(head) and the tail's factors; without words it is zero."""

    state: Vector
    previous: Vector
    words: tuple[tuple[Expr, Tail], ...]

    @property
    def direct(self) -> Expr:
        """The part that no matrix is in: f of diag(f), for the LSTM's c."""
        return next((head for head, tail in self.words if not tail), Integer(0))


def jacobian(cell: Cell) -> tuple[Block, ...]:
    """Return every block of d(states)/d(previous states), row by row."""
    program = split(cell)
    previous = {name: Vector(f"{name}_prev", "previous", space) for name, space in cell.states.items()}
    columns = {name: _column(program, symbol) for name, symbol in previous.items()}
    return tuple(
        _block(cell, Vector(row, "state", space), previous[name], columns[name])
        for row, space in cell.states.items()
        for name in previous
    )


def evaluate(block: Block, number: Callable[[Expr], Any], matrices: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return the block as numbers: `number(expression)` gives the elements of a diagonal, an array or one number."""
    rows, columns = np.size(number(block.state)), np.size(number(block.previous))
    total = np.zeros((rows, columns))
    for head, tail in block.words:
        product = np.eye(columns)
        for matrix, diagonal in reversed(tail):
            product = matrices[matrix.name] @ (np.reshape(number(diagonal), (-1, 1)) * product)
        total += np.reshape(number(head), (-1, 1)) * product
    return total


def _block(cell: Cell, state: Vector, previous: Vector, column: Column) -> Block:
    order = list(cell.symbols)
    words = [(head, tail) for tail, head in column.get(state.name, {}).items() if head != 0]
    ordered = sorted(words, key=lambda word: [order.index(matrix.declared.name) for matrix, _ in word[1]])
    return Block(state, previous, tuple(ordered))


def _column(program: Program, previous: Vector) -> Column:
    column: Column = {previous.name: {(): Integer(1)}}
    for stage in program.stages:
        if isinstance(stage, Affine):
            _through_products(stage, column)
        else:
            _through_lines(stage, column)
    return column


def _through_products(stage: Affine, column: Column) -> None:
    for slot in stage.slots:
        words: Words = {}
        for matrix, vector in slot.terms:
            moved = {} if vector.stopped else column.get(vector.name, {})
            for tail, head in moved.items():
                _add(words, ((matrix, head), *tail), Integer(1))
        column[slot.name] = words


def _through_lines(stage: Pointwise, column: Column) -> None:
    for name, expression in stage.equations:
        words: Words = {}
        for symbol, slope in partials(name, expression).items():
            for tail, head in column.get(symbol.name, {}).items():
                _add(words, tail, slope * head)
        column[name.name] = words


def _add(words: Words, tail: Tail, head: Expr) -> None:
    words[tail] = Add(words.get(tail, Integer(0)), head)
