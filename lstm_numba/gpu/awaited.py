"""Numbers that blocks wait for: an array begins with a pattern of bits that no number has, and who reads it reads on
until another stands there.

Nobody counts who has come, and nobody waits for more than the numbers that he reads: between a block that writes and
one that reads there is one way to the second-level cache and one back.  All bits set is a NaN that no instruction
makes; one that came in with them is written as the NaN that instructions do make.  Both sides are relaxed accesses of
the device's scope: what is read has no meaning for other memory, so nothing has to be ordered.
"""

from functools import partial

from llvmlite import ir
from numba.cuda import types
from numba.cuda.extending import intrinsic

WORD = ir.IntType(32)
KINDS = {  # number -> bits as LLVM has them, as PTX names them, their register; the NaN that is written instead
    types.uint16: (ir.IntType(16), "b16", "h", 0x7FFF),
    types.float32: (ir.IntType(32), "b32", "r", 0x7FFFFFFF),
    types.float64: (ir.IntType(64), "b64", "l", 0x7FFFFFFFFFFFFFFF),
}


@intrinsic
def publish(typing_context, array, index, value):
    """array[index] = value, seen by all blocks as soon as it is there."""
    bits, suffix, letter, other = KINDS[array.dtype]

    def build(context, builder, signature, arguments):
        place, number = builder.gep(arguments[0], [arguments[1]]), builder.bitcast(arguments[2], bits)
        upper = number if bits.width < 64 else _upper(builder, number)
        unwritten = builder.icmp_unsigned("==", upper, ir.Constant(upper.type, -1))
        number = builder.select(unwritten, ir.Constant(bits, other), number)
        kind = ir.FunctionType(ir.VoidType(), [place.type, bits])
        text = f"st.relaxed.gpu.global.{suffix} [$0], $1;"
        builder.call(ir.InlineAsm(kind, text, f"l,{letter},~{{memory}}", side_effect=True), [place, number])
        return context.get_dummy_value()

    return types.void(array, types.int64, array.dtype), build


# --- What may not have come yet


LETTERS = {types.uint32: ("r", "b32"), types.float32: ("f", "f32"), types.float64: ("d", "f64")}


def _reader(count, kind_of):
    """Return a function: (array, index) -> so many neighbouring words or numbers, one instruction."""

    @intrinsic
    def read(typing_context, array, index):
        number = kind_of(array)
        found = types.UniTuple(number, count) if count > 1 else number

        def build(context, builder, signature, arguments):
            place, kind = builder.gep(arguments[0], [arguments[1]]), context.get_value_type(number)
            letter, suffix = LETTERS[number]
            names = ", ".join(f"${n}" for n in range(count))
            text = f"ld.relaxed.gpu.global.{f'v{count}.' if count > 1 else ''}{suffix} "
            text += f"{{{names}}}, [${count}];" if count > 1 else "$0, [$1];"
            result = ir.LiteralStructType([kind] * count) if count > 1 else kind
            constraints = ",".join([*[f"={letter}"] * count, "l", "~{memory}"])
            code = ir.InlineAsm(ir.FunctionType(result, [place.type]), text, constraints, side_effect=True)
            value = builder.call(code, [place])
            if count == 1:
                return value
            return context.make_tuple(builder, found, [builder.extract_value(value, n) for n in range(count)])

        return found(array, types.int64), build

    return read


word, four_words = (_reader(count, lambda array: types.uint32) for count in (1, 4))
number, two_numbers, four_numbers = (_reader(count, lambda array: array.dtype) for count in (1, 2, 4))


def _lacking(builder, values, is_half):
    """Whether one of these is unwritten: any half of a word, or a whole number."""
    if not is_half:
        words = [_upper(builder, value) for value in values]
        return builder.icmp_unsigned("==", _joined(words, partial(_larger, builder)), ir.Constant(WORD, -1))
    # v has a half of zeros where (v - 0x00010001) & ~v has its upper bit; v = ~word
    marks = [builder.and_(builder.sub(ir.Constant(WORD, 0xFFFEFFFE), word), word) for word in values]
    found = builder.and_(_joined(marks, builder.or_), ir.Constant(WORD, 0x80008000))
    return builder.icmp_unsigned("!=", found, ir.Constant(WORD, 0))


def _upper(builder, value):
    """The upper word of a number's bits."""
    return value if value.type == WORD else builder.trunc(builder.lshr(value, ir.Constant(value.type, 32)), WORD)


def _larger(builder, a, b):
    return builder.select(builder.icmp_unsigned(">", a, b), a, b)


def _joined(values, join):
    total = values[0]
    for value in values[1:]:
        total = join(total, value)
    return total


def make_lacks(is_half):
    """Return a function: whether one of these words or numbers, one or a tuple, is not written yet."""

    @intrinsic
    def lacks(typing_context, found):
        count = found.count if isinstance(found, types.UniTuple) else 1
        number = found.dtype if count > 1 else found
        bits = ir.IntType(number.bitwidth)

        def build(context, builder, signature, arguments):
            values = [builder.extract_value(arguments[0], n) for n in range(count)] if count > 1 else [arguments[0]]
            return _lacking(builder, [builder.bitcast(value, bits) for value in values], is_half)

        return types.boolean(found), build

    return lacks
