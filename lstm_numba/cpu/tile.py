"""The register tile: the inner loop of every product, written as LLVM IR.

    c[r, v] = d[r, v] + sum_k a[r, k] b[k, v]        r < rows, v < vectors x lanes;  d may be c

The accumulators stay in registers for the whole sum; k runs in order, so a row's result does not depend on the tile it
was in.  b is packed: its row k + 1 follows row k.  Addresses in the loop are a pointer for each row plus k, which
leaves the integer registers unspilled.
"""

from collections.abc import Sequence

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from lstm_numba.cpu.simd import I64, Register, ask, pointer, splat, vector_intrinsic
from lstm_numba.cpu.target import HEIGHTS, LINE_BYTES, finish

SIZE = types.intp
UNROLLED = 4
SHARING = 6  # rows of the highest tile that leaves registers for addresses of two kinds


def make_rows(vectors: int):
    """Return rows_times(rows, count, a, a0, a_row, b, b0, b_next, d, d0, d_row, c, c0, c_row): any number of rows.

    The highest tile as often as it fits, then lower ones.  What stands b_next further on in b is fetched meanwhile.
    """

    @intrinsic
    def rows_times(typing_context, rows, count, a, a0, a_row, b, b0, b_next, d, d0, d_row, c, c0, c_row):
        kinds = (SIZE, SIZE, a, SIZE, SIZE, b, SIZE, SIZE, d, SIZE, SIZE, c, SIZE, SIZE)

        def build(context, builder, signature, arguments):
            _all_rows(context, builder, kinds, arguments, vectors, None)
            return context.get_dummy_value()

        return types.void(*kinds), build

    return rows_times


def make_pieces(vectors: int):
    """Return pieces_times(pieces, a_piece, *as of rows_times): each row of a in pieces of `count`, a_piece apart."""

    @intrinsic
    def pieces_times(
        typing_context, pieces, a_piece, rows, count, a, a0, a_row, b, b0, b_next, d, d0, d_row, c, c0, c_row
    ):
        kinds = (SIZE, SIZE, SIZE, SIZE, a, SIZE, SIZE, b, SIZE, SIZE, d, SIZE, SIZE, c, SIZE, SIZE)

        def build(context, builder, signature, arguments):
            _all_rows(context, builder, kinds[2:], arguments[2:], vectors, arguments[:2])
            return context.get_dummy_value()

        return types.void(*kinds), build

    return pieces_times


def _all_rows(context, builder, kinds, arguments, vectors: int, pieces) -> None:
    rows, count, a, a0, a_row, b, b0, b_next, d, d0, d_row, c, c0, c_row = arguments
    places = (kinds[2], a, a0), (kinds[5], b, b0), (kinds[8], d, d0), (kinds[11], c, c0)
    a_first, b_first, d_first, c_first = (pointer(context, builder, *place) for place in places)
    tile, done = _Tile(builder, Register(kinds[2].dtype), vectors, pieces), I64(0)
    for height, times in _times(builder, rows, vectors):
        with cgutils.for_range(builder, times, intp=I64) as loop:
            r = builder.add(done, builder.mul(loop.index, I64(height)))
            strided = (a_first, a_row), (d_first, d_row), (c_first, c_row)
            a_rows, d_rows, c_rows = (tile.apart(tile.step(p, r, row), row, height) for p, row in strided)
            tall = height == HEIGHTS[vectors][0]
            ahead = tile.share(b_first, b_next, loop.index, times) if tall else None
            tile.emit(count, a_rows, 1, [b_first], [d_rows], [c_rows], ahead, UNROLLED if tall else 1)
        done = builder.add(done, builder.mul(times, I64(height)))


def _times(builder, rows, vectors: int):
    """(height, how often) for this number of rows: whole tiles, then what finishes the rest in the fewest cycles."""
    heights, splits = HEIGHTS[vectors], finish(vectors)
    most = heights[0]
    whole, rest = builder.sdiv(rows, I64(most)), builder.srem(rows, I64(most))
    # a rest may be covered better together with one of the whole tiles
    better = _is_one_of(builder, rest, [r for r in range(1, most) if most not in splits[most + r]])
    joined = builder.and_(better, builder.icmp_signed(">", whole, I64(0)))
    whole = builder.select(joined, builder.sub(whole, I64(1)), whole)
    rest = builder.select(joined, builder.add(rest, I64(most)), rest)
    yield most, whole
    for height in heights[1:]:
        times = I64(0)
        for left, split in splits.items():
            if height in split and most not in split:
                times = builder.select(builder.icmp_signed("==", rest, I64(left)), I64(split[height]), times)
        yield height, times


def _is_one_of(builder, value, numbers):
    found = ir.Constant(ir.IntType(1), 0)
    for number in numbers:
        found = builder.or_(found, builder.icmp_signed("==", value, I64(number)))
    return found


