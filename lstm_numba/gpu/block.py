"""What the threads of a block do together, in the words of CUDA that the simulator knows too.

A product held[i, k] operand[r, k] is cut into tiles of sums; the terms of a tile's sums are dealt to several threads,
and their parts are added in the order of the threads, so that the bits are the same every time.
"""

from numba import cuda

LANES = 32  # threads that share the terms of a tile
HIGH, SIDE = 8, 4  # rows of held and of operand in a tile
PARTS = SIDE * SIDE  # sums whose parts are in shared memory at once, of each team


def thread():
    return cuda.threadIdx.x


def threads():
    return cuda.blockDim.x


def wait():
    cuda.syncthreads()


def share(parts, batch, size):
    part, group, groups = cuda.blockIdx.x % parts, cuda.blockIdx.x // parts, cuda.gridDim.x // parts
    most, each = -(-size // parts), -(-batch // groups)
    first, low = part * most, group * each
    return first, max(0, min(most, size - first)), low, min(batch, low + each)


def make_hold(row_length, zero, kept):
    """hold and hold_turned for rows as long as the product wants them; `kept` changes a number on its way."""

    def hold(stored, at, weights, run, skipped, gates, size, depth, first, units):
        length = row_length(depth)
        for place in range(cuda.threadIdx.x, run * units * length, cuda.blockDim.x):
            i, k = place // length, place % length
            gate = i // units - skipped
            value = zero
            if k < depth and gate >= 0 and gate < gates:
                value = kept(weights[(gate * size + first + i % units) * depth + k])
            stored[at + place] = value

    def hold_turned(stored, at, weights, depth, size, first, units):
        length = row_length(depth)
        for place in range(cuda.threadIdx.x, units * length, cuda.blockDim.x):
            i, k = place // length, place % length
            value = zero
            if k < depth:
                value = kept(weights[k * size + first + i])
            stored[at + place] = value

    return hold, hold_turned


def make_sums(inlined, zero):
    """What the exact product is put together from: fetch, onto, spread and gather."""

    def fetch(operand, rows, k):
        return operand[rows[0] + k], operand[rows[1] + k], operand[rows[2] + k], operand[rows[3] + k]

    def onto(a, b, s):
        return s[0] + a * b[0], s[1] + a * b[1], s[2] + a * b[2], s[3] + a * b[3]

    row_onto = inlined(onto)

    def all_onto(stored, places, k, b, s):
        return (
            row_onto(stored[places[0] + k], b, s[0]),
            row_onto(stored[places[1] + k], b, s[1]),
            row_onto(stored[places[2] + k], b, s[2]),
            row_onto(stored[places[3] + k], b, s[3]),
            row_onto(stored[places[4] + k], b, s[4]),
            row_onto(stored[places[5] + k], b, s[5]),
            row_onto(stored[places[6] + k], b, s[6]),
            row_onto(stored[places[7] + k], b, s[7]),
        )

    def spread(numbers, mine, pitch, s):
        numbers[mine], numbers[mine + pitch] = s[0], s[1]
        numbers[mine + 2 * pitch], numbers[mine + 3 * pitch] = s[2], s[3]

    row_spread = inlined(spread)

    def spread_four(numbers, mine, pitch, s_0, s_1, s_2, s_3):
        row_spread(numbers, mine, pitch, s_0)
        row_spread(numbers, mine + 4 * pitch, pitch, s_1)
        row_spread(numbers, mine + 8 * pitch, pitch, s_2)
        row_spread(numbers, mine + 12 * pitch, pitch, s_3)

    def gather(numbers, scratch, pitch, lanes, begin, tiles, across, upper, count, rows, at, tile, more):
        """Four rows of each team's tile, from the one that is `upper` in it."""
        teams, half = cuda.blockDim.x // lanes, lanes // 2
        for place in range(cuda.threadIdx.x, teams * PARTS, cuda.blockDim.x):
            other, part = place // PARTS, place % PARTS
            i = (begin + other) // across * HIGH + upper + part // SIDE
            r = (begin + other) % across * SIDE + part % SIDE
            if begin + other < tiles and i < count and r < rows:
                total = zero
                for k in range(lanes):
                    total += numbers[scratch + part * pitch + other * lanes + (k + other * half) % lanes]
                target = at + i * tile + r
                numbers[target] = numbers[target] + total if more else total

    return inlined(fetch), inlined(all_onto), inlined(spread_four), inlined(gather)


def make_multiply(lanes, ahead, zero, fetch, onto, spread, gather):
    """The product with multiplications and additions of the arithmetic: tiles of 8 x 4 sums in registers, so that a
    number that is read serves eight or four of them.  With `ahead`, for which a float64 has no registers, four steps of
    the operand are on their way before the first is used."""

    def multiply(stored, held, count, depth, operand, start, apart, rows, numbers, at, tile, scratch, more):
        team, lane, teams = cuda.threadIdx.x // lanes, cuda.threadIdx.x % lanes, cuda.blockDim.x // lanes
        # two teams' sums and all parts of them are added by one warp, each number from a bank of its own
        pitch, mine = cuda.blockDim.x + 1, scratch + team * lanes + (lane + team * (lanes // 2)) % lanes
        across = -(-rows // SIDE)
        tiles = -(-count // HIGH) * across
        for begin in range(0, tiles, teams):
            index = begin + team
            none = zero, zero, zero, zero
            s = none, none, none, none, none, none, none, none
            if index < tiles:
                # rows past the last one give sums that nobody reads
                left, top, last = index // across * HIGH, index % across * SIDE, count - 1
                places = (
                    held + left * depth,
                    held + min(left + 1, last) * depth,
                    held + min(left + 2, last) * depth,
                    held + min(left + 3, last) * depth,
                    held + min(left + 4, last) * depth,
                    held + min(left + 5, last) * depth,
                    held + min(left + 6, last) * depth,
                    held + min(left + 7, last) * depth,
                )
                places_b = (
                    start + top * apart,
                    start + min(top + 1, rows - 1) * apart,
                    start + min(top + 2, rows - 1) * apart,
                    start + min(top + 3, rows - 1) * apart,
                )
                k = lane
                while ahead and k + 3 * lanes < depth:
                    b_0, b_1 = fetch(operand, places_b, k), fetch(operand, places_b, k + lanes)
                    b_2, b_3 = fetch(operand, places_b, k + 2 * lanes), fetch(operand, places_b, k + 3 * lanes)
                    s = onto(stored, places, k, b_0, s)
                    s = onto(stored, places, k + lanes, b_1, s)
                    s = onto(stored, places, k + 2 * lanes, b_2, s)
                    s = onto(stored, places, k + 3 * lanes, b_3, s)
                    k += 4 * lanes
                while k < depth:
                    s = onto(stored, places, k, fetch(operand, places_b, k), s)
                    k += lanes
            spread(numbers, mine, pitch, s[0], s[1], s[2], s[3])
            cuda.syncthreads()
            gather(numbers, scratch, pitch, lanes, begin, tiles, across, 0, count, rows, at, tile, more)
            cuda.syncthreads()
            spread(numbers, mine, pitch, s[4], s[5], s[6], s[7])
            cuda.syncthreads()
            gather(numbers, scratch, pitch, lanes, begin, tiles, across, SIDE, count, rows, at, tile, more)
            cuda.syncthreads()

    return multiply


# --- On tensor cores: tiles of 64 x 8 sums, four instructions each


def make_steps(inlined, held_fragment, operand_fragment, mma):
    """fetch and onto: steps of the operand on their way, and then on the sums of a tile.

    Args:
        held_fragment, operand_fragment: what a lane hands to an instruction.
        mma: (a, b, c) -> c + a b, all 32 lanes together.
    """

    def fetch(operand, row, k, jump, depth, column):
        """Four steps of the operand."""
        return (
            operand_fragment(operand, row, k, depth, column),
            operand_fragment(operand, row, k + jump, depth, column),
            operand_fragment(operand, row, k + 2 * jump, depth, column),
            operand_fragment(operand, row, k + 3 * jump, depth, column),
        )

    def onto(stored, places, some, k, depth, column, b, c):
        """One of them for the first `some` instructions of a tile; behind the last term nothing."""
        if k >= depth:
            return c
        return (
            mma(held_fragment(stored, places[0][0] + k, places[0][1] + k, column), b, c[0]),
            mma(held_fragment(stored, places[1][0] + k, places[1][1] + k, column), b, c[1]) if some > 1 else c[1],
            mma(held_fragment(stored, places[2][0] + k, places[2][1] + k, column), b, c[2]) if some > 2 else c[2],
            mma(held_fragment(stored, places[3][0] + k, places[3][1] + k, column), b, c[3]) if some > 3 else c[3],
        )

    step_onto = inlined(onto)

    def all_onto(stored, places, some, k, jump, depth, column, b, c):
        c = step_onto(stored, places, some, k, depth, column, b[0], c)
        c = step_onto(stored, places, some, k + jump, depth, column, b[1], c)
        c = step_onto(stored, places, some, k + 2 * jump, depth, column, b[2], c)
        return step_onto(stored, places, some, k + 3 * jump, depth, column, b[3], c)

    return inlined(fetch), inlined(all_onto)


def make_parts(inlined, zero):
    """spread and gather: a lane's parts of the sums to shared memory, and the sums of them."""

    def spread(numbers, mine, wide, c):
        numbers[mine], numbers[mine + 32], numbers[mine + 64], numbers[mine + 96] = c[0]
        if wide > 128:
            numbers[mine + 128], numbers[mine + 160], numbers[mine + 192], numbers[mine + 224] = c[1]
        if wide > 256:
            numbers[mine + 256], numbers[mine + 288], numbers[mine + 320], numbers[mine + 352] = c[2]
        if wide > 384:
            numbers[mine + 384], numbers[mine + 416], numbers[mine + 448], numbers[mine + 480] = c[3]

    def gather(numbers, parts, members, wide, left, top, count, rows, at, tile, more):
        """A tile's sums, from the parts of its team's warps."""
        for place in range(cuda.threadIdx.x, wide, cuda.blockDim.x):
            value, source = place // 32, place % 32
            i = left + value // 4 * 16 + source // 4 + value % 4 // 2 * 8
            r = top + source % 4 * 2 + value % 2
            if i < count and r < rows:
                total = zero
                for k in range(members):
                    total += numbers[parts + k * wide + place]
                target = at + i * tile + r
                numbers[target] = numbers[target] + total if more else total

    return inlined(spread), inlined(gather)


def make_tensor_multiply(step, length_of, zero, fetch, onto, spread, gather):
    """The product on tensor cores, the terms dealt to a team's warps.

    The operand comes from the second-level cache, which is far: it is read once for 64 rows of held, and eight steps of
    it are on their way before the first is used.

    Args:
        step: terms that one instruction takes.
    """

    def multiply(stored, held, count, depth, operand, start, apart, rows, numbers, at, tile, scratch, more):
        warp, lane, warps = cuda.threadIdx.x // 32, cuda.threadIdx.x % 32, cuda.blockDim.x // 32
        line, column = lane // 4, lane % 4
        length, across = length_of(depth), -(-rows // 8)
        tiles = -(-count // 64) * across
        teams = 1
        while teams * 2 <= warps and teams < tiles:
            teams *= 2
        members = warps // teams
        team, member = warp // members, warp % members
        jump, wide = members * step, 128 * min(4, -(-count // 16))
        for begin in range(0, tiles, teams):
            index = begin + team
            none = zero, zero, zero, zero
            c = none, none, none, none
            if index < tiles:
                # rows past the last one give sums that nobody reads
                left, row = index // across * 64, start + min(index % across * 8 + line, rows - 1) * apart
                top, last, some = left + line, count - 1, -(-(count - left) // 16)
                places = (
                    (held + min(top, last) * length, held + min(top + 8, last) * length),
                    (held + min(top + 16, last) * length, held + min(top + 24, last) * length),
                    (held + min(top + 32, last) * length, held + min(top + 40, last) * length),
                    (held + min(top + 48, last) * length, held + min(top + 56, last) * length),
                )
                for k in range(member * step, depth, 8 * jump):
                    near = fetch(operand, row, k, jump, depth, column)
                    far = fetch(operand, row, k + 4 * jump, jump, depth, column)
                    c = onto(stored, places, some, k, jump, depth, column, near, c)
                    c = onto(stored, places, some, k + 4 * jump, jump, depth, column, far, c)
            spread(numbers, scratch + warp * wide + lane, wide, c)
            cuda.syncthreads()
            for other in range(min(teams, tiles - begin)):
                left, top = (begin + other) // across * 64, (begin + other) % across * 8
                gather(numbers, scratch + other * members * wide, members, wide, left, top, count, rows, at, tile, more)
            cuda.syncthreads()

    return multiply


def half_fragments(pair, none):
    """What a lane hands to an instruction of half numbers: pairs of terms, 2 column + {0, 1} and 8 more."""

    def held(stored, upper, lower, column):
        above, below = upper + 2 * column, lower + 2 * column
        return pair(stored, above), pair(stored, below), pair(stored, above + 8), pair(stored, below + 8)

    def operand(array, row, k, depth, column):
        low = k + 2 * column
        first = pair(array, row + low) if low < depth else none
        return first, pair(array, row + low + 8) if low + 8 < depth else none

    return held, operand


def tf32_fragments(bits, rounded, none):
    """The same of tf32: the terms column and 4 more; held numbers are rounded already."""

    def held(stored, upper, lower, column):
        above, below = upper + column, lower + column
        return bits(stored[above]), bits(stored[below]), bits(stored[above + 4]), bits(stored[below + 4])

    def operand(array, row, k, depth, column):
        low = k + column
        first = rounded(array[row + low]) if low < depth else none
        return first, rounded(array[row + low + 4]) if low + 4 < depth else none

    return held, operand
