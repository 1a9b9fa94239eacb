"""The words that work on whole rows, compiled."""

from numba.extending import register_jitable

from lstm_numba import words
from lstm_numba.cpu.simd import lanes, load, store
from lstm_numba.cpu.target import HEIGHTS, PAIR, SLOTS_TOGETHER

panels_of = register_jitable(words.panels_of)


WIDTHS = tuple(width for width in HEIGHTS if width > 1)


@register_jitable
def units_of(slots, gates):
    # unit_vectors(gates), for any number of gates
    for width in WIDTHS:
        if gates % width == 0:
            return lanes(slots)
    return PAIR * lanes(slots)


@register_jitable
def together(rows, panels, units):
    return max(1, min(panels, SLOTS_TOGETHER // (rows * units)))


@register_jitable
def spread(rows, low, length, bias, slots, base, row):
    for r in range(rows):
        for k in range(low, low + length, lanes(slots)):
            store(slots, base + r * row + k, load(bias, k))


@register_jitable
def clear(rows, array, first, row):
    for k in range(first * row, (first + rows) * row):
        array[k] = 0


@register_jitable
def ring(now, periods, tick, size):
    for j in range(size):
        tick[j] = now % periods[j] == 0


@register_jitable
def restore(rows, resets, given, start, first, states, before, row):
    for r in range(rows):
        if resets[given + r]:
            for k in range(row):
                states[(before + r) * row + k] = start[(first + r) * row + k]


@register_jitable
def release(rows, resets, given, adjoints, earlier, start, first, row):
    for r in range(rows):
        if resets[given + r]:
            for k in range(row):
                start[(first + r) * row + k] += adjoints[(earlier + r) * row + k]
                adjoints[(earlier + r) * row + k] = 0
