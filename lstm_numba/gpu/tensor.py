"""Tensor cores, and numbers of other lanes: PTX instructions as functions; compute capability 8.0 and later.

Fragments of m16n8k16 (half types) and m16n8k8 (tf32) as in the PTX manual, "Matrix Fragments for mma": lane l is line
l / 4 and column l % 4; each register holds two half numbers or one tf32.
"""

from llvmlite import ir
from numba.cuda import types
from numba.cuda.extending import intrinsic

WORD, REAL = ir.IntType(32), ir.FloatType()
FOUR_WORDS, TWO_WORDS = types.UniTuple(types.uint32, 4), types.UniTuple(types.uint32, 2)
FOUR_REALS = types.UniTuple(types.float32, 4)

SHAPES = {
    "bfloat16": "m16n8k16.row.col.f32.bf16.bf16.f32",
    "float16": "m16n8k16.row.col.f32.f16.f16.f32",
    "tf32": "m16n8k8.row.col.f32.tf32.tf32.f32",
}


def make_mma(kind):
    """Return a function: (a, b, c) -> c + a b for one tile, the 32 lanes of a warp together."""
    text = f"mma.sync.aligned.{SHAPES[kind]} {{$0,$1,$2,$3}}, {{$4,$5,$6,$7}}, {{$8,$9}}, {{$10,$11,$12,$13}};"

    @intrinsic
    def mma(typing_context, a, b, c):
        def build(context, builder, signature, arguments):
            groups = zip(arguments, (4, 2, 4), strict=True)
            registers = [builder.extract_value(group, k) for group, n in groups for k in range(n)]
            kind_of_call = ir.FunctionType(ir.LiteralStructType([REAL] * 4), [WORD] * 6 + [REAL] * 4)
            # all lanes must come to it together: it may neither be moved past a branch nor be copied into two
            code = ir.InlineAsm(kind_of_call, text, "=f,=f,=f,=f,r,r,r,r,r,r,f,f,f,f", side_effect=True)
            found = builder.call(code, registers, attrs=("convergent",))
            return context.make_tuple(builder, FOUR_REALS, [builder.extract_value(found, k) for k in range(4)])

        return FOUR_REALS(FOUR_WORDS, TWO_WORDS, FOUR_REALS), build

    return mma


# --- Numbers of other lanes


def _exchange(builder, value, lane):
    code = ir.InlineAsm(
        ir.FunctionType(WORD, [WORD, WORD]), "shfl.sync.bfly.b32 $0, $1, $2, 31, -1;", "=r,r,r", side_effect=True
    )
    return builder.call(code, [value, lane], attrs=("convergent",))


@intrinsic
def swapped(typing_context, value, lane):
    """The number of the lane whose number differs in these bits; all lanes of a warp together."""

    def build(context, builder, signature, arguments):
        number, other = arguments
        if value.bitwidth == 32:
            return builder.bitcast(_exchange(builder, builder.bitcast(number, WORD), other), REAL)
        halves = builder.bitcast(number, ir.VectorType(WORD, 2))
        for k in range(2):
            place = ir.Constant(WORD, k)
            half = _exchange(builder, builder.extract_element(halves, place), other)
            halves = builder.insert_element(halves, half, place)
        return builder.bitcast(halves, ir.DoubleType())

    return value(value, types.int32), build


@intrinsic
def rounded(typing_context, word):
    """A float32's bits as those of the nearest tf32."""

    def build(context, builder, signature, arguments):
        code = ir.InlineAsm(ir.FunctionType(WORD, [REAL]), "cvt.rna.tf32.f32 $0, $1;", "=r,f", side_effect=False)
        return builder.call(code, [builder.bitcast(arguments[0], REAL)])

    return types.uint32(types.uint32), build


@intrinsic
def bits(typing_context, value):
    """A float32's bits."""
    return types.uint32(types.float32), lambda context, builder, signature, arguments: builder.bitcast(
        arguments[0], WORD
    )


@intrinsic
def real(typing_context, word):
    """A word as a float32."""
    return types.float32(types.uint32), lambda context, builder, signature, arguments: builder.bitcast(
        arguments[0], REAL
    )
