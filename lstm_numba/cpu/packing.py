"""Between a layer's flat vector of parameters and the packed forms that the kernels read and write.

    weights   [panel][group][k][n]      columns are the slots of a panel; padded units repeat the last one, so that they stay as
                                        finite as it is
    back      [group][panel][slot][n]   columns are the operand's units; padded rows and columns are 0
"""


def pack_matrix(theta, source, rows, depth, packed, target, place, run, units, n, panels):
    """W (rows, depth) -> slot `place` of `run` in the panels from index `target` on."""
    groups = run * units // n
    for p in range(panels):
        for u in range(units):
            line = source + min(p * units + u, rows - 1) * depth
            column = place * units + u
            base = target + (p * groups + column // n) * depth * n + column % n
            for k in range(depth):
                packed[base + k * n] += theta[line + k]


def pack_transposed(theta, source, rows, depth, packed, target, place, run, units, wide, lane, panels):
    """W (rows, depth) -> its transpose, one panel of slots after the other."""
    column, base = 0, target
    while column < depth:
        n = wide * lane if column + (wide - 1) * lane < depth else lane
        used = min(n, depth - column)
        for j in range(rows):
            line = base + (j // units * run * units + place * units + j % units) * n
            for v in range(used):
                packed[line + v] += theta[source + j * depth + column + v]
        base, column = base + panels * run * units * n, column + n


def unpack_matrix(packed, target, theta, source, rows, depth, place, run, units, n):
    """The gradient of a packed matrix, added to theta."""
    groups = run * units // n
    for j in range(rows):
        column = place * units + j % units
        base = target + (j // units * groups + column // n) * depth * n + column % n
        for k in range(depth):
            theta[source + j * depth + k] += packed[base + k * n]


def pack_vector(theta, source, size, packed, target, place, gates, units, panels):
    """A vector -> slot `place` of the panels; a vector of size 1 fills all units."""
    for j in range(panels * units):
        packed[target + j // units * gates * units + place * units + j % units] += theta[source + min(j, size - 1)]


def unpack_sums(sums, target, theta, source, size, place, run, units):
    """A bias's gradient from the slots' sums."""
    for j in range(size):
        theta[source + j] += sums[target + j // units * run * units + place * units + j % units]


def sum_rows(places, array, row, space, theta, source, size):
    """A pointwise parameter's gradient: rows added in the order of the user's batch; one number collects all units."""
    for place in places:
        for j in range(space):
            theta[source + min(j, size - 1)] += array[place * row + j]
