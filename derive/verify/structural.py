"""Planted bugs, in structure: backpropagation through time with one of its rules broken.

The text of a step can be right and the gradient still wrong: a weight not transposed, an index off by one step, a
first step left out, a sum overwritten, a row that ends early, a reset.  Each class breaks one rule of `sweep.Sweep`;
the table at the end says for which cells that makes a difference.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import replace

import numpy as np

from derive.program import Program, Slot
from derive.symbols import Matrix, Vector
from derive.verify.analytic import Array
from derive.verify.derivative import Gradient
from derive.verify.mutants import SLIGHTLY
from derive.verify.sequence import Named, weights
from derive.verify.sweep import Sweep

Applies = Callable[[Program], bool]


class TransposedWeight(Sweep):
    """d_v += d_z W', where W is square."""

    def pull(self, matrix: Matrix, d_z: Array) -> Array:
        value = weights(matrix, self.tape.steps[0], self.problem)
        return d_z @ (value.T if _is_square(matrix) else value)


class GradientNotTransposed(Sweep):
    """d_W += d_z' v for W' v, where W is square."""

    def outer(self, matrix: Matrix, d_z: Array, value: Array) -> Array:
        return d_z.T @ value if _is_square(matrix) else super().outer(matrix, d_z, value)


class WeightsSkipFirstStep(Sweep):
    """d_W without step 0."""

    def weights(self, t: int, matrix: Matrix, vector: Vector, d_z: Array) -> None:
        if t > 0:
            super().weights(t, matrix, vector, d_z)


class WeightsSkipLastStep(Sweep):
    """d_W without step T - 1."""

    def weights(self, t: int, matrix: Matrix, vector: Vector, d_z: Array) -> None:
        if t < self.problem.steps - 1:
            super().weights(t, matrix, vector, d_z)


class BiasSkipsFirstStep(Sweep):
    """d_b without step 0."""

    def slot(self, t: int, slot: Slot, d_z: Array, adjoints: Named) -> None:
        super().slot(t, replace(slot, bias=None) if t == 0 else slot, d_z, adjoints)


class BiasMissesARow(Sweep):
    """d_b without the first row of the batch."""

    def slot(self, t: int, slot: Slot, d_z: Array, adjoints: Named) -> None:
        super().slot(t, replace(slot, bias=None), d_z, adjoints)
        if slot.bias is not None and slot.bias.is_trained:
            self.parameter(slot.bias.name, d_z[1:])


class InputSkipsLastStep(Sweep):
    """d_x of step T - 1 left at zero."""

    def input(self, t: int, name: str, adjoint: Array) -> None:
        if t < self.problem.steps - 1:
            super().input(t, name, adjoint)


class NewStateForOld(Sweep):
    """d_U += d_z' h[t] instead of h[t-1]."""

    def operand(self, t: int, vector: Vector) -> Array:
        return self.tape.steps[t][vector.name.removesuffix("_prev")]


class OldInputForNew(Sweep):
    """d_W += d_z' x[t-1] instead of x[t]."""

    def operand(self, t: int, vector: Vector) -> Array:
        return self.tape.steps[max(t - 1, 0) if vector.role == "input" else t][vector.name]


class LossOneStepOff(Sweep):
    """Step t receives the loss of step t - 1."""

    def incoming(self, t: int, later: Named) -> Named:
        return super().incoming(max(t - 1, 0), later)


class NothingFromLater(Sweep):
    """Step t receives nothing from step t + 1: no backpropagation through time."""

    def previous(self, adjoints: Named, name: str, like: Array) -> Array:
        return 0 * super().previous(adjoints, name, like)


class AlmostAllFromLater(Sweep):
    """What step t + 1 gave, times 1 + 1e-6."""

    def previous(self, adjoints: Named, name: str, like: Array) -> Array:
        return SLIGHTLY * super().previous(adjoints, name, like)


class FromTwoStepsLater(Sweep):
    """Step t receives what step t + 2 gave."""

    def gradient(self) -> Gradient:
        self.waiting: Named | None = None
        return super().gradient()

    def recur(self, t: int, later: Named) -> Named:
        given = later if self.waiting is None else self.waiting
        self.waiting = later
        return super().recur(t, given)


class FinalStateForgotten(Sweep):
    """The loss of the final states does not count."""

    def gradient(self) -> Gradient:
        self.problem = replace(self.problem, d_state={k: np.zeros_like(v) for k, v in self.problem.d_state.items()})
        return super().gradient()


class Overwritten(Sweep):
    """The last adjoint of a previous state counts, not the sum of all."""

    def receive(self, t: int, vector: Vector, adjoint: Array, adjoints: Named) -> None:
        if vector.role == "previous":
            adjoints.pop(vector.name, None)
        super().receive(t, vector, adjoint, adjoints)


class LengthsIgnored(Sweep):
    """Rows go on to the last step in the backward run."""

    def recur(self, t: int, later: Named) -> Named:
        kept, self.problem = self.problem, replace(self.problem, lengths=None)
        found = super().recur(t, later)
        self.problem = kept
        return found


