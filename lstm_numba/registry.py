"""Which cells are generated, and which module holds a cell with given options."""

import importlib
import pkgutil
from collections.abc import Mapping
from functools import cache
from types import ModuleType
from typing import Any

from lstm_numba import derived, generated
from lstm_numba.checks import meant
from lstm_numba.errors import ArgumentError, OptionError, UnknownCellError
from lstm_numba.spec import CellSpec

# Options of a layer rather than of equations, for cells with a clock.
CLOCK_OPTION = "periods"

OWN = "Layers of a cell of your own are made by the class derive.build(cell)."


@cache
def modules() -> dict[str, ModuleType]:
    """Module name -> generated module of a cell."""
    names = sorted(found.name for found in pkgutil.iter_modules(generated.__path__))
    loaded = {name: importlib.import_module(f"{generated.__name__}.{name}") for name in names}
    return {name: module for name, module in loaded.items() if hasattr(module, "CELL")}


def cells() -> tuple[str, ...]:
    """The names that `Layer` takes, oldest cell first."""
    specs = [module.CELL for module in modules().values()]
    return tuple(dict.fromkeys(spec.name for spec in sorted(specs, key=lambda spec: (spec.year, spec.name))))


def find(name: str, options: dict[str, Any]) -> ModuleType:
    """The generated module of a cell with these options; generated now where they ask for other equations.

    Raises:
        UnknownCellError, OptionError: there is no such cell, or it has no such option.
    """
    changes = {option: options[option] for option in derived.CHANGES if options.get(option) is not None}
    module = _package(name, {option: value for option, value in options.items() if option not in derived.CHANGES})
    return derived.changed(name, {**module.CELL.chosen, **changes}) if changes else module


def _package(name: str, options: dict[str, Any]) -> ModuleType:
    variants = [module for module in modules().values() if module.CELL.name == name]
    if not variants:
        known = ", ".join(cells())
        raise UnknownCellError(f"there is no cell {name!r}{meant(name, cells())}; there are {known}. {OWN}")
    spec = variants[0].CELL
    chosen = {option: options.get(option, values[0]) for option, values in spec.options.items()}
    _check(spec, options, spec.options)
    return next(module for module in variants if dict(module.CELL.chosen) == chosen)


def given(module: ModuleType, options: dict[str, Any]) -> ModuleType:
    """A module that the user hands in, if it is a cell's and the options are those that it was generated for."""
    spec = getattr(module, "CELL", None)
    if not isinstance(spec, CellSpec):
        raise ArgumentError(f"{module.__name__} is not the module of a cell: make one with `derive generate FILE.py`.")
    if not spec.inputs:
        raise ArgumentError(f"{spec.name} reads no sequence, so a layer has nothing to run over: give it an input.")
    _check(spec, options, {option: (value,) for option, value in spec.chosen.items()})
    return module


def _check(spec: CellSpec, options: dict[str, Any], offered: Mapping[str, tuple[Any, ...]]) -> None:
    known = (*offered, *([CLOCK_OPTION] if spec.clock else []))
    for option, value in options.items():
        if option not in known:
            raise OptionError(
                f"{spec.name} has no option {option!r}{meant(option, (*known, *derived.CHANGES))}; its options: "
                f"{', '.join(known) or 'none'}; those of every cell: help(lstm_numba.Layer)."
            )
        if option in offered and not (isinstance(value, (str, int, float, dict)) and value in offered[option]):
            raise OptionError(f"{spec.name}: {option}={value!r} is not one of {', '.join(map(repr, offered[option]))}.")
