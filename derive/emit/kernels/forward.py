"""The kernels that run a sequence: input products ahead of time, and the time loop."""

from collections.abc import Iterable, Iterator

from derive.emit.kernels.base import Block, Kernel, formula
from derive.emit.layout import Operand
from derive.program import Affine, Pointwise


class Products(Kernel):
    """What project and forward share: biases and products into slots."""

    def sums(self, k: int, operands: Iterable[Operand], rows: str, base: str, row: str) -> Block:
        """Slots become the sums of their biases and of these products; the first begins them if it reaches them all."""
        first, *others = operands
        products = [self.product(o, rows, self.operand(o), base, row) for o in others]
        if first.reaches_all:
            return [self.biased(first, rows, self.operand(first), base, row), *products]
        return [self.spread(k, rows, base, row), self.product(first, rows, self.operand(first), base, row), *products]

    def operand(self, o: Operand) -> str:
        """array, index, row of what the operand's matrices multiply."""
        raise TypeError(o.key)

    def spread(self, k: int, rows: str, base: str, row: str) -> str:
        self.need(f"bias_{k}", f"slots_{k}")
        limits = f"panel * {self._panel(k)}, panels * {self._panel(k)}"
        return f"spread({rows}, {limits}, bias_{k}, slots_{k}, {base}, {row})"

    def product(self, o: Operand, rows: str, a: str, base: str, row: str) -> str:
        space = self.need(o.vector.space)
        low = f"{self.need(f'starts_{o.key}')}[panel]" if o.structure else "0"
        operands = f"{a}, {self.need(f'weights_{o.key}')}, slots_{o.stage}, {base}, {row}"
        return f"multiply_{o.key}({rows}, panel, panels, {low}, {space}, {operands})"

    def biased(self, o: Operand, rows: str, a: str, base: str, row: str) -> str:
        space = self.need(o.vector.space)
        bias, weights = self.need(f"bias_{o.stage}"), self.need(f"weights_{o.key}")
        slots = self.need(f"slots_{o.stage}")
        return f"biased_{o.key}({rows}, panel, panels, {space}, {a}, {weights}, {bias}, {slots}, {base}, {row})"


class Project(Products):
    name = "project"
    summary = (
        "Biases and input products of steps begin .. end - 1 at once: as many rows of one product as there are steps."
    )

    def body(self) -> Block:
        self.need("begin", "end", "batch", "first", "rows", "held", "top", "kept")
        loops: Block = []
        for k, operands in self.layout.operands.items():
            inputs = [o for o in operands if o.is_input]
            base = f"(begin % kept * held + top + row) * {self.need(f'slots_{k}_row')}"
            if inputs:
                sums = self.sums(k, inputs, "end - begin", base, f"held * slots_{k}_row")
                loops += [f"panel, panels = 0, panels_{k}", *sums]
        return [*self.sizes(), "for row in range(rows):", loops] if loops else []

    def operand(self, o: Operand) -> str:
        sequence, space = self.need(f"seq_{o.vector.name}"), o.vector.space
        return f"{sequence}, (begin * batch + first + row) * {space}, batch * {space}"


