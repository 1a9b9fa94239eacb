"""What can be shown of a cell: one function makes one page."""

from __future__ import annotations

import sympy

from derive.cell import Cell
from derive.cost import Cost
from derive.cost import cost as count_cost
from derive.held import in_place
from derive.jacobian import Block, Tail
from derive.jacobian import jacobian as step_jacobian
from derive.program import Affine, Pointwise, Slot, split
from derive.show.document import Document, Line, Section
from derive.show.nodes import IDENTITY, NOTHING, Chain, Diagonal, InOrder, Partial, Words
from derive.symbols import Product, Vector


def head(cell: Cell) -> str:
    """The first line of every page."""
    return f"{cell.module}: {cell.title} ({cell.year})" if cell.year else f"{cell.module}: {cell.title}"


# --- Equations


def equations(cell: Cell) -> Document:
    """The cell as it is written."""
    lines = tuple(Line(equation.lhs, equation.rhs) for equation in cell.equations)
    return Document(cell.module, "equations", head(cell), (Section("equations", lines, cell.reference),))


# --- Program


def program(cell: Cell) -> Document:
    """The stages: sums of matrix products, then scalar mathematics, in the order in which they run."""
    shown = in_place(cell)
    sections = tuple(_stage(number, stage, shown) for number, stage in enumerate(split(cell).stages, 1))
    return Document(cell.module, "program", f"{head(cell)}: program of one step", sections)


def _stage(number: int, stage: Affine | Pointwise, shown: dict[Vector, sympy.Expr]) -> Section:
    if isinstance(stage, Affine):
        lines = tuple(Line(slot.symbol, affine(slot).xreplace(shown)) for slot in stage.slots)
        return Section(f"stage {number}, affine over {stage.space}", lines)
    text = f"reads {names(stage.reads)}\nwrites {names(stage.writes)}"
    lines = tuple(Line(name, expression) for name, expression in stage.equations)
    return Section(f"stage {number}, pointwise over {stage.space}", lines, text)


def affine(slot: Slot) -> sympy.Expr:
    """W_i x + U_i h_prev + b_i, in the order in which the program has it."""
    parts = [Product(matrix, vector) for matrix, vector in slot.terms] + ([slot.bias] if slot.bias is not None else [])
    return InOrder(*parts) if len(parts) > 1 else parts[0]


def names(vectors: tuple[Vector, ...]) -> str:
    """`z_i, z_f, c_prev`."""
    return ", ".join(vector.name for vector in vectors)


# --- Step Jacobian


def jacobian(cell: Cell) -> Document:
    """Each new state by each previous one, as sums of products of diagonal and dense matrices."""
    blocks = step_jacobian(cell)
    lines = tuple(Line(Partial(block.state, block.previous), matrix_of(block.words)) for block in blocks)
    sections = (Section("blocks", lines, "diag(a) has the elements of a on its diagonal."), direct(blocks))
    return Document(cell.module, "jacobian", f"{head(cell)}: step Jacobian", sections)


def direct(blocks: tuple[Block, ...]) -> Section:
    """What a state does to itself, the part that no matrix is in: 1 for a carousel."""
    own = [block for block in blocks if block.previous.name == f"{block.state.name}_prev"]
    lines = tuple(Line(Partial(block.state, block.previous), _diagonal(block.direct)) for block in own)
    return Section("direct path of each state", lines, "The part of a state's own block that no matrix is in.")


def matrix_of(words: tuple[tuple[sympy.Expr, Tail], ...]) -> sympy.Expr:
    """The words of a block as a sum of products."""
    parts = [_word(head, tail) for head, tail in words]
    return NOTHING if not parts else parts[0] if len(parts) == 1 else InOrder(*parts)


def _word(head: sympy.Expr, tail: Tail) -> sympy.Expr:
    if not tail:
        return _diagonal(head)
    factors = [] if head == 1 else [Diagonal(head)]
    for matrix, inner in tail:
        factors += [matrix] if inner == 1 else [matrix, Diagonal(inner)]
    return Chain(*factors)


def _diagonal(expression: sympy.Expr) -> sympy.Expr:
    return IDENTITY if expression == 1 else NOTHING if expression == 0 else Diagonal(expression)


# --- Cost

EXAMPLE = {"T": 100, "B": 64, "N": 256, "H": 256, "P": 128, "modules": 4}
COUNTED = """Each of + - * / is one operation; the application of a function is counted apart.
Bytes are those of float32, each array once: what a perfect cache would move."""


def cost(cell: Cell) -> Document:
    """Parameters, operations and bytes as formulas."""
    counted = count_cost(cell)
    sections = (
        Section("parameters", (_entry("trained numbers", counted.parameters),)),
        Section("one step of one row", tuple(_entry(words, getattr(counted, name)) for words, name in STEP), COUNTED),
        Section("a sequence of T steps and B rows", tuple(_entry(w, getattr(counted, n)) for w, n in SEQUENCE)),
        Section("for example", (), _example(counted)),
    )
    return Document(cell.module, "cost", f"{head(cell)}: cost", sections)


STEP = (
    ("forward operations", "forward"),
    ("forward functions", "forward_applications"),
    ("backward operations", "backward"),
    ("backward functions", "backward_applications"),
    ("numbers kept for the way back", "tape"),
)
SEQUENCE = (
    ("forward operations", "sequence_forward"),
    ("backward operations", "sequence_backward"),
    ("forward bytes", "bytes_forward"),
    ("backward bytes", "bytes_backward"),
)


def _entry(words: str, formula: sympy.Expr) -> Line:
    return Line(Words(words), formula)


def _example(counted: Cost) -> str:
    operations, moved = counted.example(**EXAMPLE)
    sizes = " ".join(f"{name}={EXAMPLE[name]}" for name in "TBNH")
    figures = f"{operations / 1e9:.3g} Gflop, {moved / 1e6:.3g} MB, {operations / moved:.3g} flop a byte"
    return f"{sizes}, forward and backward: {figures}."
