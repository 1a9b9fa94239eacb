"""The whole time loop as one kernel: each block keeps its share of the matrices in shared memory.

A block has units of every space: the same parts of H and of a projection's P.  Blocks wait for each other where a
product reads what all of them have written.

    share          units first .. first + units - 1 of a space, rows low .. high - 1, of this block
    hold           its rows (or columns) of a matrix, once
    multiply       numbers[at + unit * tile + row] = its slots of a product, for `tile` rows at a time
    meet           all blocks that share the rows have come here
"""

from collections.abc import Iterator, Sequence

from derive.emit.cuda.backward import backward_units
from derive.emit.cuda.base import Function, Unit, state_of
from derive.emit.cuda.forward import forward_units, recurrent_run
from derive.emit.kernels.base import Block, formula
from derive.emit.layout import Layout, Operand
from derive.program import Affine, Pointwise


def sweeps(layout: Layout) -> Iterator["Sweep"]:
    """Both directions."""
    yield SweepForward(layout)
    yield SweepBackward(layout)


class Sweep(Function):
    """One direction."""

    def body(self) -> Block:
        self.need("begin", "end", "batch", "parts", "tile", "scratch", "barrier")
        step: Block = self.steps()
        holds: Block = self.holds()
        spaces = dict.fromkeys(stage.space for stage in self.layout.program.stages)
        return [
            *(f"first_{s}, units_{s}, low, high = share(parts, batch, {self.need(s)})" for s in spaces),
            "stored, numbers = shared_memory()",
            *holds,
            "met = 0",
            self.loop,
            step,
        ]

    loop = ""

    def steps(self) -> Block:
        raise TypeError(self.name)

    def holds(self) -> Block:
        raise TypeError(self.name)

    def tiles(self, lines: Block) -> Block:
        """For a few rows at a time."""
        return ["for top in range(low, high, tile):", ["rows = min(tile, high - top)", *lines, "wait()"]]

    def each(self, space: str, lines: Block) -> Block:
        """For each unit of each of these rows, a thread each."""
        units = f"units_{space}"
        places = [f"row, unit = top + place // {units}, first_{space} + place % {units}"]
        return [f"for place in range(thread(), {units} * rows, threads()):", [*places, *lines]]

    def sum_at(self, k: int, space: str) -> str:
        """Where a product's sum of this unit and row is."""
        return f"at_{k} + (unit - first_{space}) * tile + row - top"

    def unit(self, unit: Unit, number: int) -> Block:
        """The pointwise stage of one unit of one row."""
        unit.text()  # notes what it takes
        found = {
            f"sums_{number}": "numbers",
            f"sum_{number}": self.sum_at(number, unit.space),
            f"apart_{number}": f"units_{unit.space} * tile",
        }
        own = ("row", "unit", "now", *found)
        names = sorted(unit.arguments, key=self.order)
        self.need(*(name for name in names if name not in own))
        if any(name in found for name in names):
            self.need(f"at_{number}")
        return self.each(unit.space, [f"{unit.name}({', '.join(found.get(name, name) for name in names)})"])

    def product(self, o: Operand, place: str, rows: str, depth: str, apart: str, array: str, more: bool) -> str:
        """sums = (or +=) its rows of a matrix times the operand's rows."""
        self.need(array, place, f"at_{o.stage}")
        return (
            f"multiply(stored, {place}, {rows}, {depth}, {array}, {{row}}, {apart}, rows, "
            f"numbers, at_{o.stage}, tile, scratch, {int(more)})"
        )


