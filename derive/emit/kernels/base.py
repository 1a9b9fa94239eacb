"""What the kernels are made of: blocks of lines, places of values, loops, and arguments noted as they are needed."""

import re
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import count, product

from derive.emit.layout import Home, Layout
from derive.emit.scalar import INDENT, WIDTH, bracketed, wrapped
from derive.errors import NameRuleError
from derive.program import Affine, Pointwise
from derive.symbols import Vector

Block = list["str | Block"]

HARD_SPACE = "\N{NO-BREAK SPACE}"  # inside an argument, where a line must not end

# The kernel's own names; a symbol of the same name gets a `_` in the kernel.
WORDS = {
    "now", "begin", "end", "batch", "first", "held", "top", "rows", "row", "unit", "width", "depth", "kept",
    "counts", "given", "before", "after", "kept_at", "earlier", "later", "panel", "panels", "at_once", "together",
    "resets", "awake", "tick", "periods", "hoisted", "lanes", "load", "load_first", "store", "store_first",
    "units_of", "spread", "clear", "restore", "release", "ring", "panels_of", "stop", "range", "max", "min",
}  # fmt: skip

# Names with a stage's number in them: a kernel's own sizes and places; lengths of rows.
NUMBERED = re.compile(r"(units|panels|slot)_\d+")
LENGTH = re.compile(r"[A-Z]\w*|slots_\d+_row")


# Arguments in their order.
FIXED = ("begin", "end", "batch", "first", "held", "top", "counts", "rows", "depth", "kept", "hoisted")
KINDS = (
    "seq_", "slots_", "weights_", "bias_", "back_", "ends_", "starts_", "param_", "all_", "kept_", "start_", "out_",
    "d_",
)  # fmt: skip


class Kernel:
    """One function of the text: its body, then the arguments that the body turned out to need."""

    name = ""
    summary = ""
    words = WORDS
    kinds: tuple[str, ...] = KINDS

    @staticmethod
    def order(name: str) -> tuple[int, int]:
        """Where an argument stands among the others."""
        return argument_order(name)

    def __init__(self, layout: Layout) -> None:
        self.layout, self.cell = layout, layout.program.cell
        self.arguments: dict[str, None] = {}

    def text(self) -> str:
        body = list(lines_of(self.body()))
        self._check_names()
        arguments = tuple(sorted(self.arguments, key=self.order))
        head = bracketed(f"def {self.name}(", arguments, "):")
        return "\n".join([*head, f'{INDENT}"""{self.summary}"""', *(INDENT + line if line else line for line in body)])

    def body(self) -> Block:
        raise TypeError(self.name)

    def _check_names(self) -> None:
        """A symbol of the cell, its adjoint and its tangent have names that no array of the kernel has."""
        for argument, sort in product(self.arguments, ("", "d_", "dot_", "dot_d_")):
            if self._of_a_symbol(argument, sort) and self.local(argument) == argument:
                raise self._taken(argument.removeprefix(sort), f"their array {argument}")
        for word, kind in product(self._own, self.kinds):
            if self._of_a_symbol(word, kind):
                raise self._taken(word.removeprefix(kind), f"their own {word}")

    def _of_a_symbol(self, name: str, prefix: str) -> bool:
        return name.startswith(prefix) and name[len(prefix) :] in self.layout.names

    def _taken(self, name: str, what: str) -> NameRuleError:
        return NameRuleError(
            f"cell {self.cell.name}: {name} would stand in the kernels beside {what}: "
            "give it another name in the equations."
        )

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
        for k, stage in self.layout.affine.items():
            beside = [f"units_{other}" for other in self.layout.beside(k)]
            widest = f"max({', '.join(beside)})" if len(beside) > 1 else "".join(beside)
            lines.append(f"panels_{k} = panels_of({stage.space}, units_{k}{widest and ', '}{widest})")
        return lines

    def local(self, name: str) -> str:
        """What a symbol is called in the kernel: itself, with a `_` or more where that means something already."""
        if name not in self._own and not NUMBERED.fullmatch(name):
            return name
        taken = self._own | self.cell.symbols.keys()
        return next(longer for k in count(1) if (longer := name + "_" * k) not in taken)

    @cached_property
    def _own(self) -> set[str]:
        """The words of the kernel, the functions that it calls, its sizes."""
        layout = self.layout
        keys = [o.key for operands in layout.operands.values() for o in operands]
        products = {f"{kind}_{key}" for kind in ("multiply", "biased", "transpose") for key in keys}
        called = {function.name for step in layout.steps.values() for function in step.functions}
        return {*self.words, *layout.spaces, *products, *called}

    def call(self, results: Sequence[str], function: str, arguments: Sequence[str]) -> str:
        """a, b = function(c, d), each under its name in the kernel."""
        comma = "," if len(results) == 1 else ""
        return f"{', '.join(map(self.local, results))}{comma} = {function}({', '.join(map(self.local, arguments))})"

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
        return [self._slot_place(k) for k in sorted(numbers)]

    def _slot_place(self, k: int) -> str:
        row = self.need(f"slots_{k}_row")
        return f"slot_{k} = (kept_at + row) * {row} + unit // units_{k} * {self._panel(k)} + unit % units_{k}"

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

    def saved(self, v: Vector, stage: Pointwise) -> str:
        """The expression that loads what a sweep reads of the forward step."""
        if v.name in self.layout.homes:
            return f"load({self.home(v.name, v.space if v.space != '1' else stage.space)})"
        return self.value(v, stage, "before")

    # --- loops

    def over_units(self, stage: Pointwise, body: Block) -> Block:
        """for row, for unit: body."""
        number, space = self.layout.number(stage), stage.space
        if not number:
            return ["for row in range(rows):", [f"for unit in range(0, {self.end(space)}, width):", body]]
        return self.over_panels(number, body)

    def over_panels(self, k: int, body: Block) -> Block:
        """The same over the units of panel .. panel + panels - 1."""
        limits = f"panel * units_{k}, (panel + panels) * units_{k}, width"
        return ["for row in range(rows):", [f"for unit in range({limits}):", body]]

    def end(self, space: str) -> str:
        """Where the units of a space end, with the padding that its affine stages have."""
        number = next((k for k, stage in self.layout.affine.items() if stage.space == space), 0)
        return f"panels_{number} * units_{number}" if number else self.need(space)

    def width(self) -> Block:
        arrays = [f"slots_{k}" for k in self.layout.affine] or [f"all_{state}" for state in self.cell.states]
        return [f"width = lanes({self.need(arrays[0])})"]

    def clockwork(self) -> Block:
        if not self.cell.clock:
            return []
        self.need("periods", "tick", "H")
        return ["ring(now, periods, tick, H)"]

    def awake(self, number: int) -> str:
        return f"{self.need('awake')}[now * panels_{number} + panel] == 0"


