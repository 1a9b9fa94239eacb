"""The register tile: the inner loop of every product, written as LLVM IR.

    c[r, v] += sum_k a[r, k] b[k, v]        r < rows, v < vectors x lanes

The accumulators stay in registers for the whole sum; k runs in order, so a row's result does not depend on the tile it was in.
"""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from lstm_numba.cpu.simd import I64, Register, pointer, splat, vector_intrinsic
from lstm_numba.cpu.target import HEIGHTS


def make_tile(rows: int, vectors: int, groups: int = 1):
    """Return tile(count, a, a0, a_row, a_k, b, b0, b_k, b_group, c, c0, c_row, c_group): arrays, first indices and strides.

    A group is one more set of vectors, b_group further on in b and c_group in c.
    """

    @intrinsic
    def tile(typing_context, count, a, a0, a_row, a_k, b, b0, b_k, b_group, c, c0, c_row, c_group):
        size = types.intp
        kinds = (size, a, size, size, size, b, size, size, size, c, size, size, size)

        def build(context, builder, signature, arguments):
            _Tile(context, builder, signature.args, arguments, (rows, groups, vectors)).emit()
            return context.get_dummy_value()

        return types.void(*kinds), build

    return tile


def make_rows(vectors: int):
    """Return rows_times(rows, count, a, a0, a_row, a_k, b, b0, b_k, c, c0, c_row): one group, any number of rows.

    The highest tile as often as it fits, then each lower one.
    """

    @intrinsic
    def rows_times(typing_context, rows, count, a, a0, a_row, a_k, b, b0, b_k, c, c0, c_row):
        size = types.intp
        kinds = (size, size, a, size, size, size, b, size, size, c, size, size)

        def build(context, builder, signature, arguments):
            rows, count, a, a0, a_row, a_k, b, b0, b_k, c, c0, c_row = arguments
            tile_kinds = (size, a_kind, size, size, size, b_kind, size, size, size, c_kind, size, size, size)
            done = I64(0)
            for height in HEIGHTS[vectors]:
                times = builder.sdiv(builder.sub(rows, done), I64(height))
                with cgutils.for_range(builder, times, intp=I64) as loop:
                    r = builder.add(done, builder.mul(loop.index, I64(height)))
                    a_first, c_first = builder.add(a0, builder.mul(r, a_row)), builder.add(c0, builder.mul(r, c_row))
                    values = (count, a, a_first, a_row, a_k, b, b0, b_k, I64(0), c, c_first, c_row, I64(0))
                    _Tile(context, builder, tile_kinds, values, (height, 1, vectors)).emit()
                done = builder.add(done, builder.mul(times, I64(height)))
            return context.get_dummy_value()

        a_kind, b_kind, c_kind = a, b, c
        return types.void(*kinds), build

    return rows_times


class _Tile:
    """Emits one tile's loop."""

    def __init__(self, context, builder, kinds, arguments, shape):
        self.builder = builder
        self.rows, self.groups, self.vectors = shape
        self.count, a, a0, self.a_row, self.a_k, b, b0, self.b_k, self.b_group, c, c0, self.c_row, self.c_group = arguments
        self.a = pointer(context, builder, kinds[1], a, a0)
        self.b = pointer(context, builder, kinds[5], b, b0)
        self.c = pointer(context, builder, kinds[9], c, c0)
        self.register = Register(kinds[1].dtype)

    def emit(self) -> None:
        cells = [(r, g, v) for r in range(self.rows) for g in range(self.groups) for v in range(self.vectors)]
        sums = {cell: cgutils.alloca_once_value(self.builder, self._load(self._c(*cell))) for cell in cells}
        with cgutils.for_range(self.builder, self.count, intp=I64) as loop:
            self._step(loop.index, sums)
        for cell in cells:
            self._store(self.builder.load(sums[cell]), self._c(*cell))

    def _step(self, k, sums) -> None:
        """One rank-one update: every row's a[r, k] times the vectors of b[k]."""
        b_k = self._at(self.b, (k, self.b_k))
        columns = {(g, v): self._load(self._at(b_k, (I64(g), self.b_group), (I64(v * self.register.lanes), I64(1))))
                   for g in range(self.groups) for v in range(self.vectors)}
        a_k = self._at(self.a, (k, self.a_k))
        for r in range(self.rows):
            row = splat(self.builder, self.builder.load(self._at(a_k, (I64(r), self.a_row))), self.register.lanes)
            for (g, v), column in columns.items():
                cell = sums[r, g, v]
                total = vector_intrinsic(self.builder, "fma", self.register.llvm, [row, column, self.builder.load(cell)])
                self.builder.store(total, cell)

    def _c(self, r, g, v):
        return self._at(self.c, (I64(r), self.c_row), (I64(g), self.c_group), (I64(v * self.register.lanes), I64(1)))

    def _at(self, address, *steps):
        for index, stride in steps:
            address = self.builder.gep(address, [self.builder.mul(index, stride)])
        return address

    def _load(self, address):
        value = self.builder.load(self.builder.bitcast(address, self.register.llvm.as_pointer()))
        value.align = self.register.element.bitwidth // 8
        return value

    def _store(self, value, address) -> None:
        written = self.builder.store(value, self.builder.bitcast(address, self.register.llvm.as_pointer()))
        written.align = self.register.element.bitwidth // 8
