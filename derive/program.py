"""2. Split a cell at its matrix products into stages: Affine (products and biases), Pointwise (scalar mathematics).

    i = sigmoid(W_i @ x + U_i @ h_prev + p_i * c_prev + b_i)

becomes the slot z_i = W_i x + U_i h_prev + b_i of an Affine stage and two lines of a Pointwise stage,

    a_i = z_i + p_i * c_prev
    i = sigmoid(a_i)

so that every application of a function has a name and its derivative can be written in terms of its output.

A stage's level counts the products in a row that lead to it: what reads the input and the previous states has level 0,
a slot lies one level above the values that it multiplies, everything else lies as high as what it reads.
"""

from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from itertools import chain, count

import sympy
from sympy import Add, Expr

from derive.cell import Cell
from derive.emit.printer import arguments, terms
from derive.errors import CellError
from derive.functions import Elementwise, stop
from derive.held import held
from derive.laws import symbols_of, walk
from derive.symbols import Matrix, Product, Vector

# in this order a step function takes what it reads
READ_ORDER = {role: rank for rank, role in enumerate(("slot", "previous", "input", "clock", "value", "parameter"))}
GIVEN = ("parameter", "constant")
READ_ORDER |= {"state": READ_ORDER["value"], "constant": READ_ORDER["parameter"]}


@dataclass(frozen=True)
class Slot:
    """One pre-activation: the sum over its terms of matrix times vector, plus its bias."""

    name: str
    space: str
    terms: tuple[tuple[Matrix, Vector], ...]
    bias: Vector | None

    @property
    def symbol(self) -> Vector:
        return Vector(self.name, "slot", self.space)

    @property
    def operands(self) -> tuple[Vector, ...]:
        return tuple(vector for _, vector in self.terms)

    @property
    def rank(self) -> int:
        """0 reads inputs only, 1 inputs and more, 2 no input: in this order each operand's slots are one run."""
        reads_input = {vector.role == "input" for vector in self.operands}
        return 1 if len(reads_input) == 2 else 0 if True in reads_input else 2


@dataclass(frozen=True)
class Affine:
    """Products of one level into one space."""

    level: int
    space: str
    slots: tuple[Slot, ...]


@dataclass(frozen=True)
class Pointwise:
    """Scalar mathematics of one level in one space; `sources` has the cell's equation that each line comes from."""

    level: int
    space: str
    equations: tuple[tuple[Vector, Expr], ...]
    reads: tuple[Vector, ...]
    writes: tuple[Vector, ...]
    sources: tuple[sympy.Eq, ...]


@dataclass(frozen=True)
class Program:
    """A cell as stages, in the order in which they run."""

    cell: Cell
    stages: tuple[Affine | Pointwise, ...]

    @property
    def pointwise(self) -> tuple[Pointwise, ...]:
        return tuple(stage for stage in self.stages if isinstance(stage, Pointwise))

    @property
    def affine(self) -> tuple[Affine, ...]:
        return tuple(stage for stage in self.stages if isinstance(stage, Affine))


def split(cell: Cell) -> Program:
    """Split a cell into stages.

    Raises:
        CellError: what came is no cell.
    """
    if not isinstance(cell, Cell):
        raise CellError(f"not a Cell: {cell!r:.60}; take derive.cells[NAME] or derive.load(FILE)")
    # 1. affine sums become slots, 2. applications get names, 3. names get levels, 4. levels become stages
    parts, shared = _Parts(cell, held(cell)), set[Expr]()
    while found := parts.read_by_several_stages() - shared:
        shared |= found
        parts = _Parts(cell, parts.equations, frozenset(shared))
    return Program(cell, tuple(_stages(cell, parts, parts.levels)))


@dataclass(frozen=True)
class Line:
    """One line of scalar mathematics and the equation, slots in place, that it belongs to."""

    name: Vector
    expression: Expr
    source: sympy.Eq


