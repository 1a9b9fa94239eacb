"""Steps 1 and 5 of the engine: parameters into the kernels' order, and gradients back, one call over a table each."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from lstm_numba.cpu.kernels import pack
from lstm_numba.cpu.memory import zeros
from lstm_numba.cpu.packing import MATRIX, SUM, VECTOR
from lstm_numba.cpu.target import WIDE
from lstm_numba.parameters import Parameters
from lstm_numba.sizes import Packed, Sizes
from lstm_numba.spec import CellSpec

Arrays = dict[str, NDArray]
Slices = dict[str, slice]


class _Buffer:
    """Consecutive named pieces of one array."""

    def __init__(self) -> None:
        self.slices: Slices = {}
        self.length = 0

    def add(self, name: str, length: int) -> int:
        """Where the piece begins."""
        begin, self.length = self.length, self.length + length
        self.slices[name] = slice(begin, self.length)
        return begin


class Packing:
    """The tables of one layer; of what `theta` holds, if that is not all of its parameters."""

    def __init__(self, spec: CellSpec, sizes: Sizes, theta: Parameters) -> None:
        self.spec, self.sizes = spec, sizes
        self._forward, self._back, self._grads = _Buffer(), _Buffer(), _Buffer()
        held = set(theta)
        self._matrices = _table(MATRIX, self._matrix_rows(theta, self._forward, "weights_", _weights, held))
        self._vectors = _table(VECTOR, self._vector_rows(theta))
        self._transposes = _table(MATRIX, self._matrix_rows(theta, self._back, "back_", self._transposed_length, held))
        trained = held & set(spec.parameters)
        self._unpacked = _table(MATRIX, self._matrix_rows(theta, self._grads, "grad_", _weights, trained))
        self._sums = _table(SUM, self._sum_rows(theta, trained))

    # --- tables

    def _terms(self, packed: Packed) -> Iterator[tuple[str, int]]:
        """(matrix, place in the run) of an operand."""
        for place, slot in enumerate(self.spec.stages[packed.stage - 1].slots):
            for matrix, operand in slot.terms:
                if operand == packed.operand:
                    yield matrix, place - packed.product.low

    def _matrix_rows(self, theta, buffer, prefix, length_of, only) -> Iterator[tuple[int, ...]]:
        for packed in self.sizes.packed:
            target = buffer.add(prefix + packed.key, length_of(packed))
            for matrix, place in self._terms(packed):
                if matrix in only:
                    shape = (theta.offsets[matrix], packed.size, packed.depth, target, place)
                    yield (*shape, packed.product.run, packed.units, packed.width, packed.panels)

    def _transposed_length(self, packed: Packed) -> int:
        lanes = self.sizes.lanes
        return packed.columns * -(-packed.depth // lanes) * lanes

    def _vector_rows(self, theta: Parameters) -> Iterator[tuple[int, ...]]:
        for k, stage in enumerate(self.spec.stages):
            gates, columns, units = len(stage.slots), self.sizes.slot_columns(k), self.sizes.units(k)
            target = self._forward.add(f"bias_{k + 1}", gates * columns)
            for place, slot in enumerate(stage.slots):
                if slot.bias is not None and slot.bias in theta:
                    bias = theta.offsets[slot.bias], theta.sizes[slot.bias]
                    yield (*bias, target, place, gates, units, columns // units)
        length = max(self.sizes.row(space) for space in self.sizes.spaces)
        for name in self.spec.pointwise:
            target = self._forward.add(f"param_{name}", length)
            if name in theta:
                yield theta.offsets[name], theta.sizes[name], target, 0, 1, length, 1

    def _sum_rows(self, theta: Parameters, trained: set[str]) -> Iterator[tuple[int, ...]]:
        begins = {packed.key: self._grads.add(f"sums_{packed.key}", packed.columns) for packed in self.sizes.packed}
        for k, stage in enumerate(self.spec.stages):
            for place, slot in enumerate(stage.slots):
                if slot.bias in trained:
                    packed = self._first_reaching(k, place)
                    bias = theta.offsets[slot.bias], theta.sizes[slot.bias]
                    yield (*bias, begins[packed.key], place - packed.product.low, packed.product.run, packed.units)

    def _first_reaching(self, k: int, place: int) -> Packed:
        """The first operand of a stage whose run holds the slot: its sums are the bias's gradient."""
        reaching = (p for p in self.sizes.packed if p.stage == k + 1 and 0 <= place - p.product.low < p.product.run)
        return next(reaching)

    # --- 1. pack

    def pack(self, theta: Parameters, backward: bool) -> Arrays:
        """Parameters and constants in the kernels' order, by the names of the kernels' arguments."""
        return packed_sum([(self, theta.flat)], backward)

    # --- 5. unpack

    def new_grads(self) -> tuple[NDArray, Arrays]:
        """Zeros for the packed gradients: all of them, and each by name."""
        grads = zeros(self._grads.length, self.sizes.dtype)
        return grads, {name: grads[piece] for name, piece in self._grads.slices.items()}

    def unpack(self, grads: NDArray, adjoints: Arrays, places: NDArray[np.int64], gradients: Parameters) -> None:
        """Packed sums and the adjoints of pointwise parameters -> gradients."""
        pack.unpack(grads, self._unpacked, self._sums, gradients.flat)
        for name in filter(gradients.__contains__, self.spec.accumulated):
            target = gradients.flat, gradients.offsets[name], gradients.sizes[name]
            for array, space in self.spec.adjoint_rows(name).items():
                pack.sum_rows(places, adjoints[array], self.sizes.row(space), self.sizes.spaces[space], *target)


def packed_sum(parts: Sequence[tuple[Packing, NDArray]], backward: bool) -> Arrays:
    """As `Packing.pack`, for parameters in several arrays: one that lies in two is their sum, one in none is 0."""
    tables = parts[0][0]
    packed = zeros(tables._forward.length, tables.sizes.dtype)
    for part, flat in parts:
        pack.pack_forward(flat, part._matrices, part._vectors, packed)
    arrays = {name: packed[piece] for name, piece in tables._forward.slices.items()}
    if backward:
        back = zeros(tables._back.length, tables.sizes.dtype)
        for part, flat in parts:
            pack.pack_backward(flat, part._transposes, back, WIDE, tables.sizes.lanes)
        arrays |= {name: back[piece] for name, piece in tables._back.slices.items()}
    return arrays


def _weights(packed: Packed) -> int:
    return packed.length


def _table(columns: tuple[str, ...], rows: Iterator[tuple[int, ...]]) -> NDArray[np.int64]:
    return np.array(list(rows), np.int64).reshape(-1, len(columns))