class SweepForward(Sweep):
    name = "sweep_forward"
    summary = "Steps begin .. end - 1: this block's units of its rows."
    loop = "for now in range(begin, end):"

    def recurrent(self, number: int) -> Sequence[Operand]:
        return [o for o in self.layout.operands.get(number, ()) if not o.is_input]

    def holds(self) -> Block:
        lines: Block = []
        for k in self.layout.affine:
            for o in self.recurrent(k):
                self.need(f"hold_{o.key}", f"weights_{o.key}")
                low, run = recurrent_run(self.layout, k)
                skipped = o.low - low
                own, other = self.layout.affine[k].space, self.need(o.vector.space)
                arguments = f"weights_{o.key}, {run}, {skipped}, {o.run}, {own}, {other}, first_{own}, units_{own}"
                lines.append(f"hold(stored, hold_{o.key}, {arguments})")
        return [*lines, "wait()"] if lines else []

    def steps(self) -> Block:
        units = {unit.stage: unit for unit in forward_units(self.layout)}
        fused = {self.layout.number(stage) for stage in units}
        lines: Block = []
        for stage in self.layout.program.stages:
            k = self.layout.number(stage)
            if isinstance(stage, Pointwise):
                work = [*self.products(k), *self.carry(k, stage), *self.unit(units[stage], k)]
                lines += ["", f"# {stage.level}. affine and pointwise" if k else f"# {stage.level}. pointwise"]
                lines += [*(formula(self.layout.affine[k]) if k else []), *self.tiles(work)]
                lines += ["met = meet(barrier, parts, met)"] if self.feeds_product(stage) else []
            elif k not in fused and self.recurrent(k):
                work = [*self.products(k), *self.carry(k, None)]
                lines += ["", f"# {stage.level}. affine", *formula(stage), *self.tiles(work)]
        return lines

    def carry(self, k: int, stage: Pointwise | None) -> Block:
        """Sums that a later stage reads, and their own does not, are kept in the slots."""
        if not k:
            return []
        low, run = recurrent_run(self.layout, k)
        slots, space = self.layout.affine[k].slots, self.layout.affine[k].space
        later = set(self.layout.carried) - {v.name for v in (() if stage is None else stage.reads)}
        places = [place for place in range(low, low + run) if slots[place].name in later]
        return self.each(space, [line for p in places for line in self._carried(k, p, p - low)]) if places else []

    def _carried(self, k: int, place: int, nth: int) -> Block:
        space, gates = self.layout.affine[k].space, self.layout.gates(k)
        row, slots = f"(now % {self.need('kept')} * batch + row) * {gates} * {space}", self.need(f"slots_{k}")
        sum_at = f"{self.sum_at(k, space)} + {nth} * units_{space} * tile"
        slot = f"slot = {row} + {place} * {space} + unit"
        return [slot, f"put({slots}, slot, summed({slots}, slot, numbers, {sum_at}))"]

    def products(self, k: int) -> Block:
        lines: Block = []
        for o in self.recurrent(k):
            run = recurrent_run(self.layout, k)[1]
            space = self.need(o.vector.space)
            ring = self.need("depth" if o.vector.role == "previous" else "kept")
            row = f"(now % {ring} * batch + top) * {space}"
            array, place = f"operand_{o.vector.name}", f"hold_{o.key}"
            count = f"{run} * units_{self.layout.affine[k].space}"
            lines.append(self.product(o, place, count, space, space, array, bool(lines)).format(row=row))
        return [*lines, "wait()"] if lines else []

    def feeds_product(self, stage: Pointwise) -> bool:
        """Whether a later product reads what the stage has written."""
        read = {o.vector.name for k in self.layout.affine for o in self.recurrent(k)}
        results = self.layout.steps[stage].forward.results
        return any(name in read or f"{name}_prev" in read for name in results)


class SweepBackward(Sweep):
    name = "sweep_backward"
    summary = "Steps end - 1 .. begin, transposed: this block's units of its rows."
    loop = "for now in range(end - 1, begin - 1, -1):"

    def holds(self) -> Block:
        lines: Block = []
        for k in self.layout.affine:
            for o in self.layout.transposed(k):
                self.need(f"turned_{o.key}", f"weights_{o.key}")
                depth, own = f"{o.run} * {self.layout.affine[k].space}", self.need(o.vector.space)
                arguments = f"weights_{o.key}, {depth}, {own}, first_{own}, units_{own}"
                lines.append(f"hold_turned(stored, turned_{o.key}, {arguments})")
        return [*lines, "wait()"] if lines else []

    def steps(self) -> Block:
        units = {unit.stage: unit for unit in backward_units(self.layout)}
        lines: Block = []
        for stage in reversed(self.layout.program.stages):
            if isinstance(stage, Pointwise):
                lines += ["", f"# {stage.level}. pointwise, transposed", *self.tiles(self.unit(units[stage], 0))]
            else:
                lines += self.affine(stage)
        return lines

    def affine(self, stage: Affine) -> Block:
        k = self.layout.number(stage)
        reached = self.layout.transposed(k)
        work = [line for o in reached for line in self.pulled(o, k)]
        if not work:
            return []
        return ["", f"# {stage.level}. affine, transposed", "met = meet(barrier, parts, met)", *self.tiles(work)]

    def pulled(self, o: Operand, k: int) -> Block:
        """d_v += W' d_z."""
        stage, own = self.layout.affine[k], self.need(o.vector.space)
        gates, size = self.layout.gates(k), self.need(stage.space)
        self.need("kept")
        apart = f"{gates} * {size}"
        row = f"(now % kept * batch + top) * {apart}{f' + {o.low} * {size}' if o.low else ''}"
        call = self.product(
            o, f"turned_{o.key}", f"units_{own}", f"{o.run} * {size}", apart, f"operand_slots_{k}", more=False
        ).format(row=row)
        is_state = o.vector.role == "previous"
        target = f"d_all_{state_of(o.vector)}" if is_state else f"d_kept_{o.vector.name}"
        first = "(now % 2 * batch + row)" if is_state else "row"
        add = f"add({self.need(target)}, {first} * {own} + unit, get(numbers, {self.sum_at(k, own)}))"
        return [call, "wait()", *self.each(own, [add])]
