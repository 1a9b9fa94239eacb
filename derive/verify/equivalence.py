"""Whether a mutant is the right function in other words: the same effect on every value that a run meets.

The effect of a sweep is what it returns.  The effect of a forward function is what it writes, and what the two sweeps
make of the values that it keeps for them, for random adjoints and tangents.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from derive.emit.scalar import Step, StepFunction
from derive.verify.analytic import Array
from derive.verify.driver import Driver
from derive.verify.mutants import Mutant
from derive.verify.problem import Problem
from derive.verify.rungs import adjoint, second

Known = Mapping[str, Any]
RELATIVE, ABSOLUTE = 1e-12, 1e-15


def same_effect(driver: Driver, mutant: Mutant, problem: Problem) -> bool:
    """Run the right functions over a problem, in every way that they are run, and call the mutant beside them."""
    step, printed = _printed(driver, mutant.function)
    right, changed = driver.functions[printed.name], driver.changed(mutant.text).functions[printed.name]
    agreed: list[bool] = []

    def both(*arguments: Any) -> Any:
        known, results = dict(zip(printed.arguments, arguments, strict=True)), right(*arguments)
        agreed.append(
            _agree(
                _effect(driver, step, printed, known, results),
                _effect(driver, step, printed, known, changed(*arguments)),
            )
        )
        return results

    watched = driver.changed()
    watched.functions = {**driver.functions, printed.name: both}
    for _ in (*adjoint.identity(watched, watched, problem, np.inf), *second.steps(driver, watched, problem, np.inf)):
        pass
    return all(agreed)


def _printed(driver: Driver, name: str) -> tuple[Step, StepFunction]:
    pairs = ((step, function) for step in driver.generated.values() for function in step.functions)
    return next((step, function) for step, function in pairs if function.name == name)


def _effect(driver: Driver, step: Step, printed: StepFunction, known: Known, results: Any) -> list[Array]:
    if printed is not step.forward:
        return list(results)
    named = dict(zip(printed.results, results, strict=True))
    written = [named[vector.name] for vector in step.stage.writes]
    return [
        *written,
        *_swept(driver, step.backward, {**known, **named}),
        *_swept(driver, step.tangent, {**known, **named}),
    ]


def _swept(driver: Driver, sweep: StepFunction, known: Known) -> list[Array]:
    rng, shape = np.random.default_rng(0), np.broadcast_shapes(*(np.shape(value) for value in known.values()))
    given = {name: known[name] if name in known else rng.normal(size=shape) for name in sweep.arguments}
    function: Callable[..., Any] = driver.functions[sweep.name]
    return list(function(*(given[name] for name in sweep.arguments)))


def _agree(ours: list[Array], theirs: list[Array]) -> bool:
    pairs = zip(ours, theirs, strict=True)
    return all(np.allclose(found, expected, rtol=RELATIVE, atol=ABSOLUTE) for found, expected in pairs)
