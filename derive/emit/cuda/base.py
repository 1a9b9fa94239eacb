"""What the CUDA functions share: places of values in unpadded arrays, arguments noted as they are needed.

slots_1[here, gate, unit]    products, then what the backward reads, then the adjoints of the products
all_h[here, unit]            every state before each step; low_h the same in the storage type of products
kept_v[here, unit]           values with an array of their own; low_v where a product reads them

A unit is two functions: what it reads that no product of its stage gives, which may be on its way while the product is
found; and its work.
"""

import re

from derive.emit.kernels.base import KINDS, Block, Kernel, lines_of
from derive.emit.layout import Home, Layout
from derive.program import Pointwise
from derive.symbols import ONE, Vector

# The functions' own names; a symbol of the same name gets a `_`.
WORDS = {
    "row", "unit", "now", "batch", "marked", "lengths", "resets", "length", "here", "after", "earlier", "later",
    "again", "periods", "steps", "since", "parts", "tile", "stage", "span", "scratch", "first", "units", "low",
    "high", "top", "rows", "line", "lines", "column", "columns", "place", "read", "stored", "numbers", "get", "put",
    "get_low", "put_low", "put_both", "erase_both", "end_of", "summed", "take", "add", "erase", "starts_again",
    "or_start", "or_give", "ticks", "put_adjoint", "erase_adjoint", "share", "places", "shared_memory", "hold",
    "hold_turned", "deal", "multiply", "thread", "threads", "wait", "range", "max", "min",
}  # fmt: skip

FIXED = (
    "row", "unit", "now", "read", "steps", "since", "batch", "marked", "parts", "tile", "stage", "span", "scratch",
    "lengths", "resets", "periods",
)  # fmt: skip

ALL_KINDS = ("at_", "hold_", "turned_", "sums_", "sum_", "apart_", "operand_", "low_", *KINDS)

# Rows of the arrays that a step reads and writes.
PLACES = {
    "here": "now * batch + row",
    "after": "here + batch",
    "later": "(now + 1) % 2 * batch + row",
    "earlier": "now % 2 * batch + row",
}


def argument_order(name: str) -> tuple[int, int]:
    if name in FIXED:
        return 0, FIXED.index(name)
    if name[0].isupper():
        return 1, 0
    return 2, next((rank for rank, kind in enumerate(ALL_KINDS) if name.startswith(kind)), len(ALL_KINDS))


def state_of(v: Vector) -> str:
    """The state of h_prev."""
    return v.name.removesuffix("_prev")


class Function(Kernel):
    """One function of the text."""

    words = WORDS
    kinds = ALL_KINDS

    @staticmethod
    def order(name: str) -> tuple[int, int]:
        return argument_order(name)

    def at(self, array: str, rows: str, space: str) -> str:
        """array, index of this unit in a row."""
        return f"{self.need(array)}, {rows} * {self.need(space)} + unit"


# What every unit takes, needed or not.
ALWAYS = ("row", "unit", "now", "batch", "lengths")

# Statements that only load.
LOADS = re.compile(r"(\w+) = (?:get|get_low|ticks|starts_again)\(")


class Read(Function):
    """The loads of a unit, at one step."""

    def __init__(self, unit: "Unit", lines: Block) -> None:
        super().__init__(unit.layout)
        self.name = unit.name.replace("unit_", "read_")
        self.summary = f"What {unit.name} reads besides the products of its stage."
        self.lines = unit.placed([unit.length, *lines])
        names = ["length", *(found[1] for line in lines if (found := LOADS.match(str(line))))]
        self.found = ", ".join(names) + "," * (len(names) == 1)
        self.arguments = unit.spoken_of(self.lines)

    def body(self) -> Block:
        return [*self.lines, f"return {self.found}"]

    @property
    def taken(self) -> str:
        """The unit's first statement."""
        return f"{self.found} = read"


