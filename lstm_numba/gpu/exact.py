"""A block's product with multiplications and additions: teams of eight threads, tiles of 8 x 4 sums in registers."""

from numba import cuda

from lstm_numba.gpu.block import place_of, shift_of

LANES, HIGH, SIDE = 8, 8, 4


def make_spot(count):
    """lines: rows with those of zeros behind them; span: numbers of a row, in pieces of so many; spot: where the
    element [i, k] lies."""

    def lines(rows):
        return max(rows, HIGH) if rows > 0 else 0

    def span(depth):
        return -(-depth // count) * count

    def spot(i, k, length, rows):
        return i * length + k

    return lines, span, spot


def make_exact(moved, count, several, zero):
    """columns: the sums of eight rows of the matrix with four of the operand, of some columns.

    Args:
        moved: makes of a function one that can be called here.
        several: (array, place) -> `count` numbers in shared memory.
    """

    none = (zero,) * count

    def dot_four(a, b, s):
        return s + a[0] * b[0] + a[1] * b[1] + a[2] * b[2] + a[3] * b[3]

    def dot_two(a, b, s):
        return s + a[0] * b[0] + a[1] * b[1]

    dot = moved(dot_four if count == 4 else dot_two)

    def held(stored, place, length):
        return (
            several(stored, place),
            several(stored, place + length),
            several(stored, place + 2 * length),
            several(stored, place + 3 * length),
            several(stored, place + 4 * length),
            several(stored, place + 5 * length),
            several(stored, place + 6 * length),
            several(stored, place + 7 * length),
        )

    def eight(a, b, s):
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

    with_eight = moved(eight)

    def rows_of(stored, place, stride, some):
        b_0, b_1, b_2, b_3 = several(stored, place), none, none, none
        if some > 1:
            b_1 = several(stored, place + stride)
        if some > 2:
            b_2, b_3 = several(stored, place + 2 * stride), several(stored, place + 3 * stride)
        return b_0, b_1, b_2, b_3

    def onto(a, b, s, some):
        s_0, s_1, s_2, s_3 = with_eight(a, b[0], s[0]), s[1], s[2], s[3]
        if some > 1:
            s_1 = with_eight(a, b[1], s_1)
        if some > 2:
            s_2, s_3 = with_eight(a, b[2], s_2), with_eight(a, b[3], s_3)
        return s_0, s_1, s_2, s_3

    eight_rows, four_rows, together = moved(held), moved(rows_of), moved(onto)

    def columns(stored, matrix, length, row, stride, some, first, last, jump, s):
        for n in range(first, last, jump):
            s = together(eight_rows(stored, matrix + n, length), four_rows(stored, row + n, stride, some), s, some)
        return s

    return moved(columns)


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
    """gather: the sums of a team's tile from the parts that its members have found, in their order."""

    def gather(numbers, parts, shift, member, lane, left, known, top, sums, rows, at, tile, more):
        for place in range(member * LANES + lane, HIGH * SIDE, LANES << shift):
            i, r = left + place % HIGH, top + place // HIGH
            if place % HIGH >= known and i < sums and r < rows:
                total = zero
                for k in range(1 << shift):
                    total = total + numbers[parts + k * (HIGH * SIDE) + place]
                target = at + i * tile + r
                numbers[target] = numbers[target] + total if more else total

    return moved(gather)


def make_multiply(moved, count, several, stage, swapped, is_aligned, zero):
    """deal and multiply: the terms dealt to the teams of a tile, once for all steps; and the product, with
    multiplications and additions of the arithmetic: a number that is read serves eight or four sums.

    Args:
        stage: what `make_stage` has made.
    """
    lay, fetch, come = stage

    def put_sum(numbers, target, value, more):
        numbers[target] = numbers[target] + value if more else value

    put_one = moved(put_sum)

    def put_sums(numbers, target, some, t_0, t_1, t_2, t_3, more):
        put_one(numbers, target, t_0, more)
        if some > 1:
            put_one(numbers, target + 1, t_1, more)
        if some > 2:
            put_one(numbers, target + 2, t_2, more)
        if some > 3:
            put_one(numbers, target + 3, t_3, more)

    store = moved(put_sums)
    columns, fold, gather = make_exact(moved, count, several, zero), make_fold(moved, swapped), make_gather(moved, zero)
    nothing, tile_of, shared_by = ((zero,) * HIGH,) * SIDE, moved(place_of), moved(shift_of)

    def round_of(index, across, held, sums, length, stride, stage):
        """Of a team's tile: its first sum, how many of its sums another tile has, and its first column; where its rows
        of the matrix and of the operand begin.  The last tile reaches back, to be as high as the others."""
        line, column = tile_of(index, across)
        left, top = min(line * HIGH, max(sums - HIGH, 0)), column * SIDE
        return left, line * HIGH - left, top, held + left * length, stage + top * stride

    turn = moved(round_of)

    def deal(held, sums, depth, apart, rows, at, tile, stage, span, scratch):
        teams, across = cuda.blockDim.x // LANES, -(-rows // SIDE)
        tiles = -(-sums // HIGH) * across
        shift = shared_by(teams, tiles)
        laid, length = lay(rows, apart, span, stage), -(-depth // count) * count
        first = turn(cuda.threadIdx.x // LANES >> shift, across, held, sums, length, laid[1], stage)
        shape = held, sums, depth, rows, at, tile, stage, apart % count == 0 and depth % count == 0
        return shape, (tiles, across, shift, length, scratch), laid, first

    def multiply(stored, numbers, dealt, operand, more, waits):
        (held, sums, depth, rows, at, tile, stage, is_whole), shares, laid, first = dealt
        tiles, across, shift, length, scratch = shares
        wide, stride = laid[0], laid[1]
        whole, teams = is_whole and is_aligned(operand), cuda.blockDim.x // LANES
        team, lane = cuda.threadIdx.x // LANES, cuda.threadIdx.x % LANES
        index, member = team >> shift, team % (1 << shift)
        begin, (left, known, top, matrix, row) = 0, first
        while begin < tiles:
            s, k, is_own = nothing, 0, begin + index < tiles
            found = fetch(operand, laid, 0, depth if whole else 0)
            while k < depth:
                found = come(stored, operand, found, laid, k, depth, whole, waits)
                if is_own:
                    own, last = (member * LANES + lane) * count, min(wide, length - k)
                    s = columns(
                        stored, matrix + k, length, row, stride, rows - top, own, last, (LANES * count) << shift, s
                    )
                k += wide
            # all lanes of a warp, whatever their tiles: they exchange sums
            t_0, t_1, t_2, t_3 = fold(s[0], lane), zero, zero, zero
            if rows > 1:
                t_1 = fold(s[1], lane)
            if rows > 2:
                t_2, t_3 = fold(s[2], lane), fold(s[3], lane)
            if shift:
                place = scratch + team * (HIGH * SIDE) + lane
                numbers[place], numbers[place + HIGH] = t_0, t_1
                numbers[place + 2 * HIGH], numbers[place + 3 * HIGH] = t_2, t_3
                cuda.syncthreads()
                if is_own:
                    parts = scratch + (team - member) * (HIGH * SIDE)
                    gather(numbers, parts, shift, member, lane, left, known, top, sums, rows, at, tile, more)
            elif is_own and lane >= known and left + lane < sums:
                store(numbers, at + (left + lane) * tile + top, rows - top, t_0, t_1, t_2, t_3, more)
            begin += teams >> shift
            if begin < tiles:
                left, known, top, matrix, row = turn(begin + index, across, held, sums, length, stride, stage)
                cuda.syncthreads()

    return moved(deal), moved(multiply)
