"""Planted bugs, in the sequence kernels: the text around the step functions with one thing wrong.

A kernel moves numbers: it loads what a step needs from the right place, stores what it gave, multiplies, and goes
through the steps in order.  So its bugs are other ones than those of a formula: a call left out, a step or a row left
out, t + 1 for t, two arguments exchanged, one addend lost, the slot of another gate, a number slightly off.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator

from derive.verify.mutants import SLIGHTLY, Mutant, printed

TANGENTS = ("forward_tangent", "backward_tangent")
KERNELS = ("project", "forward", "backward", *TANGENTS)
# places in time that are each other's mistake
SIBLINGS = {"before": "after", "after": "before", "earlier": "later", "later": "earlier"}
LOADS = ("load", "load_first")
Names = frozenset[str]  # what a function assigns
# a tick is 0 or 1, and what an input's adjoint is added to is 0
UNSCALED = ("tick", "d_seq_", "dot_d_seq_")


def _called(node: ast.AST) -> str:
    return node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else ""


def _dropped_call(node: ast.AST, _names: Names) -> Iterator[ast.AST]:
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        yield ast.Pass()


def _wrong_step(node: ast.AST, names: Names) -> Iterator[ast.AST]:
    match node:
        case ast.Name(name, ast.Load()) if SIBLINGS.get(name) in names:
            yield ast.Name(SIBLINGS[name], ast.Load())
        case ast.Name("now", ast.Load()):
            yield ast.BinOp(node, ast.Add(), ast.Constant(1))


def _shorter_loop(node: ast.AST, _names: Names) -> Iterator[ast.AST]:
    match node:
        case ast.Call(ast.Name("range") as name, [stop]):
            yield ast.Call(name, [ast.Constant(1), stop], [])
            yield ast.Call(name, [ast.BinOp(stop, ast.Sub(), ast.Constant(1))], [])
        case ast.Call(ast.Name("range") as name, [start, stop, *step]):
            by = step[0] if step else ast.Constant(1)
            yield ast.Call(name, [ast.BinOp(start, ast.Add(), by), stop, *step], [])
            yield ast.Call(name, [start, ast.BinOp(stop, ast.Sub(), by), *step], [])


def _swapped_arguments(node: ast.AST, _names: Names) -> Iterator[ast.AST]:
    match node:
        case ast.Call(ast.Name(name) as function, arguments) if name.startswith("step"):
            yield from (ast.Call(function, swapped, []) for swapped in _neighbours(arguments))
        case ast.Assign([ast.Tuple(targets)], value):
            for swapped in _neighbours(targets):
                yield ast.Assign([ast.Tuple(swapped, ast.Store())], value)


def _neighbours(items: list[ast.expr]) -> Iterator[list[ast.expr]]:
    for k in range(len(items) - 1):
        yield [*items[:k], items[k + 1], items[k], *items[k + 2 :]]


def _dropped_addend(node: ast.AST, _names: Names) -> Iterator[ast.AST]:
    match node:
        case ast.BinOp(left, ast.Add(), right) if _called(right) in LOADS:
            yield from (left, right)


def _wrong_slot(node: ast.AST, _names: Names) -> Iterator[ast.AST]:
    match node:
        case ast.BinOp(ast.Name(name) as slot, ast.Add(), _) if name.startswith("slot_"):
            yield slot


def _scaled(node: ast.AST, _names: Names) -> Iterator[ast.AST]:
    match node:
        case ast.Call(ast.Name(name), [ast.Name(array), *_]) if name in LOADS and not array.startswith(UNSCALED):
            yield ast.BinOp(ast.Constant(SLIGHTLY), ast.Mult(), node)


RULES: dict[str, Callable[[ast.AST, Names], Iterator[ast.AST]]] = {
    "dropped call": _dropped_call,
    "wrong step": _wrong_step,
    "shorter loop": _shorter_loop,
    "swapped arguments": _swapped_arguments,
    "dropped addend": _dropped_addend,
    "wrong slot": _wrong_slot,
    "scaled by 1 + 1e-6": _scaled,
}


def kernel_mutants(text: str, reached: Callable[[str], bool], kernels: tuple[str, ...] = KERNELS) -> Iterator[Mutant]:
    """Yield the mutants of the kernels in a generated module.

    Args:
        text: the module.
        reached: whether a run enters the place where a text of a kernel raises; what no run reaches is not mutated.
        kernels: the names of those that are mutated.
    """
    for function in ast.parse(text).body:
        if isinstance(function, ast.FunctionDef) and function.name in kernels:
            function.body = [line for line in function.body if not _is_docstring(line)]
            seen = {ast.unparse(function)}
            for mutant in _of_function(function, reached):
                if mutant.text not in seen:
                    seen.add(mutant.text)
                    yield mutant


def _of_function(function: ast.FunctionDef, reached: Callable[[str], bool]) -> Iterator[Mutant]:
    stored = (node for node in ast.walk(function) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store))
    names = frozenset(node.id for node in stored)
    for statement in _statements(function.body):
        if _is_idle(statement, function) or not reached(printed(function, statement, _RAISE)):
            continue
        for node in _own_nodes(statement):
            for kind, rule in RULES.items():
                for changed in rule(node, names):
                    text = printed(function, node, changed)
                    yield Mutant(kind, function.name, ast.unparse(node), ast.unparse(changed), text)


_RAISE = ast.Raise(ast.Call(ast.Name("ReachedError", ast.Load()), [], []))


def _statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Every statement, outer ones before what they hold."""
    for statement in body:
        yield statement
        yield from _statements(getattr(statement, "body", []))
        yield from _statements(getattr(statement, "orelse", []))


def _own_nodes(statement: ast.stmt) -> Iterator[ast.AST]:
    """The nodes of a statement without those of the statements that it holds."""
    waiting: list[ast.AST] = [statement]
    while waiting:
        node = waiting.pop(0)
        yield node
        waiting += [child for child in ast.iter_child_nodes(node) if not isinstance(child, ast.stmt)]


def _is_idle(statement: ast.stmt, function: ast.FunctionDef) -> bool:
    """Whether a statement gives a name that nothing reads."""
    match statement:
        case ast.Assign([ast.Name(target)], _):
            return not any(isinstance(node, ast.Name) and node.id == target and node is not statement.targets[0]
                           for node in ast.walk(function))  # fmt: skip
    return False


def _is_docstring(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
