"""The laws a cell must satisfy; each message names the cell, the equation and the cure."""

import sys
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import sympy
from sympy import Expr

from derive.emit.printer import LARGEST, arguments, digits
from derive.emit.printer import equation as printed
from derive.errors import (
    CellError,
    EquationError,
    MissingStateError,
    NameRuleError,
    RedefinedNameError,
    ShapeError,
    UndefinedNameError,
)
from derive.foreign import FOREIGN
from derive.symbols import ONE, Matrix, MatrixSum, Product, Vector, check_name

if TYPE_CHECKING:
    from derive.cell import Cell

DEFINED = ("state", "value")
ARGUMENTS = ("self", "state", "lengths", "resets", "save", "parameters", "direction")  # of forward, jvp and hvp


def check(cell: "Cell") -> None:
    """Raise the error of the first law that the cell breaks."""
    for law in LAWS:
        law(cell)


def walk(expression: Expr) -> Iterator[Expr]:
    """The nodes outside in, from left to right as printed."""
    yield expression
    for argument in arguments(expression):
        yield from walk(argument)


def symbols_of(expression: Expr) -> Iterator[Vector | Matrix]:
    """The symbols read, in the order written; a symbol read twice comes twice, and a transposed matrix as declared."""
    for node in walk(expression):
        if isinstance(node, (Vector, Matrix)):
            yield node.declared if isinstance(node, Matrix) else node


def spaces_of(expression: Expr) -> dict[str, str]:
    """What an expression has elements over: printed operand -> space, scalars left out."""
    if isinstance(expression, Product):
        return {printed(expression): expression.matrix.rows}
    if isinstance(expression, Vector):
        return {} if expression.space == ONE else {expression.name: expression.space}
    return {name: space for argument in expression.args for name, space in spaces_of(argument).items()}


def _where(cell: "Cell", equation: sympy.Eq) -> str:
    return f"cell {cell.name}, equation {equation.lhs} = {printed(equation.rhs)}"


# --- The laws, in the order in which they are checked


def names_are_plain(cell: "Cell") -> None:
    _check_plain("the cell's name", cell.name)
    _check_plain(f"cell {cell.name}, the name of its module", cell.module)
    for equation in cell.equations:
        for symbol in symbols_of(equation):
            _check_plain(f"cell {cell.name}", symbol.name)


def _check_plain(place: str, name: str) -> None:
    try:
        check_name(name)
    except NameRuleError as error:
        raise NameRuleError(f"{place}: {error}") from None


def texts_are_one_plain_line(cell: "Cell") -> None:
    """Title and reference are copied into generated files, so nothing in them may end a docstring."""
    for field in ("title", "reference"):
        text = getattr(cell, field)
        if not isinstance(text, str) or not text.isprintable() or '"""' in text or "\\" in text:
            raise CellError(f"cell {cell.name}: {field} is {text!r}; give one line without \\ and triple quotes")
    if isinstance(cell.year, bool) or not isinstance(cell.year, int):
        raise CellError(f"cell {cell.name}: year is {cell.year!r}; give a whole number")


def there_are_equations(cell: "Cell") -> None:
    if not cell.equations:
        raise EquationError(f"cell {cell.name} has no equations: give it a list of Eq(name, expression)")
    for equation in cell.equations:
        if not isinstance(equation, sympy.Eq):
            raise EquationError(f"cell {cell.name}: {equation!r} is not an equation; write Eq(name, expression)")


def left_sides_are_names(cell: "Cell") -> None:
    for equation in cell.equations:
        lhs = equation.lhs
        if not isinstance(lhs, Vector) or lhs.role not in DEFINED:
            role = f"has the role {lhs.role}" if isinstance(lhs, (Vector, Matrix)) else "is not a name"
            raise EquationError(
                f"{_where(cell, equation)}: the left side {role}; only what state() and values() give can be defined"
            )
        if lhs.space == ONE:
            raise ShapeError(
                f"{_where(cell, equation)}: a value has one element a unit; declare {lhs} over a space, "
                "one of size 1 if it is one number in each row"
            )


def numbers_fit_compiled_code(cell: "Cell") -> None:
    for equation in cell.equations:
        for number in equation.rhs.atoms(sympy.Rational):
            largest = max(abs(int(number.p)), int(number.q))
            if largest > LARGEST:  # which no message could print
                raise EquationError(
                    f"cell {cell.name}, definition of {equation.lhs}: a number with {digits(largest)} digits above "
                    "or below its stroke, where compiled code holds whole numbers up to 2**63 - 1; choose one nearer "
                    "to 1, or make it a parameter"
                )


