"""The ladder: the rungs in the order in which they are climbed, and what each one measures for a cell.

rung           what is held            against                                     allowed
symbols        generated text          derivation, sympy.diff                      0, a proof
digits         generated text          complex step with 50 digits, T = 3, H = 2   1e-40
text           generated text          complex step on the equations               1e-13
forward        kernels                 the equations, interpreted                  1e-13 sqrt(T)
gradient       kernels                 complex step, every element                 1e-13
directions     kernels                 complex step, 8 directions, larger sizes    1e-12
differences    kernels                 six-point finite differences                1e-9
adjoint        kernels                 generated tangent: <v, J u> = <J' v, u>     1e-13
second         kernels                 complex step of the generated gradient      1e-13 sqrt(T)
float32        kernels                 the same oracle, numbers rounded first      5e-6
sizes          kernels                 complex step for T, B, N, H of 0, 1, odd    1e-13 sqrt(T)
properties     kernels                 other runs of themselves                    0, or rounding
threads        kernels                 one thread                                  0
bounds         kernel text             the sizes of its arrays                     0 places outside
planted bugs   the ladder              every mutant of the generated text          0 escape
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from derive.cell import Cell
from derive.errors import DeriveError
from derive.verify import memory, properties
from derive.verify.comparisons import Property, same_forward, same_gradient
from derive.verify.curvature import Along
from derive.verify.derivative import Gradient, gradient
from derive.verify.driver import Driver
from derive.verify.history import with_history
from derive.verify.kernel import Kernel, Maker
from derive.verify.problem import CLEARANCE, Problem, make
from derive.verify.report import Measurement
from derive.verify.rungs import adjoint, digits, numeric, planted, symbolic
from derive.verify.rungs import second as curved
from derive.verify.rungs.bounds import inside
from derive.verify.rungs.planted_kernels import in_kernels

EXACT, DIRECTION, DIFFERENCE, SINGLE = 1e-13, 1e-12, 1e-9, 5e-6

PROPERTIES: tuple[Property, ...] = (
    properties.batch_splits,
    properties.sequence_splits,
    properties.resets_restart,
    properties.padding_is_ignored,
    properties.gradient_is_linear,
    properties.inputs_are_left_out,
    properties.parameters_are_left_out,
    memory.runs_repeat,
    memory.poison_does_not_show,
    memory.inputs_stay,
    memory.layout_does_not_matter,
    memory.nan_stays_in_its_row,
)
# T, B, N, H; registers hold 8 or 16 numbers, so 17 and 33 leave one over
SIZES = ((0, 3, 2, 5), (3, 0, 2, 5), (1, 1, 1, 1), (3, 1, 3, 17), (2, 7, 1, 9), (3, 15, 2, 11), (5, 2, 17, 33))


@dataclass(frozen=True)
class Ladder:
    """A cell, its kernels and its problems; all made once, when a rung asks for them."""

    cell: Cell
    quick: bool = False
    maker: Maker | None = None

    @cached_property
    def driver(self) -> Driver:
        return Driver.of(self.cell)

    @cached_property
    def kernel(self) -> Kernel:
        return Kernel(self.cell, self.maker)

    @cached_property
    def small(self) -> Problem:
        """Rows of different lengths, resets, away from kinks: every element of its gradient is looked at."""
        return make(self.cell, lengths=True, resets=True, clearance=CLEARANCE)

    @cached_property
    def larger(self) -> Problem:
        """More rows than a register tile has: kernels take another path than for a few."""
        return make(self.cell, steps=7, batch=14, inputs=9, hidden=33, seed=1, lengths=True, resets=True)

    @cached_property
    def plain(self) -> Problem:
        """Neither lengths nor resets."""
        return make(self.cell, steps=9, batch=5, inputs=3, hidden=7, seed=2)

    @cached_property
    def slope(self) -> Gradient:
        return gradient(self.small)


def symbols(ladder: Ladder) -> Iterator[Measurement]:
    program = ladder.driver.program
    yield from symbolic.text_is_the_derivation(program)
    yield from symbolic.derivation_is_the_derivative(program)
    yield from symbolic.table_is_true(program)


def long_numbers(ladder: Ladder) -> Iterator[Measurement]:
    yield from digits.hold(ladder.driver.program)


def text(ladder: Ladder) -> Iterator[Measurement]:
    yield from numeric.forward(ladder.driver, ladder.small, EXACT, "text")
    measured = numeric.full(ladder.driver, ladder.small, ladder.slope, EXACT, "text")
    yield from with_history(ladder.driver, ladder.small, measured)
    yield from adjoint.identity(ladder.driver, ladder.driver, ladder.small, EXACT, "text")


def forward(ladder: Ladder) -> Iterator[Measurement]:
    for problem in (ladder.small, ladder.plain, ladder.larger):
        yield from numeric.forward(ladder.kernel, problem, EXACT * np.sqrt(problem.steps))


def full_gradient(ladder: Ladder) -> Iterator[Measurement]:
    measured = numeric.full(ladder.kernel, ladder.small, ladder.slope, EXACT)
    yield from with_history(ladder.kernel, ladder.small, measured)
    if not ladder.quick:
        yield from numeric.full(ladder.kernel, ladder.plain, gradient(ladder.plain), EXACT)


def directions(ladder: Ladder) -> Iterator[Measurement]:
    yield from numeric.directions(ladder.kernel, ladder.larger, DIRECTION)


def differences(ladder: Ladder) -> Iterator[Measurement]:
    yield from numeric.differences(ladder.kernel, ladder.small, DIFFERENCE)


def adjoints(ladder: Ladder) -> Iterator[Measurement]:
    for problem in (ladder.small, ladder.larger):
        yield from adjoint.identity(ladder.kernel, ladder.driver, problem, EXACT)


def second(ladder: Ladder) -> Iterator[Measurement]:
    kernel, driver = ladder.kernel, ladder.driver
    yield from curved.steps(driver, driver, ladder.small, EXACT)
    for problem in (ladder.small, ladder.larger):
        along, allowed = Along.random(problem), EXACT * np.sqrt(problem.steps)
        truth = along.hvp(driver)
        yield from curved.jvp(kernel, along, allowed)
        yield from curved.hvp(kernel, along, truth, along.allowed(driver, truth, allowed))
        yield from curved.symmetry(kernel, problem, EXACT)
        yield from adjoint.identity(kernel, kernel, problem, EXACT, "second")
    yield from curved.differences(kernel, Along.random(ladder.small), DIFFERENCE)
    yield from curved.same_bits(kernel, Along.random(ladder.larger))
    if ladder.quick:  # two kernels less to compile
        return
    narrow, along = Kernel(ladder.cell, kernel.maker, np.float32), Along.random(ladder.small).cast(np.float32)
    wide = along.cast(np.float64)
    yield from curved.jvp(narrow, wide, SINGLE)
    yield from curved.hvp(narrow, wide, wide.hvp(driver), SINGLE)


def single(ladder: Ladder) -> Iterator[Measurement]:
    kernel, problem = Kernel(ladder.cell, ladder.kernel.maker, np.float32), ladder.small.cast(np.float32)
    yield from numeric.forward(kernel, problem, SINGLE, "float32")
    yield from numeric.full(kernel, problem, gradient(problem.cast(np.float64)), SINGLE, "float32")


def sizes(ladder: Ladder) -> Iterator[Measurement]:
    for k, (steps, batch, inputs, hidden) in enumerate(SIZES):
        problem = make(ladder.cell, steps, batch, inputs, hidden, seed=10 + k)
        allowed = EXACT * np.sqrt(max(steps, 1))
        yield from numeric.forward(ladder.kernel, problem, allowed, "sizes")
        yield from numeric.full(ladder.kernel, problem, gradient(problem), allowed, "sizes")


def all_properties(ladder: Ladder) -> Iterator[Measurement]:
    for claim in PROPERTIES:
        for problem in (ladder.plain, ladder.larger):
            yield from claim(ladder.kernel, problem)


def threads(ladder: Ladder) -> Iterator[Measurement]:
    forward, pulled = ladder.kernel.forward(ladder.larger), ladder.kernel.gradient(ladder.larger)
    for count in (2, 3, 7):
        kernel, claim = ladder.kernel.with_threads(count), f"{count} threads"
        yield from same_forward(claim, kernel, kernel.forward(ladder.larger), forward, ladder.larger, "threads")
        yield from same_gradient(claim, kernel, kernel.gradient(ladder.larger), pulled, ladder.larger, "threads")


def bounds(ladder: Ladder) -> Iterator[Measurement]:
    from derive.build import module_of

    problems = [make(ladder.cell, *size, seed=10) for size in SIZES]
    yield from inside(ladder.cell, module_of(ladder.cell), (*problems, ladder.larger))


def bugs(ladder: Ladder) -> Iterator[Measurement]:
    nursery = planted.Nursery(ladder.cell, ladder.driver, EXACT)
    functions = "_vjp" if ladder.quick else ""
    scores = {"formulas": planted.in_formulas(nursery, functions), "time": planted.in_time(nursery)}
    if not ladder.quick:
        scores["kernels"] = in_kernels(ladder.cell, EXACT)
    yield from planted.reported(scores, ladder.small)


Rung = Callable[[Ladder], Iterator[Measurement]]
MESSAGE_LINES = 4

RUNGS: tuple[Rung, ...] = (
    symbols,
    long_numbers,
    text,
    forward,
    full_gradient,
    directions,
    differences,
    adjoints,
    second,
    single,
    sizes,
    all_properties,
    threads,
    bounds,
    bugs,
)


def climb(ladder: Ladder) -> tuple[Measurement, ...]:
    """Climb every rung, whatever the ones below say: what holds and what does not tell where to look."""
    return tuple(measurement for rung in RUNGS for measurement in _climbed(rung, ladder))


def _climbed(rung: Rung, ladder: Ladder) -> Iterator[Measurement]:
    """The rung's measurements; a crash is one more, for example a kernel that does not compile."""
    try:
        yield from rung(ladder)
    except DeriveError:  # no numbers could be found for this cell: its equations are to blame, not its kernels
        raise
    except Exception as error:  # noqa: BLE001 (whatever it is, the report has to say it and go on)
        lines = [line.strip() for line in str(error).splitlines() if line.strip()][:MESSAGE_LINES]
        note = "\n    ".join([type(error).__name__, *lines])
        yield Measurement(
            rung.__name__.replace("_", " "), "runs", ("kernel", "a run"), np.inf, 0.0, "any size", note=note
        )
