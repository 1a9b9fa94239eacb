"""Three ways to the gradient of a cell unrolled over T steps, from the same numbers, to 50 digits.

    nested      the cell's equations, products written out element by element, T steps nested into one expression of
                the leaves, and sympy.diff of that: no stages, no adjoints, no recursion in time; for small cells
    along       the same elements, each named an unknown function of one number e on which all leaves depend, and
                sympy.diff of each by e: the derivative along one direction of all leaves; for every cell
    derived     the stages forward, then their transposes backward through time, element by element, as the kernels do

All leaves (parameters, inputs, initial states) are called `name`, `name[j]`, `name[j,k]`, `name@t[j]`.
"""

from dataclasses import dataclass
from functools import cached_property
from itertools import product
from random import Random

import mpmath
import sympy
from sympy import Symbol

from derive.cell import Cell
from derive.differentiate import Transpose, gradients
from derive.functions import TABLE
from derive.laws import symbols_of
from derive.program import Affine
from derive.symbols import ONE, Product, Vector

STEPS, SIZES = 3, {"N": 2, "H": 2, "P": 1, ONE: 1}

MPMATH = {
    "sigmoid": lambda u: 1 / (1 + mpmath.exp(-u)),
    "tanh": mpmath.tanh,
    "relu": lambda u: max(u, mpmath.mpf(0)),
    "exp": mpmath.exp,
    "log": mpmath.log,
    "sqrt": mpmath.sqrt,
    "softplus": lambda u: mpmath.log1p(mpmath.exp(u)),
    "sin": mpmath.sin,
    "cos": mpmath.cos,
    "absolute": abs,
    "maximum": max,
    "minimum": min,
    "positive": lambda u: mpmath.mpf(u > 0),
    "where": lambda c, a, b: a if c else b,
    "stop": lambda u: u,
}
assert set(MPMATH) == set(TABLE)


def evaluate(expression, numbers, memo=None):
    """The value of an expression; shared parts are evaluated once."""
    memo = {} if memo is None else memo
    if expression not in memo:
        memo[expression] = _evaluate(expression, numbers, memo)
    return memo[expression]


def _evaluate(expression, numbers, memo):
    if expression.is_Symbol:
        return numbers[expression.name]
    if expression.is_Rational:
        return mpmath.mpf(int(expression.p)) / int(expression.q)
    parts = [evaluate(part, numbers, memo) for part in expression.args]
    if expression.is_Add:
        return mpmath.fsum(parts)
    if expression.is_Mul:
        return mpmath.fprod(parts)
    if expression.is_Pow:
        return parts[0] ** parts[1]
    return MPMATH[type(expression).__name__](*parts)


def leaf(name, *index, step=None):
    return f"{name}@{step}[{','.join(map(str, index))}]" if step is not None else f"{name}[{','.join(map(str, index))}]"


def element(matrix, j, k):
    """The leaf of element j, k; of a transposed matrix that is k, j of the declared one."""
    return leaf(matrix.declared.name, k, j) if matrix.turned else leaf(matrix.name, j, k)


def indices(*spaces):
    return list(product(*(range(SIZES[space]) for space in spaces)))