def sequences_have_a_space(cell: "Cell") -> None:
    for symbol in (symbol for equation in cell.equations for symbol in symbols_of(equation.rhs)):
        if symbol.role in ("input", "previous") and symbol.space == ONE:
            raise ShapeError(
                f"cell {cell.name}: {symbol} has one number in each row; give it a space of its own that is made with "
                f"size 1, say S, and read it through a constant matrix of ones: ones @ {symbol}, ones over H x S"
            )


def only_words_of_the_language(cell: "Cell") -> None:
    for equation in cell.equations:
        for node in walk(equation.rhs):
            for excuse, message, error in FOREIGN:
                if excuse(node):
                    raise error(f"{_where(cell, equation)}: {message(node)}")


def products_take_vectors(cell: "Cell") -> None:
    for equation in cell.equations:
        for node in walk(equation.rhs):
            if isinstance(node, Product):
                _check_product(cell, equation, node)
        bare = next(_bare_matrices(equation.rhs), None)
        if bare is not None:
            shown = f"({bare})" if isinstance(bare, MatrixSum) else bare
            raise EquationError(f"{_where(cell, equation)}: {bare} is a matrix; multiply a vector by it: {shown} @ v")


def _check_product(cell: "Cell", equation: sympy.Eq, product: Product) -> None:
    matrix, found = product.matrix, spaces_of(product.operand)
    wrong = next((f"{name} is over {space}" for name, space in found.items() if space != matrix.columns), None)
    if wrong or not found:
        raise ShapeError(
            f"{_where(cell, equation)}: {printed(product)} needs a vector over {matrix.columns}, but "
            f"{wrong or f'{printed(product.operand)} is one number'}; {matrix.declared} is "
            f"{' x '.join(matrix.declared.shape)} as declared"
        )


def _bare_matrices(expression: Expr) -> Iterator[Matrix | MatrixSum]:
    if isinstance(expression, Matrix | MatrixSum):
        yield expression
    else:
        for argument in expression.args[1:] if isinstance(expression, Product) else expression.args:
            yield from _bare_matrices(argument)


def spaces_agree(cell: "Cell") -> None:
    for equation in cell.equations:
        found = {equation.lhs.name: equation.lhs.space, **spaces_of(equation.rhs)}
        for (a, space_a), (b, space_b) in pairwise(found.items()):
            if space_a != space_b:
                raise ShapeError(
                    f"{_where(cell, equation)}: {a} is over {space_a}, but {b} is over {space_b}; "
                    "only a matrix product leads from one space to another"
                )


def one_name_means_one_thing(cell: "Cell") -> None:
    seen: dict[str, Vector | Matrix] = {}
    for equation in cell.equations:
        for symbol in symbols_of(equation):
            first = seen.setdefault(symbol.name, symbol)
            if first != symbol:
                raise RedefinedNameError(
                    f"{_where(cell, equation)}: {symbol.name} is declared twice, as {_describe(first)} and as "
                    f"{_describe(symbol)}; rename one"
                )
    for equation in cell.equations:
        for name, meaning in implied(equation.lhs).items():
            if name in seen and seen[name].role != "previous":
                raise NameRuleError(
                    f"{_where(cell, equation)}: {name} is what the generated text calls {meaning} of {equation.lhs}; "
                    f"rename {name}"
                )


def implied(lhs: Vector) -> dict[str, str]:
    """Names that come into being with a definition."""
    slot = {f"z_{lhs}": "the pre-activation"}
    return slot | {f"{lhs}_prev": "the previous value"} if lhs.role == "state" else slot


def _describe(symbol: Vector | Matrix) -> str:
    return f"{symbol.role} over {' x '.join(symbol.shape) or 'one number'}"


def equations_read_something(cell: "Cell") -> None:
    for equation in cell.equations:
        if not equation.rhs.free_symbols:
            raise EquationError(
                f"{_where(cell, equation)}: the right side has no name in it; declare a constant, with its number in "
                "initial, and read that"
            )


def inputs_are_no_other_arguments(cell: "Cell") -> None:
    for name in cell.inputs:
        if name in ARGUMENTS:
            raise NameRuleError(
                f"cell {cell.name}: the input {name} is given to a layer by its name, as forward({name}=...), which "
                "means something else there; rename it"
            )


def each_name_is_defined_once(cell: "Cell") -> None:
    defined: set[str] = set()
    for equation in cell.equations:
        if equation.lhs.name in defined:
            raise RedefinedNameError(
                f"{_where(cell, equation)}: {equation.lhs} has a value already; give each step of it its own name"
            )
        defined.add(equation.lhs.name)


