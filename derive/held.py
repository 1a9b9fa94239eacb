"""Names for what is multiplied but is no array of one adjoint: what happens first to a cell that is split.

    n = tanh(W @ x + U @ (r * h_prev))

becomes two equations, of which pages show the second as it was written,

    r_h = r * h_prev
    n = tanh(W @ x + U @ r_h)

A vector multiplied both as it is and under `stop`, an input under `stop` and a parameter are named too: h_prev_held.
"""

from collections.abc import Iterator
from itertools import chain, count

import sympy
from sympy import Expr

from derive.cell import Cell
from derive.emit.printer import arguments
from derive.errors import NameRuleError
from derive.functions import Elementwise, stop
from derive.laws import implied, walk
from derive.symbols import Matrix, Product, Vector, check_name

GIVEN = ("parameter", "constant")
LONGEST = 40  # letters of a name, so that the generated text can put its own before and behind


def held(cell: Cell) -> tuple[sympy.Eq, ...]:
    """The equations, each after those that define the names that it needs."""
    return _Naming(cell).equations


def in_place(cell: Cell) -> dict[Vector, Expr]:
    """Name -> what the cell's equations say where the split ones have the name."""
    return {name: operand for operand, name in _Naming(cell).names.items()}


class _Naming:
    """Names in the order in which they are needed, the innermost first; `names` has them by operand, as written."""

    def __init__(self, cell: Cell) -> None:
        self.names: dict[Expr, Vector] = {}
        self.taken = {*cell.symbols, *(name for equation in cell.equations for name in implied(equation.lhs))}
        self.operands = {product.operand for e in cell.equations for product in e.rhs.atoms(Product)}
        self.equations = tuple(part for equation in cell.equations for part in self._split(equation))

    def _split(self, equation: sympy.Eq) -> Iterator[sympy.Eq]:
        made: list[sympy.Eq] = []
        rhs = self._named(equation.rhs, made)
        yield from made
        yield equation if rhs is equation.rhs else sympy.Eq(equation.lhs, rhs, evaluate=False)

    def _named(self, expression: Expr, made: list[sympy.Eq]) -> Expr:
        """The expression with names in it; `made` gets their definitions."""
        if isinstance(expression, Product):
            return self._product(expression, made)
        old = arguments(expression)
        new = [self._named(part, made) for part in old]
        return expression if all(a is b for a, b in zip(old, new, strict=True)) else expression.func(*new)

    def _product(self, product: Product, made: list[sympy.Eq]) -> Product:
        operand = product.operand
        if operand not in self.names and self._needs_a_name(operand):
            meaning = self._named(operand, made)
            self.names[operand] = Vector(self._fresh(operand), "value", product.matrix.columns)
            made.append(sympy.Eq(self.names[operand], meaning, evaluate=False))
        return Product(product.matrix, self.names[operand]) if operand in self.names else product

    def _needs_a_name(self, operand: Expr) -> bool:
        vector = operand.args[0] if isinstance(operand, stop) else operand
        if not isinstance(vector, Vector):
            return True
        if isinstance(operand, stop):
            return vector in self.operands or vector.role in ("input", *GIVEN)
        return vector.role in GIVEN

    def _fresh(self, operand: Expr) -> str:
        """The letters of an operand: r_h, else rh where r_h means something, else rh_2 ..."""
        words = list(dict.fromkeys(_words(operand)))
        stem, joined = "_".join(words)[:LONGEST], "".join(words)[:LONGEST]
        numbered = ((f"{joined}_{number}", f"bracket_{number}") for number in count(2))
        name = next(name for name in chain([stem, joined], chain.from_iterable(numbered)) if self._is_free(name))
        self.taken.add(name)
        return name

    def _is_free(self, name: str) -> bool:
        try:
            return check_name(name) not in self.taken
        except NameRuleError:  # d_x of d * x, the keyword `if` of i * f
            return False


def _words(operand: Expr) -> Iterator[str]:
    """Functions and symbols from left to right, without what marks a previous value or a transposed matrix."""
    vector = operand.args[0] if isinstance(operand, stop) else operand
    if isinstance(vector, Vector):
        yield f"{vector}_held"
        return
    for node in walk(vector):
        if isinstance(node, Vector):
            yield node.name.removesuffix("_prev") if node.role == "previous" else node.name
        elif isinstance(node, Matrix):
            yield node.declared.name
        elif isinstance(node, Elementwise) and not isinstance(node, stop):
            yield type(node).__name__
