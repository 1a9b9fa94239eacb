"""Names for what is multiplied but is no array of one adjoint: what happens first to a cell that is split."""

from collections.abc import Collection, Iterator
from itertools import chain, count

import sympy
from sympy import Expr

from derive.cell import Cell
from derive.functions import stop
from derive.symbols import Product, Vector

GIVEN = ("parameter", "constant")


def held(cell: Cell) -> Iterator[sympy.Eq]:
    """The equations, with a name of its own for what is multiplied but is no array of one adjoint: h_prev_held.

    That is a vector multiplied both as it is and under `stop`, an input under `stop`, a parameter.
    """
    operands, names = dict.fromkeys(product.operand for product in _products(cell)), dict[Expr, Vector]()
    for operand in operands:
        if _needs_a_name(operand, operands):
            names[operand] = _name_of(operand, {*cell.symbols, *(name.name for name in names.values())})
    renamed = {p: Product(p.matrix, names[p.operand]) for p in _products(cell) if p.operand in names}
    defined: set[Vector] = set()
    for equation in cell.equations:
        for operand, name in names.items():
            if name not in defined and any(product.operand == operand for product in equation.rhs.atoms(Product)):
                defined.add(name)
                yield sympy.Eq(name, operand, evaluate=False)
        yield sympy.Eq(equation.lhs, equation.rhs.xreplace(renamed), evaluate=False) if renamed else equation


def _products(cell: Cell) -> list[Product]:
    return [product for equation in cell.equations for product in sorted(equation.rhs.atoms(Product), key=str)]


def _needs_a_name(operand: Expr, operands: Collection[Expr]) -> bool:
    if isinstance(operand, stop):
        return operand.args[0] in operands or operand.args[0].role in ("input", *GIVEN)
    return operand.role in GIVEN


def _name_of(operand: Expr, taken: Collection[str]) -> Vector:
    vector = operand.args[0] if isinstance(operand, stop) else operand
    stem = f"{vector}_held"
    numbered = chain([stem], (f"{stem}_{number}" for number in count(2)))
    return Vector(next(name for name in numbered if name not in taken), "value", vector.space)