def names_are_defined_before_they_are_read(cell: "Cell") -> None:
    later = {equation.lhs.name for equation in cell.equations}
    known: set[str] = set()
    for equation in cell.equations:
        for symbol in symbols_of(equation.rhs):
            if symbol.role in DEFINED and symbol.name not in known:
                raise UndefinedNameError(f"{_where(cell, equation)}: {_undefined(symbol, symbol.name in later)}")
        known.add(equation.lhs.name)


def _undefined(symbol: Vector, later: bool) -> str:
    if symbol.role == "state" and later:
        return f"{symbol} has no new value yet; write {symbol}_prev for the previous one, or move this equation down"
    if later:
        return f"{symbol} is defined in a later equation; move that one up"
    return f"{symbol} is never defined; add Eq({symbol}, ...)"


def states_have_new_values(cell: "Cell") -> None:
    defined = {equation.lhs.name for equation in cell.equations if equation.lhs.role == "state"}
    for equation in cell.equations:
        for symbol in symbols_of(equation.rhs):
            name = symbol.name.removesuffix("_prev")
            if symbol.role == "previous" and name not in defined:
                raise MissingStateError(
                    f"{_where(cell, equation)}: reads {symbol}, but no equation defines {name}; add Eq({name}, ...)"
                )
    if not defined:
        raise MissingStateError(f"cell {cell.name} defines no state; declare h, h_prev = state('h') and add Eq(h, ...)")


def states_keep_their_space(cell: "Cell") -> None:
    spaces = {equation.lhs.name: equation.lhs.space for equation in cell.equations}
    for equation in cell.equations:
        for symbol in symbols_of(equation.rhs):
            space = spaces.get(symbol.name.removesuffix("_prev"))
            if symbol.role == "previous" and symbol.space != space:
                raise ShapeError(
                    f"{_where(cell, equation)}: {symbol} is over {symbol.space}, but the new value is over {space}; "
                    "take both from one state()"
                )


def every_value_is_read(cell: "Cell") -> None:
    read = {symbol.name for equation in cell.equations for symbol in symbols_of(equation.rhs)}
    for equation in cell.equations:
        if equation.lhs.role == "value" and equation.lhs.name not in read:
            raise EquationError(f"{_where(cell, equation)}: {equation.lhs} is never read; remove it or declare a state")


def at_most_one_clock(cell: "Cell") -> None:
    clocks = list(dict.fromkeys(s.name for e in cell.equations for s in symbols_of(e) if s.role == "clock"))
    if len(clocks) > 1:
        raise EquationError(f"cell {cell.name} has the clocks {', '.join(clocks)}; the runtime computes one")


def outputs_are_states(cell: "Cell") -> None:
    states = [equation.lhs.name for equation in cell.equations if equation.lhs.role == "state"]
    if len(set(cell.outputs)) < len(cell.outputs):
        raise RedefinedNameError(f"cell {cell.name}: outputs {', '.join(cell.outputs)} name a state twice")
    for name in cell.outputs:
        if name not in states:
            raise UndefinedNameError(f"cell {cell.name}: output {name!r} is not one of its states {', '.join(states)}")


def initial_values_are_numbers(cell: "Cell") -> None:
    names = {s.name for e in cell.equations for s in symbols_of(e) if s.role in ("parameter", "constant")}
    for name, number in cell.initial.items():
        if name in cell.states:
            raise UndefinedNameError(
                f"cell {cell.name}: initial[{name!r}] is a state, which begins at 0; give a layer other first states "
                f"as forward(x, state={{{name!r}: ...}})"
            )
        if name not in names:
            raise UndefinedNameError(f"cell {cell.name}: initial[{name!r}] is not one of {', '.join(sorted(names))}")
        sizes = [f"1/{space}" for symbol in cell.symbols.values() for space in symbol.shape]
        if not (_is_finite(number) or number in sizes):
            raise CellError(f"cell {cell.name}: initial[{name!r}] is {number!r}; give one number, or '1/H' for a mean")


def _is_finite(number: Any) -> bool:
    return isinstance(number, (int, float)) and not isinstance(number, bool) and abs(number) <= sys.float_info.max


LAWS: tuple[Callable[["Cell"], None], ...] = (
    texts_are_one_plain_line,
    there_are_equations,
    left_sides_are_names,
    numbers_fit_compiled_code,
    names_are_plain,
    sequences_have_a_space,
    only_words_of_the_language,
    equations_read_something,
    products_take_vectors,
    one_name_means_one_thing,
    inputs_are_no_other_arguments,
    each_name_is_defined_once,
    names_are_defined_before_they_are_read,
    states_have_new_values,
    states_keep_their_space,
    spaces_agree,
    every_value_is_read,
    at_most_one_clock,
    outputs_are_states,
    initial_values_are_numbers,
)
