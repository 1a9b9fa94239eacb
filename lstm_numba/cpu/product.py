"""The words `Product`, `Biased`, `Transposed` on SIMD registers: a batch times packed weights, in blocks for the cache.

A row's sum runs over k in order whatever the blocking, so a row's bits do not depend on the batch it is part of.
"""

from numba.extending import register_jitable

from lstm_numba.cpu.linked import linked
from lstm_numba.cpu.simd import lanes
from lstm_numba.cpu.target import BLOCK, WIDE, groups_at_once, tile_width, unit_vectors
from lstm_numba.cpu.tile import make_flat, make_pieces, make_rows


def make_sums(run: int, gates: int, low: int):
    """Return sums(rows, panel, panels, start, depth, a, a0, a_row, w, d, d0, d_row, c, c0, c_row): c = d + W a."""
    units = unit_vectors(gates)
    width = tile_width(run * units)
    groups, panel_vectors, low_vectors = run * units // width, gates * units, low * units
    at_once = groups_at_once(1, width)
    regular = groups == 1 or run == gates
    rows_times, flat = make_rows(width), make_flat(width, at_once)

    @register_jitable
    def sums(rows, panel, panels, start, depth, a, a0, a_row, w, d, d0, d_row, c, c0, c_row):
        n, length, offset = width * lanes(c), panel_vectors * lanes(c), low_vectors * lanes(c)
        g, last = panel * groups, (panel + panels) * groups
        if rows == 1 and regular:
            step = length if groups == 1 else n
            while g + at_once <= last:
                w0, column = (g * depth + start) * n, offset + g * step
                flat(depth - start, a, a0 + start, w, w0, depth * n, d, d0 + column, c, c0 + column, step)
                g += at_once
        # every other time backwards: the weights that were read last are still in the first-level cache
        turned = rows == 1 and c0 // c_row % 2 == 1
        for k in range(start, depth, BLOCK):
            count = min(BLOCK, depth - k)
            for i in range(g, last):
                h = g + last - 1 - i if turned else i
                w0, column = (h * depth + k) * n, offset + h // groups * length + h % groups * n
                there = d, d0 + column, d_row, c, c0 + column, c_row
                rows_times(rows, count, a, a0 + k, a_row, w, w0, depth * n, *there)
            d, d0, d_row = c, c0, c_row

    return sums


def make_multiply(run: int, gates: int, low: int):
    """Return the compiled meaning of `Product(run, gates, low)`."""
    sums = linked(make_sums, run, gates, low)

    @register_jitable
    def multiply(rows, panel, panels, start, depth, a, a0, a_row, w, c, c0, c_row):
        sums(rows, panel, panels, start, depth, a, a0, a_row, w, c, c0, c_row, c, c0, c_row)

    return multiply


def make_biased(gates: int):
    """Return the compiled meaning of `Biased(gates)`."""
    sums = linked(make_sums, gates, gates, 0)

    @register_jitable
    def biased(rows, panel, panels, depth, a, a0, a_row, w, bias, c, c0, c_row):
        sums(rows, panel, panels, 0, depth, a, a0, a_row, w, bias, 0, 0, c, c0, c_row)

    return biased


def make_transpose(run: int, gates: int, low: int):
    """Return the compiled meaning of `Transposed(run, gates, low)`."""
    units = unit_vectors(gates)
    panel_vectors, low_vectors, used_vectors, whole = gates * units, low * units, run * units, run == gates
    at_once = groups_at_once(1, WIDE)
    wide_slots, one_slots = linked(make_slots, WIDE, whole), linked(make_slots, 1, whole)
    flat = make_flat(WIDE, at_once)

    @register_jitable
    def columns(rows, count, a, a0, a_row, k, w, depth, ends, used, length, c, c0, c_row, size, group, column):
        """c[:, column:] += a[:, k : k + count] w[group][k : k + count] for every group that reaches so far."""
        lane = lanes(c)
        offset = column * depth
        while column < size:
            wide = column + (WIDE - 1) * lane < size
            n = WIDE * lane if wide else lane
            terms = min(count, ends[group] * used - k)
            if terms > 0:
                there = a, a0, a_row, w, offset + k * n, depth * n, c, c0 + column, c_row, c, c0 + column, c_row
                if wide:
                    wide_slots(terms, used, length, rows, *there)
                else:
                    one_slots(terms, used, length, rows, *there)
            offset, column, group = offset + depth * n, column + n, group + 1

    @register_jitable
    def transpose(rows, low, high, panels, ends, slots, a0, a_row, w, c, c0, c_row, size):
        lane = lanes(c)
        used, length, base = used_vectors * lane, panel_vectors * lane, a0 + low_vectors * lane
        column, group, n, depth = 0, 0, WIDE * lane, panels * used
        if rows == 1 and whole and low == 0 and high == panels and ends[0] == panels:
            while column + at_once * n - lane < size:
                flat(depth, slots, base, w, column * depth, depth * n, c, c0 + column, c, c0 + column, n)
                column, group = column + at_once * n, group + at_once
        step = BLOCK if whole else max(BLOCK // used, 1) * used
        for k in range(low * used, high * used, step):
            place = base + (k if whole else k // used * length)
            count = min(step, high * used - k)
            fixed = a_row, k, w, depth, ends, used, length, c, c0, c_row, size
            columns(rows, count, slots, place, *fixed, group, column)

    return transpose


def make_slots(vectors: int, whole: bool):
    """Return slots_times(terms, used, length, rows, ...): a product over slots, in pieces of `used` of every `length`.

    They are contiguous only where the operand reaches them all.
    """
    rows_times, pieces_times = make_rows(vectors), make_pieces(vectors)

    @register_jitable
    def contiguous(terms, used, length, rows, a, a0, a_row, b, b0, b_next, d, d0, d_row, c, c0, c_row):
        rows_times(rows, terms, a, a0, a_row, b, b0, b_next, d, d0, d_row, c, c0, c_row)

    @register_jitable
    def in_pieces(terms, used, length, rows, a, a0, a_row, b, b0, b_next, d, d0, d_row, c, c0, c_row):
        pieces_times(terms // used, length, rows, used, a, a0, a_row, b, b0, b_next, d, d0, d_row, c, c0, c_row)

    return contiguous if whole else in_pieces
