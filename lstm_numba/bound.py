"""A layer without parameters of its own: every forward is handed them, in arrays laid out as their owner likes."""

from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lstm_numba import checks
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
        self._layout, parts = layout, [{name: self._shape(shapes[name]) for name in names} for names in layout]
        self.shapes = tuple(map(_joined, parts))
        self._arrays = Parameters({str(k): shape for k, shape in enumerate(self.shapes)}, dtype, np.empty(0, dtype))
        begins = self._arrays.offsets.values()
        self._held = tuple(_placed(begin, part, dtype) for begin, part in zip(begins, parts, strict=True))
        self._make_engine()

    def joined(self, what: str, arrays: Sequence[NDArray[Any]]) -> Parameters:
        """A copy of what the arrays hold, under the numbers of the arrays: "0", "1", ...

        Raises:
            ShapeError, DtypeError, ArgumentError: an array is not what the layout says.
        """
        theta = self._arrays.of(np.empty(self.length, self.dtype))
        for k, (array, shape, names) in enumerate(zip(arrays, self.shapes, self._layout, strict=True)):
            source = f"{', '.join(names)} lie in it"
            theta[str(k)][...] = checks.array(f"{what}[{k}]", array, self.dtype, shape, source)
        return theta

    @property
    def length(self) -> int:
        """Numbers in all arrays."""
        return sum(self._arrays.sizes.values())

    def run(
        self,
        theta: Parameters,
        x: NDArray[Any],
        inputs: Mapping[str, Any],
        state: States,
        lengths: Any,
        resets: Any,
        save: bool,
    ) -> Run:
        """As `Layer.forward`, with the parameters in `theta`, from `joined`, which is not read later.

        Its gradients of the parameters come as `theta` does.
        """
        return self._run(theta, x, inputs, state, lengths, resets, save)

    def _parts(self) -> Sequence[Parameters]:
        return self._held

    def _direction(self, given: Any) -> Parameters:
        return self.joined("direction['parameters']", given)

    def _clear_masked(self, parameters: Parameters) -> None:
        for part in self._held if self._masks else ():
            super()._clear_masked(part.of(parameters.flat))

    def _zero_gradients(self) -> Parameters:
        return self._arrays.of(np.zeros(self.length, self.dtype))


def _placed(begin: int, shapes: Mapping[str, tuple[int, ...]], dtype: np.dtype[Any]) -> Parameters:
    """The places of parameters from `begin` on in a flat array."""
    part = Parameters(shapes, dtype, np.empty(0, dtype))
    part.offsets = {name: begin + offset for name, offset in part.offsets.items()}
    return part


def _joined(shapes: Mapping[str, tuple[int, ...]]) -> tuple[int, ...]:
    first = next(iter(shapes.values()))
    return (sum(shape[0] for shape in shapes.values()), *first[1:]) if first else ()
