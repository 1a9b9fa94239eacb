"""The kernel that runs a sequence's transpose: steps and stages reversed."""

from derive.emit.kernels.base import Block, Kernel
from derive.emit.layout import Home
from derive.emit.scalar import Step
from derive.program import Affine, Pointwise
from derive.symbols import Vector


class Backward(Kernel):
    name = "backward"
    summary = "Steps end - 1 .. begin: adjoints of slots, states, pointwise inputs and pointwise parameters."

    def body(self) -> Block:
        self.need("begin", "end", "batch", "first", "counts", "depth", "kept", "resets")
        self.started: set[str] = set()
        step: Block = [
            "rows = counts[now]",
            "before = now % depth * batch + first",
            "kept_at = now % kept * batch + first",
            "given = now * batch + first",
            "later = (now + 1) % 2 * batch + first",
            "earlier = now % 2 * batch + first",
            *self.clockwork(),
        ]
        for stage in reversed(self.layout.program.stages):
            step += self._affine(stage) if isinstance(stage, Affine) else self._pointwise(stage)
        step += self._release()
        return [*self.width(), *self.sizes(), "for now in range(end - 1, begin - 1, -1):", step]

    # --- where adjoints accumulate

    def target(self, v: Vector) -> tuple[str, str, str]:
        """array, first row, space of the adjoint of a previous state or of an earlier stage's value."""
        if v.role == "previous":
            state = v.name.removesuffix("_prev")
            return self.need(f"d_all_{state}"), "earlier", v.space
        return self.need(f"d_kept_{v.name}"), "first", v.space

    def _clear(self, v: Vector) -> Block:
        array, row, space = self.target(v)
        if array in self.started:
            return []
        self.started.add(array)
        return [f"clear(rows, {array}, {row}, {self.row_of(space)})"]

    # --- stages

    def _affine(self, stage: Affine) -> Block:
        k = self.layout.number(stage)
        lines: Block = []
        for o in self.layout.transposed(k):
            array, row, space = self.target(o.vector)
            self.need(f"back_{o.key}", f"ends_{o.key}", space)
            length, slots_row = self.row_of(space), self.need(f"slots_{k}_row")
            call = (
                f"transpose_{o.key}(rows, {{low}}, {{high}}, panels_{k}, ends_{o.key}, "
                f"slots_{k}, kept_at * {slots_row}, {slots_row}, "
                f"back_{o.key}, {array}, {row} * {length}, {length}, {space})"
            )
            lines += self._clear(o.vector)
            lines += self._awake_runs(k, call) if self.layout.sleeping else [call.format(low="0", high=f"panels_{k}")]
        return ["", f"# {stage.level}. affine, transposed", *lines] if lines else []

    def _awake_runs(self, k: int, call: str) -> Block:
        """The product over each run of panels that are awake."""
        self.need("awake")
        return [
            "panel = 0",
            f"while panel < panels_{k}:",
            [
                "stop = panel",
                f"while stop < panels_{k} and awake[now * panels_{k} + stop]:",
                ["stop += 1"],
                "if stop > panel:",
                [call.format(low="panel", high="stop")],
                "panel = stop + 1",
            ],
        ]

    def _pointwise(self, stage: Pointwise) -> Block:
        step = self.layout.steps[stage]
        if not step.backward.results:
            return []
        body: Block = [*self.slot_places(stage)]
        for write, d in zip(stage.writes, step.vjp.incoming, strict=True):
            body += self._incoming(write, self.local(d.name))
        body += [f"{self.local(v.name)} = {self.saved(v, stage)}" for v in step.vjp.saved]
        body += self._step(stage, step)
        for v, d in step.vjp.outputs:
            body += self._deliver(v, self.local(d.name), stage)
        return ["", f"# {stage.level}. pointwise, transposed", *self._loop(stage, body)]

    def _step(self, _stage: Pointwise, step: Step) -> Block:
        return [self.call(step.backward.results, step.backward.name, step.backward.arguments)]

    def _loop(self, stage: Pointwise, body: Block) -> Block:
        k = self.layout.number(stage)
        loop = self.over_units(stage, body)
        if not k:
            return loop
        if not self.layout.sleeping:
            return [f"panel, panels = 0, panels_{k}", *loop]
        return [f"for panel in range(panels_{k}):", ["panels = 1", *self._asleep(k), *loop]]

    def _asleep(self, k: int) -> Block:
        """What arrives for a silent panel's states is handed on to the step before."""
        body: Block = []
        for state, space in self.cell.states.items():
            index = f"(earlier + row) * {self.row_of(space)} + unit"
            name = self.local(f"d_{state}")
            body += self._incoming(Vector(state, "state", space), name)
            body.append(f"store({self.need(f'd_all_{state}')}, {index}, {name})")
        return [f"if {self.awake(k)}:", [*self.over_panels(k, body), "continue"]]

    def _incoming(self, write: Vector, name: str) -> Block:
        """What arrives for a write: from step t+1, from the loss at t, from later stages of this step."""
        loads = []
        if write.role == "state":
            place = f"{self.need(f'd_all_{write.name}')}, (later + row) * {self.row_of(write.space)} + unit"
            loads.append(f"load({place})")
        if write.name in self.cell.outputs:
            place = f"{self.need(f'd_out_{write.name}')}, (given + row) * {self.need(write.space)} + unit"
            loads.append(f"load_first({place}, {write.space} - unit)")
        if f"d_kept_{write.name}" in self.started or not loads:
            # an array that no stage writes to stays 0
            place = f"{self.need(f'd_kept_{write.name}')}, (first + row) * {self.row_of(write.space)} + unit"
            loads.append(f"load({place})")
        return [f"{name} = {loads[0]}", *(f"{name} = {name} + {more}" for more in loads[1:])]

    def _deliver(self, v: Vector, name: str, stage: Pointwise) -> Block:
        """Store or add an adjoint where it belongs."""
        if v.role == "slot":
            return [f"store({self._slot_of(v)}, {name})"]
        if v.role == "parameter":
            place = f"{self.need(self.layout.adjoint_of(v, stage))}, (first + row) * {self.row_of(stage.space)} + unit"
            return [f"store({place}, load({place}) + {name})"]
        if v.role == "input":
            place, left = f"{self.need(f'd_seq_{v.name}')}, (given + row) * {v.space} + unit", f"{v.space} - unit"
            return [f"store_first({place}, load_first({place}, {left}) + {name}, {left})"]
        array, row, space = self.target(v)
        place = f"{array}, ({row} + row) * {self.row_of(space)} + unit"
        added = f"load({place}) + {name}" if array in self.started else name
        self.started.add(array)
        return [f"store({place}, {added})"]

    def _slot_of(self, v: Vector) -> str:
        slots = ((k, place, slot) for k, a in self.layout.affine.items() for place, slot in enumerate(a.slots))
        number, place = next((k, place) for k, place, slot in slots if slot.name == v.name)
        return self.slot(Home(v.name, number, place), "slot")

    def _release(self) -> Block:
        """States that nothing reads receive nothing; what a reset row sends back belongs to its first states."""
        clears: Block = []
        calls: Block = []
        for state, space in self.cell.states.items():
            clears += self._clear(Vector(f"{state}_prev", "previous", space))
            start, adjoints = self.need(f"d_start_{state}"), self.need(f"d_all_{state}")
            calls.append(f"release(rows, resets, given, {adjoints}, earlier, {start}, first, {self.row_of(space)})")
        return [*clears, "", "if resets.size:", calls]
