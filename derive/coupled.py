"""A cell from a cell: the same equations with one gate coupled to another, f = 1 - i.

    coupled(derive.cells["peephole"], {"f": "i"})        what is written is what is forgotten

What comes out is an ordinary cell, generated and verified like any; parameters that nothing reads any more are gone.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from derive.cell import Cell, symbols_of_equation
from derive.errors import OptionError
from derive.symbols import Eq


def coupled(cell: Cell, gates: Mapping[str, str]) -> Cell:
    """The cell in which each of the named gates is one minus another.

    Args:
        gates: gate -> the one that it is coupled to, which an earlier equation defines in the same space: {"f": "i"}.

    Raises:
        OptionError: there are no such gates.
    """
    if not isinstance(gates, Mapping) or not gates:
        raise OptionError(f'coupled must be a dict, gate -> gate, {{"f": "i"}}; got {gates!r}')
    for gate, other in gates.items():
        _check(cell, gate, other)
    equations = [
        Eq(e.lhs, 1 - cell.symbols[gates[e.lhs.name]]) if e.lhs.name in gates else e for e in cell.equations
    ]
    read = {symbol.name for equation in equations for symbol in symbols_of_equation(equation)}
    chosen = {**cell.chosen, "coupled": dict(gates)}
    return replace(
        cell,
        title=", ".join([cell.title, *(f"{gate} = 1 - {other}" for gate, other in gates.items())]),
        equations=equations,
        initial={name: number for name, number in cell.initial.items() if name in read},
        options={name: (value,) for name, value in chosen.items()},
        chosen=chosen,
        build=None,
    )


def _check(cell: Cell, gate: Any, other: Any) -> None:
    names = list(cell.values)
    able = {a: [b for b in names[:k] if cell.values[b] == cell.values[a]] for k, a in enumerate(names)}
    if other not in able.get(gate, ()):
        pairs = ", ".join(f"{a} to {b}" for a, others in able.items() for b in others) or "none"
        raise OptionError(f"cell {cell.name}: {gate!r} cannot be coupled to {other!r}; these can be: {pairs}")
