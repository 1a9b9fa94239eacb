"""What the threads of a block do together, in the words of CUDA that the simulator knows too.

A product held[i, k] operand[r, k] is cut into tiles of sums; the terms of a tile's sums are dealt to several threads,
and their parts are added in the order of the threads, so that the bits are the same every time.
"""

from numba import cuda

LANES = 32  # threads that share the terms of a tile
SIDE = 4  # rows of held and of operand in a tile
PARTS = SIDE * SIDE


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


def make_multiply(lanes, zero):
    """The product with multiplications and additions of the arithmetic: tiles of 4 x 4 sums in registers."""

    def multiply(stored, held, count, depth, operand, start, apart, rows, numbers, at, tile, scratch, more):
        team, lane, teams = cuda.threadIdx.x // lanes, cuda.threadIdx.x % lanes, cuda.blockDim.x // lanes
        across = -(-rows // SIDE)
        tiles = -(-count // SIDE) * across
        for begin in range(0, tiles, teams):
            index = begin + team
            if index < tiles:
                # rows past the last one give sums that nobody reads
                left, top = index // across * SIDE, index % across * SIDE
                held_0 = held + left * depth
                held_1 = held + min(left + 1, count - 1) * depth
                held_2 = held + min(left + 2, count - 1) * depth
                held_3 = held + min(left + 3, count - 1) * depth
                row_0 = start + top * apart
                row_1 = start + min(top + 1, rows - 1) * apart
                row_2 = start + min(top + 2, rows - 1) * apart
                row_3 = start + min(top + 3, rows - 1) * apart
                s00 = s01 = s02 = s03 = s10 = s11 = s12 = s13 = zero
                s20 = s21 = s22 = s23 = s30 = s31 = s32 = s33 = zero
                for k in range(lane, depth, lanes):
                    a_0, a_1, a_2, a_3 = stored[held_0 + k], stored[held_1 + k], stored[held_2 + k], stored[held_3 + k]
                    b_0, b_1, b_2, b_3 = operand[row_0 + k], operand[row_1 + k], operand[row_2 + k], operand[row_3 + k]
                    s00, s01, s02, s03 = s00 + a_0 * b_0, s01 + a_0 * b_1, s02 + a_0 * b_2, s03 + a_0 * b_3
                    s10, s11, s12, s13 = s10 + a_1 * b_0, s11 + a_1 * b_1, s12 + a_1 * b_2, s13 + a_1 * b_3
                    s20, s21, s22, s23 = s20 + a_2 * b_0, s21 + a_2 * b_1, s22 + a_2 * b_2, s23 + a_2 * b_3
                    s30, s31, s32, s33 = s30 + a_3 * b_0, s31 + a_3 * b_1, s32 + a_3 * b_2, s33 + a_3 * b_3
                mine = scratch + cuda.threadIdx.x
                apart_ = cuda.blockDim.x
                numbers[mine], numbers[mine + apart_] = s00, s01
                numbers[mine + 2 * apart_], numbers[mine + 3 * apart_] = s02, s03
                numbers[mine + 4 * apart_], numbers[mine + 5 * apart_] = s10, s11
                numbers[mine + 6 * apart_], numbers[mine + 7 * apart_] = s12, s13
                numbers[mine + 8 * apart_], numbers[mine + 9 * apart_] = s20, s21
                numbers[mine + 10 * apart_], numbers[mine + 11 * apart_] = s22, s23
                numbers[mine + 12 * apart_], numbers[mine + 13 * apart_] = s30, s31
                numbers[mine + 14 * apart_], numbers[mine + 15 * apart_] = s32, s33
            cuda.syncthreads()
            for place in range(cuda.threadIdx.x, teams * PARTS, cuda.blockDim.x):
                other, part = place // PARTS, place % PARTS
                i = (begin + other) // across * SIDE + part // SIDE
                r = (begin + other) % across * SIDE + part % SIDE
                if begin + other < tiles and i < count and r < rows:
                    total = zero
                    for k in range(lanes):
                        total += numbers[scratch + part * cuda.blockDim.x + other * lanes + k]
                    target = at + i * tile + r
                    numbers[target] = numbers[target] + total if more else total
            cuda.syncthreads()

    return multiply


def make_tensor_multiply(step, length_of, zero, held_fragment, operand_fragment, mma):
    """The product on tensor cores: tiles of 16 x 16 sums, two instructions each, the terms dealt to a team's warps.

    Args:
        step: terms that one instruction takes; held_fragment, operand_fragment: what a lane hands to it.
        mma: (a, b, c) -> c + a b, all 32 lanes together.
    """

    def multiply(stored, held, count, depth, operand, start, apart, rows, numbers, at, tile, scratch, more):
        warp, lane, warps = cuda.threadIdx.x // 32, cuda.threadIdx.x % 32, cuda.blockDim.x // 32
        line, column = lane // 4, lane % 4
        length, across = length_of(depth), -(-rows // 16)
        tiles = -(-count // 16) * across
        teams = 1
        while teams * 2 <= warps and teams < tiles:
            teams *= 2
        members = warps // teams
        team, member = warp // members, warp % members
        for begin in range(0, tiles, teams):
            index = begin + team
            c = zero, zero, zero, zero
            d = zero, zero, zero, zero
            if index < tiles:
                # rows past the last one give sums that nobody reads
                left, top = index // across * 16 + line, index % across * 16 + line
                upper, lower = held + min(left, count - 1) * length, held + min(left + 8, count - 1) * length
                first, second = start + min(top, rows - 1) * apart, start + min(top + 8, rows - 1) * apart
                for k in range(member * step, depth, members * step):
                    a = held_fragment(stored, upper + k, lower + k, column)
                    c = mma(a, operand_fragment(operand, first, k, depth, column), c)
                    d = mma(a, operand_fragment(operand, second, k, depth, column), d)
            mine = scratch + warp * 256 + lane
            numbers[mine], numbers[mine + 32], numbers[mine + 64], numbers[mine + 96] = c[0], c[1], c[2], c[3]
            numbers[mine + 128], numbers[mine + 160], numbers[mine + 192], numbers[mine + 224] = d[0], d[1], d[2], d[3]
            cuda.syncthreads()
            for place in range(cuda.threadIdx.x, teams * 256, cuda.blockDim.x):
                other, value, source = place // 256, place % 256 // 32, place % 32
                i = (begin + other) // across * 16 + source // 4 + value % 4 // 2 * 8
                r = (begin + other) % across * 16 + source % 4 * 2 + value % 2 + value // 4 * 8
                if begin + other < tiles and i < count and r < rows:
                    total = zero
                    for k in range(members):
                        total += numbers[scratch + (other * members + k) * 256 + place % 256]
                    target = at + i * tile + r
                    numbers[target] = numbers[target] + total if more else total
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
