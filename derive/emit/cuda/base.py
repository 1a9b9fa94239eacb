"""What the CUDA functions share: places of values in unpadded arrays, arguments noted as they are needed.

slots_1[kept_at, gate, unit]    products, then what the backward reads, then the adjoints of the products
all_h[before, unit]             every state before each step; low_h the same in the storage type of products
kept_v[kept_at, unit]           values with an array of their own; low_v where a product reads them
"""

import re

from derive.emit.kernels.base import KINDS, Block, Kernel, lines_of
from derive.emit.layout import Home, Layout
from derive.program import Pointwise
from derive.symbols import ONE, Vector

# The functions' own names; a symbol of the same name gets a `_`.
WORDS = {
    "row", "unit", "now", "batch", "depth", "kept", "marked", "lengths", "resets", "length", "given", "kept_at",
    "before", "after", "earlier", "later", "again", "periods", "begin", "end", "parts", "tile", "scratch", "barrier",
    "first", "units", "low", "high", "top", "rows", "place", "met", "stored", "numbers", "get", "put", "get_low",
    "put_low", "copy_low", "end_of", "summed", "take", "add", "erase", "erase_low", "starts_again", "or_start", "ticks",
    "take_state", "put_adjoint", "erase_adjoint", "share", "shared_memory", "hold", "hold_turned", "multiply", "meet",
    "thread", "threads", "wait", "range", "max", "min",
}  # fmt: skip

FIXED = (
    "row", "unit", "now", "begin", "end", "batch", "depth", "kept", "marked", "parts", "tile", "scratch", "barrier",
    "lengths", "resets", "periods",
)  # fmt: skip

ALL_KINDS = ("at_", "hold_", "turned_", "sums_", "sum_", "apart_", "operand_", "low_", *KINDS)

# Rows of the arrays that a step reads and writes.
PLACES = {
    "given": "now * batch + row",
    "kept_at": "now % kept * batch + row",
    "before": "now % depth * batch + row",
    "after": "(now + 1) % depth * batch + row",
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


# What every unit takes, read or not.
ALWAYS = ("row", "unit", "now", "batch", "lengths")


class Unit(Function):
    """What one thread does for one unit of one row at one step."""

    direction = ""
    said = ""

    def __init__(self, layout: Layout, stage: Pointwise) -> None:
        super().__init__(layout)
        self.stage, self.step = stage, layout.steps[stage]
        self.place = list(layout.steps).index(stage) + 1
        self.name = f"unit_{self.direction}_{self.place}"
        self.summary = f"{stage.level}. {self.said}, of one unit of one row at step `now`."
        self.need(*ALWAYS)

    def body(self) -> Block:
        return self.per_row(self.running(), self.past())

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
        return self.slot(home) if home.stage else self.at(f"kept_{name}", "kept_at", space)

    def _slot_place(self, k: int) -> str:
        size = self.need(self.layout.affine[k].space)
        gates = self.layout.gates(k)
        return f"slot_{k} = kept_at * {f'{gates} * ' if gates > 1 else ''}{size} + unit"

    def own_slot(self, v: Vector) -> Home:
        """Where a slot of this cell lies."""
        slots = ((k, place, slot) for k, a in self.layout.affine.items() for place, slot in enumerate(a.slots))
        return next(Home(v.name, k, place) for k, place, slot in slots if slot.name == v.name)

    def value(self, v: Vector, stage: Pointwise, previous: str) -> str:
        """The expression that loads what a stage reads."""
        if v.role == "previous":
            return f"get({self.at(f'all_{state_of(v)}', previous, v.space)})"
        if v.role == "input":
            return f"get_low({self.at(f'seq_{v.name}', 'given', v.space)})"
        if v.role == "clock":
            return f"ticks(now, {self.need('periods')}, unit)"
        if v.role in ("parameter", "constant"):
            return f"get({self.need(f'param_{v.name}')}, {'0' if v.space == ONE else 'unit'})"
        return f"get({self.home(v.name, v.space if v.space != ONE else stage.space)})"

    def _saved(self, v: Vector) -> str:
        """The expression that loads what a sweep reads of the forward step."""
        if v.name in self.layout.homes:
            return f"get({self.home(v.name, v.space if v.space != ONE else self.space)})"
        if v.role == "slot":
            return f"get({self.slot(self.own_slot(v))})"
        return self.value(v, self.stage, "before")

    def is_operand(self, name: str) -> bool:
        """Whether a product of the time loop reads the value; h_prev for a state."""
        return any(o.vector.name == name for operands in self.layout.operands.values() for o in operands)

    def per_row(self, running: Block, past: Block) -> Block:
        """The rows' places that the lines speak of, then: if the row's end is passed, past, else running."""
        lines: Block = ["if now >= length:", past, "else:", running]
        spoken_of = set(re.findall(r"\w+", "\n".join(lines_of([*self.slot_places(self.stage), *lines]))))
        places = [f"{name} = {formula}" for name, formula in PLACES.items() if name in spoken_of]
        read = re.findall(r"\w+", " ".join(places))
        self.arguments.update((name, None) for name in FIXED if name in read)
        return ["length = end_of(lengths, row)", *places, *self.slot_places(self.stage), *lines]
