"""The compiled kernels as a subject of the ladder: a layer of the cell, given a problem's numbers."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import numpy as np

from derive.cell import Cell
from derive.symbols import ONE, H, N
from derive.verify.curvature import Along, each
from derive.verify.derivative import Gradient
from derive.verify.problem import Problem
from derive.verify.sequence import Named

Maker = Callable[..., Any]


class Kernel:
    """Runs problems through `derive.build(cell)`.

    Args:
        cell: the cell.
        maker: makes a layer from sizes; `derive.build(cell)` if not given.
        dtype: of the layer; problems are rounded to it.
        threads: as a layer's.
    """

    def __init__(self, cell: Cell, maker: Maker | None = None, dtype: Any = np.float64, threads: int = 1) -> None:
        self.cell, self.dtype, self.threads, self.exact = cell, np.dtype(dtype), threads, True
        self.maker = _built(cell) if maker is None else maker
        self.name = "kernel" if threads == 1 else f"kernel on {threads} threads"
        self._layers: dict[tuple[tuple[str, int], ...], Any] = {}

    def with_threads(self, threads: int) -> Kernel:
        return Kernel(self.cell, self.maker, self.dtype, threads)

    def forward(self, problem: Problem) -> Any:
        return self._run(problem.cast(self.dtype), save=False)

    def gradient(
        self, problem: Problem, inputs: Collection[str] | None = None, parameters: Collection[str] | None = None
    ) -> Gradient:
        rounded = problem.cast(self.dtype)
        given = {"d_outputs": dict(rounded.d_outputs), "d_state": dict(rounded.d_state)}
        return _by_key(problem, self._run(rounded).backward(**given, inputs=inputs, parameters=parameters))

    def tangent(self, problem: Problem, directions: Gradient) -> tuple[Named, Named]:
        """Push (group, name) -> direction forward: the changes of the outputs and of the final states."""
        rounded = problem.cast(self.dtype)
        found = self._run(rounded).jvp(_direction(rounded, each(directions, lambda u: u.astype(self.dtype))))
        return found.outputs, found.state

    def curvature(self, along: Along) -> Gradient:
        """The change of the gradient along a direction."""
        moved = along.cast(self.dtype)
        problem = moved.problem
        given = {"d_outputs": dict(problem.d_outputs), "d_state": dict(problem.d_state)}
        changes = {"dot_d_outputs": moved.d_outputs, "dot_d_state": moved.d_state}
        return _by_key(problem, self._run(problem).hvp(_direction(problem, moved.direction), **given, **changes))

    def layer(self, problem: Problem) -> Any:
        """The layer of the problem's sizes, with the problem's parameters in it."""
        sizes = tuple(problem.size.items())
        if sizes not in self._layers:
            further = {space: size for space, size in sizes if space not in (N, H, ONE)}
            clock = {"periods": problem.periods} if self.cell.clock else {}
            known = {N: 1, H: 1, **problem.size}  # a cell need not have both
            made = self.maker(known[N], known[H], dtype=self.dtype, threads=self.threads, **further, **clock)
            self._layers[sizes] = made
        layer = self._layers[sizes]
        for kept, given in ((layer.parameters, problem.parameters), (layer.constants, problem.constants)):
            for name, values in given.items():
                kept[name][...] = values
        return layer

    def _run(self, problem: Problem, save: bool = True) -> Any:
        layer, further = self.layer(problem), dict(problem.inputs)
        x = further.pop("x") if "x" in further else further.pop(next(iter(further)))
        state, rows = dict(problem.state), {"lengths": problem.lengths, "resets": problem.resets}
        return layer.forward(x, state, **rows, save=save, **further)


def _by_key(problem: Problem, grads: Any) -> Gradient:
    groups = {"inputs": grads.inputs, "parameters": grads.parameters, "state": grads.state}
    return {(group, name): groups[group][name] for group, name, _ in problem.tensors() if name in groups[group]}


def _direction(problem: Problem, given: Gradient) -> dict[str, Any]:
    """As a layer takes it."""
    sequences = {name: given["inputs", name] for name in problem.inputs}
    groups = ("parameters", problem.parameters), ("state", problem.state)
    return sequences | {group: {name: given[group, name] for name in names} for group, names in groups}


def _built(cell: Cell) -> Maker:
    from derive.build import build  # the kernels are generated and compiled only when they are asked for

    maker: Maker = build(cell)
    return maker
