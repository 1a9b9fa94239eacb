"""A block's product on tensor cores: a warp's tiles are 64 x 16 sums, eight instructions side by side, each of 16 x 8.

Terms come in groups of 64 bytes, 16 words, which two instructions take.  Which term has which place in an instruction
is all the same to the sum: lane 4 line + column reads the words 4 column .. 4 column + 3 of the operand's row `line` at
once, and the first instruction takes the first two of them, the second the others.

The matrix lies in shared memory as the lanes read it: [16 rows][group][instruction][lane][register], a register being
the first or second word of the lane's row `line` or `line + 8`.  Of at most eight rows behind the last sixteen there is
half as much, without those of `line + 8`.
"""

from numba import cuda

from lstm_numba.gpu.block import WARP, place_of

ROWS, HALF, SIDE, WORDS = 16, 8, 8, 16  # of an instruction; words of a group
FRAGMENT = 4 * WARP  # words that a warp reads for one instruction


def make_spot(ratio):
    """lines: rows with those of zeros behind them; span: numbers of a row, zeros behind its terms; spot: where the
    element [i, k] of so many rows lies.

    Args:
        ratio: numbers in a word.
    """

    def lines(count):
        return -(-count // HALF) * HALF

    def span(depth):
        return -(-depth // (WORDS * ratio)) * (WORDS * ratio)

    def spot(i, k, length, rows):
        word, first = k // ratio, i // ROWS * ROWS
        lane, fragment = i % HALF * 4 + word % WORDS // 4, word // WORDS * 2 + word % 4 // 2
        if rows - first > HALF:
            place = fragment * FRAGMENT + lane * 4 + word % 2 * 2 + i % ROWS // HALF
        else:
            place = fragment * (FRAGMENT // 2) + lane * 2 + word % 2
        return first * length + place * ratio + k % ratio

    return lines, span, spot


def make_fetch(moved, ratio, four, word, prepared, none):
    """fetch: four groups of a row of the operand on their way at once, of each a lane's four words; ready: what an
    instruction takes."""

    def guarded(row, k, depth):
        return word(row, k) if k < depth else none

    one = moved(guarded)

    def at_once(row, k, depth):
        return four(row, k) if k < depth else (none, none, none, none)

    def one_by_one(row, k, depth):
        second, third, fourth = k + ratio, k + 2 * ratio, k + 3 * ratio
        return one(row, k, depth), one(row, second, depth), one(row, third, depth), one(row, fourth, depth)

    wide, narrow = moved(at_once), moved(one_by_one)

    def fetch(row, k, jump, depth, whole):
        second, third, fourth = k + jump, k + 2 * jump, k + 3 * jump
        if whole:
            found = wide(row, k, depth), wide(row, second, depth), wide(row, third, depth), wide(row, fourth, depth)
        else:
            found = (
                narrow(row, k, depth),
                narrow(row, second, depth),
                narrow(row, third, depth),
                narrow(row, fourth, depth),
            )
        return found

    def ready(b):
        return prepared(b[0]), prepared(b[1]), prepared(b[2]), prepared(b[3])

    return moved(fetch), moved(ready)


def make_onto(moved, ratio, two, four, ready, mma):
    """four_onto, for one row of the operand's eight at once and for two: four groups for a tile's sums.

    Args:
        two, four: (array, place) -> so many words; mma: (a, b, c) -> c + a b, all 32 lanes together.
    """
    second, second_half = FRAGMENT * ratio, FRAGMENT // 2 * ratio

    def both(first, other, b, c):
        return mma(other, (b[2], b[3]), mma(first, (b[0], b[1]), c))

    pair = moved(both)

    def half(stored, place):
        """Eight rows, twice."""
        words = two(stored, place)
        return words[0], words[0], words[1], words[1]

    half_of = moved(half)

    def sixteen(stored, start, at, some, b, c):
        if some > HALF:
            first, other = four(stored, start + at), four(stored, start + at + second)
        else:
            first, other = half_of(stored, start + at // 2), half_of(stored, start + at // 2 + second_half)
        return pair(first, other, b, c)

    def sixteen_twice(stored, start, at, some, b, d, c, e):
        if some > HALF:
            first, other = four(stored, start + at), four(stored, start + at + second)
        else:
            first, other = half_of(stored, start + at // 2), half_of(stored, start + at // 2 + second_half)
        return pair(first, other, b, c), pair(first, other, d, e)

    rows, rows_twice = moved(sixteen), moved(sixteen_twice)

    def onto(stored, start, at, stride, some, b, c):
        b, c_1, c_2, c_3 = ready(b), c[1], c[2], c[3]
        c_0 = rows(stored, start, at, some, b, c[0])
        if some > ROWS:
            c_1 = rows(stored, start + stride, at, some - ROWS, b, c_1)
        if some > 2 * ROWS:
            c_2 = rows(stored, start + 2 * stride, at, some - 2 * ROWS, b, c_2)
        if some > 3 * ROWS:
            c_3 = rows(stored, start + 3 * stride, at, some - 3 * ROWS, b, c_3)
        return c_0, c_1, c_2, c_3

    def onto_twice(stored, start, at, stride, some, b, d, c, e):
        b, d = ready(b), ready(d)
        c_1, c_2, c_3, e_1, e_2, e_3 = c[1], c[2], c[3], e[1], e[2], e[3]
        c_0, e_0 = rows_twice(stored, start, at, some, b, d, c[0], e[0])
        if some > ROWS:
            c_1, e_1 = rows_twice(stored, start + stride, at, some - ROWS, b, d, c_1, e_1)
        if some > 2 * ROWS:
            c_2, e_2 = rows_twice(stored, start + 2 * stride, at, some - 2 * ROWS, b, d, c_2, e_2)
        if some > 3 * ROWS:
            c_3, e_3 = rows_twice(stored, start + 3 * stride, at, some - 3 * ROWS, b, d, c_3, e_3)
        return (c_0, c_1, c_2, c_3), (e_0, e_1, e_2, e_3)

    group, group_twice = moved(onto), moved(onto_twice)

    def four_onto(stored, start, at, step, stride, some, left, b, c):
        """`left` of the groups there are."""
        if left > 0:
            c = group(stored, start, at, stride, some, b[0], c)
        if left > 1:
            c = group(stored, start, at + step, stride, some, b[1], c)
        if left > 2:
            c = group(stored, start, at + 2 * step, stride, some, b[2], c)
        if left > 3:
            c = group(stored, start, at + 3 * step, stride, some, b[3], c)
        return c

    def four_onto_twice(stored, start, at, step, stride, some, left, b, d, c, e):
        if left > 0:
            c, e = group_twice(stored, start, at, stride, some, b[0], d[0], c, e)
        if left > 1:
            c, e = group_twice(stored, start, at + step, stride, some, b[1], d[1], c, e)
        if left > 2:
            c, e = group_twice(stored, start, at + 2 * step, stride, some, b[2], d[2], c, e)
        if left > 3:
            c, e = group_twice(stored, start, at + 3 * step, stride, some, b[3], d[3], c, e)
        return c, e

    return moved(four_onto), moved(four_onto_twice)


def make_parts(moved, zero):
    """spread and gather: a lane's parts of the sums to shared memory, and the sums of them."""

    def spread(numbers, mine, some, c):
        numbers[mine], numbers[mine + 32], numbers[mine + 64], numbers[mine + 96] = c[0]
        if some > 16:
            numbers[mine + 128], numbers[mine + 160], numbers[mine + 192], numbers[mine + 224] = c[1]
        if some > 32:
            numbers[mine + 256], numbers[mine + 288], numbers[mine + 320], numbers[mine + 352] = c[2]
        if some > 48:
            numbers[mine + 384], numbers[mine + 416], numbers[mine + 448], numbers[mine + 480] = c[3]

    def two(numbers, place, wide):
        return numbers[place] + numbers[place + wide]

    pair = moved(two)

    def parts_of(numbers, place, wide, shift):
        """Those of one, two, four or eight warps: all are on their way before the first is added."""
        if shift > 2:
            a, b = pair(numbers, place, wide), pair(numbers, place + 2 * wide, wide)
            c, d = pair(numbers, place + 4 * wide, wide), pair(numbers, place + 6 * wide, wide)
            total = (a + b) + (c + d)
        elif shift > 1:
            total = pair(numbers, place, wide) + pair(numbers, place + 2 * wide, wide)
        elif shift > 0:
            total = pair(numbers, place, wide)
        else:
            total = numbers[place]
        return total

    added = moved(parts_of)

    def gather(numbers, parts, shift, wide, left, top, sums, rows, at, tile, more):
        """One half of a tile's sums, from the parts of its warps, in their order."""
        source, value = cuda.threadIdx.x % WARP, cuda.threadIdx.x // WARP
        r = top + source % 4 * 2
        for n in range(value, 4 * -(-min(64, sums - left) // ROWS), cuda.blockDim.x // WARP):
            i, column = left + n // 4 * ROWS + source // 4 + n // 2 % 2 * 8, r + n % 2
            if i < sums and column < rows:
                total = added(numbers, parts + n * WARP + source, wide, shift)
                target = at + i * tile + column
                numbers[target] = numbers[target] + total if more else total

    return moved(spread), moved(gather)


def make_multiply(moved, ratio, ahead, two, four, word, prepared, none, mma, is_aligned, zero):
    """The product, the terms dealt to the warps of a tile.

    The operand comes from the second-level cache, which is far: it is read once for 64 rows of held, and eight groups
    of it, of one row or of two, are on their way before the first is used.

    Args:
        ahead: (array, place) -> the array from there on; two, four, word: (array, place) -> so many words, or one.
        prepared: a word of the operand as an instruction takes it; none: a word of zeros.
    """
    fetch, ready = make_fetch(moved, ratio, four, word, prepared, none)
    four_onto, four_onto_twice = make_onto(moved, ratio, two, four, ready, mma)
    (spread, gather), tile_of = make_parts(moved, zero), moved(place_of)
    size, nothing = WORDS * ratio, ((zero,) * 4,) * 4

    def of_one(stored, start, lane, stride, some, operand, row, member, members, column, depth, whole):
        c, groups = nothing, -(-depth // size)
        here, step, jump = ahead(operand, row), members * 2 * FRAGMENT * ratio, members * size
        for group in range(member, groups, 8 * members):
            k, at = group * size + column, (group * 2 * FRAGMENT + lane * 4) * ratio
            left = -(-(groups - group) // members)
            near, far = fetch(here, k, jump, depth, whole), fetch(here, k + 4 * jump, jump, depth, whole)
            c = four_onto(stored, start, at, step, stride, some, left, near, c)
            if left > 4:
                c = four_onto(stored, start, at + 4 * step, step, stride, some, left - 4, far, c)
        return c

    def of_two(stored, start, lane, stride, some, operand, row, beside, member, members, column, depth, whole):
        c, e, groups = nothing, nothing, -(-depth // size)
        step, jump = members * 2 * FRAGMENT * ratio, members * size
        here, there = ahead(operand, row), ahead(operand, beside)
        for group in range(member, groups, 4 * members):
            k, at = group * size + column, (group * 2 * FRAGMENT + lane * 4) * ratio
            left = -(-(groups - group) // members)
            b, d = fetch(here, k, jump, depth, whole), fetch(there, k, jump, depth, whole)
            c, e = four_onto_twice(stored, start, at, step, stride, some, left, b, d, c, e)
        return c, e

    eight_rows, sixteen_rows = moved(of_one), moved(of_two)

    def multiply(stored, held, sums, depth, operand, apart, rows, numbers, at, tile, scratch, more):
        warp, lane, warps = cuda.threadIdx.x // WARP, cuda.threadIdx.x % WARP, cuda.blockDim.x // WARP
        line, column = lane // 4, lane % 4 * (4 * ratio)
        across = -(-rows // (2 * SIDE))
        tiles, shift = -(-sums // 64) * across, 0
        while warps >> (shift + 1) >= max(1, tiles):
            shift += 1
        members = 1 << shift
        team, member, teams = warp >> shift, warp % members, warps >> shift
        half = FRAGMENT * min(4, -(-sums // ROWS))
        wide, stride = half * 2 if rows > SIDE else half, -(-depth // size) * 2 * FRAGMENT * ratio
        whole = is_aligned(operand) and apart % (4 * ratio) == 0 and depth % (4 * ratio) == 0
        for begin in range(0, tiles, teams):
            index = begin + team
            mine = scratch + warp * wide + lane
            if index < tiles:
                # rows past the last one give sums that nobody reads
                tile_line, tile_column = tile_of(index, across)
                left, top = tile_line * 64, tile_column * (2 * SIDE)
                some, row = sums - left, min(top + line, rows - 1) * apart
                start = held + left // ROWS * stride
                if rows - top > SIDE:
                    beside = min(top + SIDE + line, rows - 1) * apart
                    c, e = sixteen_rows(
                        stored, start, lane, stride, some, operand, row, beside, member, members, column, depth, whole
                    )
                    spread(numbers, mine + half, some, e)
                else:
                    c = eight_rows(
                        stored, start, lane, stride, some, operand, row, member, members, column, depth, whole
                    )
                spread(numbers, mine, some, c)
            cuda.syncthreads()
            for other in range(min(teams, tiles - begin)):
                tile_line, tile_column = tile_of(begin + other, across)
                left, top = tile_line * 64, tile_column * (2 * SIDE)
                parts = scratch + (other << shift) * wide
                gather(numbers, parts, shift, wide, left, top, sums, rows, at, tile, more)
                if rows - top > SIDE:
                    gather(numbers, parts + half, shift, wide, left, top + SIDE, sums, rows, at, tile, more)
            if begin + teams < tiles:
                cuda.syncthreads()

    return multiply
