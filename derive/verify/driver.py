"""The generated step functions run over a sequence by plain NumPy: forward, transposed, and along a tangent.

The scalar text of a cell is executed as it stands, on arrays instead of registers; what surrounds it in a kernel, that
is the products, their transposes and the recursion in time, is written here and in `sweep.py` once for every program.
Arrays may hold floats, complex numbers or objects such as 50-digit numbers.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Collection, Mapping
from copy import copy
from dataclasses import dataclass
from typing import Any

import numpy as np

from derive.cell import Cell
from derive.emit.scalar import Step, StepFunction, scalar_source, steps
from derive.functions import NUMPY
from derive.program import Affine, Pointwise, Program, Slot, split
from derive.verify.analytic import Array
from derive.verify.derivative import Gradient
from derive.verify.problem import Problem
from derive.verify.sequence import Named, known_at, masks, weights
from derive.verify.sweep import Sweep

Functions = Mapping[str, Callable[..., Any]]


def executed(
    text: str, table: Functions = NUMPY, integer: Callable[[int], Any] | None = None
) -> dict[str, Callable[..., Any]]:
    """Run a generated text; its functions call those of `table`, whatever the text imports.

    With `integer` every literal is made a number of that kind, so that 1 / 3 is exact on symbols and long numbers.
    """
    namespace: dict[str, Any] = {}
    tree = ast.parse(text) if integer is None else ast.fix_missing_locations(_Literals().visit(ast.parse(text)))
    exec(compile(tree, "<step functions>", "exec"), namespace)  # noqa: S102 (our own printer's text, no user's)
    namespace.update({LITERAL: integer}, **table)  # in place: it is where the functions look names up
    return namespace


class _Literals(ast.NodeTransformer):
    def visit_Constant(self, node: ast.Constant) -> ast.expr:
        return ast.Call(ast.Name(LITERAL, ast.Load()), [node], []) if type(node.value) is int else node


LITERAL = "_literal"


@dataclass(frozen=True)
class Tape:
    """A forward run: outputs, final states, and every name at every step."""

    outputs: Named
    state: Named
    steps: tuple[Named, ...]


class Driver:
    """Runs the step functions of a program over whole problems.

    Args:
        program: the stages.
        table, integer: the scalar functions that the text calls, and what its literals are made of.

    `text` is what the generator prints for the program; `sweep` the rules of backpropagation.
    """

    name = "step functions"
    exact = False  # NumPy's products round a row one way or another, as their shape has it
    sweep: type[Sweep] = Sweep

    def __init__(self, program: Program, table: Functions = NUMPY, integer: Callable[[int], Any] | None = None) -> None:
        self.program, self.table = program, table
        places = [k for k, stage in enumerate(program.stages) if isinstance(stage, Pointwise)]
        self.generated: dict[int, Step] = dict(zip(places, steps(program), strict=True))
        self.text = scalar_source(program)
        self.functions = executed(self.text, table, integer)

    @classmethod
    def of(cls, cell: Cell, table: Functions = NUMPY) -> Driver:
        return cls(split(cell), table)

    def changed(self, text: str | None = None, sweep: type[Sweep] | None = None) -> Driver:
        """The same driver with the functions of `text` in place of its own, or with other rules of backpropagation."""
        other = copy(self)
        other.sweep = sweep or self.sweep
        other.functions = self.functions | executed(text or "", self.table)
        return other

    def call(self, function: StepFunction, known: Mapping[str, Any]) -> dict[str, Any]:
        results = self.functions[function.name](*(known[name] for name in function.arguments))
        return dict(zip(function.results, results, strict=True))

    # --- Forward

    def forward(self, problem: Problem) -> Tape:
        """Run the step functions over the sequence."""
        current, tape = dict(problem.state), []
        outputs = {name: np.zeros_like(values) for name, values in problem.d_outputs.items()}
        for t in range(problem.steps):
            alive, again = masks(problem, t)
            entering = {name: np.where(again, problem.state[name], value) for name, value in current.items()}
            known = self.step(known_at(problem, t, entering), problem)
            current = {name: np.where(alive, known[name], value) for name, value in entering.items()}
            for name, values in outputs.items():
                values[t] = np.where(alive, known[name], 0)
            tape.append(known)
        return Tape(outputs, current, tuple(tape))

    def step(self, known: Named, problem: Problem) -> Named:
        for place, stage in enumerate(self.program.stages):
            if isinstance(stage, Affine):
                known |= self.affine(stage, known, problem)
            else:
                shape = (problem.batch, problem.size[stage.space])
                results = self.call(self.generated[place].forward, known)
                known |= {name: np.broadcast_to(value, shape) for name, value in results.items()}
        return known

    def affine(self, stage: Affine, known: Named, problem: Problem) -> Named:
        # z = W v + b
        slots = {}
        for slot in stage.slots:
            total = sum(known[vector.name] @ weights(matrix, known, problem).T for matrix, vector in slot.terms)
            slots[slot.name] = total if slot.bias is None else total + known[slot.bias.name]
        return slots

    # --- Transposed

    def gradient(
        self, problem: Problem, inputs: Collection[str] | None = None, parameters: Collection[str] | None = None
    ) -> Gradient:
        """Pull d_outputs and d_state back to initial states, and to parameters and inputs or those named."""
        found, wanted = self.sweep(self, problem).gradient(), problem.inputs if inputs is None else inputs
        trained = problem.parameters if parameters is None else parameters
        idle = {key: 0 * values for key, values in found.items() if key[0] == "parameters" and key[1] not in trained}
        return {key: values for key, values in (found | idle).items() if key[0] != "inputs" or key[1] in wanted}

    # --- Along a tangent

    def tangent(self, problem: Problem, directions: Gradient) -> tuple[Named, Named]:
        """Push (group, name) -> direction forward: the changes of the outputs and of the final states."""
        tape = self.forward(problem)
        moving = {name: directions["parameters", name] for name in problem.parameters}
        initial = {name: directions["state", name] for name in problem.state}
        outputs = {name: np.zeros_like(values) for name, values in problem.d_outputs.items()}
        current = dict(initial)
        for t, known in enumerate(tape.steps):
            alive, again = masks(problem, t)
            entering = {name: np.where(again, initial[name], value) for name, value in current.items()}
            dots = moving | {name: directions["inputs", name][t] for name in problem.inputs}
            dots |= {f"{name}_prev": value for name, value in entering.items()}
            self.step_tangent(known, dots, problem)
            current = {name: np.where(alive, dots[name], value) for name, value in entering.items()}
            for name, values in outputs.items():
                values[t] = np.where(alive, dots[name], 0)
        return outputs, current

    def step_tangent(self, known: Named, dots: Named, problem: Problem) -> None:
        for place, stage in enumerate(self.program.stages):
            if isinstance(stage, Affine):
                dots |= {slot.name: self.slot_tangent(slot, known, dots, problem) for slot in stage.slots}
                continue
            named = {f"dot_{name}": value for name, value in dots.items()}
            for name, value in self.call(self.generated[place].tangent, {**known, **named, "dot_stop": 0}).items():
                moved = name.removeprefix("dot_")
                dots[moved] = np.broadcast_to(value, known[moved].shape)

    def slot_tangent(self, slot: Slot, known: Named, dots: Named, problem: Problem) -> Array:
        # dot_z = W dot_v + dot_W v + dot_b
        total: Any = np.zeros_like(known[slot.name])
        for matrix, vector in slot.terms:
            if vector.name in dots and not vector.stopped:
                total = total + dots[vector.name] @ weights(matrix, known, problem).T
            if matrix.declared.name in dots:
                total = total + known[vector.name] @ weights(matrix, dots, problem).T
        return total if slot.bias is None or slot.bias.name not in dots else total + dots[slot.bias.name]
