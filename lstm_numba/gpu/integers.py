"""Integers of kernels in 32 bits.

Numba widens every integer to 64 bits; a device adds two of those in two instructions, multiplies them in five and
divides them in more than a hundred.  Here a function is taken as text, and its operators become those below.
"""

import ast
import inspect
import textwrap
from collections.abc import Callable
from types import FunctionType
from typing import Any

import numpy as np
from llvmlite import ir
from numba.cuda import types
from numba.cuda.extending import intrinsic

from lstm_numba.gpu.scalars import inlined

Build = Callable[[Any, Any, Any], Any]


def _operator(whole: Build, real: Build | None = None) -> Any:
    """Of two integers one of 32 bits; of two floating-point numbers, where that is what a text means, one of those."""

    @intrinsic
    def apply(typing_context, left, right):
        if isinstance(left, types.Integer) and isinstance(right, types.Integer):
            kind, build = types.int32, whole
        elif real is not None and isinstance(left, types.Float) and left == right:
            kind, build = left, real
        else:
            return None
        return kind(kind, kind), lambda context, builder, signature, arguments: build(builder, *arguments)

    return apply


def _up(builder, left, right):
    """The quotient rounded up."""
    one = ir.Constant(left.type, 1)
    return builder.udiv(builder.add(left, builder.sub(right, one, flags=NSW), flags=NSW), right)


NSW = ("nsw",)
OPERATORS = {
    ast.Add: _operator(lambda b, x, y: b.add(x, y, flags=NSW), lambda b, x, y: b.fadd(x, y)),
    ast.Sub: _operator(lambda b, x, y: b.sub(x, y, flags=NSW), lambda b, x, y: b.fsub(x, y)),
    ast.Mult: _operator(lambda b, x, y: b.mul(x, y, flags=NSW), lambda b, x, y: b.fmul(x, y)),
    # of numbers that are not negative
    ast.FloorDiv: _operator(lambda b, x, y: b.udiv(x, y)),
    ast.Mod: _operator(lambda b, x, y: b.urem(x, y)),
    ast.RShift: _operator(lambda b, x, y: b.lshr(x, y)),
    ast.LShift: _operator(lambda b, x, y: b.shl(x, y, flags=NSW)),
    ast.BitAnd: _operator(lambda b, x, y: b.and_(x, y)),
}
NAMES = {kind: f"_{kind.__name__}" for kind in OPERATORS}
ROUNDED_UP = _operator(_up)


@intrinsic
def _short(typing_context, value):
    """An integer in 32 bits; anything else as it is."""
    kind = types.int32 if isinstance(value, types.Integer) else value
    return kind(kind), lambda context, builder, signature, arguments: arguments[0]


MEANINGS = {name: OPERATORS[kind] for kind, name in NAMES.items()}
MEANINGS |= {"_up": ROUNDED_UP, "_short": _short}


class _Divided(ast.NodeTransformer):
    """Quotients and remainders by 32 bits; loops whose step is no constant without the division that counts them."""

    shortened: tuple[type[ast.operator], ...] = (ast.FloorDiv, ast.Mod)

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        self.generic_visit(node)
        if not isinstance(node.op, self.shortened):
            return node
        return ast.Call(ast.Name(NAMES[type(node.op)], ast.Load()), [node.left, node.right], [])

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.AST:
        """-(-a // b) is a quotient rounded up."""
        match node:
            case ast.UnaryOp(ast.USub(), ast.BinOp(ast.UnaryOp(ast.USub(), left), ast.FloorDiv(), right)):
                return ast.Call(ast.Name("_up", ast.Load()), [self.visit(left), self.visit(right)], [])
        self.generic_visit(node)
        return node

    def visit_For(self, node: ast.For) -> Any:
        self.generic_visit(node)
        match node.iter:
            case ast.Call(ast.Name("range"), [first, last, ast.Name() | ast.Call() | ast.Attribute() as step]):
                return self._while(node, first, last, step)
        return node

    def _while(self, node: ast.For, first: ast.expr, last: ast.expr, step: ast.expr) -> list[ast.stmt]:
        """No body leaves its loop, or goes on to its next turn, before its end."""
        assert isinstance(node.target, ast.Name)
        place = ast.Name(node.target.id, ast.Load())
        onward = ast.Assign([node.target], self.visit(ast.BinOp(place, ast.Add(), step)))
        condition = ast.Compare(place, [ast.Lt()], [last])
        return [ast.Assign([node.target], first), ast.While(condition, [*node.body, onward], [])]


class _Short(_Divided):
    """Everything in 32 bits: arguments, constants and what is calculated of them."""

    shortened = tuple(OPERATORS)

    def __init__(self) -> None:
        self.constants: dict[str, Any] = {}

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        self.generic_visit(node)
        names = [argument.arg for argument in node.args.args]
        node.body = [
            *(ast.parse(f"{name} = _short({name})").body[0] for name in names), *node.body,
        ]  # fmt: skip
        return node

    def visit_AugAssign(self, node: ast.AugAssign) -> ast.AST:
        assert isinstance(node.target, ast.Name)
        place = ast.Name(node.target.id, ast.Load())
        return ast.Assign([node.target], self.visit(ast.BinOp(place, node.op, node.value)))

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        """The number of a tuple's element stays as it is."""
        node.value = self.visit(node.value)
        if not isinstance(node.slice, ast.Constant):
            node.slice = self.visit(node.slice)
        return node

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        if type(node.value) is not int:
            return node
        self.constants[f"_{node.value}"] = np.int32(node.value)
        return ast.Name(f"_{node.value}", ast.Load())


def _changed(function: Any, change: _Divided, meanings: dict[str, Any]) -> FunctionType:
    tree = change.visit(ast.parse(textwrap.dedent(inspect.getsource(function))))
    cells = (cell.cell_contents for cell in function.__closure__ or ())
    names = {**function.__globals__, **dict(zip(function.__code__.co_freevars, cells, strict=True)), **MEANINGS}
    names |= {**getattr(change, "constants", {}), **meanings}
    text = compile(ast.fix_missing_locations(tree), function.__code__.co_filename, "exec")
    exec(text, names)  # noqa: S102  (our own text)
    return names[function.__name__]


def divided(function: FunctionType, meanings: dict[str, Any]) -> FunctionType:
    """A function of a generated module, its names with these meanings, that divides by 32 bits: steps, rows and units
    are fewer than 2**31, places in arrays may be more."""
    return _changed(function, _Divided(), meanings)


def short(function: Callable[..., Any]) -> Any:
    """A function of one block's work, compiled where it is called, whose integers have 32 bits."""
    return inlined(_changed(function, _Short(), {}))
