"""Steps 1 and 5 of the engine: parameters into the kernels' order, and gradients back, one call over a table each."""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lstm_numba.cpu import pool
from lstm_numba.cpu.calls import Call
from lstm_numba.cpu.kernels import pack
from lstm_numba.cpu.memory import Arrays, Loan, Memory, Pieces, Whole
from lstm_numba.cpu.packing import MATRIX, SUM, VECTOR
from lstm_numba.cpu.script import Blank, Phase, Script
from lstm_numba.cpu.target import WIDE
from lstm_numba.errors import FixedParametersError
from lstm_numba.parameters import Parameters
from lstm_numba.sizes import Packed, Sizes
from lstm_numba.spec import CellSpec, declared

# Numbers that are worth a second thread.
WORTH = 1 << 16

Row = tuple[int, ...]


@dataclass(frozen=True, eq=False, slots=True)
class Filled(Whole):
    """What parameters are packed into, and the calls that do it."""

    filling: Script


class Packing:
    """The tables of one layer.

    Args:
        parts: which parameters and constants there are, and where in one flat array.  One that lies in two parts is
            their sum, one that lies in none is 0.
    """

    def __init__(self, spec: CellSpec, sizes: Sizes, parts: Sequence[Parameters]) -> None:
        self.spec, self.sizes, self.parts = spec, sizes, parts
        self._forward = Pieces(sizes.dtype)
        weights = {packed.key: self._forward.add(f"weights_{packed.key}", packed.length) for packed in sizes.packed}
        vectors = [*self._add_biases(), *self._add_pointwise()]
        self._both = self._forward.copy()
        back = {packed.key: self._both.add(f"back_{packed.key}", self._turned(packed)) for packed in sizes.packed}
        self._grads = Pieces(sizes.dtype)
        grads = {packed.key: self._grads.add(f"grad_{packed.key}", packed.length) for packed in sizes.packed}
        sums = {packed.key: self._grads.add(f"sums_{packed.key}", packed.columns) for packed in sizes.packed}
        self._vectors = _table(VECTOR, self._vector_rows(vectors))
        self._matrices, self._transposes = (_table(MATRIX, self._matrix_rows(at)) for at in (weights, back))
        self._grad_places, self._sum_places = grads, sums
        self._unpacking: dict[Any, tuple[list[NDArray[np.int64]], NDArray[np.int64]]] = {}
        self._memory = Memory(self._make)

    def _make(self, backward: bool, threads: int) -> Filled:
        whole = (self._both if backward else self._forward).make()
        return Filled(whole.array, whole.pieces, self._filling(whole.array, backward, threads))

    def gradient_pieces(self) -> Pieces:
        """Those that `unpack` reads, with room for others behind them."""
        return self._grads.copy()

    # --- tables

    def _places(self, name: str) -> Iterator[tuple[int, int]]:
        """(offset, size) of a parameter in every part that has it."""
        return ((part.offsets[name], part.sizes[name]) for part in self.parts if name in part)

    def _terms(self, packed: Packed) -> Iterator[tuple[str, int]]:
        """(matrix, place in the run) of an operand."""
        for place, slot in enumerate(self.spec.stages[packed.stage - 1].slots):
            for matrix, operand in slot.terms:
                if operand == packed.operand:
                    yield matrix, place - packed.product.low

    def _matrix_rows(self, targets: dict[str, int], only: Collection[str] | None = None) -> Iterator[Row]:
        for packed in self.sizes.packed:
            for matrix, place in self._terms(packed):
                name = declared(matrix)
                steps = (packed.depth, 1) if name == matrix else (1, packed.size)
                for source, _ in self._places(name) if only is None or name in only else ():
                    shape = (source, packed.size, packed.depth, targets[packed.key], place)
                    yield (*shape, packed.product.run, packed.units, packed.width, packed.panels, *steps)

    def _turned(self, packed: Packed) -> int:
        """Numbers in a transposed matrix."""
        lanes = self.sizes.lanes
        return packed.columns * -(-packed.depth // lanes) * lanes

    def _add_biases(self) -> Iterator[tuple[str, Row]]:
        """Bias -> its slot among those of the stage."""
        for k, stage in enumerate(self.spec.stages):
            gates, columns, units = len(stage.slots), self.sizes.slot_columns(k), self.sizes.units(k)
            target = self._forward.add(f"bias_{k + 1}", gates * columns)
            for place, slot in enumerate(stage.slots):
                if slot.bias is not None:
                    yield slot.bias, (target, place, gates, units, columns // units)

    def _add_pointwise(self) -> Iterator[tuple[str, Row]]:
        length = max(self.sizes.row(space) for space in self.sizes.spaces)
        for name in self.spec.pointwise:
            yield name, (self._forward.add(f"param_{name}", length), 0, 1, length, 1)

    def _vector_rows(self, vectors: list[tuple[str, Row]]) -> Iterator[Row]:
        for name, target in vectors:
            for place in self._places(name):
                yield *place, *target

    def _summed(self, only: Collection[str]) -> Iterator[tuple[str, Packed, int]]:
        """Bias -> the operand that has the sums of its slots, and its place in the run."""
        for k, stage in enumerate(self.spec.stages):
            for place, slot in enumerate(stage.slots):
                if slot.bias is not None and slot.bias in only:
                    packed = self._first_reaching(k, place)
                    yield slot.bias, packed, place - packed.product.low

    def _sum_rows(self, targets: dict[str, int], only: Collection[str]) -> Iterator[Row]:
        for name, packed, place in self._summed(only):
            for bias in self._places(name):
                yield *bias, targets[packed.key], place, packed.product.run, packed.units

    def serving(self, parameters: Collection[str]) -> set[str]:
        """The operands whose products, or sums of slots, the gradients of these parameters are made of."""
        names = {packed.key: {declared(matrix) for matrix, _ in self._terms(packed)} for packed in self.sizes.packed}
        sums = {packed.key for _, packed, _ in self._summed(parameters)}
        return sums | {key for key, matrices in names.items() if not matrices.isdisjoint(parameters)}

    def _first_reaching(self, k: int, place: int) -> Packed:
        """The first operand of a stage whose run holds the slot: its sums are the bias's gradient."""
        reaching = (p for p in self.sizes.packed if p.stage == k + 1 and 0 <= place - p.product.low < p.product.run)
        return next(reaching)

    # --- 1. pack

    def pack(self, theta: NDArray[Any], backward: bool, threads: int) -> Loan[Filled]:
        """Parameters and constants in the kernels' order."""
        loan = self._memory.lend(backward, self._worth(threads))
        loan.work.filling.run({"theta": theta})
        return loan

    def _filling(self, packed: NDArray[Any], backward: bool, threads: int) -> Script:
        shares, theta = [(share, threads) for share in range(threads)], Blank("theta")
        kernels: list[Call] = [(pack.pack_forward, (theta, self._matrices, self._vectors, packed))]
        if backward:
            kernels.append((pack.pack_backward, (theta, self._transposes, packed, WIDE)))
        clear: Phase = [[(pack.clear, (packed, *share))] for share in shares]
        return Script([clear, [[(kernel, (*given, *share)) for kernel, given in kernels] for share in shares]], threads)

    def _worth(self, threads: int) -> int:
        return threads if self._forward.length >= WORTH else 1

    # --- 5. unpack

    def unpack(
        self,
        found: NDArray[Any],
        adjoints: Arrays,
        places: NDArray[np.int64],
        theta: NDArray[Any],
        threads: int,
        parameters: tuple[str, ...],
    ) -> None:
        """Add packed sums, and the adjoints of pointwise parameters, to the gradients of these parameters."""
        matrices, sums = self._unpacking_of(self._worth(threads), parameters)
        pool.run([[(pack.unpack_matrices, (found, table, theta))] for table in matrices], len(matrices))
        pack.unpack_sums(found, sums, theta)
        for name in self.spec.accumulated:
            if name not in parameters:
                continue
            for (source, size), (array, space) in product(self._places(name), self.spec.adjoint_rows(name).items()):
                row, units = self.sizes.row(space), self.sizes.spaces[space]
                pack.sum_rows(places, adjoints[array], row, units, theta, source, size)

    def _unpacking_of(
        self, threads: int, parameters: tuple[str, ...]
    ) -> tuple[list[NDArray[np.int64]], NDArray[np.int64]]:
        """A table of matrices for each thread, that of sums."""
        key = threads, parameters
        if key not in self._unpacking:
            matrices = self._by_parameter(list(self._matrix_rows(self._grad_places, parameters)), threads)
            self._unpacking[key] = matrices, _table(SUM, self._sum_rows(self._sum_places, parameters))
        return self._unpacking[key]

    def _by_parameter(self, rows: list[Row], threads: int) -> list[NDArray[np.int64]]:
        """What is added to one parameter is added by one thread, in one order."""
        sources = sorted({source for source, *_ in rows})
        own = (set(sources[share::threads]) for share in range(threads))
        return [_table(MATRIX, (row for row in rows if row[0] in some)) for some in own]


class PackedOnce:
    """Parameters as inference reads them, packed again only where a bit of them has changed."""

    def __init__(self, make: Callable[[Parameters], Loan[Filled]]) -> None:
        self._make, self._is_fixed = make, False
        self._known: tuple[NDArray[Any], Loan[Filled]] | None = None

    def of(self, theta: Parameters) -> Loan[Filled]:
        known = self._known
        if known is not None and (self._is_fixed or pack.same_bits(_bits(theta), known[0])):
            return known[1]
        self._known = _bits(theta).copy(), self._make(theta)
        return self._known[1]

    @contextmanager
    def fixed(self, theta: Parameters, name: str) -> Iterator[None]:
        """A block in which they are not looked at; see `Layer.fixed`."""
        if self._is_fixed:
            yield
            return
        packed = self.of(theta)
        self._is_fixed = True
        try:
            yield
        finally:
            self._is_fixed = False
        if self.of(theta) is not packed:
            raise FixedParametersError(
                f"parameters of {name} were changed inside fixed(): what ran there has used those of its start; change "
                "them outside the block."
            )


def _bits(theta: Parameters) -> NDArray[Any]:
    return theta.flat.view(f"u{theta.flat.itemsize}")


def _table(columns: tuple[str, ...], rows: Iterator[Row]) -> NDArray[np.int64]:
    return np.array(list(rows), np.int64).reshape(-1, len(columns))
