"""Between a layer's flat vector of parameters and the packed forms that the kernels read and write.

    weights   [panel][group][k][n]      columns are the slots of a panel; padded units repeat the last one, so that
                                        they stay as finite as it is
    back      [group][panel][slot][n]   columns are the operand's units; padded rows and columns are 0

Every function takes a table, one row for each matrix or vector: one call does them all.  Where a matrix begins in the
flat vector, how far the next row is (`down`) and how far the next column (`along`) are numbers of the table: they are
exchanged for a matrix that is read transposed.  Where the numbers of a row are neighbours, squares are turned in
registers.

What packs does a share of the panels, so that several threads can.
"""

from numba.extending import register_jitable

from lstm_numba.cpu.simd import lanes, load, store
from lstm_numba.cpu.turned import add_turned

# Columns of the tables.
MATRIX = ("source", "rows", "depth", "target", "place", "run", "units", "n", "panels", "down", "along")
VECTOR = ("source", "size", "target", "place", "gates", "units", "panels")
SUM = ("source", "size", "target", "place", "run", "units")


@register_jitable
def _add(found, to):
    """to += found, of views: what counts from 0 needs no look at negative indices, and becomes vector code."""
    for k in range(len(found)):
        to[k] += found[k]


@register_jitable
def _add_read(theta, first, length, along, to):
    """to += every along-th number of theta; neighbours are vector code."""
    if along == 1:
        _add(theta[first : first + length], to)
    else:
        _add(theta[first : first + length * along : along], to)


@register_jitable
def _add_written(found, theta, first, along):
    """The same in the other direction."""
    if along == 1:
        _add(found, theta[first : first + len(found)])
    else:
        _add(found, theta[first : first + len(found) * along : along])


@register_jitable
def _pack_matrix(theta, source, rows, depth, packed, target, place, run, units, n, panels, down, along, share, shares):
    """W (rows, depth) -> slot `place` of `run`, in a share of the panels."""
    groups, side = run * units // n, lanes(packed)
    for u in range(panels * share // shares * units, panels * (share + 1) // shares * units, side):
        column = place * units + u % units
        base = target + (u // units * groups + column // n) * depth * n + column % n
        squares = depth // side * side if along == 1 and u + side <= rows else 0
        for k in range(0, squares, side):
            add_turned(theta, source + u * down + k, down, packed, base + k * n, n)
        for j in range(side if squares < depth else 0):
            line = source + min(u + j, rows - 1) * down + squares * along
            _add_read(theta, line, depth - squares, along, packed[base + squares * n + j : base + depth * n : n])


@register_jitable
def _pack_vector(theta, source, size, packed, target, place, gates, units, panels):
    """A vector -> slot `place` of the panels; a vector of size 1 fills all units."""
    for j in range(panels * units):
        packed[target + j // units * gates * units + place * units + j % units] += theta[source + min(j, size - 1)]


@register_jitable
def _pack_transposed(
    theta, source, rows, depth, packed, target, place, run, units, panels, down, along, wide, share, shares
):
    """W (rows, depth) -> its transpose, one group of columns after the other, in a share of the panels of slots."""
    lane = lanes(packed)
    for p in range(panels * share // shares, panels * (share + 1) // shares):
        column, base = 0, target
        while column < depth:
            n = wide * lane if column + (wide - 1) * lane < depth else lane
            used = min(n, depth - column)
            squares = used // lane * lane if along == 1 else 0
            for j in range(min(units, rows - p * units)):
                line = base + ((p * run + place) * units + j) * n
                first = source + (p * units + j) * down + column * along
                for k in range(0, squares, lane):
                    store(packed, line + k, load(packed, line + k) + load(theta, first + k))
                if squares < used:
                    _add_read(theta, first + squares * along, used - squares, along, packed[line + squares : line + n])
            base, column = base + panels * run * units * n, column + n


@register_jitable
def _unpack_matrix(packed, target, theta, source, rows, depth, place, run, units, n, down, along):
    """The gradient of a packed matrix, added to theta."""
    groups, side = run * units // n, lanes(packed)
    for u in range(0, rows, side):
        column = place * units + u % units
        base = target + (u // units * groups + column // n) * depth * n + column % n
        squares = depth // side * side if along == 1 and u + side <= rows else 0
        for k in range(0, squares, side):
            add_turned(packed, base + k * n, n, theta, source + u * down + k, down)
        for j in range(min(side, rows - u) if squares < depth else 0):
            line = source + (u + j) * down + squares * along
            _add_written(packed[base + squares * n + j : base + depth * n : n], theta, line, along)


@register_jitable
def _unpack_sums(sums, target, theta, source, size, place, run, units):
    """A bias's gradient from the sums of its slots."""
    for j in range(size):
        theta[source + j] += sums[target + j // units * run * units + place * units + j % units]


def clear(packed, share, shares):
    """A share of an array."""
    packed[len(packed) * share // shares : len(packed) * (share + 1) // shares] = 0


def pack_forward(theta, matrices, vectors, packed, share, shares):
    """A share of the matrices; the first also biases and pointwise parameters."""
    for m in matrices:
        _pack_matrix(theta, m[0], m[1], m[2], packed, m[3], m[4], m[5], m[6], m[7], m[8], m[9], m[10], share, shares)
    for v in vectors[: len(vectors) if share == 0 else 0]:
        _pack_vector(theta, v[0], v[1], packed, v[2], v[3], v[4], v[5], v[6])


def pack_backward(theta, matrices, packed, wide, share, shares):
    """A share of the transposed matrices."""
    for m in matrices:
        _pack_transposed(
            theta, m[0], m[1], m[2], packed, m[3], m[4], m[5], m[6], m[8], m[9], m[10], wide, share, shares
        )


def unpack_matrices(packed, matrices, theta):
    """Gradients of matrices, in the order of the table."""
    for m in matrices:
        _unpack_matrix(packed, m[3], theta, m[0], m[1], m[2], m[4], m[5], m[6], m[7], m[9], m[10])


def unpack_sums(packed, sums, theta):
    """Gradients of biases from the sums of their slots, in the order of the table."""
    for s in sums:
        _unpack_sums(packed, s[2], theta, s[0], s[1], s[3], s[4], s[5])


def sum_rows(places, array, row, space, theta, source, size):
    """A pointwise parameter's gradient: each unit's rows in the order of the user's batch; then a number's units."""
    for j in range(space):
        total = array.dtype.type(0)
        for place in places:
            total += array[place * row + j]
        theta[source + min(j, size - 1)] += total


def same_bits(found, known):
    """Whether two arrays of whole numbers are equal, without an array of answers between."""
    differing = found.dtype.type(0)
    for k in range(len(found)):
        differing |= found[k] ^ known[k]
    return differing == 0
