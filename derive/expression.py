"""One text expression -> SymPy, through a whitelist of Python's syntax tree.

`sympify` and `parse_expr` run `eval` on what they are given, so neither is used: the text is parsed to a tree, every
node must have a rule in the table below, every name must be declared, and the rules build the SymPy object.  Nothing
that the text says is ever executed.  Limits on length, nodes, depth and powers keep a hostile text from taking memory
or time.
"""

from __future__ import annotations

import ast
import difflib
import operator
import re
from collections.abc import Callable, Iterable, Mapping
from fractions import Fraction
from typing import Any

import sympy

from derive.abbreviations import ABBREVIATIONS, Abbreviation
from derive.errors import DeriveError
from derive.functions import TABLE
from derive.symbols import Linear, MatrixSum

LENGTH, NODES, DEPTH = 4000, 400, 40
INTEGER, POWER = 10**6, 16
FUNCTIONS: dict[str, Any] = {**TABLE, **ABBREVIATIONS}
REDUCTIONS = ("sum", "mean", "norm", "softmax", "cumsum", "layer_norm", "layernorm", "dot")


class ParseError(DeriveError, ValueError):
    """A text is not a cell: the message has the line, the place in it and the cure."""


class Fault(Exception):
    """What is wrong, and the column: `parse_expression` turns it into a ParseError that shows the line."""

    def __init__(self, message: str, node: ast.AST | None = None) -> None:
        super().__init__(message)
        self.column = getattr(node, "col_offset", None)


def parse_expression(text: str, names: Mapping[str, sympy.Expr], where: str = "expression") -> sympy.Expr:
    """Return the SymPy expression that `text` spells over `names`.

    Args:
        text: `sigmoid(W_i @ x + U_i @ h_prev + b_i)`: `+ - * / ** @`, parentheses, integers,
            declared names and the functions of `derive.functions`.
        names: what may occur, by name.
        where: how the message names the place, such as `my.cell, line 3`.

    Raises:
        ParseError: anything else, with the column and the cure.
    """
    try:
        tree = _tree(text)
        _limit(tree)
        return _build(tree, names)
    except Fault as fault:
        raise ParseError(located(where, text, str(fault), fault.column)) from None
    except DeriveError as error:  # the language's own rules, for example "name the operand of @ first"
        raise ParseError(located(where, text, str(error), None)) from error


def located(where: str, text: str, message: str, column: int | None) -> str:
    """Return `where: message`, the line below it, and a caret under the column."""
    shown = text if len(text) <= 160 else text[:157] + "..."
    caret = "" if column is None or column >= len(shown) else "\n    " + " " * column + "^"
    return f"{where}: {message}\n    {shown}{caret}"


def suggestion(name: str, known: Iterable[str]) -> str:
    """Return ` Did you mean ...?` for the nearest of `known`, or what there is to choose from."""
    choices = list(known)
    # The same letters come first, w_i for W_i and oi for io: difflib finds W_f as near to w_i.
    same = [choice for choice in choices if sorted(choice.lower()) == sorted(name.lower())]
    near = same or difflib.get_close_matches(name, choices, 2, 0.5)
    if near:
        return f" Did you mean {' or '.join(near)}?"
    return f" There is: {', '.join(choices)}." if choices else " Nothing is declared."


def _tree(text: str) -> ast.expr:
    if len(text) > LENGTH:
        raise Fault(f"{len(text)} characters; at most {LENGTH}: name parts of the equation in lines of their own")
    if not text.isascii():  # Python would fold look-alike letters into one name
        at = next(place for place, letter in enumerate(text) if not letter.isascii())
        raise Fault(f"{text[at]!r} is not an ASCII character", _at(at))
    try:
        return ast.parse(text, mode="eval").body
    except SyntaxError as error:
        message = error.msg.partition(". ")[0]  # "Perhaps you forgot a comma?" is Python's guess
        if message == "invalid syntax":
            message += "; a product is W @ v or a * b, the value of the step before h_prev"
        raise Fault(f"not an expression: {message}", _at(max((error.offset or 1) - 1, 0))) from None
    except (ValueError, RecursionError, MemoryError):
        raise Fault("not an expression: nested too deeply, or holds a null character") from None


def _at(column: int) -> ast.AST:
    return ast.Constant(value=0, col_offset=column)