@dataclass(frozen=True)
class Unrolled:
    """A cell, T steps of it, random rational leaves, and the loss sum of w * (last outputs and states)."""

    cell: Cell

    @cached_property
    def leaves(self):
        """Leaf -> number, in one order."""
        random = Random(self.cell.module)
        names = [leaf(name, *j) for name, symbol in self._given.items() for j in self._elements(symbol)]
        names += [leaf(f"{name}_prev", j) for name, space in self.cell.states.items() for j in range(SIZES[space])]
        for t, (name, space) in product(range(STEPS), self.cell.inputs.items()):
            names += [leaf(name, j, step=t) for j in range(SIZES[space])]
        return {name: mpmath.mpf(random.randint(20, 180)) / 100 * random.choice([-1, 1]) for name in names}

    @cached_property
    def ticks(self):
        """The clock at (t, j): unit 0 always, unit 1 at even steps."""
        return {(t, j): int(t % (j + 1) == 0) for t in range(STEPS) for j in range(SIZES["H"])}

    @cached_property
    def weights(self):
        """What the loss multiplies: outputs of every step, states of the last."""
        random = Random(1)
        return {
            (t, name, j): random.randint(1, 9)
            for t, (name, space) in product(range(STEPS), self.cell.states.items())
            for j in range(SIZES[space])
            if name in self.cell.outputs or t == STEPS - 1
        }

    @property
    def _given(self):
        return {**self.cell.parameters, **self.cell.constants}

    def _elements(self, symbol):
        return indices(*symbol.shape) if symbol.shape else [(0,)]

    def masked(self, matrix, j, k):
        row, column = (k, j) if matrix.turned else (j, k)
        return matrix.declared.structure == "block_upper" and column < row  # blocks of one unit

    # --- Equations, element by element

    def unroll(self, given, define):
        """The loss, from leaf -> expression, and what becomes of the expression of each element."""
        known = {(name, j): given(leaf(f"{name}_prev", j)) for name, space in self.cell.states.items()
                 for j in range(SIZES[space])}  # fmt: skip
        total = sympy.Integer(0)
        for t in range(STEPS):
            now = {}
            for equation in self.cell.equations:
                for j in range(SIZES[equation.lhs.space]):
                    element = _Element(self, given, t, known, now)
                    now[equation.lhs.name, j] = define(leaf(equation.lhs.name, j, step=t), element(equation.rhs, j))
            known = {key: now[key] for key in known}
            total += sum(w * known[name, j] for (step, name, j), w in self.weights.items() if step == t)
        return total

    @cached_property
    def loss(self):
        """One expression of the leaves."""
        return self.unroll(Symbol, lambda _, expression: expression)

    def nested(self, name):
        """dL/d(leaf) by SymPy, as a number."""
        return evaluate(sympy.diff(self.loss, Symbol(name)), dict(self.leaves))

    def along(self, direction):
        """d/de of the loss at leaves + e * direction, by SymPy."""
        e = Symbol("e")
        known = {}

        def given(name):
            return define(name, self.leaves[name], direction[name])

        def define(name, expression, slope=None):
            unknown = sympy.Function(name)(e)
            moves = isinstance(expression, sympy.Basic)
            known[unknown] = evaluate(expression, {}, known) if moves else expression
            known[unknown.diff(e)] = evaluate(sympy.diff(expression, e), {}, known) if moves else slope
            return unknown

        return evaluate(sympy.diff(self.unroll(given, define), e), {}, known)

    def twice_along(self, one, other):
        """d2/de df of the loss at leaves + e * one + f * other, by SymPy."""
        e, f = sympy.symbols("e f")
        known = {}

        def given(name):
            return define(name, self.leaves[name], (one[name], other[name], 0))

        def define(name, expression, slopes=None):
            unknown = sympy.Function(name)(e, f)
            moves = isinstance(expression, sympy.Basic)
            known[unknown] = evaluate(expression, {}, known) if moves else expression
            for k, by in enumerate(((e,), (f,), (e, f))):
                known[unknown.diff(*by)] = evaluate(sympy.diff(expression, *by), {}, known) if moves else slopes[k]
            return unknown

        return evaluate(sympy.diff(self.unroll(given, define), e, f), {}, known)

    # --- Stage by stage

    @cached_property
    def derived(self):
        """Leaf -> dL/d(leaf) by the derivation."""
        return Backward(self).gradient()


@dataclass(frozen=True)
class _Element:
    """Element j of an expression at step t."""

    unrolled: Unrolled
    given: object
    t: int
    before: dict
    now: dict

    def __call__(self, expression, j):
        if isinstance(expression, Product):
            return self.product(expression, j)
        if isinstance(expression, Vector):
            return self.name(expression, 0 if expression.space == ONE else j)
        if not expression.args:
            return expression
        return expression.func(*(self(part, j) for part in expression.args))

    def product(self, expression, j):
        matrix = expression.matrix
        columns = [k for k in range(SIZES[matrix.columns]) if not self.unrolled.masked(matrix, j, k)]
        return sum(self.given(element(matrix, j, k)) * self(expression.operand, k) for k in columns)

    def name(self, v, j):
        match v.role:
            case "previous":
                return self.before[v.name.removesuffix("_prev"), j]
            case "input":
                return self.given(leaf(v.name, j, step=self.t))
            case "clock":
                return sympy.Integer(self.unrolled.ticks[self.t, j])
            case "parameter" | "constant":
                return self.given(leaf(v.name, j))
        return self.now[v.name, j]


