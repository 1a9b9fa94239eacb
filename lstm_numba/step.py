"""One step of a cell on any kind of value: the generated step functions, and the products that CELL.stages lists."""

import ast
import builtins
import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from textwrap import dedent
from types import FunctionType, ModuleType
from typing import Any

from lstm_numba.spec import Slot


@dataclass(frozen=True)
class Step:
    """A step function with the names of its arguments and results."""

    function: FunctionType
    reads: tuple[str, ...]
    gives: tuple[str, ...]


@cache
def steps(module: ModuleType) -> tuple[Step, ...]:
    """The step functions of a generated module: `step`, or `step_1`, `step_2` ..."""
    names = [name for name in vars(module) if name == "step" or name.removeprefix("step_").isdecimal()]
    return tuple(_step(getattr(module, name)) for name in names)


def _step(function: FunctionType) -> Step:
    (definition,) = ast.parse(dedent(inspect.getsource(function))).body
    assert isinstance(definition, ast.FunctionDef)
    last = definition.body[-1]
    assert isinstance(last, ast.Return)  # of a tuple of names, as generated
    assert isinstance(last.value, ast.Tuple)
    gives = tuple(name.id for name in last.value.elts if isinstance(name, ast.Name))
    return Step(function, tuple(inspect.signature(function).parameters), gives)


def clock_name(module: ModuleType) -> str | None:
    """What the step functions call the clock, the only name that nothing else defines."""
    known = {*_given(module), *(name for one in _parts(module) for name in _gives(one))}
    return next((name for step in steps(module) for name in step.reads if name not in known), None)


@cache
def in_order(module: ModuleType) -> tuple[Slot | Step, ...]:
    """Slots and step functions as they run: each as soon as all that it reads is known, the order of the stages."""
    known, waiting, found = {*_given(module), clock_name(module)}, _parts(module), []
    while waiting:
        ready = next(one for one in waiting if known.issuperset(_reads(one)))
        waiting.remove(ready)
        found.append(ready)
        known.update(_gives(ready))
    return tuple(found)


def bound(module: ModuleType, functions: Mapping[str, Callable[..., Any]]) -> tuple[Slot | Step, ...]:
    """The same on another kind of value, with its `functions`: sigmoid, tanh ... as in `lstm_numba.functions`."""
    names = {"__builtins__": builtins, **functions}
    return tuple(
        one if isinstance(one, Slot) else replace(one, function=FunctionType(one.function.__code__, names))
        for one in in_order(module)
    )


def run_step(
    parts: Iterable[Slot | Step], values: Mapping[str, Any], affine: Callable[[Slot, Mapping[str, Any]], Any]
) -> dict[str, Any]:
    """Every name of one step, from those that it begins with.

    Args:
        parts: from `bound`.
        values: inputs, previous states ("h_prev"), parameters, the clock.
        affine: a product sum and its bias, from the names known so far.
    """
    found = dict(values)
    for one in parts:
        if isinstance(one, Slot):
            found[one.name] = affine(one, found)
        else:
            found.update(zip(one.gives, one.function(*[found[name] for name in one.reads]), strict=True))
    return found


def _given(module: ModuleType) -> set[str]:
    """Names that a step begins with, but for the clock."""
    spec = module.CELL
    return {*spec.inputs, *(f"{state}_prev" for state in spec.states), *spec.parameters, *spec.constants}


def _parts(module: ModuleType) -> list[Slot | Step]:
    return [*(slot for stage in module.CELL.stages for slot in stage.slots), *steps(module)]


def _reads(one: Slot | Step) -> tuple[str, ...]:
    return one.reads if isinstance(one, Step) else tuple(operand for _, operand in one.terms)


def _gives(one: Slot | Step) -> tuple[str, ...]:
    return one.gives if isinstance(one, Step) else (one.name,)
