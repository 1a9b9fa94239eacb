"""A block's product with multiplications and additions: teams of eight threads, tiles of 8 x 4 sums in registers."""

from numba import cuda

from lstm_numba.gpu.block import place_of

LANES, HIGH, SIDE = 8, 8, 4


def make_spot(count):
    """lines: rows; span: numbers of a row, in pieces of so many; spot: where the element [i, k] lies."""

    def lines(rows):
        return rows

    def span(depth):
        return -(-depth // count) * count

    def spot(i, k, length, rows):
        return i * length + k

    return lines, span, spot


def make_exact(moved, count, several, zero):
    """fetch: pieces of the operand on their way; held: pieces of eight rows of the matrix; onto: both to their sums.

    Args:
        moved: makes of a function one that can be called here.
        count: numbers that are read at once; several: (array, place) -> so many of them.
    """
    none = (zero,) * count

    def single(operand, place, k, depth):
        return operand[place] if k < depth else zero

    one = moved(single)

    def four(operand, row, k, depth):
        place = row + k
        return (
            one(operand, place, k, depth),
            one(operand, place + 1, k + 1, depth),
            one(operand, place + 2, k + 2, depth),
            one(operand, place + 3, k + 3, depth),
        )

    def two(operand, row, k, depth):
        return one(operand, row + k, k, depth), one(operand, row + k + 1, k + 1, depth)

    apart = moved(four if count == 4 else two)

    def at_once(operand, row, k, depth):
        return several(operand, row + k) if k < depth else none

    wide = moved(at_once)

    def fetch(operand, row, k, jump, depth, whole):
        """Two pieces of a row of the operand; behind the last term 0."""
        if whole:
            found = wide(operand, row, k, depth), wide(operand, row, k + jump, depth)
        else:
            found = apart(operand, row, k, depth), apart(operand, row, k + jump, depth)
        return found

    def dot_four(a, b, s):
        return s + a[0] * b[0] + a[1] * b[1] + a[2] * b[2] + a[3] * b[3]

    def dot_two(a, b, s):
        return s + a[0] * b[0] + a[1] * b[1]

    dot = moved(dot_four if count == 4 else dot_two)

    def held(stored, places, k):
        return (
            several(stored, places[0] + k),
            several(stored, places[1] + k),
            several(stored, places[2] + k),
            several(stored, places[3] + k),
            several(stored, places[4] + k),
            several(stored, places[5] + k),
            several(stored, places[6] + k),
            several(stored, places[7] + k),
        )

    def onto(a, b, s):
        """The sums of one row of the operand with eight of held."""
        return (
            dot(a[0], b, s[0]),
            dot(a[1], b, s[1]),
            dot(a[2], b, s[2]),
            dot(a[3], b, s[3]),
            dot(a[4], b, s[4]),
            dot(a[5], b, s[5]),
            dot(a[6], b, s[6]),
            dot(a[7], b, s[7]),
        )

    return moved(fetch), moved(held), moved(onto)


def make_fold(moved, swapped):
    """fold: eight sums of each of eight lanes -> the sum of all lanes that has the lane's number."""

    def added(low, high, lane, bit):
        """Half of the sums go to the lane that keeps them, and come from it."""
        upper = lane & bit
        # named first: Python copies a short end of a function into both branches before it, and the lanes would come
        # to two exchanges
        kept, given = (high, low) if upper else (low, high)
        return kept + swapped(given, bit)

    both = moved(added)

    def fold(s, lane):
        a = both(s[0], s[4], lane, 4)
        b = both(s[1], s[5], lane, 4)
        c = both(s[2], s[6], lane, 4)
        d = both(s[3], s[7], lane, 4)
        return both(both(a, c, lane, 2), both(b, d, lane, 2), lane, 1)

    return moved(fold)


def make_gather(moved, zero):
    """gather: the sums of a tile from the parts that its teams have found, in the order of the teams."""

    tile_of = moved(place_of)

    def gather(numbers, scratch, shift, tiles, across, count, rows, at, tile, more):
        size = HIGH * SIDE
        for place in range(cuda.threadIdx.x, tiles * size, cuda.blockDim.x):
            index, part = place // size, place % size
            line, column = tile_of(index, across)
            i, r = line * HIGH + part % HIGH, column * SIDE + part // HIGH
            if i < count and r < rows:
                total = zero
                for k in range(1 << shift):
                    total = total + numbers[scratch + ((index << shift) + k) * size + part]
                target = at + i * tile + r
                numbers[target] = numbers[target] + total if more else total

    return gather


def make_multiply(moved, count, several, swapped, is_aligned, zero):
    """The product with multiplications and additions of the arithmetic: a number that is read serves eight or four
    sums, and two steps of the operand are on their way before the first is used."""
    fetch, held_rows, onto = make_exact(moved, count, several, zero)
    fold, gather = make_fold(moved, swapped), moved(make_gather(moved, zero))
    nothing, absent, tile_of = (zero,) * HIGH, ((zero,) * count,) * 2, moved(place_of)

    def put(numbers, target, value, more):
        numbers[target] = numbers[target] + value if more else value

    store = moved(put)

    def multiply(stored, held, sums, depth, operand, apart, rows, numbers, at, tile, scratch, more):
        team, lane = cuda.threadIdx.x // LANES, cuda.threadIdx.x % LANES
        teams, across = cuda.blockDim.x // LANES, -(-rows // SIDE)
        tiles, shift = -(-sums // HIGH) * across, 0
        while teams >> (shift + 1) >= max(1, tiles):
            shift += 1
        group, member = team >> shift, team % (1 << shift)
        jump, length = (LANES * count) << shift, -(-depth // count) * count
        whole = is_aligned(operand) and apart % count == 0 and depth % count == 0
        for begin in range(0, tiles, teams >> shift):
            index = begin + group
            line, column = tile_of(index, across)
            left, top = line * HIGH, column * SIDE
            some, last = rows - top, sums - 1
            s_0, s_1, s_2, s_3 = nothing, nothing, nothing, nothing
            if index < tiles:
                # rows past the last one give sums that nobody reads
                places = (
                    held + left * length,
                    held + min(left + 1, last) * length,
                    held + min(left + 2, last) * length,
                    held + min(left + 3, last) * length,
                    held + min(left + 4, last) * length,
                    held + min(left + 5, last) * length,
                    held + min(left + 6, last) * length,
                    held + min(left + 7, last) * length,
                )
                row = top * apart
                for k in range((member * LANES + lane) * count, depth, 2 * jump):
                    b_0, b_1, b_2, b_3 = fetch(operand, row, k, jump, depth, whole), absent, absent, absent
                    if some > 1:
                        b_1 = fetch(operand, row + apart, k, jump, depth, whole)
                    if some > 2:
                        b_2 = fetch(operand, row + 2 * apart, k, jump, depth, whole)
                    if some > 3:
                        b_3 = fetch(operand, row + 3 * apart, k, jump, depth, whole)
                    a = held_rows(stored, places, k)
                    s_0 = onto(a, b_0[0], s_0)
                    if some > 1:
                        s_1 = onto(a, b_1[0], s_1)
                    if some > 2:
                        s_2, s_3 = onto(a, b_2[0], s_2), onto(a, b_3[0], s_3)
                    if k + jump < depth:
                        a = held_rows(stored, places, k + jump)
                        s_0 = onto(a, b_0[1], s_0)
                        if some > 1:
                            s_1 = onto(a, b_1[1], s_1)
                        if some > 2:
                            s_2, s_3 = onto(a, b_2[1], s_2), onto(a, b_3[1], s_3)
            # all lanes of a warp, whatever their tiles: they exchange sums
            t_0, t_1, t_2, t_3 = fold(s_0, lane), zero, zero, zero
            if rows > 1:
                t_1 = fold(s_1, lane)
            if rows > 2:
                t_2, t_3 = fold(s_2, lane), fold(s_3, lane)
            if shift:
                place = scratch + team * (HIGH * SIDE) + lane
                numbers[place], numbers[place + HIGH] = t_0, t_1
                numbers[place + 2 * HIGH], numbers[place + 3 * HIGH] = t_2, t_3
            elif index < tiles and left + lane < sums:
                target = at + (left + lane) * tile + top
                store(numbers, target, t_0, more)
                if some > 1:
                    store(numbers, target + 1, t_1, more)
                if some > 2:
                    store(numbers, target + 2, t_2, more)
                if some > 3:
                    store(numbers, target + 3, t_3, more)
        if shift:
            cuda.syncthreads()
            gather(numbers, scratch, shift, tiles, across, sums, rows, at, tile, more)

    return multiply