@dataclass
class _Parts:
    """Slots and lines of a cell in equation order, as they are found."""

    cell: Cell
    equations: tuple[sympy.Eq, ...]
    shared: frozenset[Expr] = frozenset()  # affine sums that several stages read: these read a value, v = z_v
    slots: list[Slot] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    renamed: dict[Vector, Vector] = field(default_factory=dict)  # a value that is a slot -> the slot
    affine: dict[Vector, Expr] = field(default_factory=dict)  # a slot -> its affine sum
    sums: dict[Expr, Vector] = field(default_factory=dict)  # an affine sum -> what stands for it: its slot or a value
    applications: dict[tuple[Expr, str], Vector] = field(default_factory=dict)  # what a line computes -> its name

    def __post_init__(self) -> None:
        self.taken = {*self.cell.symbols, *(equation.lhs.name for equation in self.equations)}
        self.uses = Counter(_places(self.equations))
        products = [p for equation in self.equations for p in equation.rhs.atoms(Product)]
        self.multiplied = {_multiplied(product).name for product in products}  # these need an array of their own
        for equation in self.equations:
            self.add(equation)
        self.levels = _levels(self)

    def read_by_several_stages(self) -> set[Expr]:
        """The affine sums whose slots would get adjoints from several stages: a slot has room for one."""
        levels: dict[Vector, set[int]] = {slot: set() for slot in self.affine}
        for line in self.lines:
            for slot in levels.keys() & line.expression.free_symbols:
                levels[slot].add(self.levels[line.name.name])
        return {self.affine[slot] for slot, found in levels.items() if len(found) > 1}

    def add(self, equation: sympy.Eq) -> None:
        lhs, rhs = equation.lhs, equation.rhs.xreplace(self.renamed)
        is_sum = any(rhs == affine for _, affine in self._affine_sums(rhs))
        if is_sum and lhs.role == "value" and lhs.name not in self.multiplied and rhs not in self.shared:
            self.renamed[lhs] = self._slot(lhs.name, rhs)
            return
        if is_sum and rhs in self.shared and rhs not in self.sums:
            self._value_of(rhs, lhs, lhs)
            return
        rhs = self._without_products(lhs, rhs)
        source = sympy.Eq(lhs, rhs, evaluate=False)
        self._define(lhs, self._with_names(lhs, rhs, source, whole=True), source)

    def _define(self, name: Vector, expression: Expr, source: sympy.Eq) -> Vector:
        self.lines.append(Line(name, expression, source))
        self.applications.setdefault((expression, name.space), name)
        return name

    def _fresh(self, stem: str) -> str:
        """The stem, or the stem and the first number from 2 that makes it new."""
        numbered = chain([stem], (f"{stem}_{number}" for number in count(2)))
        name = next(name for name in numbered if name not in self.taken)
        self.taken.add(name)
        return name

    # --- Affine sums

    def _affine_sums(self, expression: Expr) -> Iterator[tuple[Expr, Expr]]:
        """Factors, and the products that have them with the lone bias: -(W @ x + b) is one sum, with the factor -1."""
        parts = [term.as_coeff_Mul(rational=True) for term in terms(expression)]
        for factor in dict.fromkeys(factor for factor, part in parts if isinstance(part, Product)):
            alike = [part for other, part in parts if other == factor]
            first, *others = _apart([part for part in alike if isinstance(part, Product)])
            biases = [part for part in alike if self._is_lone_bias(part, first[0].matrix.rows)]
            yield factor, Add(*first, *biases[:1])
            yield from ((factor, Add(*products)) for products in others)

    def _is_lone_bias(self, term: Expr, space: str) -> bool:
        given = isinstance(term, Vector) and term.role in GIVEN
        return given and term.space == space and self.uses[term] == 1

    def _slot(self, name: str, affine: Expr) -> Vector:
        parts = terms(affine)
        products = [term for term in parts if isinstance(term, Product)]
        bias = next((term for term in parts if not isinstance(term, Product)), None)
        pairs = tuple((product.matrix, _multiplied(product)) for product in products)
        slot = Slot(name, products[0].matrix.rows, pairs, bias)
        self.slots.append(slot)
        self.affine[slot.symbol] = affine
        self.sums[affine] = slot.symbol
        return slot.symbol

    def _value_of(self, affine: Expr, lhs: Vector, value: Vector) -> Vector:
        """v = z_v: the value that all stages read instead of the slot."""
        slot = self._slot(self._fresh(f"z_{lhs}"), affine)
        self.sums[affine] = self._define(value, slot, sympy.Eq(value, slot, evaluate=False))
        return value

    def _summed(self, lhs: Vector, affine: Expr) -> Vector:
        """What stands for an affine sum inside of an equation."""
        if affine in self.sums:
            return self.sums[affine]
        if affine not in self.shared:
            return self._slot(self._fresh(f"z_{lhs}"), affine)
        space = next(iter(affine.atoms(Product))).matrix.rows
        return self._value_of(affine, lhs, Vector(self._fresh(f"a_{lhs}"), "value", space))

    def _without_products(self, lhs: Vector, expression: Expr) -> Expr:
        """The expression with a slot for each of its affine sums, the outermost first."""
        for factor, affine in self._affine_sums(expression):
            expression = expression - factor * affine + factor * self._summed(lhs, affine)
        if not expression.args:
            return expression
        return expression.func(*(self._without_products(lhs, part) for part in arguments(expression)))

    # --- Names for applications

    def _with_names(self, lhs: Vector, expression: Expr, source: sympy.Eq, whole: bool = False) -> Expr:
        """The expression with a name for each application, but not for one that is a whole right-hand side."""
        if not expression.args:
            return expression
        if isinstance(expression, stop):
            return stop(self._with_names(lhs, expression.args[0], source))
        if not isinstance(expression, Elementwise):
            return expression.func(*(self._with_names(lhs, part, source) for part in arguments(expression)))
        call = expression.func(*(self._argument(lhs, part, source) for part in expression.args))
        if whole:
            return call
        known = self.applications.get((call, lhs.space))
        return known or self._define(Vector(self._fresh(_call_name(lhs, call)), "value", lhs.space), call, source)

    def _argument(self, lhs: Vector, argument: Expr, source: sympy.Eq) -> Expr:
        """What a function is applied to has a name too: `a_i = z_i + p_i * c_prev`."""
        named = self._with_names(lhs, argument, source)
        if not named.args or isinstance(named, stop):
            return named
        known = self.applications.get((named, lhs.space))
        return known or self._define(Vector(self._fresh(f"a_{lhs}"), "value", lhs.space), named, source)


