"""The generated module of what a user calls a cell: a name, a module, or equations.

A cell with masks in its recurrence, and a cell of one's own, are derived when a layer is made.
"""

from importlib import import_module
from types import ModuleType
from typing import Any

from lstm_numba import derived, registry
from lstm_numba.errors import ArgumentError


def module_of(cell: Any, options: dict[str, Any], dropped: bool, zoned: tuple[str, ...] | bool) -> ModuleType:
    """Find or derive the module.

    Args:
        cell: a name, a generated module, or a `derive.Cell`.
        options: the cell's, of those that choose among its equations.
        dropped, zoned: whether the equations shall have masks for recurrent dropout, and for zoneout of which states.

    Raises:
        UnknownCellError, OptionError: no such cell, or none with these options.
        ArgumentError: it is no cell; or masks are wanted, and there are no equations to put them into.
    """
    if not dropped and not zoned:
        if isinstance(cell, str):
            return registry.find(cell, options)
        if isinstance(cell, ModuleType):
            return registry.given(cell, options)
    return derived.module_of(_masked(_equations(cell, options), dropped, zoned))


def _equations(cell: Any, options: dict[str, Any]) -> Any:
    if isinstance(cell, str):
        registry.find(cell, options)  # for its errors
        return derived.equations(cell, options)
    if not hasattr(cell, "equations"):
        kind = "a generated module" if isinstance(cell, ModuleType) else type(cell).__name__
        raise ArgumentError(
            f"cell must be a name or a derive.Cell, whose equations can be changed; got {kind}. A generated module "
            "does where nothing is to be changed: without recurrent_dropout and zoneout."
        )
    return cell.variant(**options)


def _masked(cell: Any, dropped: bool, zoned: tuple[str, ...] | bool) -> Any:
    """The cell with the masks that are wanted and that its equations do not have yet."""
    masked, states = import_module("derive.masked"), zoned if isinstance(zoned, tuple) else tuple(cell.states)
    if dropped and f"keep_{cell.outputs[0]}" not in cell.inputs:
        cell = masked.dropped(cell)
    missing = tuple(name for name in states if f"zone_{name}" not in cell.inputs)
    return masked.zoned(cell, missing) if zoned and missing else cell