def lines_of(block: Block, depth: int = 0) -> Iterator[str]:
    """A block as lines, nested blocks indented, long calls over several lines."""
    for item in block:
        if isinstance(item, list):
            yield from lines_of(item, depth + 1)
        else:
            lines = _broken(item, WIDTH - len(INDENT) * (depth + 1))
            yield from (INDENT * depth + line if line else "" for line in lines)


def _broken(line: str, width: int) -> list[str]:
    """A statement that ends in a call: its arguments on lines of their own where it is too long."""
    opening, bracket, rest = line.partition("(")
    if len(line) <= width or line.startswith("#") or not rest.endswith(")"):
        return [line]
    arguments = [argument.replace(" ", HARD_SPACE) for argument in _separate(rest[:-1])]
    parts = wrapped(", ".join(arguments) + ",", width - len(INDENT))
    return [opening + bracket, *(INDENT + part.replace(HARD_SPACE, " ") for part in parts), ")"]


def _separate(arguments: str) -> list[str]:
    """The arguments of a call, cut at the commas outside of brackets."""
    found, depth = [""], 0
    for letter in arguments:
        depth += (letter == "(") - (letter == ")")
        if letter == "," and depth == 0:
            found.append("")
        else:
            found[-1] += letter
    return [argument.strip() for argument in found]


def argument_order(name: str) -> tuple[int, int]:
    if name in FIXED:
        return 0, FIXED.index(name)
    if LENGTH.fullmatch(name):
        return 1, 0
    return 2, next((rank for rank, kind in enumerate(KINDS) if name.startswith((kind, f"dot_{kind}"))), len(KINDS))


def formula(stage: Affine) -> Iterator[str]:
    """# z_i = W_i x + U_i h_prev + b_i, one line for each slot."""
    for slot in stage.slots:
        terms = [f"{matrix.name} {vector.name}" for matrix, vector in slot.terms]
        yield f"#    {slot.name} = {' + '.join([*terms, *([slot.bias.name] if slot.bias else [])])}"