def _places(equations: Collection[sympy.Eq]) -> Iterator[Expr]:
    """What each node holds; a node that occurs several times inside of equations, as a sum does in a silu, is one."""
    yield from (equation.rhs for equation in equations)
    inside = {node for equation in equations for part in equation.rhs.args for node in walk(part)}
    yield from (part for equation in equations for part in equation.rhs.args)
    yield from (part for node in inside for part in node.args)


def _apart(products: list[Product]) -> list[list[Product]]:
    """Groups in which no vector is multiplied twice: in a slot's sum it has one matrix."""
    groups: list[list[Product]] = []
    for product in products:
        group = next((group for group in groups if all(other.operand != product.operand for other in group)), None)
        if group is None:
            groups.append(group := [])
        group.append(product)
    return groups


def _multiplied(product: Product) -> Vector:
    """The operand; under `stop` the same vector, marked as one that gets no adjoint from this product."""
    if isinstance(product.operand, stop):
        vector = product.operand.args[0]
        return Vector(vector.name, vector.role, vector.space, stopped=True)
    return product.operand


def _call_name(lhs: Vector, call: Elementwise) -> str:
    plain = len(call.args) == 1 and isinstance(call.args[0], Vector)
    return f"{type(call).__name__}_{call.args[0]}" if plain else f"t_{lhs}"


