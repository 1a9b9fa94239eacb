"""A square of numbers, as many each way as a register holds, turned round in registers."""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from lstm_numba.cpu.simd import FLAGS, I32, I64, Register, pointer


@intrinsic
def add_turned(typing_context, found, first, down, to, begin, step):
    """to[begin + j step + i] += found[first + i down + j], i and j < lanes."""
    register = Register(found.dtype)

    def build(context, builder, signature, arguments):
        found, first, down, to, begin, step = arguments
        kinds = signature.args

        def line(kind, array, start, distance, number):
            index = builder.add(start, builder.mul(I64(number), distance))
            return builder.bitcast(pointer(context, builder, kind, array, index), register.llvm.as_pointer())

        def load(address):
            return builder.load(address, align=register.element.bitwidth // 8)

        rows = [load(line(kinds[0], found, first, down, i)) for i in range(register.lanes)]
        for j, column in enumerate(_turned(builder, rows)):
            address = line(kinds[3], to, begin, step, j)
            total = builder.fadd(load(address), column, flags=FLAGS)
            builder.store(total, address, align=register.element.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(found, types.intp, types.intp, to, types.intp, types.intp), build


def _turned(builder, rows):
    """Registers -> their columns: rows and lanes exchange one bit of their numbers after the other."""
    lanes = len(rows)
    bits = (1 << k for k in range(lanes.bit_length() - 1))
    for bit in bits:
        low = [k & ~bit | (lanes if k & bit else 0) for k in range(lanes)]  # lanes k without the bit, of both
        high = [index + bit for index in low]
        rows = [_chosen(builder, rows[i & ~bit], rows[i | bit], high if i & bit else low) for i in range(lanes)]
    return rows


def _chosen(builder, one, other, lanes):
    """Lanes of two registers."""
    return builder.shuffle_vector(one, other, ir.Constant(ir.VectorType(I32, len(lanes)), lanes))
