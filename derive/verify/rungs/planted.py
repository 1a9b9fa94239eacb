"""L7, planted bugs: does the ladder see what it is there to see?

Every mutant of the generated step functions and every broken rule of backpropagation is run in place of the right one
and held to the ladder's own measures and tolerances.  One that is told apart is killed; all must be.  A mutant that
survives three problems although its function has another effect than the right one has escaped; one with the same
effect on every value that the runs meet is the right function in other words (`equivalence.py`), and is not counted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from derive.cell import Cell
from derive.verify.derivative import Gradient, gradient
from derive.verify.driver import Driver
from derive.verify.equivalence import same_effect
from derive.verify.mutants import Mutant, mutants
from derive.verify.problem import Problem, make
from derive.verify.report import Measurement, describe
from derive.verify.rungs import adjoint, numeric, second
from derive.verify.structural import broken
from derive.verify.sweep import Sweep

SEEDS = (0, 1, 2)
UNSOUND = "nothing was planted: without any planted bug the results are wrong already"
# what a wrong text may raise when it is run
CRASHES = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)


@dataclass(frozen=True)
class Score:
    """What became of the planted bugs."""

    total: int
    escaped: tuple[str, ...]
    equivalent: tuple[str, ...] = ()

    @property
    def killed(self) -> int:
        return self.total - len(self.escaped)

    def __str__(self) -> str:
        return f"{self.killed}/{self.total}"


@dataclass(frozen=True)
class Nursery:
    """The problems on which a planted bug is told from the truth."""

    cell: Cell
    driver: Driver
    allowed: float

    @cached_property
    def problems(self) -> tuple[Problem, ...]:
        return tuple(make(self.cell, lengths=True, resets=True, seed=seed) for seed in SEEDS)

    @cached_property
    def truths(self) -> dict[int, Gradient]:
        return {}

    def truth(self, k: int) -> Gradient:
        if k not in self.truths:
            self.truths[k] = gradient(self.problems[k])
        return self.truths[k]

    def kills(self, planted: Driver, function: str = "_vjp") -> bool:
        """Whether some problem tells the driver from the truth; a crash does."""
        return any(self.differs(planted, function, k) for k in range(len(self.problems)))

    def differs(self, planted: Driver, function: str, k: int) -> bool:
        with np.errstate(all="ignore"):
            try:
                return not all(measured.ok for measured in self.measured(planted, function, k))
            except CRASHES:
                return True

    def measured(self, planted: Driver, function: str, k: int) -> Iterator[Measurement]:
        """The measures that look at a function of the text."""
        problem = self.problems[k]
        if function.endswith("_jvp"):
            yield from second.steps(self.driver, planted, problem, self.allowed)
            yield from adjoint.identity(self.driver, planted, problem, self.allowed)
            return
        if not function.endswith("_vjp"):
            yield from numeric.forward(planted, problem, self.allowed)
        yield from numeric.full(planted, problem, self.truth(k), self.allowed)
        if not function.endswith("_vjp"):
            yield from second.steps(self.driver, planted, problem, self.allowed)

    def is_equivalent(self, mutant: Mutant) -> bool:
        """Whether the changed function has the same effect as the right one on all values that runs meet."""
        return all(same_effect(self.driver, mutant, problem) for problem in self.problems)


def in_formulas(nursery: Nursery, suffix: str = "") -> Score:
    """Plant every mutant of the step functions whose names end in `suffix`."""
    driver, planted = nursery.driver, list(mutants(nursery.driver.text, suffix))
    if any(nursery.kills(driver, function) for function in ("", "_vjp", "_jvp")):
        return Score(1, (UNSOUND,))
    alive = [mutant for mutant in planted if not nursery.kills(driver.changed(mutant.text), mutant.function)]
    equivalent = [mutant for mutant in alive if nursery.is_equivalent(mutant)]
    escaped = tuple(str(mutant) for mutant in alive if mutant not in equivalent)
    return Score(len(planted) - len(equivalent), escaped, tuple(map(str, equivalent)))


def in_time(nursery: Nursery) -> Score:
    """Plant every broken rule of backpropagation; in a tensor without gradient nothing is planted."""
    silent = {key for key, slope in nursery.truth(0).items() if not slope.any()}
    sweeps: list[type[Sweep]] = list(broken(nursery.driver.program, silent))
    escaped = [str(sweep.__doc__) for sweep in sweeps if not nursery.kills(nursery.driver.changed(sweep=sweep))]
    return Score(len(sweeps), tuple(escaped))


def reported(scores: Mapping[str, Score], problem: Problem) -> Iterator[Measurement]:
    """The scores as measurements: the number of planted bugs that escaped, which must be 0."""
    killed, total = sum(score.killed for score in scores.values()), sum(score.total for score in scores.values())
    sides = "planted bugs", f"{killed}/{total} killed"
    for place, score in scores.items():
        note = "\n    ".join([f"{score} killed", *(f"escaped: {bug}" for bug in score.escaped)])
        error = float(len(score.escaped))
        yield Measurement("planted bugs", f"in {place}", sides, error, 0.0, describe(problem), note=note)