def _limit(tree: ast.expr) -> None:
    level, nodes, depth = [tree], 0, 0
    while level:
        nodes, depth = nodes + len(level), depth + 1
        if nodes > NODES or depth > DEPTH:
            raise Fault(f"more than {NODES} nodes or {DEPTH} levels: name parts of the equation in lines of their own")
        level = [child for node in level for child in ast.iter_child_nodes(node) if isinstance(child, ast.expr)]


def _build(node: ast.expr, names: Mapping[str, sympy.Expr]) -> sympy.Expr:
    rule = RULES.get(type(node))
    if rule is None:
        cure = CURES.get(type(node), "names, integers, + - * / ** @ and calls can")
        raise Fault(f"{_words(node)} cannot stand in an equation: {cure}", node)
    return rule(node, names)


def _words(node: ast.AST) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", " ", type(node).__name__).lower()


def _name(node: ast.Name, names: Mapping[str, sympy.Expr]) -> sympy.Expr:
    if node.id in names:
        return names[node.id]
    if node.id in FUNCTIONS:
        raise Fault(f"{node.id} is a function: write {node.id}(...)", node)
    known = suggestion(node.id[:80], names)
    raise Fault(f"unknown name {node.id[:80]!r}.{known} {_where_declared(node.id[:80])}", node)


def _where_declared(name: str) -> str:
    state = name.removesuffix("_prev")
    example = f"states: {state}" if state != name else f"parameters: {name}[H,N] or {name}[H], inputs: {name}"
    return f"If it is new, the header says what it is, e.g. {example}."


def _constant(node: ast.Constant, names: Mapping[str, sympy.Expr]) -> sympy.Expr:
    del names
    if type(node.value) is float:  # bool and complex are not meant either
        raise Fault(f"{node.value!r} is not exact; write the fraction, here {_fraction(node.value)}", node)
    if type(node.value) is not int:
        raise Fault(f"{type(node.value).__name__} constant; only integers", node)
    if node.value > INTEGER:
        raise Fault(f"an integer above {INTEGER}; make it a parameter", node)
    return sympy.Integer(node.value)


def _fraction(value: float) -> str:
    return str(Fraction(repr(value)).limit_denominator(10**6)) if abs(value) < INTEGER else "a parameter"


def _unary(node: ast.UnaryOp, names: Mapping[str, sympy.Expr]) -> sympy.Expr:
    if not isinstance(node.op, ast.UAdd | ast.USub):
        raise Fault(f"{_words(node.op)} cannot stand in an equation", node)
    value = _build(node.operand, names)
    return -value if isinstance(node.op, ast.USub) else value


def _binary(node: ast.BinOp, names: Mapping[str, sympy.Expr]) -> sympy.Expr:
    if isinstance(node.op, ast.MatMult):
        return _product(node, names)
    if isinstance(node.op, ast.Pow):
        return _power(node, names)
    combine = ARITHMETIC.get(type(node.op))
    if combine is None:
        power = "; a power is **" if isinstance(node.op, ast.BitXor) else ""
        raise Fault(f"operator {_words(node.op)} cannot stand in an equation; there are + - * / ** @{power}", node)
    left, right = _build(node.left, names), _build(node.right, names)
    if isinstance(node.op, ast.Div) and right == 0:
        raise Fault("division by zero", node.right)
    value = combine(left, right)
    if not isinstance(value, Linear):  # 2 * W - V is a bracket of matrices, W * b is nothing
        _check_scalar(left, node.left)
        _check_scalar(right, node.right)
    return value


def _attribute(node: ast.Attribute, names: Mapping[str, sympy.Expr]) -> sympy.Expr:
    value = _build(node.value, names)
    if node.attr != "T" or not isinstance(value, Linear):
        raise Fault("a name has no dot, but for W.T, a matrix W transposed", node)
    return value.T


def _product(node: ast.BinOp, names: Mapping[str, sympy.Expr]) -> sympy.Expr:
    left, right = _build(node.left, names), _build(node.right, names)
    if not isinstance(left, Linear):
        raise Fault("the left side of @ is a matrix, declared as NAME[rows,columns]", node.left)
    if len(left.terms) > 1 and len(left.terms) * _nodes(right, {}) > NODES:
        # (A + B) @ ((A + B) @ ...) would double with each level
        raise Fault(f"{left} would be multiplied out to more than {NODES} nodes: name what it multiplies", node)
    return left @ right


