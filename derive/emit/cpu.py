"""Layout -> the sequence kernels of a cell as readable Python: loops over steps, panels, rows and units.

    project     input products of many steps at once, for short batches
    forward     steps first to last: 1. affine, 2. pointwise, for each stage
    backward    steps last to first: 2. pointwise transposed, 1. affine transposed, for each stage

The text runs as it is, slowly, on the words of `lstm_numba.words`; the runtime binds the same words to SIMD registers and compiles it.
"""

from collections.abc import Iterator

from derive.emit.layout import Home, Layout, Operand
from derive.emit.scalar import Step, _bracketed
from derive.program import Affine, Pointwise
from derive.symbols import Vector

INDENT = " " * 4
Block = list["str | Block"]

# The kernel's own names; a symbol of the same name gets a `_` in the kernel.
WORDS = set(
    """now begin end batch first rows row unit width depth kept counts given before after kept_at earlier later panel panels
    at_once together resets awake tick periods hoisted lanes load load_first store store_first units_of spread clear restore
    release ring panels_of stop""".split()
)


def kernels(layout: Layout) -> str:
    """The kernels of a cell."""
    return "\n\n\n".join([_Project(layout).text(), _Forward(layout).text(), _Backward(layout).text()]) + "\n"


def products(layout: Layout) -> str:
    """The packed products that the kernels call, one line each."""
    lines = [
        f'multiply_{o.key} = Product(run={o.run}, gates={o.gates}, low={o.low})'
        for operands in layout.operands.values() for o in operands
    ] + [
        f'transpose_{o.key} = Transposed(run={o.run}, gates={o.gates}, low={o.low})'
        for k in layout.affine for o in layout.transposed(k)
    ]
    return "\n".join(lines) + "\n"


# --- What every kernel is made of


class _Kernel:
    """One function of the text: its body, then the arguments that the body turned out to need."""

    name = ""
    summary = ""

    def __init__(self, layout: Layout) -> None:
        self.layout, self.cell = layout, layout.program.cell
        self.arguments: dict[str, None] = {}

    def text(self) -> str:
        body = _lines(self.body())
        arguments = tuple(sorted(self.arguments, key=_argument_order))
        head = _bracketed(f"def {self.name}(", arguments, "):")
        return "\n".join([*head, f'{INDENT}"""{self.summary}"""', *(INDENT + line if line else line for line in body)])

    def body(self) -> Block:
        raise TypeError(self.name)

    def need(self, *names: str) -> str:
        """Note arguments; return the first."""
        self.arguments.update(dict.fromkeys(names))
        return names[0]

    def row_of(self, space: str) -> str:
        """Numbers in one padded row of a space."""
        return self.need(f"{space}_row")

    def sizes(self) -> Block:
        """Constants of the loops."""
        lines: Block = []
        for k, stage in self.layout.affine.items():
            self.need(f"slots_{k}", stage.space)
            lines.append(f"units_{k} = units_of(slots_{k}, {self.layout.gates(k)})")
            lines.append(f"panels_{k} = panels_of({stage.space}, units_{k})")
        return lines

    def local(self, name: str) -> str:
        return f"{name}_" if name in WORDS or name in self.layout.spaces else name

    # --- places

    def slot(self, home: Home, at: str) -> str:
        offset = {0: "", 1: f" + units_{home.stage}"}.get(home.slot, f" + {home.slot} * units_{home.stage}")
        return f"{self.need(f'slots_{home.stage}')}, {at}_{home.stage}{offset}"

    def home(self, name: str, space: str) -> str:
        """array, index of a remembered value at this step's row and unit."""
        home = self.layout.homes[name]
        if home.stage:
            return self.slot(home, "slot")
        return f"{self.need(f'kept_{name}')}, (kept_at + row) * {self.row_of(space)} + unit"

    def slot_places(self, stage: Pointwise) -> Block:
        """slot_1 = index of the first slot of this row and unit."""
        homes = [self.layout.homes[v.name] for v in self._touched(stage) if v.name in self.layout.homes]
        numbers = {home.stage for home in homes if home.stage} | ({self.layout.number(stage)} - {0})
        return [
            f"slot_{k} = (kept_at + row) * {self.need(f'slots_{k}_row')} + unit // units_{k} * {self._panel(k)} + unit % units_{k}"
            for k in sorted(numbers)
        ]

    def _panel(self, k: int) -> str:
        return f"{self.layout.gates(k)} * units_{k}"

    def _touched(self, stage: Pointwise) -> Iterator[Vector]:
        yield from stage.reads
        yield from (name for name, _ in stage.equations)

    def value(self, v: Vector, stage: Pointwise, previous: str) -> str:
        """The expression that loads what a stage reads."""
        if v.role == "slot" and v.name not in self.layout.homes:
            number = self.layout.number(stage)
            place = [s.name for s in self.layout.affine[number].slots].index(v.name)
            return f"load({self.slot(Home(v.name, number, place), 'slot')})"
        if v.role == "previous":
            state = v.name.removesuffix("_prev")
            return f"load({self.need(f'all_{state}')}, ({previous} + row) * {self.row_of(v.space)} + unit)"
        if v.role == "input":
            return f"load_first({self.need(f'seq_{v.name}')}, (given + row) * {v.space} + unit, {v.space} - unit)"
        if v.role == "clock":
            return f"load({self.need('tick')}, unit)"
        if v.role in ("parameter", "constant"):
            return f"load({self.need(f'param_{v.name}')}, unit)"
        return f"load({self.home(v.name, v.space)})"

    # --- loops

    def over_units(self, stage: Pointwise, body: Block, asleep: Block) -> Block:
        """for row, for unit: body; by panels where some of them may be asleep."""
        number, space = self.layout.number(stage), stage.space
        if not number:
            return ["for row in range(rows):", [f"for unit in range(0, {self.need(space)}, width):", body]]
        limits = f"panel * units_{number}, (panel + panels) * units_{number}, width"
        return ["for row in range(rows):", [f"for unit in range({limits}):", body]]

    def width(self) -> Block:
        return [f"width = lanes({self.need(f'slots_{next(iter(self.layout.affine))}')})"]

    def clockwork(self) -> Block:
        if not self.cell.clock:
            return []
        self.need("periods", "tick", "H")
        return ["ring(now, periods, tick, H)"]

    def awake(self, number: int) -> str:
        return f"{self.need('awake')}[now * panels_{number} + panel] == 0"