class HeldStateForgotten(Sweep):
    """The adjoint of a state that is held past a row's end is lost."""

    def recur(self, t: int, later: Named) -> Named:
        alive = (t < self.lengths())[:, None]
        return {name: np.where(alive, value, 0) for name, value in super().recur(t, later).items()}

    def lengths(self) -> Array:
        return np.full(1, self.problem.steps) if self.problem.lengths is None else self.problem.lengths


class ResetsIgnored(Sweep):
    """The adjoint flows past a reset."""

    def recur(self, t: int, later: Named) -> Named:
        kept, self.problem = self.problem, replace(self.problem, resets=None)
        found = super().recur(t, later)
        self.problem = kept
        return found


class ResetToNothing(Sweep):
    """A reset cuts the adjoint, and the initial state does not get it."""

    def recur(self, t: int, later: Named) -> Named:
        kept = {name: self.found["state", name].copy() for name in later}
        found = super().recur(t, later)
        self.found |= {("state", name): value for name, value in kept.items()}
        return found


class RoundedSum(Sweep):
    """d_W is summed in float32."""

    def weights(self, t: int, matrix: Matrix, vector: Vector, d_z: Array) -> None:
        super().weights(t, matrix, vector, d_z)
        if matrix.is_trained:
            name = matrix.declared.name
            kept = self.found["parameters", name]
            self.found["parameters", name] = kept.astype(np.float32).astype(kept.dtype)


def one_element(group: str, name: str) -> type[Sweep]:
    """One element of one tensor is 1 % too large."""

    class OneElement(Sweep):
        def gradient(self) -> Gradient:
            found = super().gradient()
            at = np.argmax(np.abs(found[group, name]))  # one that is not zero
            found[group, name].flat[at] *= 1.01
            return found

    OneElement.__doc__ = f"One element of dL/d{name} is 1 % too large."
    return OneElement


# --- Where they make a difference


def _is_square(matrix: Matrix) -> bool:
    return matrix.rows == matrix.columns


def always(_program: Program) -> bool:
    return True


def _terms(program: Program) -> Iterator[tuple[Matrix, Vector]]:
    return (term for stage in program.affine for slot in stage.slots for term in slot.terms)


def has_weights(program: Program) -> bool:
    return any(matrix.is_trained for matrix, _ in _terms(program))


def has_square_weights(program: Program) -> bool:
    return any(_is_square(matrix) and not vector.stopped for matrix, vector in _terms(program))


def has_turned_weights(program: Program) -> bool:
    return any(matrix.turned and matrix.is_trained and _is_square(matrix) for matrix, _ in _terms(program))


def has_recurrent_weights(program: Program) -> bool:
    return any(matrix.is_trained and vector.role == "previous" for matrix, vector in _terms(program))


def has_input_weights(program: Program) -> bool:
    return any(matrix.is_trained and vector.role == "input" for matrix, vector in _terms(program))


def has_bias(program: Program) -> bool:
    slots = (slot for stage in program.affine for slot in stage.slots)
    return any(slot.bias is not None and slot.bias.is_trained for slot in slots)


def has_inputs(program: Program) -> bool:
    return bool(program.cell.inputs)


def has_two_ways_back(program: Program) -> bool:
    """Whether some previous state is read twice: by two slots, or by a slot and a pointwise line."""
    reads = [vector.name for _, vector in _terms(program) if vector.role == "previous" and not vector.stopped]
    reads += [vector.name for stage in program.pointwise for vector in stage.reads if vector.role == "previous"]
    return len(reads) > len(set(reads))


BROKEN: dict[type[Sweep], Applies] = {
    TransposedWeight: has_square_weights,
    GradientNotTransposed: has_turned_weights,
    WeightsSkipFirstStep: has_weights,
    WeightsSkipLastStep: has_weights,
    BiasSkipsFirstStep: has_bias,
    BiasMissesARow: has_bias,
    InputSkipsLastStep: has_inputs,
    NewStateForOld: has_recurrent_weights,
    OldInputForNew: has_input_weights,
    LossOneStepOff: always,
    NothingFromLater: always,
    AlmostAllFromLater: always,
    FromTwoStepsLater: always,
    FinalStateForgotten: always,
    Overwritten: has_two_ways_back,
    LengthsIgnored: always,
    HeldStateForgotten: always,
    ResetsIgnored: always,
    ResetToNothing: always,
    RoundedSum: has_weights,
}


def broken(program: Program, silent: Collection[tuple[str, str]] = ()) -> Iterator[type[Sweep]]:
    """Every broken sweep that makes a difference for the program; `silent` tensors have no gradient at all."""
    yield from (sweep for sweep, applies in BROKEN.items() if applies(program))
    cell = program.cell
    for group, names in (("inputs", cell.inputs), ("parameters", cell.parameters), ("state", cell.states)):
        yield from (one_element(group, name) for name in names if (group, name) not in silent)
