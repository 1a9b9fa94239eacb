"""L7, planted bugs: does the ladder see what it is there to see?

Every mutant of the generated text and every broken rule of backpropagation is run in place of the right one and held
to the ladder's own measures and tolerances.  One that is told apart is killed; all must be.  A mutant that survives
three problems although its function returns something else than the right one is an escape; one whose function returns
the same on every value that the runs meet is the right function in other words, and is not counted.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from derive.cell import Cell
from derive.verify.derivative import Gradient, gradient
from derive.verify.driver import Driver
from derive.verify.mutants import Mutant, mutants
from derive.verify.problem import Problem, make
from derive.verify.report import Measurement, describe, norm_error
from derive.verify.structural import broken
from derive.verify.subject import Subject
from derive.verify.sweep import Sweep

SEEDS = (0, 1, 2)


@dataclass(frozen=True)
class Score:
    """What became of the planted bugs."""

    killed: int
    survivors: tuple[str, ...]
    equivalent: tuple[str, ...]

    @property
    def total(self) -> int:
        return self.killed + len(self.survivors)

    def __str__(self) -> str:
        return f"{self.killed}/{self.total}"


@dataclass(frozen=True)
class Nursery:
    """The problems on which planted bugs are told from the truth."""

    cell: Cell
    driver: Driver
    allowed: float

    @cached_property
    def problems(self) -> tuple[Problem, ...]:
        return tuple(make(self.cell, lengths=True, resets=True, seed=seed) for seed in SEEDS)

    @cached_property
    def expected(self) -> dict[int, Gradient]:
        return {}

    def truth(self, k: int) -> Gradient:
        if k not in self.expected:
            self.expected[k] = gradient(self.problems[k])
        return self.expected[k]

    def kills(self, planted: Subject) -> bool:
        """Whether some problem tells the subject from the truth; a crash does."""
        return any(self.differs(planted, k) for k in range(len(self.problems)))

    def differs(self, planted: Subject, k: int) -> bool:
        try:
            with np.errstate(all="ignore"):
                found = planted.gradient(self.problems[k])
        except (ArithmeticError, IndexError, KeyError, TypeError, ValueError):
            return True
        return any(not norm_error(found[key], slope) <= self.allowed for key, slope in self.truth(k).items())

    def is_equivalent(self, mutant: Mutant) -> bool:
        """Whether the changed function returns the same as the right one on the values that runs meet."""
        return all(_same_calls(self.driver, mutant, problem) for problem in self.problems)


def _same_calls(driver: Driver, mutant: Mutant, problem: Problem) -> bool:
    changed = driver.changed(mutant.text).functions[mutant.function]
    right, agreed = driver.functions[mutant.function], []

    def both(*arguments: object) -> object:
        results = right(*arguments)
        pairs = zip(results, changed(*arguments), strict=True)
        agreed.append(all(np.allclose(ours, theirs, rtol=1e-12, atol=1e-15) for theirs, ours in pairs))
        return results

    watched = driver.changed()
    watched.functions = {**driver.functions, mutant.function: both}
    watched.gradient(problem)
    return all(agreed)


def score(cell: Cell, driver: Driver, allowed: float) -> Score:
    """Plant every bug and count."""
    nursery = Nursery(cell, driver, allowed)
    escaped = [mutant for mutant in mutants(driver.text) if not nursery.kills(driver.changed(mutant.text))]
    equivalent = tuple(str(mutant) for mutant in escaped if nursery.is_equivalent(mutant))
    structural = [sweep for sweep in planted_sweeps(nursery) if not nursery.kills(driver.changed(sweep=sweep))]
    survivors = [str(mutant) for mutant in escaped if str(mutant) not in equivalent]
    survivors += [str(sweep.__doc__) for sweep in structural]
    total = sum(1 for _ in mutants(driver.text)) + sum(1 for _ in planted_sweeps(nursery))
    return Score(total - len(survivors) - len(equivalent), tuple(survivors), equivalent)


def planted_sweeps(nursery: Nursery) -> Iterator[type[Sweep]]:
    """The broken rules that make a difference; nothing is planted in a tensor whose gradient is zero."""
    silent = {key for key, slope in nursery.truth(0).items() if not slope.any()}
    yield from broken(nursery.driver.program, silent)


def measure(cell: Cell, driver: Driver, allowed: float) -> Iterator[Measurement]:
    """The score as a measurement: the share of planted bugs that escaped, which must be none."""
    found = score(cell, driver, allowed)
    escaped = len(found.survivors) / max(found.total, 1)
    remarks = [f"{found} killed", *(f"escaped: {survivor}" for survivor in found.survivors)]
    problem = describe(make(cell, lengths=True, resets=True))
    sides = ("planted bugs", f"{found} killed")
    yield Measurement("planted bugs", "escaped", sides, escaped, 0.0, problem, note="\n    ".join(remarks))
