"""3. Differentiate each stage: its transpose (vjp) and its tangent (jvp); then time, once for every cell.

Pointwise   a reverse sweep over the named equations.  SymPy gives the partial derivatives of arithmetic, the table of
            functions those of y = F(u) in terms of y.  With d_v = dL/dv,

                d_v = incoming + sum over the equations y = ... that read v of d_y * (dy/dv)

Affine      z = W v + b is transposed: v receives W' d_z, W the outer product d_z v', b receives d_z.
stop(u)     is a constant to the reverse sweep.  Along a tangent it is one if DOT_STOP is 0: then the tangent is the
            transpose of the reverse sweep.  If DOT_STOP is 1 the tangent is how the value itself changes.
Time        what step t receives for a state is what step t+1 gave for the state's previous value.

Nothing here knows any cell.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import sympy
from sympy import Add, Expr, Integer

from derive.cell import Cell
from derive.emit.printer import code
from derive.functions import Elementwise, unstopped
from derive.laws import symbols_of
from derive.program import Affine, Pointwise, Program, split
from derive.symbols import ONE, Matrix, Vector

PASSIVE = ("clock", "constant")  # never differentiated
DOT_STOP = Vector("dot_stop", "tangent", ONE)  # the slope of stop(u) along a tangent: 0 or 1

Equation = tuple[Vector, Expr, sympy.Eq]  # what is defined, as what, and the equation that is differentiated


@dataclass(frozen=True)
class Vjp:
    """The transpose of a Pointwise stage: adjoints of what it writes to adjoints of what it reads."""

    stage: Pointwise
    incoming: tuple[Vector, ...]  # one for each of stage.writes
    equations: tuple[Equation, ...]  # adjoint, expression, the equation that is reversed
    saved: tuple[Vector, ...]  # what the expressions read of the forward step
    outputs: tuple[tuple[Vector, Vector], ...]  # what the stage reads, and its adjoint


@dataclass(frozen=True)
class Jvp:
    """The tangent of a Pointwise stage: tangents of what it reads to tangents of what it writes."""

    stage: Pointwise
    incoming: tuple[tuple[Vector, Vector], ...]  # what the stage reads, and its tangent
    equations: tuple[Equation, ...]  # tangent, expression, the equation that is differentiated
    saved: tuple[Vector, ...]
    outputs: tuple[Vector, ...]  # one for each of stage.writes


def adjoint(symbol: Vector, suffix: str = "") -> Vector:
    """d_v = dL/dv."""
    return Vector(f"d_{symbol.name}{suffix}", "adjoint", symbol.space)


def tangent(symbol: Vector) -> Vector:
    """dot_v, the change of v along a direction."""
    return Vector(f"dot_{symbol.name}", "tangent", symbol.space)


# --- Partial derivatives


def partials(name: Vector, expression: Expr) -> dict[Vector, Expr]:
    """Symbol -> dy/dv of the line y = expression, those that are zero left out."""
    slopes = {v: _slope(name, expression, v) for v in symbols_of(expression) if v.role not in PASSIVE}
    return {v: slope for v, slope in slopes.items() if slope != 0}


def tangent_partials(name: Vector, expression: Expr) -> dict[Vector, Expr]:
    """The same along a tangent, on which stop(u) has the slope DOT_STOP."""
    held = {v: unstopped(slope) for v, slope in partials(name, expression).items()}
    free, zero = partials(name, unstopped(expression)), Integer(0)
    pairs = {v: (held.get(v, zero), free.get(v, zero)) for v in (*held, *free)}
    return {v: kept + DOT_STOP * (moved - kept) for v, (kept, moved) in pairs.items()}


def _slope(name: Vector, expression: Expr, v: Vector) -> Expr:
    if not isinstance(expression, Elementwise):
        return sympy.diff(expression, v)
    # y = F(u_1, ...): the row of the table, in terms of the output's name
    slopes = zip(expression.rule.partials, expression.args, strict=True)
    return Add(*(partial(name, *expression.args) * sympy.diff(u, v) for partial, u in slopes))


@dataclass(frozen=True)
class _Graph:
    """The lines of a stage with their partial derivatives, cut to what leads from a read to a write."""

    stage: Pointwise
    partials: Callable[[Vector, Expr], dict[Vector, Expr]] = partials

    @cached_property
    def source(self) -> dict[Vector, sympy.Eq]:
        names = (name for name, _ in self.stage.equations)
        return dict(zip(names, self.stage.sources, strict=True))

    @cached_property
    def slopes(self) -> dict[Vector, dict[Vector, Expr]]:
        """Line -> symbol -> partial derivative."""
        return _reaching_a_write(self.stage, _moved_by_a_read(self.stage, self.partials))

    @cached_property
    def varied(self) -> tuple[Vector, ...]:
        """The reads that a write depends on."""
        used = {v for slopes in self.slopes.values() for v in slopes}
        return tuple(v for v in self.stage.reads if v in used)

    @cached_property
    def depth(self) -> dict[sympy.Eq, int]:
        """Equation -> the number of equations in a row that lead to it."""
        depth: dict[sympy.Eq, int] = {}
        for name, slopes in self.slopes.items():
            equation = self.source[name]
            others = (self.source.get(v) for v in slopes)
            behind = max((depth[other] for other in others if other in depth and other != equation), default=0)
            depth[equation] = max(depth.get(equation, 0), 1 + behind)
        return depth

    @cached_property
    def order(self) -> dict[Vector, int]:
        """Where a name stands: definitions in equation order, then reads."""
        names = (*self.source, *self.stage.reads)
        return {name: place for place, name in enumerate(names)}

    def introduced(self, name: Vector) -> bool:
        """Whether the line was made by the split: `tanh_c = tanh(c)` for `h = o * tanh(c)`."""
        return name in self.source and self.source[name].lhs != name


Slopes = dict[Vector, dict[Vector, Expr]]


def _moved_by_a_read(stage: Pointwise, partials: Callable[[Vector, Expr], dict[Vector, Expr]]) -> Slopes:
    """Lines with the partial derivatives by what itself depends on a read that is differentiated."""
    moved = {v for v in stage.reads if v.role not in PASSIVE}
    slopes: Slopes = {}
    for name, expression in stage.equations:
        slopes[name] = {v: slope for v, slope in partials(name, expression).items() if v in moved}
        if slopes[name]:
            moved.add(name)
    return slopes


def _reaching_a_write(stage: Pointwise, slopes: Slopes) -> Slopes:
    """Only the lines that a write depends on."""
    needed = set(stage.writes)
    for name in reversed(slopes):
        if name in needed:
            needed.update(slopes[name])
    return {name: row for name, row in slopes.items() if row and name in needed}


# --- Reverse


def vjp(stage: Pointwise) -> Vjp:
    """The transpose of a stage, one adjoint a line."""
    graph = _Graph(stage)
    incoming = _incoming(graph)
    unmoved = tuple(v for v in stage.reads if v.role == "slot" and v not in graph.varied)
    equations = (*_sweep(graph, incoming), *_zeros(graph, unmoved))
    return Vjp(
        stage=stage,
        incoming=tuple(incoming.values()),
        equations=equations,
        saved=_saved(stage, equations),
        outputs=tuple((v, adjoint(v)) for v in (*graph.varied, *unmoved)),
    )


def _zeros(graph: _Graph, slots: tuple[Vector, ...]) -> Iterator[Equation]:
    """A slot that only stop() reads still has an adjoint, which its products wait for."""
    for slot in slots:
        reader = next(name for name, expression in graph.stage.equations if slot in expression.free_symbols)
        yield adjoint(slot), Integer(0), graph.source[reader]


def _incoming(graph: _Graph) -> dict[Vector, Vector]:
    """Write -> the adjoint that comes from outside: d_c_next or d_v_later if the stage itself adds to it, else d_v."""
    read_inside = {v for slopes in graph.slopes.values() for v in slopes}
    suffixes = {"state": "_next", "value": "_later"}
    return {v: adjoint(v, suffixes[v.role] if v in read_inside else "") for v in graph.stage.writes}


def _sweep(graph: _Graph, incoming: dict[Vector, Vector]) -> Iterator[Equation]:
    """Adjoints from the writes to the reads: each as soon as every line that reads the name is reversed."""
    known: dict[Vector, list[Expr]] = {v: [d] for v, d in incoming.items()}
    inlined: dict[Vector, Expr] = {}
    lines = _reversed(graph)
    waiting = {v: sum(v in graph.slopes[name] for name in lines) for name in lines for v in graph.slopes[name]}
    for name in lines:
        d_name = inlined.get(name, adjoint(name))
        for v in sorted(graph.slopes[name], key=graph.order.__getitem__):
            known.setdefault(v, []).append(d_name * graph.slopes[name][v])
            waiting[v] -= 1
            if waiting[v] == 0:
                total = Add(*known[v])
                if _is_inlined(graph, v, total):
                    inlined[v] = total
                else:
                    yield adjoint(v), total, graph.source[name]


def _reversed(graph: _Graph) -> list[Vector]:
    """The lines in the order in which they are reversed: equation by equation, what leads to others later."""
    places = {equation: place for place, equation in enumerate(graph.source.values())}

    def key(name: Vector) -> tuple[int, int, int]:
        equation = graph.source[name]
        return -graph.depth[equation], places[equation], -graph.order[name]

    return sorted(graph.slopes, key=key)


def _is_inlined(graph: _Graph, v: Vector, total: Expr) -> bool:
    """A name made by the split needs no adjoint of its own if that is one term and is used once."""
    return graph.introduced(v) and not total.is_Add and len(graph.slopes.get(v, {})) == 1


def _saved(stage: Pointwise, equations: tuple[Equation, ...]) -> tuple[Vector, ...]:
    """What a sweep reads of the forward step: the stage's reads first, then its lines."""
    used = {symbol.name for _, expression, _ in equations for symbol in symbols_of(expression)}
    return tuple(v for v in (*stage.reads, *(name for name, _ in stage.equations)) if v.name in used)


