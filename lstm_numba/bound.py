"""A layer without parameters of its own: every forward is handed them, in arrays laid out as their owner likes."""

from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lstm_numba import checks
from lstm_numba.cpu.engine import Adjoints, flat
from lstm_numba.cpu.packed import Packing, packed_sum
from lstm_numba.layer import Layer, States
from lstm_numba.parameters import Parameters
from lstm_numba.run import Run

# For each array, the parameters that lie in it one after the other: ("W_i", "W_f", "W_g", "W_o").
Layout = tuple[tuple[str, ...], ...]


class Bound(Layer):
    """One generated cell at one size.

    Args:
        module: the generated module.
        spaces: size of every space, N and H among them.
        dtype: of all arrays.
        layout: what lies where.  A parameter that lies in two arrays is their sum, one that lies in none is 0.
        threads, reverse: as of `Layer`.
        periods: of the modules of units, for a cell with a clock.

    Attributes:
        shapes: of the arrays: those of the parameters in it, joined along the first axis.
    """

    def __init__(
        self,
        module: ModuleType,
        spaces: Mapping[str, int],
        dtype: np.dtype[Any],
        layout: Layout,
        *,
        threads: int = 1,
        reverse: bool = False,
        periods: tuple[int, ...] | None = None,
    ) -> None:
        self._module, self.spec, self.dtype, self.device = module, module.CELL, dtype, "cpu"
        self.spaces, self.threads, self.reverse = dict(spaces), threads, reverse
        self.options, self._periods = dict(self.spec.chosen), periods
        shapes = {**self.spec.parameters, **self.spec.constants}
        self._parts = [self._places({name: self._shape(shapes[name]) for name in names}) for names in layout]
        self._theta = self._places({name: self._shape(shape) for name, shape in shapes.items()})
        self._make_engine()
        self._packings = [Packing(self.spec, self._engine.sizes, part) for part in self._parts]
        self.shapes = tuple(map(_joined, self._parts))

    def _places(self, shapes: Mapping[str, tuple[int, ...]]) -> Parameters:
        return Parameters(shapes, self.dtype, np.empty(0, self.dtype))

    def run(
        self,
        theta: Sequence[NDArray[Any]],
        x: NDArray[Any],
        inputs: Mapping[str, Any],
        state: States,
        lengths: Any,
        resets: Any,
        save: bool,
    ) -> Run:
        """As `Layer.forward`, with the parameters in `theta`; its gradients' are one `Parameters` for each array."""
        return self._run(self._checked("parameters", theta), x, inputs, state, lengths, resets, save)

    def _direction(self, given: Any) -> list[NDArray[Any]]:
        return self._checked("direction['parameters']", given)

    def _checked(self, what: str, theta: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        if len(theta) == len(self.shapes) and all(map(self._is_sound, theta, self.shapes)):
            return list(theta)
        given = zip(theta, self.shapes, self._parts, strict=True)
        return [
            checks.array(f"{what}[{k}]", array, self.dtype, shape, f"{', '.join(part)} lie in it")
            for k, (array, shape, part) in enumerate(given)
        ]

    def _is_sound(self, array: NDArray[Any], shape: tuple[int, ...]) -> bool:
        """What `checks.array` would return as it is, found out at a tenth of the cost."""
        return array.dtype == self.dtype and array.shape == shape and array.flags.c_contiguous

    def _packed(self, backward: bool, theta: Sequence[NDArray[Any]]) -> dict[str, NDArray[Any]]:
        flats = [self._cleared(part, flat(array)) for part, array in zip(self._parts, theta, strict=True)]
        return packed_sum(list(zip(self._packings, flats, strict=True)), backward)

    def _cleared(self, part: Parameters, values: NDArray[Any]) -> NDArray[Any]:
        """The values, structure applied; a copy only where there is one."""
        if self._masks.keys().isdisjoint(part):
            return values
        held = part._with(values.copy())
        self._clear_masked(held)
        return held.flat

    def _packed_once(self, theta: Sequence[NDArray[Any]]) -> dict[str, NDArray[Any]]:
        return self._packed(False, theta)  # who owns the arrays may own others of these sizes

    def _zero_gradients(self) -> list[Parameters]:
        return [part._with(np.zeros(sum(part.sizes.values()), self.dtype)) for part in self._parts]

    def _add_gradients(self, adjoints: Adjoints, places: NDArray[np.int64], gradients: list[Parameters]) -> None:
        for packing, part in zip(self._packings, gradients, strict=True):
            packing.unpack(adjoints.grads, adjoints.arrays, places, part)
            self._clear_masked(part)


def _joined(part: Parameters) -> tuple[int, ...]:
    first = next(iter(part.shapes.values()))
    return (sum(shape[0] for shape in part.shapes.values()), *first[1:]) if first else ()
