"""What a thread does on the way back.

Adjoints are only ever added to arrays that begin with 0; who reads one puts the 0 back.  The order of additions is that
of the text, so the bits are the same every time.
"""

from collections.abc import Iterator

from derive.emit.cuda.base import Unit, state_of
from derive.emit.kernels.base import Block
from derive.emit.layout import Layout, Operand
from derive.program import Affine, Pointwise
from derive.symbols import ONE, Vector


def backward_units(layout: Layout) -> list["Backward"]:
    """In the order in which they run; what a stage delivers is known to those that run after it."""
    units: list[Backward] = []
    delivered: set[str] = set()
    for stage in reversed(layout.program.stages):
        if isinstance(stage, Pointwise):
            units.append(Backward(layout, stage, frozenset(delivered)))
            delivered |= {v.name for v, _ in layout.steps[stage].vjp.outputs}
        else:
            delivered |= _reached(layout, stage)
    return units


def _reached(layout: Layout, stage: Affine) -> set[str]:
    return {o.vector.name for o in layout.transposed(layout.number(stage))}


def pulled(layout: Layout, stage: Pointwise) -> Iterator[tuple[str, str, list[Operand]]]:
    """What products of the time loop send to a stage's writes: of a state, from the step after this one, by way of
    h_prev; of a value, from this one.  The vector that they multiplied, its space, and they, as they stand in the step.
    """
    for write in stage.writes:
        for name in (f"{write.name}_prev", write.name) if write.role == "state" else (write.name,):
            if found := [o for k in layout.affine for o in layout.transposed(k) if o.vector.name == name]:
                yield name, write.space, found


class Backward(Unit):
    """The transpose of a pointwise stage, of one unit."""

    direction = "backward"
    said = "pointwise, transposed"

    def __init__(self, layout: Layout, stage: Pointwise, delivered: frozenset[str]) -> None:
        super().__init__(layout, stage)
        self.delivered = delivered

    def running(self) -> Block:
        step = self.step
        lines: Block = []
        if any(write.role == "state" for write in self.stage.writes):
            self.need("marked", "resets")
            lines.append("again = starts_again(marked, resets, after, now + 1, length)")
        if step.backward.results:  # nothing that is written stands before these: all of them come at once
            lines += [f"{self.local(v.name)} = {self._saved(v)}" for v in step.vjp.saved]
        for write, d in zip(self.stage.writes, step.vjp.incoming, strict=True):
            lines += self._incoming(write, self.local(d.name))
        if not step.backward.results:
            return lines or ["pass"]
        lines += self._applied()
        return [*lines, *(self._deliver(v, self.local(d.name)) for v, d in step.vjp.outputs)]

    def _applied(self) -> Block:
        step = self.step
        names = [d.name for d in step.vjp.incoming] + [v.name for v in step.vjp.saved]
        return [self.call([d.name for _, d in step.vjp.outputs], step.backward.name, names)]

    def _incoming(self, write: Vector, name: str) -> Block:
        """What arrives for a write: from step t+1, from the loss at t, from later stages of this step."""
        lines: Block = []
        if write.role == "state":
            lines += self._received(f"d_all_{write.name}", "later", write, name, f"{write.name}_prev")
            lines.append(f"{name} = or_give(again, {self.at(f'd_start_{write.name}', 'row', write.space)}, {name})")
        if write.name in self.cell.outputs:
            lines += self._added(name, f"get_low({self.at(f'd_out_{write.name}', 'here', write.space)})", bool(lines))
        if write.name in self.delivered or not lines:
            # an array that no stage adds to stays 0
            more = self._unlike(f"{name}_later") if lines else name
            lines += self._received(f"d_kept_{write.name}", "row", write, more, write.name)
            lines += [f"{name} = {name} + {more}"] if more != name else []
        return lines

    def _received(self, array: str, rows: str, write: Vector, name: str, vector: str) -> Block:
        """What was added up in an array, which begins with 0 again, and what products add to that."""
        place = self.at(array, rows, write.space)
        lines: Block = [f"{name} = get({place})", f"erase({place})"]
        if vector in [pulled_name for pulled_name, _, _ in pulled(self.layout, self.stage)]:
            self.need(f"sums_{vector}", f"sum_{vector}")
            lines.append(f"{name} = summed({name}, sums_{vector}, sum_{vector})")
        return lines

    def _added(self, name: str, value: str, is_more: bool) -> Block:
        if not is_more:
            return [f"{name} = {value}"]
        more = self._unlike(f"{name}_out")
        return [f"{more} = {value}", f"{name} = {name} + {more}"]

    def _unlike(self, name: str) -> str:
        """The name, or a longer one that no symbol, adjoint or tangent has."""
        while name.removeprefix("d_") in self.layout.names:
            name += "_"
        return name

    def _deliver(self, v: Vector, name: str) -> Block | str:
        """Add an adjoint where it belongs."""
        if v.role == "slot":
            home = self.own_slot(v)
            return f"put_adjoint({self.slot(home)}, {self.need(f'low_slots_{home.stage}')}, {name})"
        return f"add({self._target(v)}, {name})"

    def _target(self, v: Vector) -> str:
        if v.role == "parameter":
            return self.at(self.layout.adjoint_of(v, self.stage), "row", self.space)
        if v.role == "input":
            return self.at(f"d_seq_{v.name}", "here", v.space)
        if v.role == "previous":
            return self.at(f"d_all_{state_of(v)}", "earlier", v.space)
        return self.at(f"d_kept_{v.name}", "row", v.space if v.space != ONE else self.space)

    def past(self) -> Block:
        """What arrives for a held state is handed on; a product receives nothing."""
        lines: Block = []
        for write in self.stage.writes:
            if write.role == "state":
                later, earlier = (self.at(f"d_all_{write.name}", rows, write.space) for rows in ("later", "earlier"))
                lines.append(f"add({earlier}, take({later}))")
        for v, _ in self.step.vjp.outputs:
            if v.role == "slot":
                home = self.own_slot(v)
                self.need(f"low_slots_{home.stage}")
                lines.append(f"erase_adjoint({self.slot(home)}, low_slots_{home.stage})")
        return lines or ["pass"]