# --- Forward


def jvp(stage: Pointwise) -> Jvp:
    """The tangent of a stage, one tangent a line: dot_y = sum over v of (dy/dv) * dot_v."""
    graph = _Graph(stage, tangent_partials)
    equations = tuple(_tangents(graph))
    return Jvp(
        stage=stage,
        incoming=tuple((v, tangent(v)) for v in graph.varied),
        equations=equations,
        saved=_saved(stage, equations),
        outputs=tuple(map(tangent, stage.writes)),
    )


def _tangents(graph: _Graph) -> Iterator[Equation]:
    for name, source in graph.source.items():
        slopes = graph.slopes.get(name)
        if slopes:
            yield tangent(name), Add(*(slope * tangent(v) for v, slope in slopes.items())), source
        elif name in graph.stage.writes:
            yield tangent(name), Integer(0), source


# --- Products


@dataclass(frozen=True)
class Transpose:
    """The transpose of an Affine stage."""

    stage: Affine

    @property
    def operands(self) -> dict[Vector, tuple[tuple[Matrix, Vector], ...]]:
        """v -> the pairs (W, d_z) of d_v = sum of W' d_z; a stopped operand receives nothing."""
        pairs: dict[Vector, list[tuple[Matrix, Vector]]] = {}
        for slot in self.stage.slots:
            for matrix, vector in slot.terms:
                if not vector.stopped and vector.role not in PASSIVE:
                    pairs.setdefault(vector, []).append((matrix, adjoint(slot.symbol)))
        return {vector: tuple(found) for vector, found in pairs.items()}

    @property
    def matrices(self) -> dict[Matrix, tuple[tuple[Vector, Vector], ...]]:
        """W -> the pairs (a, b) of d_W = sum over steps and rows of a b'; constants have none.

        W v gives d_z v', W.T v gives v d_z'.
        """
        pairs: dict[Matrix, list[tuple[Vector, Vector]]] = {}
        for slot in self.stage.slots:
            for matrix, vector in slot.terms:
                if matrix.is_trained:
                    pair = (vector, adjoint(slot.symbol)) if matrix.turned else (adjoint(slot.symbol), vector)
                    pairs.setdefault(matrix.declared, []).append(pair)
        return {matrix: tuple(found) for matrix, found in pairs.items()}

    @property
    def biases(self) -> dict[Vector, Vector]:
        """b -> d_z of d_b = sum over steps and rows of d_z."""
        return {
            slot.bias: adjoint(slot.symbol)
            for slot in self.stage.slots
            if slot.bias is not None and slot.bias.is_trained
        }

    def lines(self) -> Iterator[str]:
        for vector, pairs in self.operands.items():
            yield f"{adjoint(vector)} += {' + '.join(f'{matrix.T} @ {d}' for matrix, d in pairs)}"
        for matrix, outer in self.matrices.items():
            yield f"d_{matrix} += {' + '.join(f'outer({a}, {b})' for a, b in outer)}"
        for bias, d in self.biases.items():
            yield f"{adjoint(bias)} += {d}"


