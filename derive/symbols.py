"""The symbols of a cell: each is one element, j of its named space.

Spaces are names, not numbers: N (input), H (hidden), any other upper-case name (a projection "P"), and ONE ("1", a
scalar that is broadcast).
"""

import keyword
import re
from collections.abc import Callable, Iterable
from itertools import chain
from typing import Any, Self

import sympy
from sympy import Add, Expr, Function, Symbol, sympify
from sympy.printing.precedence import PRECEDENCE

from derive.errors import EquationError, NameRuleError, ShapeError
from derive.functions import TABLE

N, H, ONE = "N", "H", "1"

STRUCTURES = (None, "block_upper")
TURNED = ".T"  # ends the name of a transposed matrix, and of no declared one
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
SPACE = re.compile(r"[A-Z][A-Za-z0-9]{0,15}|1")

# what the generated text calls adjoints and tangents
TAKEN_PREFIXES = {"d_": "an adjoint", "dot_": "a tangent", "__": "Python's own"}


def check_name(name: str) -> str:
    """Refuse what is not a plain identifier or already means something in the generated text."""
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise NameRuleError(f"{name!r} is not a name: use letters, digits and _, at most 64, not starting with a digit")
    if keyword.iskeyword(name) or name in TABLE:
        kind = "a Python keyword" if keyword.iskeyword(name) else "a function of the language"
        raise NameRuleError(f"{name!r} is {kind}: choose another name")
    if name == "_":
        raise NameRuleError("'_' marks what the generated text does not read: choose another name")
    for prefix, meaning in TAKEN_PREFIXES.items():
        if name.startswith(prefix):
            raise NameRuleError(f"{name!r} starts with {prefix!r}, which marks {meaning}: choose another name")
    return name


def check_space(space: str) -> str:
    if not isinstance(space, str) or not SPACE.fullmatch(space):
        raise ShapeError(f"{space!r} is not a space: use N, H, ONE or another upper-case name such as 'P'")
    return space


def check_among(kind: str, given: Any, allowed: tuple[Any, ...]) -> None:
    if given not in allowed:
        raise EquationError(f"{given!r} is not a {kind}: use one of {', '.join(map(repr, allowed))}")


# --- Symbols


