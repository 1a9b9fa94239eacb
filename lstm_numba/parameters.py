"""A layer's parameters: named views of one flat vector, so that an optimiser, a norm or a file can take them all at once."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lstm_numba.checks import as_array, unknown
from lstm_numba.errors import DtypeError, ShapeError
from lstm_numba.spec import CellSpec


class Parameters(Mapping[str, NDArray[Any]]):
    """name -> writable array.  Assigning copies into the array, which stays the same: `p["W_i"] = w`, `p["W_i"] *= 2`.

    Attributes:
        flat: all of them, one after the other in order.
    """

    def __init__(self, shapes: Mapping[str, tuple[int, ...]], dtype: np.dtype[Any], flat: NDArray[Any] | None = None) -> None:
        sizes = [int(np.prod(shape)) for shape in shapes.values()]
        self.offsets = dict(zip(shapes, np.cumsum([0, *sizes]).tolist(), strict=False))
        self.flat = np.zeros(sum(sizes), dtype) if flat is None else flat
        self._views = {
            name: self.flat[self.offsets[name] : self.offsets[name] + size].reshape(shape)
            for (name, shape), size in zip(shapes.items(), sizes, strict=True)
        }

    def __getitem__(self, name: str) -> NDArray[Any]:
        if name not in self._views:
            raise unknown(name, self._views)
        return self._views[name]

    def __setitem__(self, name: str, value: ArrayLike) -> None:
        view, array = self[name], as_array(f"parameter {name}", value)
        if array.shape != view.shape:
            raise ShapeError(f"parameter {name} has shape {view.shape}, got {array.shape}.")
        if not np.can_cast(array.dtype, view.dtype, "same_kind"):
            raise DtypeError(f"parameter {name} is {view.dtype}, got {array.dtype}: give it np.asarray(value, '{view.dtype}').")
        view[...] = array

    def __contains__(self, name: object) -> bool:
        return name in self._views

    def __iter__(self) -> Iterator[str]:
        return iter(self._views)

    def __len__(self) -> int:
        return len(self._views)

    def __repr__(self) -> str:
        return f"Parameters({', '.join(f'{name} {view.shape}' for name, view in self._views.items())})"


def initialise(parameters: Parameters, spec: CellSpec, hidden_size: int, seed: int) -> None:
    """Matrices and vectors uniform in +-1/sqrt(H), biases 0, and what the cell says of some (b_f = 1), in order of appearance."""
    random, bound = np.random.default_rng(seed), 1 / np.sqrt(max(hidden_size, 1))
    for name, array in parameters.items():
        if name in spec.initial:
            array[...] = spec.initial[name]
        elif name not in spec.biases:
            array[...] = random.uniform(-bound, bound, array.shape)
