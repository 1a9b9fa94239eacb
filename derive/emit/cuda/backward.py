"""What a thread does on the way back.

Adjoints are only ever added to arrays that begin with 0; who reads one puts the 0 back.  The order of additions is that
of the text, so the bits are the same every time.
"""

from derive.emit.cuda.base import Unit, state_of
from derive.emit.kernels.base import Block
from derive.emit.layout import Layout
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
            lines.append("again = starts_again(marked, resets, given + batch, now + 1, length)")
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
        found = []
        if write.role == "state":
            start = self.at(f"d_start_{write.name}", "row", write.space)
            found.append(f"take_state(again, {start}, {self.at(f'd_all_{write.name}', 'later', write.space)})")
        if write.name in self.cell.outputs:
            found.append(f"get_low({self.at(f'd_out_{write.name}', 'given', write.space)})")
        if write.name in self.delivered or not found:
            # an array that no stage adds to stays 0
            found.append(f"take({self.at(f'd_kept_{write.name}', 'row', write.space)})")
        return [f"{name} = {found[0]}", *(f"{name} = {name} + {more}" for more in found[1:])]

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
            return self.at(f"d_seq_{v.name}", "given", v.space)
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
