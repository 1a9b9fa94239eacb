"""The page of the derivation: the recursion in time, and every stage transposed, in the order of the adjoints."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from sympy import Expr

from derive.cell import Cell
from derive.differentiate import Derivation, Transpose, Vjp, adjoint
from derive.differentiate import gradients as differentiated
from derive.held import in_place
from derive.show.document import Document, Line, Section
from derive.show.nodes import InOrder, Outer, OverTime, Partial, Pullback, Shifted, Words
from derive.show.pages import head
from derive.symbols import ONE, Matrix, Vector

LOSS = Words("L")
TIME = """d_v means dL/dv.  From the last step to the first, step t receives for each state
what the loss asks of it at t and what step t+1 gave for its previous value;
at the last step the adjoint of the final state stands for the latter."""
SUMS = "Summed over the steps and the rows of the batch."


def gradients(cell: Cell) -> Document:
    """Each gradient line beside the equation that it reverses."""
    return document(differentiated(cell))


def document(derivation: Derivation) -> Document:
    """The same page of a derivation that is there already."""
    page = _Page(derivation)
    stages = page.stages()  # before the sums, which they collect
    sections = (Section("time", tuple(page.time()), TIME), *stages, page.sums())
    cell = derivation.cell
    return Document(cell.module, "gradients", f"{head(cell)}: backpropagation through time", sections)


@dataclass
class _Page:
    """Lines in order; `given` holds the adjoints that have a first term already, so that a second one is added."""

    derivation: Derivation
    given: set[Vector] = field(default_factory=set)
    parameters: dict[Matrix | Vector, list[Expr]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        blocks = (stage for stage in self.derivation.stages if isinstance(stage, Vjp))
        self.incoming = {v: d for block in blocks for v, d in zip(block.stage.writes, block.incoming, strict=True)}

    def time(self) -> Iterator[Line]:
        cell = self.derivation.cell
        for name, space in cell.states.items():
            state, later = Vector(name, "state", space), Shifted(adjoint(Vector(f"{name}_prev", "previous", space)), 1)
            asked = InOrder(Partial(LOSS, state), later) if name in cell.outputs else later
            yield Line(self.incoming[state], asked)

    def stages(self) -> tuple[Section, ...]:
        return tuple(self._stage(stage) for stage in self.derivation.stages)

    def _stage(self, stage: Vjp | Transpose) -> Section:
        if isinstance(stage, Vjp):
            return Section(f"pointwise over {stage.stage.space}, in reverse", tuple(self._pointwise(stage)))
        return Section(f"affine over {stage.stage.space}, transposed", tuple(self._affine(stage)))

    def _pointwise(self, stage: Vjp) -> Iterator[Line]:
        outside = {d: v for v, d in stage.outputs}
        for name, expression, source in stage.equations:
            read = outside.get(name)
            if read is not None and read.role == "parameter":
                self.parameters.setdefault(read, []).append(expression)
            else:
                yield self._line(name if read is None else self._target(read), expression, source)

    def _affine(self, stage: Transpose) -> Iterator[Line]:
        for vector, pairs in stage.operands.items():
            yield self._line(self._target(vector), _sum(Pullback(matrix, d) for matrix, d in pairs))
        for matrix, outer in stage.matrices.items():
            self.parameters.setdefault(matrix, []).extend(Outer(a, b) for a, b in outer)
        for bias, d in stage.biases.items():
            self.parameters.setdefault(bias, []).append(d)

    def _target(self, vector: Vector) -> Vector:
        """What an earlier stage writes receives its adjoint under the name that this stage expects."""
        return self.incoming.get(vector, adjoint(vector))

    def _line(self, name: Vector, expression: Expr, source: Expr | None = None) -> Line:
        adds = name in self.given
        self.given.add(name)
        return Line(name, expression, source, adds=adds)

    def sums(self) -> Section:
        order = list(self.derivation.cell.parameters)
        found = sorted(self.parameters.items(), key=lambda entry: order.index(entry[0].name))
        shown = in_place(self.derivation.cell)
        lines = tuple(_parameter(symbol, [part.xreplace(shown) for part in parts]) for symbol, parts in found)
        return Section("parameters", lines, SUMS if lines else "None is trained.")


def _parameter(symbol: Matrix | Vector, parts: list[Expr]) -> Line:
    name = Vector(f"d_{symbol.name}", "parameter", ONE)
    scalar = isinstance(symbol, Vector) and symbol.space == ONE
    return Line(name, OverTime(_sum(parts)), note="over the units, too" if scalar else "")


def _sum(parts: Iterable[Expr]) -> Expr:
    terms = list(parts)
    return terms[0] if len(terms) == 1 else InOrder(*terms)
