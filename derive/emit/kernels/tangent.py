"""The kernels of second order: a sequence along a direction, and its transpose together with the transpose's tangent.

Every array of a sweep has a twin with `dot_` before its name, which holds the changes.  All statements of the kernels
are linear in what moves, or products of two things that move:

    z += W v        becomes   dot_z += W dot_v,  dot_z += dot_W v
    d_v += W' d_z   becomes   dot_d_v += W' dot_d_z,  dot_d_v += dot_W' d_z
    step, step_vjp  become    step_jvp, step_vjp_jvp
    anything else   the same on the twins
"""

import re
from collections.abc import Callable, Iterator
from functools import cached_property

from derive.differentiate import DOT_STOP
from derive.emit.kernels.backward import Backward
from derive.emit.kernels.base import Block, Kernel, lines_of
from derive.emit.kernels.forward import Forward
from derive.emit.layout import Operand
from derive.emit.scalar import Step
from derive.program import Affine, Pointwise
from derive.symbols import Vector

# arrays, and the kernel's adjoints, that have a twin; slots_1_row is a length, kept_at a place
MOVING = re.compile(r"\b(?!slots_\d+_row\b)(?:seq|slots|weights|bias|back|param|all|kept|start|out|d)_(?!at\b)\w+\b")

# what the first order adds up over steps: along a direction only its changes are asked for
UNREAD = re.compile(r"store(_first)?\(d_(param|seq)_")


class Tangent(Kernel):
    """What both kernels share: twins, and the product rule."""

    moving = MOVING

    def body(self) -> Block:
        block = self.along(super().body())
        read = set(re.findall(r"\w+", "\n".join(lines_of(block))))
        self.arguments = {name: None for name in self.arguments if name in read}
        return block

    def along(self, block: Block) -> Block:
        lines: Block = []
        for item in block:
            lines += [self.along(item)] if isinstance(item, list) else self.beside(item)
        return lines

    def beside(self, line: str) -> Block:
        """What stands in the place of a statement."""
        return [line]

    def both(self, step: Step, read: Callable[[Vector], str]) -> Block:
        """The transpose of a step and its tangent; of what is added up over steps only the change."""
        function, vjp_jvp = step.backward_tangent, step.vjp_jvp
        moved = [f"{self.local(dot.name)} = {self.twin(read(v))}" for v, dot in vjp_jvp.moved]
        adjoints = ["_" if v.role in ("parameter", "input") else d.name for v, d, _ in vjp_jvp.outputs]
        results = [*adjoints, *(dot.name for _, _, dot in vjp_jvp.outputs)]
        return [*moved, self.call(results, function.name, function.arguments)]

    def twin(self, line: str, but: str = "") -> str:
        """The statement with `dot_` before what moves, except for names that begin with `but`."""

        def moved(found: re.Match[str]) -> str:
            name = found.group()
            if but and name.startswith(but):
                return name
            return self.need(f"dot_{name}") if name in self.arguments else f"dot_{name}"

        return self.moving.sub(moved, line)

    def is_trained(self, o: Operand) -> bool:
        """Whether any matrix that multiplies the operand has a direction."""
        terms = (term for slot in self.layout.affine[o.stage].slots for term in slot.terms)
        return any(matrix.is_trained and vector.name == o.vector.name for matrix, vector in terms)


class ForwardTangent(Tangent, Forward):
    name = "forward_tangent"
    prefix = "dot_"
    summary = "Steps begin .. end - 1 of forward along a direction: dot_v is the change of v."

    def _restore(self) -> Block:
        return self._twins(super()._restore())

    def _asleep(self, k: int) -> Block:
        return self._twins(super()._asleep(k))

    def _twins(self, block: Block) -> Block:
        return [self._twins(item) if isinstance(item, list) else self.twin(item) for item in block]

    def _formula(self, stage: Affine) -> Iterator[str]:
        """# dot_z_i = W_i dot_x + dot_W_i x + dot_b_i, one line for each slot."""
        for slot in stage.slots:
            terms = [f"{'dot_stop ' * v.stopped}{matrix} dot_{v}" for matrix, v in slot.terms]
            terms += [f"dot_{matrix} {v}" for matrix, v in slot.terms if matrix.is_trained]
            terms += [f"dot_{slot.bias}"] if slot.bias and slot.bias.is_trained else []
            yield f"#    dot_{slot.name} = {' + '.join(terms)}"

    def _products(self, k: int, base: str, row: str) -> Block:
        first = self.layout.operands[k][0]
        begins = first.reaches_all and not first.vector.stopped
        lines: Block = [] if begins else [self.twin(self.spread(k, "rows", base, row))]
        for o in self.layout.operands[k]:
            a = self.operand(o)
            call = self.product(o, "rows", a, base, row)
            moved = self.biased(o, "rows", a, base, row) if begins and o is first else call
            moving: Block = [self.twin(moved, but="weights_")]
            lines += [f"if {self.need(DOT_STOP.name)}:", moving] if o.vector.stopped else moving
            lines += [self.twin(call, but=a.partition(",")[0])] if self.is_trained(o) else []
        return lines

    def _pointwise(self, stage: Pointwise) -> Block:
        step = self.layout.steps[stage]
        body: Block = [*self.slot_places(stage)]
        body += [f"{dot} = {self.twin(self.value(v, stage, 'before'))}" for v, dot in step.jvp.incoming]
        body += [f"{self.local(v.name)} = {self.saved(v, stage)}" for v in step.jvp.saved]
        body.append(self.call(step.tangent.results, step.tangent.name, step.tangent.arguments))
        self.arguments |= {DOT_STOP.name: None}  # dropped again where nothing reads it
        names = [name.removeprefix("dot_") for name in step.tangent.results]
        body += [self.twin(line) for line in self._stores(stage, names) if isinstance(line, str)]
        return ["", f"# {stage.level}. pointwise", *self.over_units(stage, body)]


class BackwardTangent(Tangent, Backward):
    name = "backward_tangent"
    summary = "Steps end - 1 .. begin of backward along a direction: adjoints d_v, and dot_d_v, the change of d_v."

    def beside(self, line: str) -> Block:
        """A statement about adjoints, and the same about their changes."""
        word = line.partition("(")[0]
        if word in self._transposes:
            by_matrix = [self.twin(line, but="slots_")] if self._transposes[word] else []
            return [line, self.twin(line, but="back_"), *by_matrix]
        if UNREAD.match(line):
            return [self.twin(line)]
        adds = re.search(r"\bd_", line) and not re.search(r"\bdot_", line)
        return [line, self.twin(line)] if adds else [line]

    @cached_property
    def _transposes(self) -> dict[str, bool]:
        """transpose_1_h_prev -> whether its matrices have a direction."""
        operands = (o for k in self.layout.affine for o in self.layout.operands[k])
        return {f"transpose_{o.key}": self.is_trained(o) for o in operands}

    def _step(self, stage: Pointwise, step: Step) -> Block:
        return self.both(step, lambda v: self.saved(v, stage))
