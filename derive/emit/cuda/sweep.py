"""The whole time loop as one kernel: each block keeps its share of the matrices in shared memory.

A block has units of every space: the same parts of H and of a projection's P.  Blocks wait for each other in products,
for the numbers themselves: the runtime fills what they read with a pattern of bits that no number has.

    share          units first .. first + units - 1 of a space, rows low .. high - 1, of this block
    hold           its rows (or columns) of a matrix, once
    deal           how its threads share a product, of `tile` rows, which go through all steps before the next do
    multiply       numbers[at + column * tile + line] = its slots of a product, of the tile's lines
    read, unit     a pointwise stage (derive.emit.cuda.base), in the same order on both ways: what it reads is on its
                   way while the product that it needs is found
"""

from collections.abc import Iterator, Sequence

from derive.emit.cuda.backward import backward_units, pulled
from derive.emit.cuda.base import Function, Unit
from derive.emit.cuda.forward import forward_units, recurrent_run
from derive.emit.kernels.base import Block, formula
from derive.emit.layout import Layout, Operand
from derive.program import Pointwise


def sweeps(layout: Layout) -> Iterator["Sweep"]:
    """Both directions."""
    yield SweepForward(layout)
    yield SweepBackward(layout)


class Sweep(Function):
    """One direction."""

    def body(self) -> Block:
        self.need("steps", "batch", "parts", "tile")
        holds: Block = self.holds()
        steps, parts = self.steps(), self.parts()
        spaces = dict.fromkeys(stage.space for stage in self.layout.program.stages)
        return [
            *(f"first_{s}, units_{s}, low, high = share(parts, batch, {self.need(s)})" for s in spaces),
            *(f"line_{s}, lines_{s}, column_{s}, columns_{s} = places(units_{s})" for s in spaces),
            "stored, numbers = shared_memory()",
            *holds,
            "for top in range(low, high, tile):",
            ["rows = min(tile, high - top)", *parts, self.loop, steps],
        ]

    loop = ""

    def steps(self) -> Block:
        raise TypeError(self.name)

    def holds(self) -> Block:
        raise TypeError(self.name)

    def parts(self) -> Block:
        """How the threads share the products."""
        raise TypeError(self.name)

    def dealt(self, o: Operand, place: str, rows: str, depth: str, apart: str, key: str) -> str:
        """Of one operand, whose sums go to the region of this key."""
        self.need(place, f"at_{key}", "tile", "stage", "span", "scratch")
        arguments = f"{place}, {rows}, {depth}, {apart}, rows, at_{key}, tile, stage, span, scratch"
        return f"part_{o.key} = deal({arguments})"

    def product(self, o: Operand, array: str, row: str, more: int, waits: str) -> str:
        """sums = (or +=) its rows of a matrix times the operand's rows."""
        return f"multiply(stored, numbers, part_{o.key}, {self.need(array)}, {row}, {more}, {waits})"

    def each(self, s: str, lines: Block) -> Block:
        """For each unit of each of these rows, a thread each."""
        places = [f"row, unit = top + line, first_{s} + column"]
        columns: Block = [f"for column in range(column_{s}, units_{s}, columns_{s}):", [*places, *lines]]
        return [f"for line in range(line_{s}, rows, lines_{s}):", columns]

    def sum_at(self, key: int | str) -> str:
        """Where a product's sum of this unit and row is."""
        return f"at_{key} + column * tile + line"

    def unit(self, unit: Unit, products: Block) -> Block:
        """The pointwise stage of one unit of one row, and what it needs."""
        unit.text()  # notes what it takes
        s, read = unit.space, unit.read
        assert read is not None
        found = f"read_{unit.place}"
        loads = f"{found} = {self.called(read, s)}"
        first = f"row, unit = top + line_{s}, first_{s} + column_{s}"
        return [
            f"if line_{s} < rows and column_{s} < units_{s}:", [first, loads],
            *products,
            *self.each(s, [
                f"if line >= lines_{s} or column >= columns_{s}:", [loads], self.called(unit, s, read=found),
            ]),
            "wait()",
        ]  # fmt: skip

    def called(self, function: Function, space: str, **found: str) -> str:
        """A function of one unit of one row."""
        for name in function.arguments:
            kind, _, key = name.partition("_")
            if kind in ("sums", "sum", "apart"):
                self.need(f"at_{key}", "tile")
                known = {"sums": "numbers", "sum": self.sum_at(key), "apart": f"units_{space} * tile"}
                found[name] = known[kind]
        names = sorted(function.arguments, key=self.order)
        self.need(*(name for name in names if name not in ("row", "unit", "now", *found)))
        return f"{function.name}({', '.join(found.get(name, name) for name in names)})"