def _lines(block: Block, depth: int = 0) -> Iterator[str]:
    for item in block:
        if isinstance(item, str):
            yield INDENT * depth + item if item else ""
        else:
            yield from _lines(item, depth + 1)


FIXED = ("begin", "end", "batch", "first", "counts", "rows", "depth", "kept", "hoisted")
KINDS = ("seq_", "slots_", "weights_", "bias_", "back_", "ends_", "starts_", "param_", "all_", "kept_", "start_", "out_", "d_")


def _argument_order(name: str) -> tuple[int, int]:
    if name in FIXED:
        return 0, FIXED.index(name)
    if name[0].isupper() or name.endswith("_row"):
        return 1, 0
    return 2, next((rank for rank, kind in enumerate(KINDS) if name.startswith(kind)), len(KINDS))


def _formula(stage: Affine) -> Iterator[str]:
    """# z_i = W_i x + U_i h_prev + b_i, one line for each slot."""
    for slot in stage.slots:
        terms = [f"{matrix.name} {vector.name}" for matrix, vector in slot.terms]
        yield f"#    {slot.name} = {' + '.join([*terms, *([slot.bias.name] if slot.bias else [])])}"


# --- The kernels


class _Products(_Kernel):
    """What project and forward share: biases and products into slots."""

    def spread(self, k: int, rows: str, base: str, row: str) -> Block:
        self.need(f"bias_{k}", f"slots_{k}")
        return [f"spread({rows}, panel * {self._panel(k)}, panels * {self._panel(k)}, bias_{k}, slots_{k}, {base}, {row})"]

    def product(self, o: Operand, rows: str, a: str, base: str, row: str) -> str:
        space = self.need(o.vector.space)
        low = f"{self.need(f'starts_{o.key}')}[panel]" if o.structure else "0"
        self.need(f"weights_{o.key}")
        return f"multiply_{o.key}({rows}, panel, panels, {low}, {space}, {a}, weights_{o.key}, slots_{o.stage}, {base}, {row})"