class Unit(Function):
    """What one thread does for one unit of one row at one step.

    Attributes:
        read: its loads, apart; None where they stand among the rest.
    """

    direction = ""
    said = ""
    is_split = True
    read: Read | None = None
    length = "length = end_of(lengths, row)"

    def __init__(self, layout: Layout, stage: Pointwise) -> None:
        super().__init__(layout)
        self.stage, self.step = stage, layout.steps[stage]
        self.place = list(layout.steps).index(stage) + 1
        self.name = f"unit_{self.direction}_{self.place}"
        self.summary = f"{stage.level}. {self.said}, of one unit of one row at step `now`."
        self.need(*ALWAYS)

    def text(self) -> str:
        own = super().text()
        return own if self.read is None else f"{self.read.text()}\n\n\n{own}"

    def body(self) -> Block:
        """If the row's end is passed, past, else running."""
        running, past = self.running(), self.past()
        loads = [line for line in running if self.is_split and LOADS.match(str(line))]
        rest = [line for line in running if line not in loads]
        lines = self.placed(["if now >= length:", past, "else:", rest or ["pass"]])
        if not self.is_split:
            return [self.length, *lines]
        self.read = Read(self, loads)
        lines = [self.read.taken, *lines]
        self.arguments = self.spoken_of(lines) | dict.fromkeys((*ALWAYS, "read"))
        return lines

    def running(self) -> Block:
        """Before the row's end."""
        raise TypeError(self.name)

    def past(self) -> Block:
        """After it."""
        raise TypeError(self.name)

    @property
    def space(self) -> str:
        return self.stage.space

    def slot(self, home: Home, at: str = "slot") -> str:
        size = self.need(self.layout.affine[home.stage].space)
        offset = {0: "", 1: f" + {size}"}.get(home.slot, f" + {home.slot} * {size}")
        return f"{self.need(f'slots_{home.stage}')}, {at}_{home.stage}{offset}"

    def home(self, name: str, space: str) -> str:
        """array, index of a remembered value at this step's row and unit."""
        home = self.layout.homes[name]
        return self.slot(home) if home.stage else self.at(f"kept_{name}", "here", space)

    def _slot_place(self, k: int) -> str:
        size = self.need(self.layout.affine[k].space)
        gates = self.layout.gates(k)
        return f"slot_{k} = here * {f'{gates} * ' if gates > 1 else ''}{size} + unit"

    def own_slot(self, v: Vector) -> Home:
        """Where a slot of this cell lies."""
        slots = ((k, place, slot) for k, a in self.layout.affine.items() for place, slot in enumerate(a.slots))
        return next(Home(v.name, k, place) for k, place, slot in slots if slot.name == v.name)

    def value(self, v: Vector, stage: Pointwise, previous: str) -> str:
        """The expression that loads what a stage reads."""
        if v.role == "previous":
            return f"get({self.at(f'all_{state_of(v)}', previous, v.space)})"
        if v.role == "input":
            return f"get_low({self.at(f'seq_{v.name}', 'here', v.space)})"
        if v.role == "clock":
            return f"ticks({self.need('since')} + now, {self.need('periods')}, unit)"
        if v.role in ("parameter", "constant"):
            return f"get({self.need(f'param_{v.name}')}, {'0' if v.space == ONE else 'unit'})"
        return f"get({self.home(v.name, v.space if v.space != ONE else stage.space)})"

    def _saved(self, v: Vector) -> str:
        """The expression that loads what a sweep reads of the forward step."""
        if v.name in self.layout.homes:
            return f"get({self.home(v.name, v.space if v.space != ONE else self.space)})"
        if v.role == "slot":
            return f"get({self.slot(self.own_slot(v))})"
        return self.value(v, self.stage, "here")

    def is_operand(self, name: str) -> bool:
        """Whether a product of the time loop reads the value; h_prev for a state."""
        return any(o.vector.name == name for operands in self.layout.operands.values() for o in operands)

    def placed(self, lines: Block) -> Block:
        """The lines behind the rows' places that they speak of."""
        slots = [str(line) for line in self.slot_places(self.stage)]
        slots = [line for line in slots if line.partition(" ")[0] in _words(lines)]
        places: Block = []
        for name, place in reversed(PLACES.items()):  # some speak of those before them
            if name in _words([*places, *slots, *lines]):
                places.insert(0, f"{name} = {place}")
        self.arguments.update((name, None) for name in FIXED if name in _words(places))
        return [*places, *slots, *lines]

    def spoken_of(self, lines: Block) -> dict[str, None]:
        """Of the arguments those that lines need."""
        return {name: None for name in self.arguments if name in _words(lines)}


def _words(lines: Block) -> set[str]:
    return set(re.findall(r"\w+", "\n".join(lines_of(lines))))