# --- The whole step, and time


@dataclass(frozen=True)
class Derivation:
    """Everything that backpropagation through time of a cell consists of."""

    program: Program

    @property
    def cell(self) -> Cell:
        return self.program.cell

    @cached_property
    def stages(self) -> tuple[Vjp | Transpose, ...]:
        """The transposes in the order in which they run: from the last stage to the first."""
        return tuple(
            Transpose(stage) if isinstance(stage, Affine) else vjp(stage) for stage in reversed(self.program.stages)
        )

    @property
    def recursion(self) -> dict[str, str]:
        """State -> what step t receives for it: the loss at t and, from step t+1, the adjoint of the previous value."""
        return {
            state: f"dL_t/d{state}_t + d_{state}_prev of step t+1" if state in self.cell.outputs
            else f"d_{state}_prev of step t+1"
            for state in self.cell.states
        }  # fmt: skip

    def lines(self) -> Iterator[str]:
        """The derivation as text, one equation a line, with a comment above each block."""
        yield "# time: what step t receives"
        for state, text in self.recursion.items():
            yield f"d_{state} = {text}"
        for stage in self.stages:
            yield f"# {type(stage.stage).__name__.lower()} {stage.stage.level}, transposed"
            if isinstance(stage, Transpose):
                yield from stage.lines()
            else:
                yield from (f"{name} = {code(expression)}" for name, expression, _ in stage.equations)

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def _repr_latex_(self) -> str:
        from derive.show import latex_of_derivation  # here, because pages are made of derivations

        return latex_of_derivation(self)


def gradients(cell: Cell) -> Derivation:
    """Differentiate a cell: every stage transposed, and the recursion in time."""
    return Derivation(split(cell))
