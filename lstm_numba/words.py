"""The words of the generated kernels, in plain Python: what each of them means.

A generated module imports these, so its kernels run as they are, slowly, on NumPy arrays; `lstm_numba.cpu.kernels`
binds the same words to SIMD registers and compiles the same text.  Arrays are flat; a place in one is an index.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lstm_numba.cpu.target import REGISTER_BYTES, SLOTS_TOGETHER, WIDE, tile_width, unit_vectors

Array = NDArray[Any]


def lanes(array: Array) -> int:
    """Numbers in one register."""
    return REGISTER_BYTES // array.itemsize


def units_of(slots: Array, gates: int) -> int:
    """Units in one panel of a stage with so many gates."""
    return unit_vectors(gates) * lanes(slots)


def panels_of(size: int, units: int, beside: int = 0) -> int:
    """Panels that hold `size` units; the last one may be padded, as far as those of the stages beside it."""
    widest = max(units, beside)
    return -(-size // widest) * widest // units


def together(rows: int, panels: int, units: int) -> int:
    """Panels whose products are computed before the pointwise stage reads them: as many as the cache holds."""
    return max(1, min(panels, SLOTS_TOGETHER // (rows * units)))


# --- registers


def load(array: Array, index: int) -> Array:
    """array[index : index + lanes]."""
    return array[index : index + lanes(array)].copy()


def store(array: Array, index: int, value: Array) -> None:
    """array[index : index + lanes] = value."""
    array[index : index + lanes(array)] = value


def load_first(array: Array, index: int, count: int) -> Array:
    """As load, but only `count` numbers are read; the others are 0."""
    value = np.zeros(lanes(array), array.dtype)
    found = array[index : index + min(max(count, 0), lanes(array))]
    value[: len(found)] = found
    return value


def store_first(array: Array, index: int, value: Array, count: int) -> None:
    """As store, but only `count` numbers are written; a tangent that is always 0 is a number."""
    kept = min(max(count, 0), lanes(array))
    array[index : index + kept] = np.broadcast_to(value, lanes(array))[:kept]


# --- rows


def spread(rows: int, low: int, length: int, bias: Array, slots: Array, base: int, row: int) -> None:
    """Every row's slots low .. low + length, whole registers, become the bias."""
    for r in range(rows):
        start = base + r * row + low
        slots[start : start + length] = bias[low : low + length]


def clear(rows: int, array: Array, first: int, row: int) -> None:
    """Rows first .. first + rows become 0."""
    array[first * row : (first + rows) * row] = 0


def restore(
    rows: int, resets: Array, given: int, start: Array, first: int, states: Array, before: int, row: int
) -> None:
    """Rows that are reset at this step get their first states again."""
    for r in range(rows):
        if resets[given + r]:
            states[(before + r) * row : (before + r + 1) * row] = start[(first + r) * row : (first + r + 1) * row]


def release(
    rows: int, resets: Array, given: int, adjoints: Array, earlier: int, start: Array, first: int, row: int
) -> None:
    """Rows that were reset at this step give their adjoint to the first states."""
    for r in range(rows):
        if resets[given + r]:
            here = slice((earlier + r) * row, (earlier + r + 1) * row)
            start[(first + r) * row : (first + r + 1) * row] += adjoints[here]
            adjoints[here] = 0


def ring(now: int, periods: Array, tick: Array, size: int) -> None:
    """tick[j] = 1 where the period of unit j divides the step, else 0."""
    tick[:size] = now % periods[:size] == 0


# --- products


@dataclass(frozen=True)
class Product:
    """multiply(rows, panel, panels, start, depth, a, a0, a_row, w, c, c0, c_row): slots += W a.

    The operand reaches `run` of a panel's `gates`, from slot `low` on; w is packed[panel][group][k][width].  The sum
    runs over k = start .. depth - 1.
    """

    run: int
    gates: int
    low: int

    def __call__(self, rows, panel, panels, start, depth, a, a0, a_row, w, c, c0, c_row):
        units = units_of(c, self.gates)
        n = tile_width(self.run * unit_vectors(self.gates)) * lanes(c)
        groups = self.run * units // n
        for p in range(panel, panel + panels):
            packed = w[p * groups * depth * n : (p + 1) * groups * depth * n].reshape(groups, depth, n)[:, start:]
            column = c0 + p * self.gates * units + self.low * units
            for r in range(rows):
                vector = a[a0 + r * a_row + start : a0 + r * a_row + depth]
                place = column + r * c_row
                c[place : place + groups * n] += np.einsum("k,gkn->gn", vector, packed).ravel()


@dataclass(frozen=True)
class Biased:
    """biased(rows, panel, panels, depth, a, a0, a_row, w, bias, c, c0, c_row): slots = biases + W a.

    The operand reaches all slots; w is packed as for `Product`.
    """

    gates: int

    def __call__(self, rows, panel, panels, depth, a, a0, a_row, w, bias, c, c0, c_row):
        length = self.gates * units_of(c, self.gates)
        spread(rows, panel * length, panels * length, bias, c, c0, c_row)
        Product(self.gates, self.gates, 0)(rows, panel, panels, 0, depth, a, a0, a_row, w, c, c0, c_row)


@dataclass(frozen=True)
class Transposed:
    """transpose(rows, low, high, panels, ends, slots, a0, a_row, w, c, c0, c_row, size): c += W' slots.

    Panels low .. high - 1 of `panels` take part, and of them only those below ends[group]; w is
    packed[group][panel][run][n], groups of WIDE registers, then single ones.
    """

    run: int
    gates: int
    low: int

    def __call__(self, rows, low, high, panels, ends, slots, a0, a_row, w, c, c0, c_row, size):
        units, n = units_of(slots, self.gates), lanes(c)
        used, column, offset, group = self.run * units, 0, 0, 0
        while column < size:
            wide = WIDE * n if column + (WIDE - 1) * n < size else n
            packed = w[offset : offset + panels * used * wide].reshape(panels, used, wide)
            for p in range(low, min(high, ends[group])):
                for r in range(rows):
                    place, to = a0 + r * a_row + (p * self.gates + self.low) * units, c0 + r * c_row + column
                    c[to : to + wide] += slots[place : place + used] @ packed[p]
            offset, column, group = offset + panels * used * wide, column + wide, group + 1
