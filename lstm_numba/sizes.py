"""How long the padded rows of a layer are, and which places its parameters take: all that follows from sizes alone."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lstm_numba.cpu.target import LINE_BYTES, REGISTER_BYTES, WIDE, tile_width, unit_vectors
from lstm_numba.spec import CellSpec
from lstm_numba.words import Product, panels_of

# Rows a multiple of so many cache lines long would all meet in the same sets of a cache.
CROWDED = 8


def padded(length: int, itemsize: int) -> int:
    """A row's length in whole cache lines, one more where rows would crowd a cache's sets."""
    per_line = LINE_BYTES // itemsize
    lines = -(-length // per_line)
    return (lines + (lines % CROWDED == 0)) * per_line


@dataclass(frozen=True)
class Packed:
    """One operand of a stage: where its packed matrices lie and how they are cut."""

    key: str
    operand: str
    stage: int
    product: Product
    depth: int
    size: int
    panels: int
    units: int
    width: int

    @property
    def gates(self) -> int:
        return self.product.gates

    @property
    def length(self) -> int:
        """Numbers in the packed matrices."""
        return self.panels * self.product.run * self.units * self.depth

    @property
    def columns(self) -> int:
        """Slots that the operand reaches, padding included."""
        return self.panels * self.product.run * self.units


class Sizes:
    """The numbers of one layer: sizes of spaces, lengths of rows, packed operands."""

    def __init__(
        self, spec: CellSpec, products: dict[str, Product], spaces: dict[str, int], dtype: np.dtype[Any]
    ) -> None:
        self.spec, self.spaces, self.dtype = spec, spaces, dtype
        self.lanes = REGISTER_BYTES // dtype.itemsize
        self._rows: dict[str, int] = {}
        self.packed = tuple(self._packed(name, product) for name, product in products.items())

    def _packed(self, name: str, product: Product) -> Packed:
        _, stage, operand = name.split("_", 2)
        number, units = int(stage), unit_vectors(product.gates) * self.lanes
        size = self.spaces[self.spec.stages[number - 1].space]
        width = tile_width(product.run * unit_vectors(product.gates)) * self.lanes
        panels = self.slot_columns(number - 1) // units
        return Packed(f"{stage}_{operand}", operand, number, product, self._depth(operand), size, panels, units, width)

    def _depth(self, operand: str) -> int:
        return self.spaces[self.space_of(operand)]

    def space_of(self, operand: str) -> str:
        """The space of an input, a previous state or a kept value."""
        spec = self.spec
        return {**spec.kept, **{f"{s}_prev": space for s, space in spec.states.items()}, **spec.inputs}[operand]

    def row(self, space: str) -> int:
        """Numbers in one padded row of a space."""
        if space not in self._rows:
            block = WIDE * self.lanes
            self._rows[space] = padded(-(-self.spaces[space] // block) * block, self.dtype.itemsize)
        return self._rows[space]

    @cached_property
    def slot_rows(self) -> tuple[int, ...]:
        """Numbers in one padded row of slots, for each stage."""
        lengths = (len(stage.slots) * self.slot_columns(k) for k, stage in enumerate(self.spec.stages))
        return tuple(padded(length, self.dtype.itemsize) for length in lengths)

    def units(self, k: int) -> int:
        """Units in a panel of a stage (counted from 0)."""
        return unit_vectors(len(self.spec.stages[k].slots)) * self.lanes

    def slot_columns(self, k: int) -> int:
        """Units of a stage (counted from 0), padding included: as many in every stage of a space."""
        space = self.spec.stages[k].space
        units = max(unit_vectors(len(stage.slots)) for stage in self.spec.stages if stage.space == space) * self.lanes
        return panels_of(self.spaces[space], units) * units

    def ends(self, packed: Packed, starts: NDArray[np.int64]) -> NDArray[np.int64]:
        """Panels that reach each group of an operand's columns, in the order of the transposed product."""
        column, last = 0, []
        while column < packed.depth:
            wide = column + (WIDE - 1) * self.lanes < packed.depth
            column += (WIDE if wide else 1) * self.lanes
            last.append(min(column, packed.depth) - 1)
        return np.searchsorted(starts, np.array(last), side="right").astype(np.int64)
