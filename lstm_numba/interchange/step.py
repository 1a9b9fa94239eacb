"""One step of a cell on any kind of value: the generated step functions, and the products that CELL.stages lists."""

import ast
import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
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
    spec, found = module.CELL, steps(module)
    states = [name for state in spec.states for name in (state, f"{state}_prev")]
    slots = [slot.name for stage in spec.stages for slot in stage.slots]
    known = {*spec.inputs, *states, *spec.parameters, *spec.constants, *slots, *(n for s in found for n in s.gives)}
    return next((name for step in found for name in step.reads if name not in known), None)


def run_step(
    module: ModuleType,
    values: Mapping[str, Any],
    affine: Callable[[Slot, Mapping[str, Any]], Any],
    functions: Mapping[str, Callable[..., Any]],
) -> dict[str, Any]:
    """Every name of one step, from those that it begins with.

    Args:
        values: inputs, previous states ("h_prev"), parameters, the clock.
        affine: a product sum and its bias, from the names known so far.
        functions: sigmoid, tanh ... on this kind of value, as `lstm_numba.functions` on NumPy arrays.

    A slot or a step function runs as soon as all that it reads is known: the order of the stages.
    """
    found = dict(values)
    waiting: list[Slot | Step] = [slot for stage in module.CELL.stages for slot in stage.slots]
    waiting += steps(module)
    while waiting:
        ready = next(one for one in waiting if all(name in found for name in _reads(one)))
        waiting.remove(ready)
        if isinstance(ready, Slot):
            found[ready.name] = affine(ready, found)
            continue
        text = FunctionType(ready.function.__code__, {**ready.function.__globals__, **functions})
        found |= zip(ready.gives, text(*(found[name] for name in ready.reads)), strict=True)
    return found


def _reads(one: Slot | Step) -> Iterable[str]:
    return one.reads if isinstance(one, Step) else (operand for _, operand in one.terms)