class Vector(Symbol):
    """One element of a named vector.  A *stopped* vector takes part in a product but receives no adjoint from it."""

    __slots__ = ("role", "space", "stopped")

    def __new__(cls, name: str, role: str, space: str = H, stopped: bool = False) -> Self:
        self = Symbol.__xnew__(cls, name, real=True)
        self.role, self.space, self.stopped = role, space, stopped
        return self

    def __getnewargs_ex__(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return (self.name, self.role, self.space, self.stopped), {}

    def _hashable_content(self) -> tuple[Any, ...]:
        return (*super()._hashable_content(), self.role, self.space, self.stopped)

    def __rmatmul__(self, left: Any) -> Expr:
        raise EquationError(
            f"({left}) @ {self}: the left side of @ is a matrix or a bracket of matrices, 2 * W - V.T; "
            "a vector stands before the product, r * (W @ v)"
        )

    def __matmul__(self, right: Any) -> Expr:
        raise EquationError(f"{self} @ {right}: the left side of @ is a matrix, and {self} is a vector; write W @ v")

    @property
    def is_trained(self) -> bool:
        return self.role == "parameter"

    @property
    def shape(self) -> tuple[str, ...]:
        return () if self.space == ONE else (self.space,)


class Linear(Expr):
    """What multiplies a vector: a matrix, or a bracket of them.  Sums, differences and multiples are brackets."""

    __slots__ = ()
    _op_priority = 11  # above SymPy's expressions: 2 * W and alpha * W are for __rmul__ here

    @property
    def terms(self) -> tuple[tuple[Expr, "Matrix"], ...]:
        """(number, matrix) of each."""
        raise TypeError(type(self).__name__)

    @property
    def T(self) -> "Linear":
        return MatrixSum.of((number, matrix.T) for number, matrix in self.terms)

    def __add__(self, other: Any) -> Any:
        return _sum(self, "+", other) if isinstance(other, Linear) else super().__add__(other)

    def __sub__(self, other: Any) -> Any:
        return _sum(self, "-", other) if isinstance(other, Linear) else super().__sub__(other)

    def __mul__(self, factor: Any) -> Any:
        return _scaled(self, sympify(factor)) if _is_number(factor) else super().__mul__(factor)

    def __rmul__(self, factor: Any) -> Any:
        return self * factor if _is_number(factor) else super().__rmul__(factor)

    def __truediv__(self, divisor: Any) -> Any:
        return _scaled(self, 1 / sympify(divisor)) if _is_number(divisor) else super().__truediv__(divisor)

    def __neg__(self) -> "MatrixSum":
        return _scaled(self, sympy.S.NegativeOne)

    def __matmul__(self, vector: Any) -> Expr:
        """The bracket is multiplied out: (2 * W - V.T) @ v is 2 * (W @ v) - V.T @ v."""
        operand = sympify(vector)
        if not isinstance(operand, Expr) or isinstance(operand, Linear):
            raise EquationError(f"{self} @ {vector}: a matrix multiplies a vector; write W @ (V @ v) for two matrices")
        return Add(*(number * Product(matrix, operand) for number, matrix in self.terms))


def _is_number(factor: Any) -> bool:
    """Whether it is one number for all units: what may stand before a matrix."""
    if not isinstance(factor, int | float | Expr):
        return False
    return all(isinstance(symbol, Vector) and symbol.space == ONE for symbol in sympify(factor).free_symbols)


def _scaled(bracket: Linear, factor: Expr) -> "MatrixSum":
    return MatrixSum.of((factor * number, matrix) for number, matrix in bracket.terms)


def _sum(left: Linear, sign: str, right: Linear) -> "MatrixSum":
    shapes = {str(matrix): matrix.shape for _, matrix in (*left.terms, *right.terms)}
    if len(set(shapes.values())) > 1:
        found = ", ".join(f"{name} is {' x '.join(shape)}" for name, shape in shapes.items())
        raise ShapeError(f"({left} {sign} {right}): matrices of one bracket have one shape, but {found}")
    return MatrixSum.of([*left.terms, *(right if sign == "+" else -right).terms])


class Matrix(Linear, Symbol):
    """A matrix; it appears only as the left factor of `@`.  `U.T` is U transposed: no parameter of its own."""

    __slots__ = ("columns", "role", "rows", "structure", "turned")

    def __new__(
        cls,
        name: str,
        role: str,
        rows: str,
        columns: str,
        structure: str | None = None,
        turned: "Matrix | None" = None,
    ) -> Self:
        self = Symbol.__xnew__(cls, name, real=True)
        self.role, self.rows, self.columns, self.structure, self.turned = role, rows, columns, structure, turned
        return self

    def __getnewargs_ex__(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return (self.name, self.role, self.rows, self.columns, self.structure, self.turned), {}

    def _hashable_content(self) -> tuple[Any, ...]:
        return (*super()._hashable_content(), self.role, self.rows, self.columns, str(self.declared.structure))

    @property
    def terms(self) -> tuple[tuple[Expr, "Matrix"], ...]:
        return ((sympy.S.One, self),)

    @property
    def T(self) -> "Matrix":
        """The transpose; it has no structure: below its diagonal blocks it is what the declared one is above."""
        return self.turned or Matrix(f"{self.name}{TURNED}", self.role, self.columns, self.rows, turned=self)

    @property
    def declared(self) -> "Matrix":
        """The matrix that is declared: of U.T, U."""
        return self.turned or self

    @property
    def is_trained(self) -> bool:
        return self.role == "parameter"

    @property
    def shape(self) -> tuple[str, ...]:
        return (self.rows, self.columns)


class MatrixSum(Linear):
    """2 * W - V.T, in the order written; its arguments are number, matrix, number, matrix ..."""

    @classmethod
    def of(cls, terms: Iterable[tuple[Expr, Matrix]]) -> "MatrixSum":
        found: dict[Matrix, Expr] = {}
        for number, matrix in terms:
            found[matrix] = found.get(matrix, sympy.S.Zero) + number
        return cls(*chain.from_iterable((number, matrix) for matrix, number in found.items()))

    @property
    def terms(self) -> tuple[tuple[Expr, Matrix], ...]:
        return tuple(zip(self.args[::2], self.args[1::2], strict=True))

    def _sympystr(self, printer: Any) -> str:
        text = ""
        for number, matrix in self.terms:
            minus = number.could_extract_minus_sign()
            factor = printer.parenthesize(-number if minus else number, PRECEDENCE["Mul"])
            text += f"{' - ' if minus else ' + '}{'' if factor == '1' else f'{factor} * '}{matrix.name}"
        return "-" + text[3:] if text.startswith(" - ") else text[3:]


class Product(Function):
    """Element j of `W v`: opaque to scalar mathematics, and replaced by a slot before anything is differentiated."""

    nargs = 2
    precedence = PRECEDENCE["Add"] + 1  # r*(U @ h), but W @ x + b

    @property
    def matrix(self) -> Matrix:
        return self.args[0]

    @property
    def operand(self) -> Expr:
        return self.args[1]

    def _eval_is_real(self) -> bool:
        return True

    def _eval_derivative(self, _symbol: Symbol) -> Expr:
        raise EquationError(f"{self} is a matrix product: split the cell into stages, then differentiate each stage")

    def _sympystr(self, printer: Any) -> str:
        return f"{self.matrix.name} @ {printer.parenthesize(self.operand, PRECEDENCE['Pow'])}"

    def _latex(self, printer: Any) -> str:
        return f"{printer.doprint(self.matrix)} {printer.parenthesize(self.operand, PRECEDENCE['Pow'])}"


# --- Declarations: a plural gives a tuple, a singular one symbol


def _each(names: str, make: Callable[[str], Any]) -> tuple[Any, ...]:
    return tuple(make(check_name(name)) for name in names.replace(",", " ").split())


def input(name: str, space: str = N) -> Vector:  # noqa: A001 (a word of the language)
    """A sequence that comes from outside: the data, a lower layer's cell, a dropout mask."""
    return Vector(check_name(name), "input", check_space(space))


def state(name: str, space: str = H) -> tuple[Vector, Vector]:
    """A state and its value at the previous step: `h, h_prev = state("h")`."""
    check_space(space)
    return Vector(check_name(name), "state", space), Vector(check_name(f"{name}_prev"), "previous", space)


def values(names: str, space: str = H) -> tuple[Vector, ...]:
    """Names that equations define and that are forgotten after the step: gates, candidates."""
    check_space(space)
    return _each(names, lambda name: Vector(name, "value", space))


def value(name: str, space: str = H) -> Vector:
    return values(check_name(name), space)[0]


def matrices(
    names: str, rows: str, columns: str, *, role: str = "parameter", structure: str | None = None
) -> tuple[Matrix, ...]:
    """Trained matrices, or constant ones; `structure="block_upper"` is zero below its diagonal blocks."""
    check_among("role of a matrix", role, ("parameter", "constant"))
    check_among("structure", structure, STRUCTURES)
    for space in (rows, columns):
        check_space(space)
        if space == ONE:
            raise ShapeError(f"{names}: {rows} x {columns}; name the space of one number, say S, and make it with S=1")
    if structure and rows != columns:
        raise ShapeError(f"{names}: {structure} needs a square matrix, got {rows} x {columns}")
    return _each(names, lambda name: Matrix(name, role, rows, columns, structure))


def matrix(name: str, rows: str, columns: str, *, role: str = "parameter", structure: str | None = None) -> Matrix:
    return matrices(check_name(name), rows, columns, role=role, structure=structure)[0]


def vectors(names: str, space: str = H, *, role: str = "parameter") -> tuple[Vector, ...]:
    """Trained vectors (biases, peepholes), or constant ones."""
    check_among("role of a vector", role, ("parameter", "constant"))
    check_space(space)
    return _each(names, lambda name: Vector(name, role, space))


def vector(name: str, space: str = H, *, role: str = "parameter") -> Vector:
    return vectors(check_name(name), space, role=role)[0]


def scalars(names: str, *, role: str = "parameter") -> tuple[Vector, ...]:
    """Single trained numbers, or constant ones, broadcast over the units."""
    return vectors(names, ONE, role=role)


def scalar(name: str, *, role: str = "parameter") -> Vector:
    return scalars(check_name(name), role=role)[0]


def clock(name: str = "tick", space: str = H) -> Vector:
    """1 for the units that are active at this step, else 0; the runtime computes it: t mod period[j] == 0."""
    return Vector(check_name(name), "clock", check_space(space))


def Eq(lhs: Vector, rhs: Any) -> sympy.Eq:
    """`lhs` is defined as `rhs`."""
    return sympy.Eq(lhs, sympify(rhs), evaluate=False)
