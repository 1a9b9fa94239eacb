"""A layer's parameters: named views of one flat vector: an optimiser, a norm or a file can take them all at once."""

from collections.abc import Iterator, Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lstm_numba.checks import as_array, unknown
from lstm_numba.errors import DtypeError, ShapeError
from lstm_numba.spec import CellSpec


class Parameters(Mapping[str, NDArray[Any]]):
    """name -> writable array.  Assigning copies into the array, which stays the same: `p["W_i"] = w`, `p["W_i"] *= 2`.

    Attributes:
        flat: all of them, one after the other in order.
        shapes, offsets: name -> shape, and where it begins in `flat`.
    """

    def __init__(
        self, shapes: Mapping[str, tuple[int, ...]], dtype: np.dtype[Any], flat: NDArray[Any] | None = None
    ) -> None:
        self.shapes = dict(shapes)
        self.sizes = {name: int(np.prod(shape)) for name, shape in shapes.items()}
        ends = np.cumsum([0, *self.sizes.values()]).tolist()
        self.offsets = dict(zip(shapes, ends, strict=False))
        self.flat = np.zeros(ends[-1], dtype) if flat is None else flat

    def zeros_like(self) -> Self:
        """The same names and shapes, all 0."""
        return self.of(np.zeros(self.flat.size, self.flat.dtype))

    def copy(self) -> Self:
        return self.of(self.flat.copy())

    def of(self, flat: NDArray[Any]) -> Self:
        """The same names and places in another flat vector."""
        other = object.__new__(type(self))
        other.shapes, other.sizes, other.offsets, other.flat = self.shapes, self.sizes, self.offsets, flat
        return other

    def __getitem__(self, name: str) -> NDArray[Any]:
        if name not in self.shapes:
            raise unknown(name, self.shapes)
        offset = self.offsets[name]
        return self.flat[offset : offset + self.sizes[name]].reshape(self.shapes[name])

    def __setitem__(self, name: str, value: ArrayLike) -> None:
        view, array = self[name], as_array(f"parameter {name}", value)
        if array.shape != view.shape:
            raise ShapeError(f"parameter {name} has shape {view.shape}, got {array.shape}.")
        if not np.can_cast(array.dtype, view.dtype, "same_kind"):
            cure = f"give it np.asarray(value, '{view.dtype}')"
            raise DtypeError(f"parameter {name} is {view.dtype}, got {array.dtype}: {cure}.")
        view[...] = array

    def __contains__(self, name: object) -> bool:
        return name in self.shapes

    def __iter__(self) -> Iterator[str]:
        return iter(self.shapes)

    def __len__(self) -> int:
        return len(self.shapes)

    def __repr__(self) -> str:
        return f"Parameters({', '.join(f'{name} {shape}' for name, shape in self.shapes.items())})"


def initialise(parameters: Parameters, spec: CellSpec, spaces: Mapping[str, int], seed: int) -> None:
    """Matrices and vectors uniform in +-1/sqrt(H), biases 0, and what the cell says of some (b_f = 1), in order."""
    random, bound = np.random.default_rng(seed), 1 / np.sqrt(max(spaces["H"], 1))
    for name, array in parameters.items():
        if name in spec.initial:
            said = spec.initial[name]
            array[...] = 1 / spaces[said.removeprefix("1/")] if isinstance(said, str) else said
        elif name not in spec.biases:
            array[...] = random.uniform(-bound, bound, array.shape)
