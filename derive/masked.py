"""A cell from a cell: the same equations with masks in them, for regularisation inside the recurrence.

The masks are input sequences, so that whoever calls decides what they are: drawn once for all steps, drawn at every
step, or the numbers that stand for their mean.  What comes out is an ordinary cell, generated and verified like any.
"""

from collections.abc import Sequence
from typing import Any

from sympy import Basic, Expr

from derive.cell import Cell
from derive.errors import OptionError
from derive.symbols import Eq, Product, Vector, input, value  # noqa: A004  (a word of the language)

DROPOUT = "recurrent dropout: Y. Gal, Z. Ghahramani, NIPS 2016, arXiv 1512.05287"
ZONEOUT = "zoneout: D. Krueger et al., ICLR 2017, arXiv 1606.01305"


def dropped(cell: Cell) -> Cell:
    """The cell with a mask on the output that recurs: `kept_h = keep_h * h_prev`, with the input keep_h.

    Gates, candidates and matrix products read kept_h.  What a state's own equation carries over unit by unit, as
    `z * h_prev` of a GRU, stays unmasked: a mask that is 0 there would forget, at every step.

    Raises:
        OptionError: no product and no gate of the cell reads the output of the step before.
    """
    output = cell.outputs[0]
    previous, space = _previous(cell, output), cell.states[output]
    kept, keep = value(f"kept_{output}", space), input(f"keep_{output}", space)
    changed = [Eq(e.lhs, _gates_read(e.lhs, e.rhs, {previous: kept})) for e in cell.equations]
    if not any(e.rhs.has(kept) for e in changed):
        raise OptionError(f"cell {cell.name}: no gate and no product reads {previous}, so there is nothing to drop")
    return _variant(cell, "dropped", [Eq(kept, keep * previous), *changed], DROPOUT)


def zoned(cell: Cell, states: Sequence[str] = ()) -> Cell:
    """The cell whose units may keep their states: `h = zone_h * h_prev + (1 - zone_h) * new_h`, with the input zone_h.

    Args:
        states: which; without it, all.  The other equations read the new values, as in the paper.

    Raises:
        OptionError: the cell has no such state.
    """
    names = tuple(states) or tuple(cell.states)
    for name in names:
        if name not in cell.states:
            raise OptionError(f"cell {cell.name} has no state {name!r}; its states: {', '.join(cell.states)}")
    new = {cell.symbols[name]: value(f"new_{name}", cell.states[name]) for name in names}
    renamed = [Eq(new.get(e.lhs, e.lhs), e.rhs.xreplace(new)) for e in cell.equations]
    last = [_zone(cell, state, made) for state, made in new.items()]
    return _variant(cell, "zoned", [*renamed, *last], ZONEOUT)


def _zone(cell: Cell, state: Vector, made: Vector) -> Any:
    zone = input(f"zone_{state.name}", state.space)
    return Eq(state, zone * _previous(cell, state.name) + (1 - zone) * made)


def _previous(cell: Cell, name: str) -> Vector:
    return Vector(f"{name}_prev", "previous", cell.states[name])


def _gates_read(lhs: Vector, rhs: Expr, masks: dict[Basic, Basic]) -> Expr:
    """Masked everywhere in the equation of a value, in that of a state inside of products only."""
    if lhs.role == "value":
        return rhs.xreplace(masks)
    return rhs.replace(lambda node: isinstance(node, Product), lambda node: node.xreplace(masks))


def _variant(cell: Cell, suffix: str, equations: list[Any], reference: str) -> Cell:
    return Cell(
        name=f"{cell.module}_{suffix}",
        title=f"{cell.title}, {suffix}",
        year=cell.year,
        reference=f"{cell.reference}; {reference}",
        equations=equations,
        outputs=cell.outputs,
        initial=cell.initial,
    )
