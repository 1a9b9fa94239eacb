"""What SymPy can write and the language has no place for: how to tell it, what to say, which error it is."""

from collections.abc import Callable
from typing import Any

import sympy
from sympy import Expr, Integer, Rational

from derive.abbreviations import ABBREVIATIONS
from derive.errors import CellError, EquationError, UndefinedNameError, UnknownFunctionError
from derive.functions import TABLE, Elementwise
from derive.symbols import Matrix, MatrixSum, Product, Vector

WORDS = (*TABLE, *ABBREVIATIONS)


def _is_unknown_number(node: Expr) -> bool:
    return bool(node.is_number and not node.args and not isinstance(node, (Integer, Rational)))


def _spelled(number: Expr) -> str:
    return "1/0" if number is sympy.zoo else str(number)


def _is_function_of_numbers(node: Expr) -> bool:
    return isinstance(node, Elementwise) and not node.free_symbols


def _is_foreign_power(node: Expr) -> bool:
    return bool(node.is_Pow and not isinstance(node.exp, Integer))


def _is_foreign_symbol(node: Expr) -> bool:
    return bool(node.is_Symbol and not isinstance(node, (Vector, Matrix)))


def _is_foreign_function(node: Expr) -> bool:
    known = isinstance(node, (Elementwise, Product, MatrixSum, sympy.Add, sympy.Mul, sympy.Pow))
    return bool(node.args) and not known


Excuse = tuple[Callable[[Any], bool], Callable[[Any], str], type[CellError]]
FOREIGN: tuple[Excuse, ...] = (
    (
        lambda e: e.is_Float,
        lambda e: f"{e} is a rounded number; write the exact one, e.g. Rational(1, 10), or declare a scalar constant",
        EquationError,
    ),
    (
        _is_unknown_number,
        lambda e: f"{_spelled(e)} is neither an integer nor a rational; declare a scalar constant for it",
        EquationError,
    ),
    (
        _is_function_of_numbers,
        lambda e: f"{e} is one number; declare a scalar constant for it",
        EquationError,
    ),
    (
        _is_foreign_power,
        lambda e: f"{e}: a power has an integer exponent; use exp and log for others",
        EquationError,
    ),
    (
        _is_foreign_symbol,
        lambda e: f"{e} is not declared; use values(), vectors(), scalars(), input() ... of derive.language",
        UndefinedNameError,
    ),
    (
        _is_foreign_function,
        lambda e: f"{type(e).__name__} is not a function of the language, which has {', '.join(WORDS)}",
        UnknownFunctionError,
    ),
)
