"""Where each name of a program lives between two stages and between two steps: arrays, slots, rows.

    slots_1             one row for each step and batch row: panels of gates x units, the products of stage 1, then the
                        values that the backward reads, then the adjoints of the products
    all_h               every state's values, one row more than steps
    kept_s              a value that a later product reads, or for which a slot is not free
    weights_1_x         the packed matrices of stage 1 that multiply x; back_1_h_prev the same, transposed
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from sympy import Expr

from derive.differentiate import Transpose
from derive.emit.scalar import Step, steps
from derive.program import Affine, Pointwise, Program
from derive.symbols import ONE, Vector


@dataclass(frozen=True)
class Home:
    """A place in the slots of an affine stage, or (stage 0) an array of its own."""

    name: str
    stage: int = 0
    slot: int = 0


@dataclass(frozen=True)
class Operand:
    """A vector that an affine stage multiplies, and the run of slots that it reaches."""

    vector: Vector
    stage: int
    low: int
    run: int
    gates: int
    structure: str | None

    @property
    def key(self) -> str:
        return f"{self.stage}_{self.vector.name}"

    @property
    def is_input(self) -> bool:
        return self.vector.role == "input"

    @property
    def reaches_all(self) -> bool:
        """Whether it has a matrix, or zeros, for every slot: the sums can begin with its product."""
        return (self.low, self.run) == (0, self.gates) and not self.structure


@dataclass(frozen=True)
class Layout:
    """A program with the homes of its names."""

    program: Program

    @cached_property
    def steps(self) -> dict[Pointwise, Step]:
        return {step.stage: step for step in steps(self.program)}

    @cached_property
    def affine(self) -> dict[int, Affine]:
        """Number -> affine stage, from 1."""
        return dict(enumerate(self.program.affine, start=1))

    def number(self, stage: Affine | Pointwise) -> int:
        """The number of the affine stage whose slots a stage works on; 0 if there is none."""
        same = (k for k, a in self.affine.items() if (a.level, a.space) == (stage.level, stage.space))
        return next(same, 0)

    def gates(self, number: int) -> int:
        return len(self.affine[number].slots)

    def beside(self, number: int) -> tuple[int, ...]:
        """The other stages of the same space whose panels have another number of gates: all are padded alike."""
        space, gates = self.affine[number].space, self.gates(number)
        return tuple(k for k, stage in self.affine.items() if stage.space == space and self.gates(k) != gates)

    @cached_property
    def operands(self) -> dict[int, tuple[Operand, ...]]:
        """Affine stage -> its operands, inputs first, else in order of appearance."""
        return {k: tuple(sorted(_operands(k, a), key=lambda o: not o.is_input)) for k, a in self.affine.items()}

    def transposed(self, number: int) -> tuple[Operand, ...]:
        """The operands of an affine stage that receive an adjoint at every step; inputs receive theirs at the end."""
        reached = {vector.name for vector in Transpose(self.affine[number]).operands}
        return tuple(o for o in self.operands[number] if o.vector.name in reached and not o.is_input)

    @cached_property
    def homes(self) -> dict[str, Home]:
        """Slot or value -> where the backward, and later stages, find it."""
        slots = ((slot.name, k, place) for k, a in self.affine.items() for place, slot in enumerate(a.slots))
        # a slot that is read again keeps its place: no value is written over it
        again = self._read_later | {v.name for step in self.steps.values() for v in step.saved}
        homes = {name: Home(name, k, place) for name, k, place in slots if name in again}
        for stage, step in self.steps.items():
            homes |= self._homes(stage, step, homes)
        return homes

    def _homes(self, stage: Pointwise, step: Step, taken: dict[str, Home]) -> dict[str, Home]:
        """Products' operands have arrays of their own; the rest takes free slots first."""
        number = self.number(stage)
        used = {home.slot for home in taken.values() if home.stage == number}
        free = [place for place in range(self.gates(number)) if place not in used] if number else []
        found = {}
        for name in self._remembered(stage, step):
            own = name in self._operand_names or not free
            found[name] = Home(name) if own else Home(name, number, free.pop(0))
        return found

    def _remembered(self, stage: Pointwise, step: Step) -> Iterable[str]:
        """What the stage defines and somebody reads after it."""
        needed = {v.name for v in step.saved} | self._read_later | self._operand_names
        states = {v.name for v in stage.writes if v.role == "state"}
        return [name for name in step.forward.results if name in needed or name not in states]

    @cached_property
    def _operand_names(self) -> set[str]:
        vectors = [o.vector for operands in self.operands.values() for o in operands]
        return {v.name for v in vectors if v.role in ("value", "state")}

    @cached_property
    def _read_later(self) -> set[str]:
        """Names that a pointwise stage reads although it is not where they are made."""
        slots = {s.name: k for k, stage in self.affine.items() for s in stage.slots}
        reads = [(v, self.number(stage)) for stage in self.steps for v in stage.reads]
        return {v.name for v, number in reads if v.role in ("value", "state") or slots.get(v.name, number) != number}

    @cached_property
    def carried(self) -> tuple[str, ...]:
        """Slots that a later stage reads: sums that have to outlive their own stage."""
        return tuple(slot.name for a in self.affine.values() for slot in a.slots if slot.name in self._read_later)

    @cached_property
    def pointwise_inputs(self) -> tuple[Vector, ...]:
        return self._reads("input")

    @cached_property
    def parameters(self) -> tuple[Vector, ...]:
        """Vectors that scalar mathematics reads, trained or constant."""
        return (*self._reads("parameter"), *self._reads("constant"))

    def _reads(self, role: str) -> tuple[Vector, ...]:
        return tuple(dict.fromkeys(v for stage in self.steps for v in stage.reads if v.role == role))

    @cached_property
    def sleeping(self) -> bool:
        """Whether a silent unit keeps every state, so that its work can be left out: s = where(tick, ..., s_prev)."""
        clocks = {v.name for stage in self.steps for v in stage.reads if v.role == "clock"}
        held = [e for e in self.program.cell.equations if e.lhs.role == "state"]
        return len(clocks) == 1 == len(self.affine) and all(_is_held(e.lhs, e.rhs, clocks) for e in held)

    @cached_property
    def spaces(self) -> tuple[str, ...]:
        """Every space but that of scalars, in order of appearance."""
        cell = self.program.cell
        found = [*cell.inputs.values(), *cell.states.values(), *(stage.space for stage in self.program.stages)]
        return tuple(dict.fromkeys(space for space in found if space != ONE))


def _operands(number: int, stage: Affine) -> Iterable[Operand]:
    places: dict[str, list[int]] = {}
    symbols: dict[str, Vector] = {}
    structures: dict[str, str | None] = {}
    for place, slot in enumerate(stage.slots):
        for matrix, vector in slot.terms:
            places.setdefault(vector.name, []).append(place)
            symbols.setdefault(vector.name, vector)
            structures[vector.name] = matrix.structure if len(stage.slots) == 1 else None
    for name, reached in places.items():
        low, run = min(reached), max(reached) - min(reached) + 1
        yield Operand(symbols[name], number, low, run, len(stage.slots), structures[name])


def _is_held(state: Vector, expression: Expr, clocks: set[str]) -> bool:
    """Whether an equation is s = where(tick, ..., s_prev)."""
    if type(expression).__name__ != "where":
        return False
    condition, _, otherwise = expression.args
    return condition.name in clocks and otherwise.name == f"{state.name}_prev"