def make_strip(vectors: int):
    """Return strip_times(rows, count, a, a0, b, b0, c, c0, c_row, d, d0, d_row): a is packed too, column after column.

    `rows` is one of the tile's heights.  A line of each of `count` rows of d, d_row apart, is fetched meanwhile.
    """

    @intrinsic
    def strip_times(typing_context, rows, count, a, a0, b, b0, c, c0, c_row, d, d0, d_row):
        kinds = (SIZE, SIZE, a, SIZE, b, SIZE, c, SIZE, SIZE, d, SIZE, SIZE)

        def build(context, builder, signature, arguments):
            rows, count, a, a0, b, b0, c, c0, c_row, d, d0, d_row = arguments
            places = (kinds[2], a, a0), (kinds[4], b, b0), (kinds[6], c, c0), (kinds[9], d, d0)
            a_first, b_first, c_first, d_first = (pointer(context, builder, *place) for place in places)
            tile = _Tile(builder, Register(kinds[2].dtype), vectors)
            for height in HEIGHTS[vectors]:
                with builder.if_then(builder.icmp_signed("==", rows, I64(height))):
                    a_rows, c_rows = tile.apart(a_first, I64(1), height), tile.apart(c_first, c_row, height)
                    tile.want(tile.apart(tile.step(c_first, I64(height), c_row), c_row, height))
                    tall = height == HEIGHTS[vectors][0]
                    ahead = (d_first, d_row, [I64(0)]) if tall else None
                    tile.emit(count, a_rows, height, [b_first], [c_rows], [c_rows], ahead, UNROLLED if tall else 1)
            return context.get_dummy_value()

        return types.void(*kinds), build

    return strip_times


def make_flat(vectors: int, groups: int):
    """Return flat_times(count, a, a0, b, b0, b_group, d, d0, c, c0, group): one row with several groups of b.

    Enough sums are then in flight to hide the latency of an addition.
    """

    @intrinsic
    def flat_times(typing_context, count, a, a0, b, b0, b_group, d, d0, c, c0, group):
        kinds = (SIZE, a, SIZE, b, SIZE, SIZE, d, SIZE, c, SIZE, SIZE)

        def build(context, builder, signature, arguments):
            count, a, a0, b, b0, b_group, d, d0, c, c0, group = arguments
            places = (kinds[1], a, a0), (kinds[3], b, b0), (kinds[6], d, d0), (kinds[8], c, c0)
            a_first, b_first, d_first, c_first = (pointer(context, builder, *place) for place in places)
            tile = _Tile(builder, Register(kinds[1].dtype), vectors)
            b_groups = tile.apart(b_first, b_group, groups)
            d_groups, c_groups = ([[row] for row in tile.apart(p, group, groups)] for p in (d_first, c_first))
            tile.emit(count, [a_first], 1, b_groups, d_groups, c_groups, None, 1)
            return context.get_dummy_value()

        return types.void(*kinds), build

    return flat_times


