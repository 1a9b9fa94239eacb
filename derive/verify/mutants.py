"""Planted bugs, in text: every small mistake that a backward function can hold, one mutant each.

A mutant is a function of the generated text with one node of its syntax tree replaced.  The rules are a table: kind of
mistake -> what a node becomes.  Mutants that could not change a result are not made: none inside a condition, which is
0 or 1 however its argument is scaled, and none whose text equals another one's.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

# what a factor looks like that was rounded to float32 on its way: 1 + 1.5e-8
ROUNDED = float(np.float32(0.1)) / 0.1
SLIGHTLY = 1 + 1e-6
# functions that return 0 or 1: their argument may be scaled without effect
CONDITIONS = ("positive",)


@dataclass(frozen=True)
class Mutant:
    """One planted bug: what kind, in which function, which statement, and the text of the function that has it."""

    kind: str
    function: str
    before: str
    after: str
    text: str

    def __str__(self) -> str:
        return f"{self.kind} in {self.function}: {self.before}  ->  {self.after}"


@dataclass(frozen=True)
class Site:
    """A node, and the names that could stand in its place."""

    node: ast.AST
    arguments: tuple[str, ...]
    assigned: tuple[str, ...]
    aliases: dict[str, str]

    def other_name(self, name: str) -> str | None:
        """The nearest name before `name`, round the corner, that stands for something else."""
        names = self.arguments if name in self.arguments else self.assigned
        if name not in names:
            return None
        place, meaning = names.index(name), self.aliases.get(name, name)
        others = (*reversed(names[:place]), *reversed(names[place + 1 :]))
        return next((other for other in others if self.aliases.get(other, other) != meaning), None)


# --- The rules: what a node becomes


def _binary(left: ast.expr, operator: ast.operator, right: ast.expr) -> ast.expr:
    return ast.BinOp(left, operator, right)


def _wrong_sign(site: Site) -> Iterator[ast.AST]:
    match site.node:
        case ast.BinOp(left, ast.Add(), right):
            yield _binary(left, ast.Sub(), right)
        case ast.BinOp(left, ast.Sub(), right):
            yield _binary(left, ast.Add(), right)
        case ast.UnaryOp(ast.USub(), operand):
            yield operand
        case ast.Assign(targets, value):
            yield ast.Assign(targets, ast.UnaryOp(ast.USub(), value))


def _swapped_operands(site: Site) -> Iterator[ast.AST]:
    match site.node:
        case ast.BinOp(left, ast.Sub() | ast.Div() as operator, right):
            yield _binary(right, operator, left)
        case ast.Call(function, [*first, a, b]):
            yield ast.Call(function, [*first, b, a], [])


def _dropped_term(site: Site) -> Iterator[ast.AST]:
    match site.node:
        case ast.BinOp(left, ast.Add(), right):
            yield from (left, right)
        case ast.BinOp(left, ast.Sub(), right):
            yield from (left, ast.UnaryOp(ast.USub(), right))


def _dropped_factor(site: Site) -> Iterator[ast.AST]:
    match site.node:
        case ast.BinOp(left, ast.Mult(), right):
            yield from (left, right)
        case ast.BinOp(left, ast.Div(), _):
            yield left


def _wrong_operator(site: Site) -> Iterator[ast.AST]:
    match site.node:
        case ast.BinOp(left, ast.Mult(), right):
            yield _binary(left, ast.Add(), right)


def _dropped_statement(site: Site) -> Iterator[ast.AST]:
    match site.node:
        case ast.Assign(targets, value):
            yield ast.Assign(targets, _binary(ast.Constant(0), ast.Mult(), value))


def _scaled(factor: float) -> Callable[[Site], Iterator[ast.AST]]:
    def rule(site: Site) -> Iterator[ast.AST]:
        match site.node:
            case ast.Assign(targets, value):
                yield ast.Assign(targets, _binary(ast.Constant(factor), ast.Mult(), value))
            case ast.Constant(int() as value) if value:
                yield ast.Constant(value * factor)

    return rule


def _wrong_name(site: Site) -> Iterator[ast.AST]:
    match site.node:
        case ast.Name(name, ast.Load()):
            other = site.other_name(name)
            if other:
                yield ast.Name(other, ast.Load())


def _swapped_results(site: Site) -> Iterator[ast.AST]:
    match site.node:
        case ast.Return(ast.Tuple(items)):
            for k in range(len(items) - 1):
                yield ast.Return(ast.Tuple([*items[:k], items[k + 1], items[k], *items[k + 2 :]], ast.Load()))


RULES: dict[str, Callable[[Site], Iterator[ast.AST]]] = {
    "wrong sign": _wrong_sign,
    "swapped operands": _swapped_operands,
    "dropped term": _dropped_term,
    "dropped factor": _dropped_factor,
    "wrong operator": _wrong_operator,
    "dropped statement": _dropped_statement,
    "scaled by 1 + 1e-6": _scaled(SLIGHTLY),
    "rounded to float32": _scaled(ROUNDED),
    "wrong name": _wrong_name,
    "swapped results": _swapped_results,
}


# --- Planting


def mutants(text: str, suffix: str = "") -> Iterator[Mutant]:
    """Yield every mutant of the functions of `text` whose names end in `suffix`, in the order of the text."""
    for function in ast.parse(text).body:
        if isinstance(function, ast.FunctionDef) and function.name.endswith(suffix):
            function.body = [line for line in function.body if not isinstance(line, ast.Expr)]  # without docstring
            different = {mutant.text: mutant for mutant in _of_function(function)}
            different.pop(ast.unparse(function), None)
            yield from different.values()


def _of_function(function: ast.FunctionDef) -> Iterator[Mutant]:
    arguments = tuple(argument.arg for argument in function.args.args)
    lines, assigned = ast.unparse(function).split("\n"), list[str]()
    aliases: dict[str, str] = {}
    for number, statement in enumerate(function.body, start=1):  # one line each, behind that of the signature
        for node in _places(statement):
            for kind, rule in RULES.items():
                for changed in rule(Site(node, arguments, tuple(assigned), aliases)):
                    after = printed(statement, node, changed)
                    text = "\n".join([*lines[:number], f"    {after}", *lines[number + 1 :]])
                    yield Mutant(kind, function.name, lines[number].strip(), after, text)
        match statement:
            case ast.Assign([ast.Name(name)], value):
                assigned.append(name)
                if isinstance(value, ast.Name):  # d_z_i = d_a_i: two names for one value
                    aliases[name] = aliases.get(value.id, value.id)


def _places(statement: ast.stmt) -> Iterator[ast.AST]:
    """The nodes of a statement, but none inside a condition."""
    yield statement
    waiting = list(ast.iter_child_nodes(statement))
    while waiting:
        node = waiting.pop(0)
        yield node
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in CONDITIONS):
            waiting += ast.iter_child_nodes(node)


def printed(tree: ast.AST, old: ast.AST, new: ast.AST) -> str:
    """The text of the tree with `new` in place of the node `old`; the tree stays as it is."""
    ast.fix_missing_locations(new)
    if tree is old:
        return ast.unparse(new)
    fields, place = next(_places_of(old, tree))
    fields[place] = new
    try:
        return ast.unparse(tree)
    finally:
        fields[place] = old


def _places_of(node: ast.AST, tree: ast.AST) -> Iterator[tuple[Any, Any]]:
    """What holds a node, a list or the fields of another node, and where."""
    for parent in ast.walk(tree):
        for name, value in ast.iter_fields(parent):
            if value is node:
                yield vars(parent), name
            elif isinstance(value, list):
                yield from ((value, place) for place, item in enumerate(value) if item is node)
