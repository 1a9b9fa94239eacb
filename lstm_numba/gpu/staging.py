"""A product's operand on its way to all threads of a block: into shared memory, so many columns at a time.

A block reads each number once, a thread 16 bytes of a row at a time, up to eight of them on their way; what has not
come yet is read on (awaited.py).  While some columns are multiplied the next are on their way.
"""

from numba import cuda

from lstm_numba.gpu.plan import PAD


def make_stage(moved, size, ratio, at_once, read, put, prepared, none):
    """lay: where a thread's numbers come from and go to; fetch: the first columns on their way; come: some columns laid
    down, and the next on their way.

    Args:
        moved: makes of a function one that can be called here.
        size: numbers of 16 bytes; ratio: numbers of a piece; none: a piece of zeros.
        at_once: times 16 bytes that a thread has on their way, four or eight.
        read: (operand, place) -> 16 bytes of pieces, or one; whether a number in them has not come; and what joins the
            lanes of a warp that have not waited equally long.
        put: (shared, place, them), of 16 bytes, and of one; prepared: a piece as products take it.
    """
    (pieces, piece, lacks, join), (put_pieces, put_piece) = read, put
    nothing = (none,) * (size // ratio)
    fetch = moved(make_fetch(moved, at_once, pieces, nothing))
    settle = moved(make_settle(moved, at_once, pieces, lacks, join))
    put = moved(make_put(moved, at_once, put_pieces, _each(prepared, size // ratio)))
    bring = moved(make_bring(moved, size, ratio, piece, lacks, put_piece, prepared, none))
    return moved(make_lay(size)), fetch, moved(make_come(fetch, settle, put, bring))


def make_come(fetch, settle, put, bring):
    def come(stored, operand, found, laid, k, depth, whole, waits):
        """All threads can read the columns from k on; whoever calls for the next ones has read them."""
        if whole and waits:
            found = settle(found, operand, laid, k)
        if k > 0:
            cuda.syncthreads()
        if whole:
            put(stored, found, laid)
        else:
            bring(stored, operand, laid, k, depth, waits)
        cuda.syncthreads()
        if whole and k + laid[0] < depth:
            found = fetch(operand, laid, k + laid[0], depth)
        return found

    return come


def make_lay(size):
    pad = PAD * size // 16

    def lay(rows, apart, span, stage):
        """Numbers of a row at once, and from one row to the next; this thread's first one, its rows behind the last;
        from one of its lines to the next; where its first numbers are read, and put, and how far from those of its next
        line."""
        shift = 0
        while (2 << shift) <= min(span, cuda.blockDim.x):
            shift += 1
        line, lines, wide = cuda.threadIdx.x >> shift, cuda.blockDim.x >> shift, size << shift
        column, stride = cuda.threadIdx.x % (1 << shift) * size, wide + pad
        source, target = line * apart + column, stage + line * stride + column
        return wide, stride, column, rows - line, lines, source, lines * apart, target, lines * stride

    return lay


def make_fetch(moved, at_once, pieces, nothing):
    def guarded(operand, place, is_there):
        return pieces(operand, place) if is_there else nothing

    one = moved(guarded)

    def four(operand, source, step, left, lines):
        return (
            one(operand, source, left > 0),
            one(operand, source + step, left > lines),
            one(operand, source + 2 * step, left > 2 * lines),
            one(operand, source + 3 * step, left > 3 * lines),
        )

    four_lines, four_nothing = moved(four), (nothing,) * 4

    def fetch(operand, laid, k, depth):
        _, _, column, left, lines, source, step, _, _ = laid
        near, far = four_nothing, four_nothing
        if k + column < depth:
            near = four_lines(operand, source + k, step, left, lines)
            if at_once > 4 and left > 4 * lines:
                far = four_lines(operand, source + k + 4 * step, step, left - 4 * lines, lines)
        return near, far

    return fetch


def make_wait_for_four(pieces, lacks):
    def wait_for_four(found, operand, source, step):
        """All that lack a number are on their way again at once."""
        a, b, c, d = found
        while lacks(a) | lacks(b) | lacks(c) | lacks(d):
            if lacks(a):
                a = pieces(operand, source)
            if lacks(b):
                b = pieces(operand, source + step)
            if lacks(c):
                c = pieces(operand, source + 2 * step)
            if lacks(d):
                d = pieces(operand, source + 3 * step)
        return a, b, c, d

    return wait_for_four


def make_settle(moved, at_once, pieces, lacks, join):
    def wait_for_one(found, operand, source):
        while lacks(found):
            found = pieces(operand, source)
        return found

    one, four = moved(wait_for_one), moved(make_wait_for_four(pieces, lacks))

    def settle(found, operand, laid, k):
        _, _, _, left, lines, source, step, _, _ = laid
        near, far = found
        if left > lines:
            near = four(near, operand, source + k, step)
            if at_once > 4 and left > 4 * lines:
                far = four(far, operand, source + k + 4 * step, step)
        else:
            near = one(near[0], operand, source + k), near[1], near[2], near[3]
        join()
        return near, far

    return settle


def _each(prepared, count):
    """Of two pieces, or of four."""

    def two(found):
        return prepared(found[0]), prepared(found[1])

    def four(found):
        return prepared(found[0]), prepared(found[1]), prepared(found[2]), prepared(found[3])

    return two if count == 2 else four


def make_put(moved, at_once, put_pieces, each):
    ready = moved(each)

    def put_four(stored, found, target, jump, left, lines):
        if left > 0:
            put_pieces(stored, target, ready(found[0]))
        if left > lines:
            put_pieces(stored, target + jump, ready(found[1]))
        if left > 2 * lines:
            put_pieces(stored, target + 2 * jump, ready(found[2]))
        if left > 3 * lines:
            put_pieces(stored, target + 3 * jump, ready(found[3]))

    four = moved(put_four)

    def put(stored, found, laid):
        _, _, _, left, lines, _, _, target, jump = laid
        four(stored, found[0], target, jump, left, lines)
        if at_once > 4 and left > 4 * lines:
            four(stored, found[1], target + 4 * jump, jump, left - 4 * lines, lines)

    return put


def make_bring(moved, size, ratio, piece, lacks, put_piece, prepared, none):
    def waited_for(operand, place, waits):
        found = piece(operand, place)
        while waits and lacks(found):
            found = piece(operand, place)
        return prepared(found)

    one = moved(waited_for)

    def bring(stored, operand, laid, k, depth, waits):
        _, _, column, left, lines, source, step, target, jump = laid
        row = 0
        while row * lines < left:
            for n in range(0, size, ratio):
                found = none
                if k + column + n < depth:
                    found = one(operand, source + row * step + k + n, waits)
                put_piece(stored, target + row * jump + n, found)
            row += 1

    return bring