class _Project(_Products):
    name = "project"
    summary = "Biases and input products of steps begin .. end - 1 at once: as many rows of one product as there are steps."

    def body(self) -> Block:
        self.need("begin", "end", "batch", "first", "rows", "kept")
        loops: Block = []
        for k in self.layout.affine:
            inputs = [o for o in self.layout.operands[k] if o.is_input]
            base = f"(begin % kept * batch + first + row) * {self.need(f'slots_{k}_row')}"
            calls: Block = [
                f"panel, panels = 0, panels_{k}",
                *self.spread(k, "end - begin", base, f"batch * slots_{k}_row"),
            ]
            for o in inputs:
                a = f"{self.need(f'seq_{o.vector.name}')}, (begin * batch + first + row) * {o.vector.space}, batch * {o.vector.space}"
                calls.append(self.product(o, "end - begin", a, base, f"batch * slots_{k}_row"))
            loops += calls
        return [*self.sizes(), "for row in range(rows):", loops]


class _Forward(_Products):
    name = "forward"
    summary = "Steps begin .. end - 1 of the batch rows from first on; counts[t] of them are still running at step t."

    def body(self) -> Block:
        self.need("begin", "end", "batch", "first", "counts", "depth", "kept", "hoisted", "resets")
        step: Block = [
            "rows = counts[now]",
            "if rows == 0:",
            ["break"],
            "before = now % depth * batch + first",
            "after = (now + 1) % depth * batch + first",
            "kept_at = now % kept * batch + first",
            "given = now * batch + first",
            *self._restore(),
            *self.clockwork(),
        ]
        affine = None
        for stage in self.layout.program.stages:
            if isinstance(stage, Affine):
                affine = stage
                if not self._fused(stage):
                    step += self._panels(stage, [])
            else:
                fused = affine is not None and self.layout.number(stage) == self.layout.number(affine)
                step += self._panels(affine, self._pointwise(stage)) if fused else self._pointwise(stage)
        return [*self.width(), *self.sizes(), "for now in range(begin, end):", step]

    def _fused(self, stage: Affine) -> bool:
        return any(self.layout.number(p) == self.layout.number(stage) for p in self.layout.steps)

    def _restore(self) -> Block:
        """A reset row starts again from its first states."""
        calls: Block = []
        for state, space in self.cell.states.items():
            self.need(f"start_{state}", f"all_{state}")
            calls.append(f"restore(rows, resets, given, start_{state}, first, all_{state}, before, {self.row_of(space)})")
        return ["if resets.size:", calls]

    def _panels(self, stage: Affine, pointwise: Block) -> Block:
        """Products of a few panels, then the pointwise stage on them while they are in the cache."""
        k = self.layout.number(stage)
        row = self.need(f"slots_{k}_row")
        base = f"kept_at * {row}"
        inputs = [o for o in self.layout.operands[k] if o.is_input]
        others = [o for o in self.layout.operands[k] if not o.is_input]
        early: Block = [*self.spread(k, "rows", base, row)]
        for o in inputs:
            a = f"{self.need(f'seq_{o.vector.name}')}, given * {o.vector.space}, {o.vector.space}"
            early.append(self.product(o, "rows", a, base, row))
        late = [self.product(o, "rows", self._operand(o), base, row) for o in others]
        skip = self._asleep(k) if self.layout.sleeping else []
        many = "1" if self.layout.sleeping else f"together(rows, panels_{k}, {self._panel(k)})"
        return [
            "",
            f"# {stage.level}. affine",
            *_formula(stage),
            f"at_once = {many}",
            f"for panel in range(0, panels_{k}, at_once):",
            [f"panels = min(at_once, panels_{k} - panel)", *skip, "if not hoisted:", early, *late, *pointwise],
        ]

    def _operand(self, o: Operand) -> str:
        space = o.vector.space
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
            name = self.local(state)
            body.append(f"{name} = load(all_{state}, (before + row) * {self.row_of(space)} + unit)")
            body += self._state(state, space, name)
        limits = f"panel * units_{k}, (panel + panels) * units_{k}, width"
        return [f"if {self.awake(k)}:", ["for row in range(rows):", [f"for unit in range({limits}):", body], "continue"]]

    def _pointwise(self, stage: Pointwise) -> Block:
        step = self.layout.steps[stage]
        reads: Block = [f"{self.local(v.name)} = {self.value(v, stage, 'before')}" for v in stage.reads]
        results = ", ".join(map(self.local, step.forward.results))
        call = f"{results}{',' if len(step.forward.results) == 1 else ''} = {step.forward.name}"
        body: Block = [*self.slot_places(stage), *reads, *_bracketed(f"{call}(", tuple(self.local(v.name) for v in stage.reads), ")")]
        body += self._stores(stage, step)
        return ["", f"# {stage.level}. pointwise", *self.over_units(stage, body, [])]

    def _stores(self, stage: Pointwise, step: Step) -> Block:
        lines: Block = []
        for name in step.forward.results:
            if name in self.layout.homes:
                lines.append(f"store({self.home(name, stage.space)}, {self.local(name)})")
            if name in self.cell.states:
                lines += self._state(name, self.cell.states[name], self.local(name))
        return lines

    def _state(self, state: str, space: str, name: str) -> Block:
        lines: Block = [f"store({self.need(f'all_{state}')}, (after + row) * {self.row_of(space)} + unit, {name})"]
        if state in self.cell.outputs:
            self.need(f"out_{state}")
            lines.append(f"store_first(out_{state}, (given + row) * {space} + unit, {name}, {space} - unit)")
        return lines


