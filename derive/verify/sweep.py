"""Backpropagation through time, written once for every program, one rule a method.

    z = W v + b           d_v += d_z W       d_W += d_z' v       d_b += d_z
    z = W' v              d_v += d_z W'      d_W += v' d_z
    step t                receives d_s[t] = loss at t + what step t + 1 gave for s_prev
    past a row's end      the state is held, so its adjoint passes unchanged
    a reset before t      the state was the initial one, so its adjoint goes there

A test breaks one method and asks whether the ladder sees it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from derive.emit.scalar import Step
from derive.program import Affine, Slot
from derive.symbols import Matrix, Vector
from derive.verify.analytic import Array
from derive.verify.derivative import Gradient
from derive.verify.problem import Problem
from derive.verify.sequence import Named, masked, masks, weights

if TYPE_CHECKING:
    from derive.verify.driver import Driver


class Sweep:
    """One backward run.  Each method is one rule of backpropagation through time, so that a test can break one."""

    def __init__(self, driver: Driver, problem: Problem) -> None:
        self.driver, self.problem = driver, problem
        self.tape = driver.forward(problem)
        self.found: Gradient = {(group, name): np.zeros_like(values) for group, name, values in problem.tensors()}

    def gradient(self) -> Gradient:
        later = {name: value.copy() for name, value in self.problem.d_state.items()}
        for t in reversed(range(self.problem.steps)):
            later = self.recur(t, later)
        for name, value in later.items():
            self.found["state", name] += value
        return self.found

    def recur(self, t: int, later: Named) -> Named:
        """Return the adjoints of the states that step t was given, from those of the states it gave."""
        alive, again = masks(self.problem, t)
        adjoints = {name: np.where(alive, value, 0) for name, value in self.incoming(t, later).items()}
        self.step(t, adjoints)
        before = {name: self.previous(adjoints, name, value) for name, value in later.items()}
        for name, value in before.items():
            self.found["state", name] += np.where(again, value, 0)
        return {name: np.where(again, 0, np.where(alive, before[name], value)) for name, value in later.items()}

    def incoming(self, t: int, later: Named) -> Named:
        # d_s[t] = dL_t/ds + what step t + 1 gave
        outputs = self.problem.d_outputs
        return {name: value + outputs[name][t] if name in outputs else value for name, value in later.items()}

    def previous(self, adjoints: Named, name: str, like: Array) -> Array:
        return adjoints.get(f"{name}_prev", np.zeros_like(like))

    def step(self, t: int, adjoints: Named) -> None:
        """Run the stages of step t backwards: adjoints by name, added up as they come."""
        known = self.tape.steps[t]
        for place, stage in reversed(list(enumerate(self.driver.program.stages))):
            if isinstance(stage, Affine):
                for slot in reversed(stage.slots):
                    if slot.name in adjoints:
                        self.slot(t, slot, adjoints[slot.name], adjoints)
            else:
                self.pointwise(t, self.driver.generated[place], known, adjoints)

    def pointwise(self, t: int, step: Step, known: Named, adjoints: Named) -> None:
        zero = np.zeros_like(known[step.stage.writes[0].name])
        given = {d.name: adjoints.get(v.name, zero) for v, d in zip(step.stage.writes, step.vjp.incoming, strict=True)}
        results = self.driver.call(step.backward, known | given)
        for vector, adjoint in step.vjp.outputs:
            self.receive(t, vector, results[adjoint.name] + zero, adjoints)

    def slot(self, t: int, slot: Slot, d_z: Array, adjoints: Named) -> None:
        for matrix, vector in slot.terms:
            self.weights(t, matrix, vector, d_z)
            if not vector.stopped and vector.role not in ("clock", "constant"):
                self.receive(t, vector, self.pull(matrix, d_z), adjoints)
        if slot.bias is not None and slot.bias.is_trained:
            self.parameter(slot.bias.name, d_z)

    def weights(self, t: int, matrix: Matrix, vector: Vector, d_z: Array) -> None:
        # d_W += d_z' v, and of W' v its transpose
        if matrix.is_trained:
            found = self.outer(matrix, d_z, self.operand(t, vector))
            self.found["parameters", matrix.declared.name] += masked(matrix.declared, found, self.problem)

    def outer(self, matrix: Matrix, d_z: Array, value: Array) -> Array:
        return value.T @ d_z if matrix.turned else d_z.T @ value

    def operand(self, t: int, vector: Vector) -> Array:
        value = self.tape.steps[t][vector.name]
        return np.broadcast_to(value, (self.problem.batch, value.shape[-1]))

    def pull(self, matrix: Matrix, d_z: Array) -> Array:
        # d_v += d_z W
        return d_z @ weights(matrix, self.tape.steps[0], self.problem)

    def receive(self, t: int, vector: Vector, adjoint: Array, adjoints: Named) -> None:
        if vector.role == "parameter":
            self.parameter(vector.name, adjoint)
        elif vector.role == "input":
            self.input(t, vector.name, adjoint)
        else:
            adjoints[vector.name] = adjoints.get(vector.name, 0) + adjoint

    def input(self, t: int, name: str, adjoint: Array) -> None:
        self.found["inputs", name][t] += adjoint

    def parameter(self, name: str, adjoint: Array) -> None:
        # a vector is shared by the rows of the batch, a scalar by the units too
        target = self.found["parameters", name]
        target[...] += adjoint.sum(0) if target.ndim else adjoint.sum()
