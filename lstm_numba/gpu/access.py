"""Memory as kernels reach it: from a place on, several numbers at once, by additions that nobody waits for."""

from llvmlite import ir
from numba.cuda import types
from numba.cuda.extending import intrinsic

WORD, ADDRESS = ir.IntType(32), ir.IntType(64)
SHARED = 3  # the address space
FOUR_WORDS, TWO_WORDS = types.UniTuple(types.uint32, 4), types.UniTuple(types.uint32, 2)


@intrinsic
def shared(typing_context, array):
    """Where an array in shared memory begins, found once: the compiler would rather find it again for every access,
    which takes long where blocks may come in clusters."""

    def build(context, builder, signature, arguments):
        place = context.make_array(array)(context, builder, arguments[0]).data
        inside = ir.PointerType(place.type.pointee, SHARED)
        address = builder.ptrtoint(builder.addrspacecast(place, inside), ADDRESS)
        code = ir.InlineAsm(ir.FunctionType(ADDRESS, [ADDRESS]), "mov.u64 $0, $1;", "=l,l", side_effect=True)
        return builder.addrspacecast(builder.inttoptr(builder.call(code, [address]), inside), place.type)

    return types.CPointer(array.dtype)(array), build


@intrinsic
def ahead(typing_context, array, index):
    """The array from a place on."""
    return array(array, types.int64), lambda context, builder, signature, arguments: builder.gep(
        arguments[0], [arguments[1]]
    )


def _load(builder, array, index, kind, count):
    """So many neighbouring numbers of this type, one instruction; their place is a multiple of their size."""
    place = builder.bitcast(builder.gep(array, [index]), ir.VectorType(kind, count).as_pointer())
    bits = {"float": 32, "double": 64}.get(str(kind), 32)
    found = builder.load(place, align=bits // 8 * count)
    return [builder.extract_element(found, ir.Constant(WORD, k)) for k in range(count)]


@intrinsic
def four_words(typing_context, array, index):
    """16 bytes as four words: eight half numbers or four of tf32."""

    def build(context, builder, signature, arguments):
        return context.make_tuple(builder, FOUR_WORDS, _load(builder, *arguments, WORD, 4))

    return FOUR_WORDS(array, types.int64), build


@intrinsic
def two_words(typing_context, array, index):
    """8 bytes as two words."""

    def build(context, builder, signature, arguments):
        return context.make_tuple(builder, TWO_WORDS, _load(builder, *arguments, WORD, 2))

    return TWO_WORDS(array, types.int64), build


@intrinsic
def several(typing_context, array, index):
    """16 bytes as numbers: four of float32 or two of float64."""
    count = 128 // array.dtype.bitwidth
    found = types.UniTuple(array.dtype, count)

    def build(context, builder, signature, arguments):
        kind = context.get_value_type(array.dtype)
        return context.make_tuple(builder, found, _load(builder, *arguments, kind, count))

    return found(array, types.int64), build


@intrinsic
def put_several(typing_context, array, index, values):
    """16 bytes, words or numbers, one instruction."""
    size = values.dtype.bitwidth // 8

    def build(context, builder, signature, arguments):
        kind = ir.VectorType(context.get_value_type(values.dtype), values.count)
        vector = ir.Constant(kind, ir.Undefined)
        for k in range(values.count):
            vector = builder.insert_element(vector, builder.extract_value(arguments[2], k), ir.Constant(WORD, k))
        place = builder.bitcast(builder.gep(arguments[0], [arguments[1]]), kind.as_pointer())
        builder.store(vector, place, align=size * values.count)
        return context.get_dummy_value()

    return types.void(array, types.int64, values), build


@intrinsic
def put_one(typing_context, array, index, value):
    """A word: two neighbouring half numbers, `index` even, or a float32; or a number."""

    def build(context, builder, signature, arguments):
        kind = context.get_value_type(value)
        place = builder.bitcast(builder.gep(arguments[0], [arguments[1]]), kind.as_pointer())
        builder.store(arguments[2], place, align=value.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(array, types.int64, value), build


@intrinsic
def is_aligned(typing_context, array):
    """Whether 16 bytes can be read where it begins."""

    def build(context, builder, signature, arguments):
        low = builder.and_(builder.ptrtoint(arguments[0], ADDRESS), ir.Constant(ADDRESS, 15))
        return builder.icmp_unsigned("==", low, ir.Constant(ADDRESS, 0))

    return types.boolean(array), build


@intrinsic
def is_given(typing_context, array):
    """Whether there is an array: an empty one has no address."""

    def build(context, builder, signature, arguments):
        return builder.icmp_unsigned("!=", builder.ptrtoint(arguments[0], ADDRESS), ir.Constant(ADDRESS, 0))

    return types.boolean(array), build


@intrinsic
def add_to(typing_context, array, index, value):
    """array[index] += value, which the thread does not wait for.  Nobody else adds to the place: the order of the
    additions is the thread's own, and the bits are the same every time."""

    def build(context, builder, signature, arguments):
        kind, letter = {types.float32: ("f32", "f"), types.float64: ("f64", "d")}[array.dtype]
        place, number = builder.gep(arguments[0], [arguments[1]]), arguments[2]
        code = ir.InlineAsm(
            ir.FunctionType(ir.VoidType(), [place.type, number.type]),
            f"red.relaxed.gpu.global.add.{kind} [$0], $1;", f"l,{letter},~{{memory}}", side_effect=True,
        )  # fmt: skip
        builder.call(code, [place, number])
        return context.get_dummy_value()

    return types.void(array, types.int64, array.dtype), build
