"""Cells that are not generated beforehand: `derive` is asked for them when a layer is made.

This is the one place of the runtime that asks `derive`: by name, and only then.
"""

from importlib import import_module
from types import ModuleType
from typing import Any

from lstm_numba.errors import OptionError

# Options of every cell; what they mean: derive/coupled.py, derive/activated.py.
CHANGES = ("coupled", "activations", "clip")
KNOWN: dict[str, ModuleType] = {}


def equations(name: str, options: dict[str, Any]) -> Any:
    """The `derive.Cell` of a cell of the package, whose own options have been checked.

    Raises:
        OptionError: its equations cannot be changed so.
    """
    derive = import_module("derive")
    changes = {option: options[option] for option in CHANGES if options.get(option) is not None}
    cell = derive.cells[name].variant(**{option: value for option, value in options.items() if option not in CHANGES})
    try:
        cell = derive.coupled(cell, changes.pop("coupled")) if "coupled" in changes else cell
        return derive.activated(cell, **changes) if changes else cell
    except derive.DeriveError as error:
        raise OptionError(f"{error}.") from None


def module_of(cell: Any) -> ModuleType:
    """The generated module of a `derive.Cell`."""
    return import_module("derive.build").module_of(cell)


def changed(name: str, options: dict[str, Any]) -> ModuleType:
    """The module of `equations(name, options)`; the equations are made once."""
    key = repr((name, sorted(options.items())))
    if key not in KNOWN:
        KNOWN[key] = module_of(equations(name, options))
    return KNOWN[key]
