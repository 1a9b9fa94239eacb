"""A block's product on tensor cores: a warp's tiles are 64 x 16 sums, eight instructions side by side, each of 16 x 8.

Terms come in groups of 64 bytes, 16 words, which two instructions take.  Which term has which place in an instruction
is all the same to the sum: lane 4 line + column reads the words 4 column .. 4 column + 3 of the operand's row `line` at
once, and the first instruction takes the first two of them, the second the others.  Each of the two has sums of its
own: an instruction waits for the one before it that adds to the same.

The matrix lies in shared memory as the lanes read it: [64 rows][group][16 rows][instruction][lane][register], a
register being the first or second word of the lane's row `line` or `line + 8`.  Of a matrix of eight rows at most there
is half as much, without those of `line + 8`.
"""

from numba import cuda

from lstm_numba.gpu.block import WARP, place_of, shift_of

ROWS, SIDE, WORDS, LINE = 16, 8, 16, 64  # of an instruction; words of a group; rows of a warp's tile
FRAGMENT = 4 * WARP  # words that a warp reads for one instruction


def make_spot(ratio):
    """lines: rows with those of zeros behind them; span: numbers of a row, zeros behind its terms; spot: where the
    element [i, k] of so many rows lies.

    Args:
        ratio: numbers in a word.
    """

    def lines(count):
        return SIDE if 0 < count <= SIDE else -(-count // ROWS) * ROWS

    def span(depth):
        return -(-depth // (WORDS * ratio)) * (WORDS * ratio)

    def spot(i, k, length, rows):
        word, first = k // ratio, i // LINE * LINE
        tiles = min(LINE // ROWS, -(-(rows - first) // ROWS))
        lane, tile = i % SIDE * 4 + word % WORDS // 4, i % LINE // ROWS
        fragment = (word // WORDS * tiles + tile) * 2 + word % 4 // 2
        place = fragment * FRAGMENT + lane * 4 + word % 2 * 2 + i % ROWS // SIDE
        if rows <= SIDE:
            place = fragment * (FRAGMENT // 2) + lane * 2 + word % 2
        return first * length + place * ratio + k % ratio

    return lines, span, spot


def make_onto(moved, ratio, two, four, mma, nothing):
    """once and twice: a group's terms for a tile's sums, with eight rows of the operand and with sixteen.

    Args:
        two, four: (array, place) -> so many words; mma: (a, b, c) -> c + a b, all 32 lanes together.
        nothing: a word of zeros.
    """
    other, tile = FRAGMENT * ratio, 2 * FRAGMENT * ratio

    def rows_of(stored, at, some):
        """What the two instructions take of sixteen rows, or of eight."""
        if some > SIDE:
            found = four(stored, at), four(stored, at + other)
        else:
            near, far = two(stored, at), two(stored, at + other // 2)
            found = (near[0], nothing, near[1], nothing), (far[0], nothing, far[1], nothing)
        return found

    rows = moved(rows_of)

    def both(a, b, c):
        return mma(a[0], (b[0], b[1]), c[0]), mma(a[1], (b[2], b[3]), c[1])

    pair = moved(both)

    def once(stored, at, slim, some, b, c):
        c_0, c_1, c_2, c_3 = pair(rows(stored, at, slim), b, c[0]), c[1], c[2], c[3]
        if some > ROWS:
            c_1 = pair((four(stored, at + tile), four(stored, at + tile + other)), b, c_1)
        if some > 2 * ROWS:
            c_2 = pair((four(stored, at + 2 * tile), four(stored, at + 2 * tile + other)), b, c_2)
        if some > 3 * ROWS:
            c_3 = pair((four(stored, at + 3 * tile), four(stored, at + 3 * tile + other)), b, c_3)
        return c_0, c_1, c_2, c_3

    def twice(stored, at, slim, some, b, d, c, e):
        c_1, c_2, c_3, e_1, e_2, e_3, a = c[1], c[2], c[3], e[1], e[2], e[3], rows(stored, at, slim)
        c_0, e_0 = pair(a, b, c[0]), pair(a, d, e[0])
        if some > ROWS:
            a = four(stored, at + tile), four(stored, at + tile + other)
            c_1, e_1 = pair(a, b, c_1), pair(a, d, e_1)
        if some > 2 * ROWS:
            a = four(stored, at + 2 * tile), four(stored, at + 2 * tile + other)
            c_2, e_2 = pair(a, b, c_2), pair(a, d, e_2)
        if some > 3 * ROWS:
            a = four(stored, at + 3 * tile), four(stored, at + 3 * tile + other)
            c_3, e_3 = pair(a, b, c_3), pair(a, d, e_3)
        return (c_0, c_1, c_2, c_3), (e_0, e_1, e_2, e_3)

    return moved(once), moved(twice)


def make_columns(moved, ratio, four, onto):
    """eight_rows and sixteen_rows of the operand: the terms of some groups for a lane's sums of a tile.

    Args:
        four: (array, place) -> four words; onto: what `make_onto` has made.
    """
    (once, twice), size = onto, WORDS * ratio

    def of_one(stored, matrix, row, apart, slim, some, member, members, count, c):
        """Two groups are on their way at once."""
        group, at, near = member, matrix + member * apart, row + member * size
        onward, further = members * apart, members * size
        while group + members < count:
            b, d = four(stored, near), four(stored, near + further)
            c = once(stored, at, slim, some, b, c)
            c = once(stored, at + onward, slim, some, d, c)
            group, at, near = group + 2 * members, at + 2 * onward, near + 2 * further
        if group < count:
            c = once(stored, at, slim, some, four(stored, near), c)
        return c

    def of_two(stored, matrix, row, jump, apart, slim, some, member, members, count, c, e):
        at, near, onward, further = matrix + member * apart, row + member * size, members * apart, members * size
        for _ in range(member, count, members):
            b, d = four(stored, near), four(stored, near + jump)
            c, e = twice(stored, at, slim, some, b, d, c, e)
            at, near = at + onward, near + further
        return c, e

    return moved(of_one), moved(of_two)


def make_parts(moved):
    """spread and gather: a lane's parts of the sums to shared memory, and the sums of them."""

    def total(c):
        return c[0][0] + c[1][0], c[0][1] + c[1][1], c[0][2] + c[1][2], c[0][3] + c[1][3]

    of_both = moved(total)

    def spread(numbers, mine, some, c):
        numbers[mine], numbers[mine + 32], numbers[mine + 64], numbers[mine + 96] = of_both(c[0])
        if some > 16:
            numbers[mine + 128], numbers[mine + 160], numbers[mine + 192], numbers[mine + 224] = of_both(c[1])
        if some > 32:
            numbers[mine + 256], numbers[mine + 288], numbers[mine + 320], numbers[mine + 352] = of_both(c[2])
        if some > 48:
            numbers[mine + 384], numbers[mine + 416], numbers[mine + 448], numbers[mine + 480] = of_both(c[3])

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

    def gather(numbers, parts, shift, member, wide, target, tile, high, some, more):
        """One half of a tile's sums, from the parts of its warps, in their order, by these warps."""
        lane = cuda.threadIdx.x % WARP
        line, column = lane // 4, lane % 4 * 2
        for n in range(member, 4 * -(-min(LINE, high) // ROWS), 1 << shift):
            i, r = line + (n >> 2) * ROWS + (n & 2) * 4, column + n % 2
            if i < high and r < some:
                total = added(numbers, parts + n * WARP + lane, wide, shift)
                place = target + i * tile + r
                numbers[place] = numbers[place] + total if more else total

    return moved(spread), moved(gather)


def make_multiply(moved, ratio, stage, two, four, mma, nothing, is_aligned, zero):
    """deal and multiply: the terms dealt to the warps of a tile, once for all steps; and the product.

    Args:
        stage: what `make_stage` has made; two, four: (array, place) -> so many words in shared memory.
        nothing: a word of zeros.
    """
    lay, fetch, come = stage
    eight_rows, sixteen_rows = make_columns(moved, ratio, four, make_onto(moved, ratio, two, four, mma, nothing))
    (spread, gather), tile_of, shared_by = make_parts(moved), moved(place_of), moved(shift_of)
    size, empty = WORDS * ratio, (((zero,) * 4,) * 2,) * 4

    def round_of(index, across, held, sums, length, rows, stride, stage, at, tile):
        """Of a team's tile: its rows and columns; where its matrix, a lane's row of the operand and its sums begin."""
        lane, (line, column) = cuda.threadIdx.x % WARP, tile_of(index, across)
        left, top = line * LINE, column * (2 * SIDE)
        row = stage + (top + lane // 4) * stride + lane % 4 * (4 * ratio)
        first = lane * (4 * ratio) if sums > SIDE else lane * (2 * ratio)
        return sums - left, rows - top, held + left * length + first, row, at + left * tile + top

    turn = moved(round_of)

    def deal(held, sums, depth, apart, rows, at, tile, stage, span, scratch):
        warp, warps, across = cuda.threadIdx.x // WARP, cuda.blockDim.x // WARP, -(-rows // (2 * SIDE))
        tiles = -(-sums // LINE) * across
        shift = shared_by(warps, tiles)
        laid, length = lay(rows, apart, span, stage), -(-depth // size) * size
        half, stride = FRAGMENT * min(LINE // ROWS, -(-sums // ROWS)), laid[1]
        wide = half * 2 if rows > SIDE else half
        first = turn(warp >> shift, across, held, sums, length, rows, stride, stage, at, tile)
        shape = held, sums, depth, rows, at, tile, stage, apart % (4 * ratio) == 0 and depth % (4 * ratio) == 0
        return shape, (tiles, across, shift, half, wide, length, stride, scratch), laid, first

    def multiply(stored, numbers, dealt, operand, more, waits):
        (held, sums, depth, rows, at, tile, stage, is_whole), shares, laid, first = dealt
        tiles, across, shift, half, wide, length, stride, scratch = shares
        whole, warp, lane = is_whole and is_aligned(operand), cuda.threadIdx.x // WARP, cuda.threadIdx.x % WARP
        index, member, members, jump = warp >> shift, warp % (1 << shift), 1 << shift, SIDE * stride
        mine, begin, (high, some, matrix, row, target) = scratch + warp * wide, 0, first
        while begin < tiles:
            c, e, k, is_own = empty, empty, 0, begin + index < tiles
            apart = FRAGMENT * ratio * (2 * min(LINE // ROWS, -(-high // ROWS)) if sums > SIDE else 1)
            found = fetch(operand, laid, 0, depth if whole else 0)
            while k < depth:
                found = come(stored, operand, found, laid, k, depth, whole, waits)
                if is_own:
                    count, here = -(-min(laid[0], depth - k) // size), matrix + k // size * apart
                    if some > SIDE:
                        c, e = sixteen_rows(stored, here, row, jump, apart, sums, high, member, members, count, c, e)
                    else:
                        c = eight_rows(stored, here, row, apart, sums, high, member, members, count, c)
                k += laid[0]
            if is_own:
                spread(numbers, mine + lane, high, c)
                if some > SIDE:
                    spread(numbers, mine + half + lane, high, e)
            cuda.syncthreads()
            if is_own:
                parts = mine - member * wide
                gather(numbers, parts, shift, member, wide, target, tile, high, some, more)
                if some > SIDE:
                    gather(numbers, parts + half, shift, member, wide, target + SIDE, tile, high, some - SIDE, more)
            begin += cuda.blockDim.x // WARP >> shift
            if begin < tiles:
                high, some, matrix, row, target = turn(
                    begin + index, across, held, sums, length, rows, stride, stage, at, tile
                )
                cuda.syncthreads()

    return moved(deal), moved(multiply)
