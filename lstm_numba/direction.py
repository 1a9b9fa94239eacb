"""A direction: a change of everything that a forward reads, as the user gives it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lstm_numba import checks
from lstm_numba.parameters import Parameters

if TYPE_CHECKING:
    from lstm_numba.layer import Layer

Arrays = dict[str, Any]


@dataclass(frozen=True)
class Direction:
    """One array for each input sequence, parameter and first state; zeros where none was given."""

    inputs: Arrays
    theta: Parameters
    state: Arrays

    @classmethod
    def of(cls, layer: "Layer", given: Mapping[str, Any], steps: int, size: int) -> "Direction":
        """Check what a user gave for a run of `steps` steps and `size` rows.

        Raises:
            ArgumentError, ShapeError, DtypeError: it is not a direction of this run.
        """
        found = checks.only("direction", given, (*layer.spec.inputs, "parameters", "state"))
        state = layer._state("direction['state']", found.get("state"), size)
        return cls(_inputs(layer, found, steps, size), _theta(layer, found.get("parameters")), state)


def _inputs(layer: "Layer", given: Mapping[str, Any], steps: int, size: int) -> Arrays:
    found = {}
    for name, space in layer.spec.inputs.items():
        shape, source = (steps, size, layer.spaces[space]), f"the shape of {name}"
        found[name] = checks.optional(f"direction[{name!r}]", given.get(name), layer.dtype, shape, source)
    return found


def _theta(layer: "Layer", given: Mapping[str, Any] | None) -> Parameters:
    """Parameters and constants, the latter fixed."""
    theta, what = layer._theta.zeros_like(), "direction['parameters']"
    for name, value in checks.only(what, given, tuple(layer.parameters)).items():
        shape, source = theta[name].shape, f"the shape of parameter {name}"
        theta[name] = checks.optional(f"{what}[{name!r}]", value, layer.dtype, shape, source).reshape(shape)
    return theta
