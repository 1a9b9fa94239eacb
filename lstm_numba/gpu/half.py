"""Half types: their bits in 16-bit integers, converted by one instruction each; compute capability 8.0 and later."""

from llvmlite import ir
from numba.cuda import types
from numba.cuda.extending import intrinsic

HALF = ir.IntType(16)


def _instruction(text, result, argument):
    """Return a function: one PTX instruction from a number to a number."""

    @intrinsic
    def instruction(typing_context, value):
        def build(context, builder, signature, arguments):
            kinds = {types.uint16: (HALF, "h"), types.float32: (ir.FloatType(), "f")}
            (to, to_letter), (of, of_letter) = kinds[result], kinds[argument]
            code = ir.InlineAsm(ir.FunctionType(to, [of]), f"{text} $0, $1;", f"={to_letter},{of_letter}", False)
            return builder.call(code, arguments)

        return result(argument), build

    return instruction


@intrinsic
def _bfloat16_value(typing_context, bits):
    """The upper half of a float32."""

    def build(context, builder, signature, arguments):
        word = builder.shl(builder.zext(arguments[0], ir.IntType(32)), ir.Constant(ir.IntType(32), 16))
        return builder.bitcast(word, ir.FloatType())

    return types.float32(types.uint16), build


# Storage -> (bits to float32, float32 to bits, to the nearest, ties to even).
CONVERSIONS = {
    "bfloat16": (_bfloat16_value, _instruction("cvt.rn.bf16.f32", types.uint16, types.float32)),
    "float16": (
        _instruction("cvt.f32.f16", types.float32, types.uint16),
        _instruction("cvt.rn.f16.f32", types.uint16, types.float32),
    ),
}