class _Backward(_Kernel):
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
                f"transpose_{o.key}(rows, {{low}}, {{high}}, panels_{k}, ends_{o.key}, slots_{k}, kept_at * {slots_row}, {slots_row}, "
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
            body.append(f"{self.local(d.name)} = {self._incoming(write)}")
        body += [f"{self.local(v.name)} = {self._saved(v, stage)}" for v in step.vjp.saved]
        names = [d.name for d in step.vjp.incoming] + [v.name for v in step.vjp.saved]
        results = ", ".join(self.local(d.name) for _, d in step.vjp.outputs)
        comma = "," if len(step.vjp.outputs) == 1 else ""
        body += _bracketed(f"{results}{comma} = {step.backward.name}(", tuple(map(self.local, names)), ")")
        for v, d in step.vjp.outputs:
            body += self._deliver(v, self.local(d.name), stage)
        return ["", f"# {stage.level}. pointwise, transposed", *self._loop(stage, body)]

    def _loop(self, stage: Pointwise, body: Block) -> Block:
        k = self.layout.number(stage)
        loop = self.over_units(stage, body, [])
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
            body.append(f"store({self.need(f'd_all_{state}')}, {index}, {self._incoming(Vector(state, 'state', space))})")
        limits = f"panel * units_{k}, (panel + panels) * units_{k}, width"
        return [f"if {self.awake(k)}:", ["for row in range(rows):", [f"for unit in range({limits}):", body], "continue"]]

    def _incoming(self, write: Vector) -> str:
        """What arrives for a state: from step t+1, from the loss at t, from later stages of this step."""
        parts = []
        if write.role == "state":
            self.need(f"d_all_{write.name}")
            parts.append(f"load(d_all_{write.name}, (later + row) * {self.row_of(write.space)} + unit)")
        if write.name in self.cell.outputs:
            self.need(f"d_out_{write.name}", write.space)
            parts.append(f"load_first(d_out_{write.name}, (given + row) * {write.space} + unit, {write.space} - unit)")
        if f"d_kept_{write.name}" in self.started:
            parts.append(f"load(d_kept_{write.name}, (first + row) * {self.row_of(write.space)} + unit)")
        return " + ".join(parts)

    def _saved(self, v: Vector, stage: Pointwise) -> str:
        if v.name in self.layout.homes:
            return f"load({self.home(v.name, v.space if v.space != '1' else stage.space)})"
        return self.value(v, stage, "before")

    def _deliver(self, v: Vector, name: str, stage: Pointwise) -> Block:
        """Store or add an adjoint where it belongs."""
        if v.role == "slot":
            return [f"store({self._slot_of(v)}, {name})"]
        if v.role == "parameter":
            place = f"{self.need(f'd_param_{v.name}')}, (first + row) * {self.row_of(stage.space)} + unit"
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
        number, place = next((k, [s.name for s in a.slots].index(v.name)) for k, a in self.layout.affine.items() if v.name in [s.name for s in a.slots])
        return self.slot(Home(v.name, number, place), "slot")

    def _release(self) -> Block:
        """States that nothing reads receive nothing; what a reset row sends back belongs to its first states."""
        clears: Block = []
        calls: Block = []
        for state, space in self.cell.states.items():
            clears += self._clear(Vector(f"{state}_prev", "previous", space))
            self.need(f"d_start_{state}", f"d_all_{state}")
            calls.append(f"release(rows, resets, given, d_all_{state}, earlier, d_start_{state}, first, {self.row_of(space)})")
        return [*clears, "", "if resets.size:", calls]