class Backward:
    """Backpropagation through time as the derivation says, one element at a time."""

    def __init__(self, unrolled):
        self.unrolled, self.cell = unrolled, unrolled.cell
        self.derivation = gradients(self.cell)
        self.gradient_of = dict.fromkeys(unrolled.leaves, mpmath.mpf(0))
        self.steps = []

    def gradient(self):
        self.run_forward()
        carried = {}
        for t in reversed(range(STEPS)):
            carried = self.reverse_step(t, carried)
        for (name, j), adjoint in carried.items():
            self.gradient_of[leaf(name, j)] += adjoint
        return self.gradient_of

    def run_forward(self):
        leaves = self.unrolled.leaves
        state = {(name, j): leaves[leaf(f"{name}_prev", j)] for name, space in self.cell.states.items()
                 for j in range(SIZES[space])}  # fmt: skip
        for t in range(STEPS):
            values = {(f"{name}_prev", j): number for (name, j), number in state.items()}
            for stage in self.derivation.program.stages:
                (self.affine if isinstance(stage, Affine) else self.pointwise)(stage, t, values)
            self.steps.append(values)
            state = {key: values[key] for key in state}

    def read(self, v, t, j, values):
        if v.role in ("parameter", "constant"):
            return self.unrolled.leaves[leaf(v.name, 0 if v.space == ONE else j)]
        if v.role == "input":
            return self.unrolled.leaves[leaf(v.name, j, step=t)]
        return self.unrolled.ticks[t, j] if v.role == "clock" else values[v.name, j]

    def pairs(self, matrix):
        return [(j, k) for j, k in indices(*matrix.shape) if not self.unrolled.masked(matrix, j, k)]

    def affine(self, stage, t, values):
        for slot in stage.slots:
            for j in range(SIZES[slot.space]):
                values[slot.name, j] = self.read(slot.bias, t, j, values) if slot.bias is not None else mpmath.mpf(0)
            for matrix, vector in slot.terms:
                for j, k in self.pairs(matrix):
                    weight = self.unrolled.leaves[element(matrix, j, k)]
                    values[slot.name, j] += weight * self.read(vector, t, k, values)

    def pointwise(self, stage, t, values):
        for j in range(SIZES[stage.space]):
            for name, expression in stage.equations:
                values[name.name, j] = self.at(expression, t, j, values)

    def at(self, expression, t, j, values):
        return evaluate(expression, {v.name: self.read(v, t, j, values) for v in symbols_of(expression)})

    def reverse_step(self, t, carried):
        """Take the adjoints of the states after step t, give those before it."""
        values, adjoints = self.steps[t], {}
        for name, space in self.cell.states.items():
            for j in range(SIZES[space]):
                weight = self.unrolled.weights.get((t, name, j), 0)
                adjoints[name, j] = weight + carried.get((f"{name}_prev", j), mpmath.mpf(0))
        for stage in self.derivation.stages:
            (self.transpose if isinstance(stage, Transpose) else self.sweep)(stage, t, values, adjoints)
        previous = [f"{name}_prev" for name in self.cell.states]
        return {key: adjoint for key, adjoint in adjoints.items() if key[0] in previous}

    def receive(self, v, t, j, adjoint, adjoints):
        """Add to the adjoint of a name, or of a leaf."""
        if v.role == "parameter":
            self.gradient_of[leaf(v.name, 0 if v.space == ONE else j)] += adjoint
        elif v.role == "input":
            self.gradient_of[leaf(v.name, j, step=t)] += adjoint
        else:
            adjoints[v.name, j] = adjoints.get((v.name, j), mpmath.mpf(0)) + adjoint

    def sweep(self, vjp, t, values, adjoints):
        for j in range(SIZES[vjp.stage.space]):
            local = {(v.name, j): self.read(v, t, j, values) for v in vjp.saved}
            for write, incoming in zip(vjp.stage.writes, vjp.incoming, strict=True):
                local[incoming.name, j] = adjoints.get((write.name, j), mpmath.mpf(0))
            for d, expression, _ in vjp.equations:
                local[d.name, j] = evaluate(expression, {name: number for (name, _), number in local.items()})
            for v, d in vjp.outputs:
                self.receive(v, t, j, local[d.name, j], adjoints)

    def transpose(self, affine, t, values, adjoints):
        def received(d, j):
            return adjoints.get((d.name.removeprefix("d_"), j), mpmath.mpf(0))

        for vector, pairs in affine.operands.items():
            for matrix, d in pairs:
                for j, k in self.pairs(matrix):
                    weight = self.unrolled.leaves[element(matrix, j, k)]
                    self.receive(vector, t, k, weight * received(d, j), adjoints)
        self.outer(affine, t, values, received)
        for bias, d in affine.biases.items():
            for j in range(SIZES[bias.space]):
                self.receive(bias, t, j, received(d, j), adjoints)

    def outer(self, affine, t, values, received):
        def factor(v, j):
            return received(v, j) if v.role == "adjoint" else self.read(v, t, j, values)

        for matrix, pairs in affine.matrices.items():
            for a, b in pairs:
                for j, k in self.pairs(matrix):
                    self.gradient_of[element(matrix, j, k)] += factor(a, j) * factor(b, k)
