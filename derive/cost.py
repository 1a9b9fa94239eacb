"""What one cell costs, as formulas in T, B, N, H: parameters, operations, bytes.  Counted from the program.

Operations
    a product of an R x C matrix with a vector is 2 R C; in reverse it is 2 R C for the operand's adjoint and 2 R C for
    the matrix's; a bias is R each way.  Pointwise lines are counted as they are printed: + - * / are one each, the
    application of a function is counted apart, because its price depends on the machine.
Bytes
    each array once, as if caches were perfect: a lower bound on the traffic.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import sympy
from sympy import Add, Expr, Integer

from derive.cell import Cell
from derive.differentiate import PASSIVE, Vjp, vjp
from derive.emit.printer import code
from derive.emit.scalar import operations as printed_operations
from derive.functions import TABLE
from derive.program import Affine, Pointwise, Program, split
from derive.symbols import ONE, Matrix, Vector

THERE = ("input", "parameter", "constant", "clock")  # in memory anyway

T, B, MODULES = sympy.symbols("T B modules", integer=True, positive=True)


def size(space: str) -> Expr:
    """The number of elements of a space, as a symbol: N, H, P ... and 1."""
    return Integer(1) if space == ONE else sympy.Symbol(space, integer=True, positive=True)


@dataclass(frozen=True)
class Cost:
    """The cost of a cell.

    Args:
        program: the stages that are counted.
        itemsize: bytes of one number.

    `forward`, `backward` are operations of one step of one row; times T B, of a sequence of a batch.
    """

    program: Program
    itemsize: int = 4

    def example(self, **sizes: int) -> tuple[float, float]:
        """Operations and bytes of forward and backward at given sizes: `example(T=100, B=64, N=256, H=256)`."""
        counted = self.sequence_forward + self.sequence_backward, self.bytes_forward + self.bytes_backward
        operations, moved = (total.subs({s: sizes.get(s.name, 1) for s in total.free_symbols}) for total in counted)
        return float(operations), float(moved)

    @property
    def cell(self) -> Cell:
        return self.program.cell

    @cached_property
    def parameters(self) -> Expr:
        """How many numbers are trained."""
        return sympy.factor(Add(*map(elements, self.cell.parameters.values())))

    @cached_property
    def forward(self) -> Expr:
        return _tidy(Add(*(_forward(stage) for stage in self.program.stages)))

    @cached_property
    def backward(self) -> Expr:
        return _tidy(Add(*(_backward(stage, self._vjps) for stage in self.program.stages)))

    @cached_property
    def forward_applications(self) -> Expr:
        """sigmoid, tanh ... in one step of one row."""
        return _tidy(Add(*(_applied(stage.equations) * size(stage.space) for stage in self.program.pointwise)))

    @cached_property
    def backward_applications(self) -> Expr:
        rows = ((adjoint.stage.space, _counted(adjoint)) for adjoint in self._vjps.values())
        return _tidy(Add(*(_applied(equations) * size(space) for space, equations in rows)))

    @cached_property
    def tape(self) -> Expr:
        """Numbers that one step of one row keeps for the way back, besides inputs and outputs."""
        return _tidy(Add(*(size(name.space) for name in self._kept)))

    @cached_property
    def sequence_forward(self) -> Expr:
        """Operations of a whole sequence, functions counted as one."""
        return _tidy(T * B * (self.forward + self.forward_applications))

    @cached_property
    def sequence_backward(self) -> Expr:
        return _tidy(T * B * (self.backward + self.backward_applications))

    @cached_property
    def bytes_forward(self) -> Expr:
        """Reads inputs, weights and initial states; writes outputs, tape and final states."""
        moved = T * B * (self._inputs + self._outputs + self.tape) + 2 * B * self._states + self._weights
        return _tidy(self.itemsize * moved)

    @cached_property
    def bytes_backward(self) -> Expr:
        """Reads inputs, outputs, tape, weights and d_output; writes the gradients of inputs, parameters and states."""
        moved = T * B * (2 * self._inputs + 2 * self._outputs + self.tape)
        return _tidy(self.itemsize * (moved + 2 * B * self._states + self._weights + self.parameters))

    @cached_property
    def _vjps(self) -> dict[Pointwise, Vjp]:
        return {stage: vjp(stage) for stage in self.program.pointwise}

    @cached_property
    def _kept(self) -> tuple[Vector, ...]:
        saved = [name for adjoint in self._vjps.values() for name in adjoint.saved]
        multiplied = [vector for stage in self.program.affine for slot in stage.slots for vector in slot.operands]
        read = (name for name in (*saved, *multiplied) if name.role not in THERE)
        unique = {_now(name): name for name in read if _now(name) not in self.cell.outputs}
        return tuple(unique.values())

    @property
    def _inputs(self) -> Expr:
        return Add(*map(size, self.cell.inputs.values()))

    @property
    def _states(self) -> Expr:
        return Add(*map(size, self.cell.states.values()))

    @property
    def _outputs(self) -> Expr:
        return Add(*(size(self.cell.states[name]) for name in self.cell.outputs))

    @property
    def _weights(self) -> Expr:
        return Add(*map(elements, (*self.cell.parameters.values(), *self.cell.constants.values())))


def cost(cell: Cell, itemsize: int = 4) -> Cost:
    """Count a cell."""
    return Cost(split(cell), itemsize)


def elements(symbol: Matrix | Vector) -> Expr:
    """How many numbers a parameter has; a block-upper matrix of m modules keeps (m + 1) / (2 m) of a full one."""
    if isinstance(symbol, Vector):
        return size(symbol.space)
    full = size(symbol.rows) * size(symbol.columns)
    return full if symbol.structure is None else full * (MODULES + 1) / (2 * MODULES)


# --- One step of one row


def _forward(stage: Affine | Pointwise) -> Expr:
    if isinstance(stage, Affine):
        return Add(*(2 * elements(matrix) for slot in stage.slots for matrix, _ in slot.terms), *_biases(stage))
    return size(stage.space) * sum(operations(expression) for _, expression in stage.equations)


def _backward(stage: Affine | Pointwise, vjps: dict[Pointwise, Vjp]) -> Expr:
    if isinstance(stage, Affine):
        return Add(*_transposed(stage), *_biases(stage))
    return size(stage.space) * sum(operations(expression) for _, expression in _counted(vjps[stage]))


def _transposed(stage: Affine) -> Iterator[Expr]:
    for slot in stage.slots:
        for matrix, vector in slot.terms:
            passed = not vector.stopped and vector.role not in PASSIVE
            yield 2 * elements(matrix) * (passed + matrix.is_trained)


def _biases(stage: Affine) -> Iterator[Expr]:
    return (size(slot.space) for slot in stage.slots if slot.bias is not None)


def _counted(adjoint: Vjp) -> tuple[tuple[Vector, Expr], ...]:
    return tuple((name, expression) for name, expression, _ in adjoint.equations)


def _now(name: Vector) -> str:
    """The previous value of a state is the state, one step earlier on the tape."""
    return name.name.removesuffix("_prev") if name.role == "previous" else name.name


def _applied(equations: tuple[tuple[Vector, Expr], ...]) -> int:
    return sum(applications(expression) for _, expression in equations)


def operations(expression: Expr) -> int:
    """How many + - * / and ** the printed expression has; a sign is free."""
    counted = printed_operations(code(expression))
    return sum(counted.get(name, 0) for name in ("add", "mul", "div", "pow"))


def applications(expression: Expr) -> int:
    """How many functions the printed expression applies."""
    counted = printed_operations(code(expression))
    return sum(number for name, number in counted.items() if name in TABLE)


def _tidy(expression: Expr) -> Expr:
    """Expanded and collected, so that one cell's formula has one spelling."""
    return sympy.expand(expression)
