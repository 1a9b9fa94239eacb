"""What a thread does along a direction: the units of forward and backward with a twin, `dot_` before its name, for
every array that moves.  The products of the time loop follow the product rule in the runtime.
"""

import re
from collections.abc import Iterator

from derive.differentiate import DOT_STOP
from derive.emit.cuda.backward import Backward, backward_units
from derive.emit.cuda.base import ALWAYS
from derive.emit.cuda.forward import Forward
from derive.emit.kernels.base import Block
from derive.emit.kernels.tangent import Tangent
from derive.emit.layout import Layout

# What a step adds up over steps: along a direction only its changes are asked for.
UNREAD = re.compile(r"add\(d_(param|seq)_")
STORES = re.compile(r"(put|put_low|put_both|erase|erase_both)\(|dot_\w+ = or_start")
LOW = re.compile(r"\b(?:seq|slots|low|param|all|kept|start|out|d)_(?!at\b)\w+\b")


def tangent_units(layout: Layout) -> Iterator[Tangent]:
    """Of every pointwise stage, forward and then transposed."""
    yield from (ForwardTangent(layout, stage) for stage in layout.steps)
    yield from (BackwardTangent(layout, unit.stage, unit.delivered) for unit in backward_units(layout))


class UnitTangent(Tangent):
    """What both have in common."""

    moving = LOW
    is_split = False

    def body(self) -> Block:
        block = super().body()
        self.need(*ALWAYS)
        return block


class ForwardTangent(UnitTangent, Forward):
    direction = "forward_tangent"
    prefix = "dot_"
    said = "pointwise along a direction"

    def _reading(self) -> Block:
        jvp = self.step.jvp
        moved = [f"{self.local(dot.name)} = {self.twin(self._saved(v))}" for v, dot in jvp.incoming]
        return [*moved, *(f"{self.local(v.name)} = {self._saved(v)}" for v in jvp.saved)]

    def _applied(self) -> str:
        tangent = self.step.tangent
        self.need(DOT_STOP.name)  # dropped again where nothing reads it
        return self.call(tangent.results, tangent.name, tangent.arguments)

    def _results(self) -> list[str]:
        return [name.removeprefix("dot_") for name in self.step.tangent.results]

    def beside(self, line: str) -> Block:
        """A line that stores is about the change; one that reads says itself what it is about."""
        return [self.twin(line) if STORES.match(line) else line]


class BackwardTangent(UnitTangent, Backward):
    direction = "backward_tangent"
    said = "pointwise, transposed, along a direction"

    def _applied(self) -> Block:
        return self.both(self.step, self._saved)

    def beside(self, line: str) -> Block:
        """A statement about adjoints, and the same about their changes."""
        if UNREAD.match(line):
            return [self.twin(line)]
        adds = re.search(r"\bd_", line) or line.startswith(("put_adjoint", "erase_adjoint"))
        return [line, self.twin(line)] if adds and not re.search(r"\bdot_", line) else [line]