# --- Levels


def _levels(parts: _Parts) -> dict[str, int]:
    """Slot or line -> level."""
    slots = {slot.name: slot for slot in parts.slots}
    lines = {line.name.name: line for line in parts.lines}
    levels: dict[str, int] = {}

    def level(name: str) -> int:
        if name not in levels:
            levels[name] = find(name)
        return levels[name]

    def find(name: str) -> int:
        if name in slots:
            return 1 + max((level(vector.name) for vector in slots[name].operands), default=0)
        if name in lines:
            return max((level(symbol.name) for symbol in symbols_of(lines[name].expression)), default=0)
        return 0

    for name in (*slots, *lines):
        level(name)
    return _sunk(parts, lines, levels)


def _sunk(parts: _Parts, lines: dict[str, Line], levels: dict[str, int]) -> dict[str, int]:
    """A line of level 0 that no product waits for runs with level 1: one pass over the units fewer."""
    if not parts.slots:
        return levels
    waiting = [vector.name for slot in parts.slots for vector in slot.operands]
    early: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name in lines and name not in early and levels[name] == 0:
            early.add(name)
            waiting += [symbol.name for symbol in symbols_of(lines[name].expression)]
    late = {name: 1 for name in lines if levels[name] == 0 and name not in early}
    return {**levels, **late}


# --- Stages


def _stages(cell: Cell, parts: _Parts, levels: dict[str, int]) -> Iterator[Affine | Pointwise]:
    """Level by level, the spaces in the order in which they appear, in each the products before their mathematics."""
    for level in range(max(levels.values()) + 1):
        slots = [slot for slot in parts.slots if levels[slot.name] == level]
        lines = [line for line in parts.lines if levels[line.name.name] == level]
        for space in dict.fromkeys([*(slot.space for slot in slots), *(line.name.space for line in lines)]):
            chosen = [slot for slot in slots if slot.space == space]
            inside = [line for line in lines if line.name.space == space]
            if chosen:
                yield Affine(level, space, tuple(sorted(chosen, key=lambda slot: slot.rank)))
            if inside:
                yield _pointwise(cell, parts, level, space, inside)


def _pointwise(cell: Cell, parts: _Parts, level: int, space: str, lines: list[Line]) -> Pointwise:
    return Pointwise(
        level=level,
        space=space,
        equations=tuple((line.name, line.expression) for line in lines),
        reads=_reads(cell, parts, lines),
        writes=_writes(cell, parts, lines),
        sources=tuple(line.source for line in lines),
    )


def _reads(cell: Cell, parts: _Parts, lines: list[Line]) -> tuple[Vector, ...]:
    defined = {line.name for line in lines}
    read = {symbol for line in lines for symbol in symbols_of(line.expression)} - defined
    slots = [slot.symbol for slot in parts.slots]
    earlier = [line.name for line in parts.lines]
    given = [Vector(f"{state}_prev", "previous", space) for state, space in cell.states.items()]
    known = [*slots, *given, *earlier, *cell.symbols.values()]
    chosen = dict.fromkeys(symbol for symbol in known if symbol in read)
    return tuple(sorted(chosen, key=lambda symbol: READ_ORDER[symbol.role]))


def _writes(cell: Cell, parts: _Parts, lines: list[Line]) -> tuple[Vector, ...]:
    defined = [line.name for line in lines]
    elsewhere = [line.expression for line in parts.lines if line.name not in defined]
    read = {symbol.name for expression in elsewhere for symbol in symbols_of(expression)}
    read |= {vector.name for slot in parts.slots for vector in slot.operands}
    states = [name for state in cell.states for name in defined if name.name == state]
    return (*states, *(name for name in defined if name.name in read and name not in states))
