"""What the threads of a block do together, in the words of CUDA that the simulator knows too.

A product (exact.py, cores.py) is numbers[at + i tile + r] = sum over k of held[i, k] operand[r, k].  The operand comes
into shared memory (staging.py).  The product is cut into tiles of sums; a tile has a team of threads, or several where
there are more teams than tiles.  The terms of the sums are dealt to the threads, and their parts are added in a fixed
order, so that the bits are the same every time.  Whoever has called for a product waits before the sums are read or the
next one begins.
"""

from numba import cuda

WARP = 32


def thread():
    return cuda.threadIdx.x


def threads():
    return cuda.blockDim.x


def wait():
    cuda.syncthreads()


def join():
    """The lanes of a warp."""
    cuda.syncwarp()


def share(parts, batch, size):
    part, group, groups = cuda.blockIdx.x % parts, cuda.blockIdx.x // parts, cuda.gridDim.x // parts
    most, each = -(-size // parts), -(-batch // groups)
    first, low = part * most, group * each
    return first, max(0, min(most, size - first)), low, min(batch, low + each)


def places(units):
    shift = 0
    while (1 << shift) < min(units, cuda.blockDim.x):
        shift += 1
    return cuda.threadIdx.x >> shift, cuda.blockDim.x >> shift, cuda.threadIdx.x % (1 << shift), 1 << shift


def board(now, parts):
    """Places of a number of this block, and of one block for each thread, where all blocks have one a step."""
    first = now * cuda.gridDim.x + cuda.blockIdx.x // parts * parts
    return first + cuda.blockIdx.x % parts, first + cuda.threadIdx.x


def shift_of(teams, tiles):
    """The binary logarithm of how many teams share a tile."""
    shift = 0
    while teams >> (shift + 1) >= max(1, tiles):
        shift += 1
    return shift


def place_of(index, across):
    """Line and column of a tile, with so many in a line."""
    if across == 1:
        return index, 0
    return index // across, index % across


def make_hold(moved, lines, span, spot, zero, kept):
    """hold and hold_turned; four numbers of each thread are on their way at once.

    Args:
        moved: makes of a function one that can be called here.
        lines: rows -> with those of zeros behind them; span: depth -> numbers of a row, zeros behind its last term.
        spot: (row, term, span, rows) -> where a term lies; kept: changes a number on its way.
    """

    def read(weights, place, wide, k, last):
        return kept(weights[place + k * wide]) if k < last else zero

    one = moved(read)

    def put_four(stored, weights, at, i, rows, length, place, wide, last, k, jump):
        """The terms k, k + jump .. of a row, `wide` numbers from one to the next in the matrix."""
        second, third, fourth = k + jump, k + 2 * jump, k + 3 * jump
        a, b = one(weights, place, wide, k, last), one(weights, place, wide, second, last)
        c, d = one(weights, place, wide, third, last), one(weights, place, wide, fourth, last)
        stored[at + spot(i, k, length, rows)] = a
        if second < length:
            stored[at + spot(i, second, length, rows)] = b
        if third < length:
            stored[at + spot(i, third, length, rows)] = c
        if fourth < length:
            stored[at + spot(i, fourth, length, rows)] = d

    four = moved(put_four)

    def hold(stored, at, weights, run, skipped, gates, size, depth, first, units):
        """A warp for each row."""
        length, rows, jump = span(depth), run * units, min(WARP, cuda.blockDim.x)
        for i in range(cuda.threadIdx.x // WARP, lines(rows), -(-cuda.blockDim.x // WARP)):
            gate = i // units
            source = ((gate - skipped) * size + first + i % units) * depth
            last = depth if gate >= skipped and gate < skipped + gates else 0
            for k in range(cuda.threadIdx.x % WARP, length, jump * 4):
                four(stored, weights, at, i, rows, length, source, 1, last, k, jump)

    def hold_turned(stored, at, weights, depth, size, first, units):
        """Neighbouring threads read neighbouring columns."""
        length, wide = span(depth), 1
        while wide < units and wide * 2 <= cuda.blockDim.x:
            wide *= 2
        jump = cuda.blockDim.x // wide
        for i in range(cuda.threadIdx.x % wide, lines(units), wide):
            last = depth if i < units else 0
            for k in range(cuda.threadIdx.x // wide, length, jump * 4):
                four(stored, weights, at, i, units, length, first + i, size, last, k, jump)

    return hold, hold_turned
