"""Between a layer's flat vector of parameters and the packed forms that the kernels read and write.

    weights   [panel][group][k][n]      columns are the slots of a panel; padded units repeat the last one, so that
                                        they stay as finite as it is
    back      [group][panel][slot][n]   columns are the operand's units; padded rows and columns are 0

Every function takes a table, one row for each matrix or vector: one call does them all.  Where a matrix begins in the
flat vector, how far the next row is (`down`) and how far the next column (`along`) are numbers of the table: they are
exchanged for a matrix that is read transposed.
"""

from numba.extending import register_jitable

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
def _pack_matrix(theta, source, rows, depth, packed, target, place, run, units, n, panels, down, along):
    """W (rows, depth) -> slot `place` of `run` in all panels."""
    groups = run * units // n
    for p in range(panels):
        for u in range(units):
            line = source + min(p * units + u, rows - 1) * down
            column = place * units + u
            base = target + (p * groups + column // n) * depth * n + column % n
            _add_read(theta, line, depth, along, packed[base : base + depth * n : n])


@register_jitable
def _pack_vector(theta, source, size, packed, target, place, gates, units, panels):
    """A vector -> slot `place` of the panels; a vector of size 1 fills all units."""
    for j in range(panels * units):
        packed[target + j // units * gates * units + place * units + j % units] += theta[source + min(j, size - 1)]


@register_jitable
def _pack_transposed(theta, source, rows, depth, packed, target, place, run, units, panels, down, along, wide, lane):
    """W (rows, depth) -> its transpose, one panel of slots after the other."""
    column, base = 0, target
    while column < depth:
        n = wide * lane if column + (wide - 1) * lane < depth else lane
        used = min(n, depth - column)
        for j in range(rows):
            line = base + (j // units * run * units + place * units + j % units) * n
            first = source + j * down + column * along
            _add_read(theta, first, used, along, packed[line : line + used])
        base, column = base + panels * run * units * n, column + n


@register_jitable
def _unpack_matrix(packed, target, theta, source, rows, depth, place, run, units, n, down, along):
    """The gradient of a packed matrix, added to theta."""
    groups = run * units // n
    for j in range(rows):
        column = place * units + j % units
        base = target + (j // units * groups + column // n) * depth * n + column % n
        _add_written(packed[base : base + depth * n : n], theta, source + j * down, along)


@register_jitable
def _unpack_sums(sums, target, theta, source, size, place, run, units):
    """A bias's gradient from the sums of its slots."""
    for j in range(size):
        theta[source + j] += sums[target + j // units * run * units + place * units + j % units]


def pack_forward(theta, matrices, vectors, packed):
    """Matrices, biases and pointwise parameters."""
    for m in matrices:
        _pack_matrix(theta, m[0], m[1], m[2], packed, m[3], m[4], m[5], m[6], m[7], m[8], m[9], m[10])
    for v in vectors:
        _pack_vector(theta, v[0], v[1], packed, v[2], v[3], v[4], v[5], v[6])


def pack_backward(theta, matrices, packed, wide, lane):
    """Transposed matrices."""
    for m in matrices:
        _pack_transposed(theta, m[0], m[1], m[2], packed, m[3], m[4], m[5], m[6], m[8], m[9], m[10], wide, lane)


def unpack(packed, matrices, sums, theta):
    """Gradients of matrices, and of biases from the sums of slots, in the order of the tables."""
    for m in matrices:
        _unpack_matrix(packed, m[3], theta, m[0], m[1], m[2], m[4], m[5], m[6], m[7], m[9], m[10])
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