class SweepForward(Sweep):
    name = "sweep_forward"
    summary = "All steps: this block's units of its rows."
    loop = "for now in range(steps):"

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
                lines += ["", f"# {stage.level}. affine and pointwise" if k else f"# {stage.level}. pointwise"]
                lines += formula(self.layout.affine[k]) if k else []
                lines += self.unit(units[stage], [*self.products(k), *self.carry(k, stage)])
            elif k not in fused and self.recurrent(k):
                lines += ["", f"# {stage.level}. affine", *formula(stage)]
                lines += [*self.products(k), *self.carry(k, None), "wait()"]
        return lines

    def parts(self) -> Block:
        lines: Block = []
        for k, stage in self.layout.affine.items():
            for o in self.recurrent(k):
                count = f"{recurrent_run(self.layout, k)[1]} * units_{stage.space}"
                space = self.need(o.vector.space)
                lines.append(self.dealt(o, f"hold_{o.key}", count, space, space, str(k)))
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
        row, slots = f"(now * batch + row) * {gates} * {space}", self.need(f"slots_{k}")
        sum_at = f"{self.sum_at(k)} + {nth} * units_{space} * tile"
        slot = f"slot = {row} + {place} * {space} + unit"
        return [slot, f"put({slots}, slot, summed(get({slots}, slot), numbers, {sum_at}))"]

    def products(self, k: int) -> Block:
        lines: Block = []
        for o in self.recurrent(k):
            is_state, space = o.vector.role == "previous", self.need(o.vector.space)
            row, waits = f"(now * batch + top) * {space}", "now > 0" if is_state else "True"
            lines.append(self.product(o, f"operand_{o.vector.name}", row, int(bool(lines)), waits))
        return [*lines, "wait()"] if lines else []


class SweepBackward(Sweep):
    name = "sweep_backward"
    summary = "All steps, last to first, transposed: this block's units of its rows; without the first step's products."
    loop = "for now in range(steps - 1, -1, -1):"

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
                lines += ["", f"# {stage.level}. affine and pointwise, transposed", *self.said(stage)]
                lines += self.unit(units[stage], self.arriving(stage))
        return lines

    def parts(self) -> Block:
        stages = [stage for stage in self.layout.program.stages if isinstance(stage, Pointwise)]
        return [self._dealt(o, name) for s in stages for name, _, found in pulled(self.layout, s) for o in found]

    def _dealt(self, o: Operand, name: str) -> str:
        stage, own = self.layout.affine[o.stage], self.need(o.vector.space)
        size, gates = self.need(stage.space), self.layout.gates(o.stage)
        shape = f"units_{own}", f"{o.run} * {size}", f"{gates} * {size}"
        return self.dealt(o, f"turned_{o.key}", *shape, name)

    def said(self, stage: Pointwise) -> Iterator[str]:
        """# d_h_prev += U_i' d_z_i + .. of step now + 1, one line for each product."""
        for name, _, found in pulled(self.layout, stage):
            for o in found:
                slots = self.layout.affine[o.stage].slots[o.low : o.low + o.run]
                terms = [f"{m.name}' d_{s.name}" for s in slots for m, v in s.terms if v.name == name]
                step = " of step now + 1" if o.vector.role == "previous" else ""
                yield f"#    d_{name} += {' + '.join(terms)}{step}"

    def arriving(self, stage: Pointwise) -> Block:
        """What products send to the stage's writes."""
        lines: Block = []
        for name, space, found in pulled(self.layout, stage):
            if found[0].vector.role != "previous":
                lines += [self.transposed(o, "now", more) for more, o in enumerate(found)]
                continue
            clear = f"for place in range(thread(), units_{space} * tile, threads()):"
            products: Block = [self.transposed(o, "(now + 1)", more) for more, o in enumerate(found)]
            lines += ["if now + 1 < steps:", products, "else:", [clear, [f"erase(numbers, at_{name} + place)"]]]
        return [*lines, "wait()"] if lines else []

    def transposed(self, o: Operand, step: str, more: int) -> str:
        """d_v += W' d_z."""
        stage, gates = self.layout.affine[o.stage], self.layout.gates(o.stage)
        size = self.need(stage.space)
        row = f"({step} * batch + top) * {gates} * {size}{f' + {o.low} * {size}' if o.low else ''}"
        return self.product(o, f"operand_slots_{o.stage}", row, more, "True")