def _power(node: ast.BinOp, names: Mapping[str, sympy.Expr]) -> sympy.Expr:
    exponent = _build(node.right, names)
    base = _scalar(node.left, names)
    if not exponent.is_Integer:
        raise Fault("an exponent is an integer; write sqrt(b) for the root, exp(a * log(b)) for b to a", node.right)
    if base.is_number or abs(int(exponent)) * _degree(base) > POWER:
        # (((2*x)**16)**16)**16 would grow an integer without end
        raise Fault(f"powers: the base has a name in it, and exponents multiply to at most {POWER}", node)
    return base**exponent


def _degree(base: sympy.Expr) -> int:
    return max([1, *(abs(int(power.exp)) for power in base.atoms(sympy.Pow) if power.exp.is_Integer)])


def _call(node: ast.Call, names: Mapping[str, sympy.Expr]) -> sympy.Expr:
    if not isinstance(node.func, ast.Name):
        raise Fault("only a function's plain name can be called", node)
    name = node.func.id
    if name in REDUCTIONS:
        raise Fault(
            f"{name} is over all units, a function over one; a sum is a product, s = total @ v, and ones @ s gives it "
            "to every unit, with constants: total[S,H] ones[H,S], initial: total=1 ones=1 (a mean: total=1/H), and S=1 "
            "where the layer is made",
            node,
        )
    if name not in FUNCTIONS:
        raise Fault(f"unknown function {name[:80]!r}.{suggestion(name[:80], FUNCTIONS)}", node)
    function = FUNCTIONS[name]
    if node.keywords:
        raise Fault(f"{name} takes its arguments without names", node)
    least, most = _arity(function)
    if not least <= len(node.args) <= most:
        count = f"{most} argument" if most == 1 else f"{f'{least} to ' if least < most else ''}{most} arguments"
        raise Fault(f"{name} takes {count}, got {len(node.args)}", node)
    first = _condition if name == "where" else _scalar
    arguments = [first(node.args[0], names), *(_scalar(argument, names) for argument in node.args[1:])]
    if isinstance(function, Abbreviation) and sum(_nodes(argument, {}) for argument in arguments) > NODES:
        # silu(silu(...)) would double with each level
        raise Fault(f"{name} would be written out with more than {NODES} nodes: name its argument first", node)
    return function(*arguments)


def _arity(function: Any) -> tuple[int, int]:
    """The least and the most arguments."""
    return (function.least, function.most) if isinstance(function, Abbreviation) else 2 * (int(max(function.nargs)),)


def _nodes(expression: sympy.Basic, known: dict[sympy.Basic, int]) -> int:
    """The size of an expression as a tree, each of its different parts being looked at once."""
    if expression not in known:
        known[expression] = 1 + sum(_nodes(part, known) for part in expression.args)
    return known[expression]


def _condition(node: ast.expr, names: Mapping[str, sympy.Expr]) -> sympy.Basic:
    """The first argument of `where`: a 0/1 vector, or one comparison of two values."""
    if not isinstance(node, ast.Compare):
        return _scalar(node, names)
    compare = COMPARISONS.get(type(node.ops[0])) if len(node.ops) == 1 else None
    if compare is None:
        raise Fault("a condition is one comparison with < <= > or >=", node)
    return compare(_scalar(node.left, names), _scalar(node.comparators[0], names))


def _scalar(node: ast.expr, names: Mapping[str, sympy.Expr]) -> sympy.Expr:
    """What may be added and multiplied: anything but a matrix on its own."""
    value = _build(node, names)
    _check_scalar(value, node)
    return value


def _check_scalar(value: sympy.Expr, node: ast.expr) -> None:
    if isinstance(value, Linear):
        shown = f"({value})" if isinstance(value, MatrixSum) else value
        raise Fault(f"{value} is a matrix: multiply it with a vector first, {shown} @ x", node)


CHOICE = "a choice is where(a > b, c, d)"
CURES: dict[type[ast.AST], str] = {
    ast.IfExp: CHOICE,
    ast.Compare: CHOICE,
    ast.List: "a product with vectors side by side is a sum of products, W @ x + U @ h_prev",
    ast.Subscript: "a space stands where the name is declared, and there are no single elements",
}
"""How to say what has no place in an equation."""

ARITHMETIC = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv}
COMPARISONS = {ast.Lt: sympy.Lt, ast.LtE: sympy.Le, ast.Gt: sympy.Gt, ast.GtE: sympy.Ge}
RULES: dict[type[ast.expr], Callable[..., sympy.Expr]] = {
    ast.Name: _name,
    ast.Constant: _constant,
    ast.UnaryOp: _unary,
    ast.BinOp: _binary,
    ast.Call: _call,
    ast.Attribute: _attribute,
}
"""The whole language of expressions: what is not here is refused."""
