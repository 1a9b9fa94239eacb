"""The words that work on whole rows, compiled."""

from numba import njit

from lstm_numba import words
from lstm_numba.cpu.simd import lanes
from lstm_numba.cpu.target import SLOTS_TOGETHER, unit_vectors

panels_of, restore, release = njit(words.panels_of), njit(words.restore), njit(words.release)


UNIT_VECTORS = tuple(unit_vectors(gates) for gates in range(1, 33))


@njit
def units_of(slots, gates):
    return lanes(slots) * UNIT_VECTORS[gates - 1]


@njit
def together(rows, panels, units):
    return max(1, min(panels, SLOTS_TOGETHER // (rows * units)))


@njit
def spread(rows, low, length, bias, slots, base, row):
    for r in range(rows):
        for k in range(low, low + length):
            slots[base + r * row + k] = bias[k]


@njit
def clear(rows, array, first, row):
    for k in range(first * row, (first + rows) * row):
        array[k] = 0


@njit
def ring(now, periods, tick, size):
    for j in range(size):
        tick[j] = now % periods[j] == 0
