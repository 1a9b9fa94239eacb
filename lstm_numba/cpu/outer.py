"""Gradients of packed weights: grad[panel, k, v] += sum over rows a[row, k] slots[row, panel, v].

The slots' own sums are the gradients of the biases.  Both factors are packed block by block, so that the tile reads
contiguous memory whatever the strides of the arrays.  One panel's sums run over the rows in order: the result does not
depend on how panels are divided among threads.
"""

import numpy as np
from numba.extending import register_jitable

from lstm_numba.cpu.simd import lanes, load, load_first, store
from lstm_numba.cpu.target import HEIGHTS, tile_width, unit_vectors
from lstm_numba.cpu.tile import make_strip

# A block of rows and columns that the second-level cache holds.
ROWS, COLUMNS = 256, 512


def _make_strip_of(width: int):
    """Return strip_of(left): the height of the highest tile that fits."""
    heights = HEIGHTS[width]

    @register_jitable
    def strip_of(left):
        for height in heights:
            if height <= left:
                return height
        return 1

    return strip_of


def _make_packers(width: int):
    """Return pack_rows and pack_slots, which bring a block of both factors into the tile's order."""
    strip_of = _make_strip_of(width)

    @register_jitable
    def pack_rows(index, i0, count, start, end, a, a_row, packed):
        """a's columns in strips of a tile's height, each strip row by row, and up to a register of anything behind."""
        lane, k = lanes(a), start
        while k < end:
            strip = strip_of(end - k)
            place = (k - start) * count
            for i in range(count):
                column = index[i0 + i] * a_row + k
                # whole registers: what one writes too much is written over by the next
                for r in range(0, strip, lane):
                    store(packed, place + i * strip + r, load_first(a, column + r, end - k - r))
            k += strip

    @register_jitable
    def pack_slots(index, i0, count, slots, slots_row, column, packed, sums, place):
        """One group of slots row by row, added up on the way."""
        lane = lanes(slots)
        for v in range(width):
            total = load(sums, place + v * lane)
            for i in range(count):
                at = index[i0 + i] * slots_row + column + v * lane
                value = load(slots, at)
                store(packed, (i * width + v) * lane, value)
                total = total + value
            store(sums, place + v * lane, total)

    return pack_rows, pack_slots


def _make_group(width: int):
    """Return group(low, high, start, depth, count, packed, strips, slots, grad, g, d, d0, d_row): sums over a block.

    The rows of d from d0 on, d_row apart, as wide as a group, are fetched meanwhile: one line of each row with a strip.
    """
    strip_of, strip_times = _make_strip_of(width), make_strip(width)

    @register_jitable
    def group(low, high, start, depth, count, packed, strips, slots, grad, g, d, d0, d_row):
        lane = lanes(slots)
        n, k, line = width * lane, low, 0
        while k < high:
            strip = strip_of(high - k)
            if k + strip > start:
                c0 = (g * depth + k) * n
                strip_times(strip, count, strips, (k - low) * packed, slots, 0, grad, c0, n, d, d0 + line, d_row)
                line = min(line + lane, n - lane)
            k += strip

    return group


def make_outer(run: int, gates: int, low: int):
    """Return outer(first, last, index, counts, starts, depth, a, a_row, slots, slots_row, grad, sums).

    Panel p of first .. last - 1 takes the first counts[p] rows of `index`, and columns from starts[p] on.
    """
    units = unit_vectors(gates)
    width = tile_width(run * units)
    groups, panel_vectors, low_vectors = run * units // width, gates * units, low * units
    (pack_rows, pack_slots), group = _make_packers(width), _make_group(width)

    @register_jitable
    def outer(first, last, index, counts, starts, depth, a, a_row, slots, slots_row, grad, sums):
        n, low = width * lanes(slots), starts[first]
        strips = np.empty(ROWS * min(COLUMNS, depth - low) + lanes(a), a.dtype)
        strip_slots, summed_before = np.empty(ROWS * n, a.dtype), np.empty(n, a.dtype)
        longest = 0
        for p in range(first, last):
            longest = max(longest, counts[p])
        for i0 in range(0, longest, ROWS):
            packed = min(ROWS, longest - i0)
            for k0 in range(low, depth, COLUMNS):
                k1 = min(k0 + COLUMNS, depth)
                pack_rows(index, i0, packed, k0, k1, a, a_row, strips)
                for g in range(first * groups, last * groups):
                    p = g // groups
                    count = min(packed, counts[p] - i0)
                    if count <= 0:
                        continue
                    column = (p * panel_vectors + low_vectors) * lanes(slots) + g % groups * n
                    into, place = (sums, g * n) if k0 == low else (summed_before, 0)
                    pack_slots(index, i0, count, slots, slots_row, column, strip_slots, into, place)
                    beside = slots, index[i0] * slots_row + column + n, slots_row
                    group(k0, k1, starts[p], depth, count, packed, strips, strip_slots, grad, g, *beside)

    return outer