class Forward(Products):
    name = "forward"
    prefix = ""  # of the names of what is stored
    summary = (
        "Steps begin .. end - 1 of the batch rows from first on, held from row top on; counts[t] of them run at step t."
    )

    def body(self) -> Block:
        self.need("begin", "end", "batch", "first", "held", "top", "counts", "depth", "kept", "hoisted", "resets")
        step: Block = [
            "rows = counts[now]",
            "if rows == 0:",
            ["break"],
            "before = now % depth * held + top",
            "after = (now + 1) % depth * held + top",
            "kept_at = now % kept * held + top",
            "given = now * batch + first",
            *self._restore(),
            *self.clockwork(),
        ]
        affine: Affine | None = None
        for stage in self.layout.program.stages:
            if isinstance(stage, Affine):
                affine = stage
                step += [] if self._fused(stage) else self._panels(stage, [])
            elif affine is not None and self.layout.number(stage) == self.layout.number(affine):
                step += self._panels(affine, self._pointwise(stage))
            else:
                step += self._pointwise(stage)
        return [*self.width(), *self.sizes(), "for now in range(begin, end):", step]

    def _fused(self, stage: Affine) -> bool:
        return any(self.layout.number(p) == self.layout.number(stage) for p in self.layout.steps)

    def _restore(self) -> Block:
        """A reset row starts again from its first states."""
        calls: Block = []
        for state, space in self.cell.states.items():
            start, states = self.need(f"start_{state}"), self.need(f"all_{state}")
            calls.append(f"restore(rows, resets, given, {start}, top, {states}, before, {self.row_of(space)})")
        return ["if resets.size:", calls]

    def _panels(self, stage: Affine, pointwise: Block) -> Block:
        """Products of a few panels, then the pointwise stage on them while they are in the cache."""
        k = self.layout.number(stage)
        row = self.need(f"slots_{k}_row")
        work = [*(self._asleep(k) if self.layout.sleeping else []), *self._products(k, f"kept_at * {row}", row)]
        many = "1" if self.layout.sleeping else f"together(rows, panels_{k}, {self._panel(k)})"
        return [
            "",
            f"# {stage.level}. affine",
            *self._formula(stage),
            f"at_once = {many}",
            f"for panel in range(0, panels_{k}, at_once):",
            [f"panels = min(at_once, panels_{k} - panel)", *work, *pointwise],
        ]

    def _formula(self, stage: Affine) -> Iterator[str]:
        return formula(stage)

    def _products(self, k: int, base: str, row: str) -> Block:
        inputs = [o for o in self.layout.operands[k] if o.is_input]
        others = [o for o in self.layout.operands[k] if not o.is_input]
        if not inputs:
            return self.sums(k, others, "rows", base, row)
        early = self.sums(k, inputs, "rows", base, row)
        return ["if not hoisted:", early, *(self.product(o, "rows", self.operand(o), base, row) for o in others)]

    def operand(self, o: Operand) -> str:
        space = o.vector.space
        if o.is_input:
            return f"{self.need(f'seq_{o.vector.name}')}, given * {space}, {space}"
        row = self.row_of(space)
        if o.vector.role == "previous":
            state = o.vector.name.removesuffix("_prev")
            return f"{self.need(f'all_{state}')}, before * {row}, {row}"
        return f"{self.need(f'kept_{o.vector.name}')}, kept_at * {row}, {row}"

    def _asleep(self, k: int) -> Block:
        """A silent panel keeps its states."""
        body: Block = []
        for state, space in self.cell.states.items():
            self.need(f"all_{state}")
            name = self.local(self.prefix + state)
            body.append(f"{name} = load(all_{state}, (before + row) * {self.row_of(space)} + unit)")
            body += self._state(state, space, name)
        return [f"if {self.awake(k)}:", [*self.over_panels(k, body), "continue"]]

    def _pointwise(self, stage: Pointwise) -> Block:
        step = self.layout.steps[stage]
        reads: Block = [f"{self.local(v.name)} = {self.value(v, stage, 'before')}" for v in stage.reads]
        names = [v.name for v in stage.reads]
        body: Block = [*self.slot_places(stage), *reads, self.call(step.forward.results, step.forward.name, names)]
        body += self._stores(stage, step.forward.results)
        return ["", f"# {stage.level}. pointwise", *self.over_units(stage, body)]

    def _stores(self, stage: Pointwise, names: Iterable[str]) -> Block:
        lines: Block = []
        for name in names:
            given = self.local(self.prefix + name)
            if name in self.layout.homes:
                lines.append(f"store({self.home(name, stage.space)}, {given})")
            if name in self.cell.states:
                lines += self._state(name, self.cell.states[name], given)
        return lines

    def _state(self, state: str, space: str, name: str) -> Block:
        lines: Block = [f"store({self.need(f'all_{state}')}, (after + row) * {self.row_of(space)} + unit, {name})"]
        if state in self.cell.outputs:
            self.need(f"out_{state}")
            lines.append(f"store_first(out_{state}, (given + row) * {space} + unit, {name}, {space} - unit)")
        return lines