class _Tile:
    """Emits one tile's loop."""

    def __init__(self, builder, register: Register, vectors: int, pieces=None) -> None:
        self.builder, self.register, self.vectors, self.pieces = builder, register, vectors, pieces
        self.lanes, self.row = register.lanes, vectors * register.lanes
        self.per_line = LINE_BYTES // (register.element.bitwidth // 8)
        self.lines = -(-self.row // self.per_line)

    def step(self, address, index, stride):
        return self.builder.gep(address, [self.builder.mul(index, stride)])

    def apart(self, address, stride, count: int) -> list:
        """`count` addresses, each `stride` after the one before."""
        return [self.step(address, I64(k), stride) for k in range(count)]

    def share(self, b_first, b_next, index, times):
        """What tile `index` of `times` fetches of b's rows b_next further on: a line of each, or all if tiles are few.

        Tiles that have nothing to fetch ask again for what is there already.
        """
        builder, lines = self.builder, I64(self.lines)
        many = builder.icmp_signed(">=", times, lines)
        if HEIGHTS[self.vectors][0] > SHARING:  # no register is left for an offset
            many = ir.Constant(ir.IntType(1), 0)
        active = builder.icmp_signed("<", index, builder.select(many, lines, I64(1)))
        line = builder.select(many, builder.mul(builder.srem(index, lines), I64(self.per_line)), I64(0))
        place = builder.gep(b_first, [builder.add(line, builder.select(active, b_next, I64(0)))])
        return place, I64(self.row), [builder.select(many, I64(0), I64(l * self.per_line)) for l in range(self.lines)]

    def emit(
        self, count, a_rows: Sequence, a_k: int, b_groups: Sequence, d_groups, c_groups, ahead, unrolled: int
    ) -> None:
        """c[group][row] = d[group][row] + a_rows times b_groups over k < count; a_k is the stride of k in a.

        `ahead` is what to fetch meanwhile: (address, its stride of k, offsets at every k), or None.
        """
        builder = self.builder
        given, cells = self._cells(d_groups), self._cells(c_groups)
        sums = {cell: cgutils.alloca_once_value(builder, self._load(address)) for cell, address in given.items()}
        self._own(given, cells)
        if self.pieces is None:
            self._terms(count, unrolled, (a_rows, a_k, b_groups, ahead), sums)
        else:
            self._pieces(count, unrolled, (a_rows, a_k, b_groups, ahead), sums)
        for cell, address in cells.items():
            self._store(builder.load(sums[cell]), address)

    def _pieces(self, count, unrolled: int, operands, sums) -> None:
        """As _terms, over pieces of `count` terms: a's are a_piece apart, b's follow each other."""
        a_rows, a_k, b_groups, ahead = operands
        pieces, a_piece = self.pieces
        b_piece = self.builder.mul(count, I64(self.row))
        with cgutils.for_range(self.builder, pieces, intp=I64) as piece:
            a_here = [self.step(row, piece.index, a_piece) for row in a_rows]
            b_here = [self.step(group, piece.index, b_piece) for group in b_groups]
            here = ahead and (self.step(ahead[0], piece.index, b_piece), *ahead[1:])
            self._terms(count, unrolled, (a_here, a_k, b_here, here), sums)

    def _terms(self, count, unrolled: int, operands, sums) -> None:
        whole = self.builder.mul(self.builder.sdiv(count, I64(unrolled)), I64(unrolled))
        self._loop(I64(0), whole, unrolled, operands, sums)
        if unrolled > 1:
            self._loop(whole, count, 1, (*operands[:3], None), sums)

    def _own(self, given: dict, cells: dict) -> None:
        """Ask for the lines that will be written and that nothing has read."""
        first = next(iter(cells))
        if given[first] is cells[first]:
            return
        with self.builder.if_then(self.builder.icmp_unsigned("!=", given[first], cells[first])):
            self._to_write(cells)

    def want(self, rows: Sequence) -> None:
        """Ask for the rows that the next tile will add to."""
        self._to_write(self._cells([rows]))

    def _to_write(self, cells: dict) -> None:
        for (_, _, v), address in cells.items():
            if v * self.lanes % self.per_line == 0:
                ask(self.builder, address, write=True)

    def _cells(self, groups: Sequence[Sequence]) -> dict:
        """(group, row, vector) -> address."""
        rows = [(g, r, row) for g, group in enumerate(groups) for r, row in enumerate(group)]
        return {(g, r, v): self._column(row, v) for g, r, row in rows for v in range(self.vectors)}

    def _loop(self, first, last, unrolled: int, operands, sums) -> None:
        a_rows, a_k, b_groups, ahead = operands
        with cgutils.for_range_slice(self.builder, first, last, I64(unrolled), I64) as (k, _):
            a_at = [self.step(row, k, I64(a_k)) for row in a_rows]
            b_at = [self.step(group, k, I64(self.row)) for group in b_groups]
            for u in range(unrolled):
                if ahead is not None:
                    self._fetch(self.builder.add(k, I64(u)), *ahead)
                a_here = [self._offset(row, u * a_k) for row in a_at]
                b_here = [self._offset(group, u * self.row) for group in b_at]
                self._rank_one(a_here, b_here, sums)

    def _rank_one(self, a_at: Sequence, b_at: Sequence, sums) -> None:
        """Every row's a[r, k] times the vectors of b[k]."""
        columns = [[self._load(self._column(group, v)) for v in range(self.vectors)] for group in b_at]
        for r, address in enumerate(a_at):
            row = splat(self.builder, self.builder.load(address), self.lanes)
            for g, group in enumerate(columns):
                for v, column in enumerate(group):
                    cell = sums[g, r, v]
                    factors = [row, column, self.builder.load(cell)]
                    self.builder.store(vector_intrinsic(self.builder, "fma", self.register.llvm, factors), cell)

    def _fetch(self, k, address, stride, offsets: Sequence) -> None:
        for offset in offsets:
            ask(self.builder, self.builder.gep(self.step(address, k, stride), [offset]))

    def _column(self, address, v: int):
        return self._offset(address, v * self.lanes)

    def _offset(self, address, count: int):
        return self.builder.gep(address, [I64(count)]) if count else address

    def _load(self, address):
        value = self.builder.load(self.builder.bitcast(address, self.register.llvm.as_pointer()))
        value.align = self.register.element.bitwidth // 8
        return value

    def _store(self, value, address) -> None:
        written = self.builder.store(value, self.builder.bitcast(address, self.register.llvm.as_pointer()))
        written.align = self.register.element.bitwidth // 8
