"""L7, planted bugs in the sequence kernels: the generated module is run as plain Python, with one thing wrong in it.

Two problems: few rows, where input products are taken for many steps at once, and more rows than a register tile has.
Both have rows of different lengths and resets, and are run as two chunks of a batch on memory that is full of NaN, so
that what is not written shows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from types import ModuleType

import numpy as np

from derive.cell import Cell
from derive.verify.analytic import Array
from derive.verify.curvature import Along
from derive.verify.derivative import Gradient, gradient
from derive.verify.driver import Driver
from derive.verify.kernel import Kernel
from derive.verify.kernel_mutants import KERNELS, TANGENTS, kernel_mutants
from derive.verify.memory import poisoned_memory
from derive.verify.problem import Problem, make
from derive.verify.report import Measurement
from derive.verify.rungs import numeric, second
from derive.verify.rungs.planted import CRASHES, UNSOUND, Score


class ReachedError(Exception):
    """Raised by a planted statement: a run enters this place."""


@dataclass(frozen=True)
class KernelNursery:
    """The problems on which a bug in a kernel is told from the truth."""

    cell: Cell
    allowed: float

    @cached_property
    def module(self) -> ModuleType:
        from derive.build import module_of  # with the runtime: only when kernels are asked for

        return module_of(self.cell)

    @cached_property
    def text(self) -> str:
        from derive.emit.module import module_text

        return module_text(self.cell, source="", command="")

    @cached_property
    def problems(self) -> tuple[Problem, ...]:
        few = make(self.cell, lengths=True, resets=True)
        hidden = _almost_whole_panels()
        more = make(self.cell, steps=3, batch=14, inputs=2, hidden=hidden, seed=1, lengths=True, resets=True)
        return few, more

    @cached_property
    def driver(self) -> Driver:
        return Driver.of(self.cell)

    @cached_property
    def truths(self) -> tuple[Gradient, ...]:
        """By complex step; of the larger problem, where that takes seconds, by the formulas that it has proved."""
        few, more = self.problems
        return gradient(few), self.driver.gradient(more)

    @cached_property
    def alongs(self) -> tuple[Along, ...]:
        return tuple(map(Along.random, self.problems))

    @cached_property
    def curvatures(self) -> tuple[Gradient, ...]:
        return tuple(along.hvp(self.driver) for along in self.alongs)

    def warm(self) -> None:
        """Run once, so that nothing is compiled while memory is poisoned: Numba must find NumPy as it is."""
        for along in self.alongs:
            self.plain().curvature(along)

    def plain(self, text: str = "") -> Kernel:
        """The module as plain Python, with the functions of `text` in place of its own."""
        from lstm_numba.cpu.interpreted import PlainLayer

        changed = ModuleType(self.module.__name__)
        vars(changed).update(vars(self.module), ReachedError=ReachedError)
        exec(compile(text, "<planted>", "exec"), vars(changed))  # noqa: S102 (our own printer's text, mutated)
        return Kernel(self.cell, partial(PlainLayer, changed), threads=2)

    def reached(self, text: str) -> bool:
        return any(self.differs(text, k) is None for k in range(len(self.problems)))

    def is_idle(self, text: str) -> bool:
        """Whether no bit of any result changes: the text says the same in other words, or what is of no consequence."""
        pairs = ((self.results(self.plain(text), k), self.results(self.plain(), k)) for k in range(len(self.problems)))
        return all(_same_bits(*pair) for pair in pairs)

    def results(self, kernel: Kernel, k: int) -> list[Array]:
        """Every gradient, output and last state, and the changes of them all."""
        problem, along = self.problems[k], self.alongs[k]
        with poisoned_memory(), np.errstate(all="ignore"):
            run = kernel.forward(problem)
            changes = kernel.tangent(problem, along.direction)
            groups = kernel.gradient(problem), run.outputs, run.state, *changes, kernel.curvature(along)
            return [values for group in groups for values in group.values()]

    def kills(self, text: str) -> bool:
        return any(self.differs(text, k) for k in range(len(self.problems)))

    def differs(self, text: str, k: int) -> bool | None:
        """Whether a kernel is told from the truth, by a crash too; None where it was only there to be reached."""
        with poisoned_memory(), np.errstate(all="ignore"):
            try:
                return not all(measured.ok for measured in self.measured(text, k))
            except ReachedError:
                return None
            except CRASHES:
                return True

    def measured(self, text: str, k: int) -> Iterator[Measurement]:
        """The measures that look at the kernel of a text; without a text, all of them."""
        planted, problem, along = self.plain(text), self.problems[k], self.alongs[k]
        along_only = text.startswith(tuple(f"def {name}(" for name in TANGENTS))
        if not along_only:
            yield from numeric.full(planted, problem, self.truths[k], self.allowed)
            yield from numeric.forward(planted, problem, self.allowed)
        if along_only or not text:
            yield from second.hvp(planted, along, self.curvatures[k], self.allowed)
            yield from second.jvp(planted, along, self.allowed)


def _almost_whole_panels() -> int:
    """At least 42 units, of which the last panel's last register has all but two: every register of a panel matters."""
    from lstm_numba.words import panels_of, units_of

    panel = units_of(np.zeros(0), 1)
    return panels_of(42 + 2, panel) * panel - 2


def _same_bits(found: list[Array], expected: list[Array]) -> bool:
    return all(np.array_equal(one, other, equal_nan=True) for one, other in zip(found, expected, strict=True))


def in_kernels(cell: Cell, allowed: float, kernels: tuple[str, ...] = KERNELS) -> Score:
    """Plant every mutant of the kernels that a run reaches."""
    nursery = KernelNursery(cell, allowed)
    nursery.warm()
    if nursery.kills(""):
        return Score(1, (UNSOUND,))
    planted = list(kernel_mutants(nursery.text, nursery.reached, kernels))
    alive = [mutant for mutant in planted if not nursery.kills(mutant.text)]
    idle = [mutant for mutant in alive if nursery.is_idle(mutant.text)]
    escaped = tuple(str(mutant) for mutant in alive if mutant not in idle)
    return Score(len(planted) - len(idle), escaped, tuple(map(str, idle)))
