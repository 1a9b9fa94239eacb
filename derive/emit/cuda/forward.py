"""What a thread does on the way forward."""

from collections.abc import Iterator, Sequence

from derive.emit.cuda.base import Unit
from derive.emit.kernels.base import Block
from derive.emit.layout import Layout
from derive.symbols import Vector


def forward_units(layout: Layout) -> Iterator["Forward"]:
    return (Forward(layout, stage) for stage in layout.steps)


class Forward(Unit):
    """A pointwise stage of one unit."""

    direction = "forward"
    prefix = ""  # of the names of what is stored
    said = "pointwise"

    def running(self) -> Block:
        lines: Block = [*self._reading(), self._applied()]
        if any(name in self.cell.states for name in self._results()):
            self.need("marked", "resets")
            lines.append("again = starts_again(marked, resets, after, now + 1, length)")
        for name in self._results():
            lines += self._stores(name, self.local(self.prefix + name))
        return lines

    def _reading(self) -> Block:
        lines: Block = []
        for v in self.stage.reads:
            name = self.local(v.name)
            lines += [f"{name} = {self._read(v)}", *self._summed(v, name)]
            if v.role == "slot" and v.name in self.layout.homes and self._is_own(v):
                lines.append(f"put({self.slot(self.own_slot(v))}, {name})")
        return lines

    def _applied(self) -> str:
        return self.call(self._results(), self.step.forward.name, [v.name for v in self.stage.reads])

    def _results(self) -> Sequence[str]:
        return self.step.forward.results

    def _is_own(self, v: Vector) -> bool:
        return self.own_slot(v).stage == self.layout.number(self.stage)

    def _read(self, v: Vector) -> str:
        if v.role != "slot" or not self._is_own(v):
            return self.value(v, self.stage, "here")
        return f"get({self.slot(self.own_slot(v))})"

    def _summed(self, v: Vector, name: str) -> Block:
        """Input products and, where they are not in the slot yet, recurrent ones."""
        if v.role != "slot" or not self._is_own(v):
            return []
        home = self.own_slot(v)
        low, run = recurrent_run(self.layout, home.stage)
        if not low <= home.slot < low + run:
            return []
        k, place = home.stage, home.slot - low
        self.need(f"sums_{k}", f"sum_{k}", f"apart_{k}")
        offset = {0: "", 1: f" + apart_{k}"}.get(place, f" + {place} * apart_{k}")
        return [f"{name} = summed({name}, sums_{k}, sum_{k}{offset})"]

    def _stores(self, name: str, local: str) -> Block:
        lines: Block = []
        if name in self.layout.homes:
            place = self.home(name, self.space)
            both = self.twice(f"kept_{name}", f"low_{name}", "here") if self.is_operand(name) else ""
            lines.append(f"put_both({both}, {local})" if both else f"put({place}, {local})")
        if name in self.cell.states:
            lines += self._state(name, local)
        return lines

    def _state(self, state: str, name: str) -> Block:
        """The new value leaves the layer; what the next step finds is that, or the first state again."""
        lines: Block = []
        if state in self.cell.outputs:
            lines.append(f"put_low({self.at(f'out_{state}', 'here', self.space)}, {name})")
        begun = f"or_start(again, {self.at(f'start_{state}', 'row', self.space)}, {name})"
        lines.append(f"{name} = {begun}")
        return [*lines, self._onward(state, name)]

    def _onward(self, state: str, value: str) -> str:
        """What the next step finds."""
        if self.is_operand(f"{state}_prev"):
            return f"put_both({self.twice(f'all_{state}', f'low_{state}_prev', 'after')}, {value})"
        return f"put({self.at(f'all_{state}', 'after', self.space)}, {value})"

    def twice(self, array: str, low: str, rows: str) -> str:
        """array, the one that products read, index of this unit in a row of either."""
        return f"{self.need(array)}, {self.at(low, rows, self.space)}"

    def past(self) -> Block:
        """States are held; what a product reads is 0."""
        lines: Block = []
        for name in self._results():
            if name in self.cell.states:
                lines.append(self._onward(name, f"get({self.at(f'all_{name}', 'here', self.space)})"))
            if name in self.layout.homes and self.is_operand(name):
                lines.append(f"erase_both({self.twice(f'kept_{name}', f'low_{name}', 'here')})")
        return lines or ["pass"]


def recurrent_run(layout: Layout, number: int) -> tuple[int, int]:
    """The slots of an affine stage that a product of its time loop reaches: the first, and how many."""
    reached = [o for o in layout.operands[number] if not o.is_input]
    low = min((o.low for o in reached), default=0)
    return low, max((o.low + o.run for o in reached), default=low) - low
