"""One SIMD register as a Numba type: `+ - * /`, load, store, and the bit operations that the functions need.

Vectorised by construction: nothing here depends on what LLVM can prove about aliases. Arrays are one-dimensional and
C-contiguous; an address is always (array, index), never an integer.
"""

import operator

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.imputils import lower_builtin
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, models, register_model

from lstm_numba.cpu.target import REGISTER_BYTES

# Contraction (a*b + c in one rounding) is the only liberty: NaN, infinity and the order of sums stay as written.
FLAGS = ("contract",)
I32, I64 = ir.IntType(32), ir.IntType(64)
ELEMENTS = {types.float32: ir.FloatType(), types.float64: ir.DoubleType()}


class Register(types.Type):
    """`lanes` numbers of one type, computed on at once."""

    def __init__(self, element: types.Float) -> None:
        self.element = element
        self.lanes = REGISTER_BYTES // (element.bitwidth // 8)
        super().__init__(name=f"Register({element} x {self.lanes})")

    @property
    def llvm(self) -> ir.VectorType:
        return ir.VectorType(ELEMENTS[self.element], self.lanes)

    @property
    def integers(self) -> ir.VectorType:
        return ir.VectorType(ir.IntType(self.element.bitwidth), self.lanes)


@register_model(Register)
class _RegisterModel(models.PrimitiveModel):
    def __init__(self, manager, fe_type):
        super().__init__(manager, fe_type, fe_type.llvm)


def pointer(context, builder, array_type, array, index):
    """Address of array[index], by GEP."""
    data = cgutils.create_struct_proxy(array_type)(context, builder, array).data
    return builder.gep(data, [index])


def splat(builder, scalar, lanes):
    """A register with `scalar` in every lane."""
    vector = ir.VectorType(scalar.type, lanes)
    empty, zeros = ir.Constant(vector, ir.Undefined), ir.Constant(ir.VectorType(I32, lanes), [0] * lanes)
    return builder.shuffle_vector(builder.insert_element(empty, scalar, I32(0)), empty, zeros)


def vector_intrinsic(builder, name, register_llvm, arguments):
    """Call llvm.NAME on registers of one type."""
    suffix = f"v{register_llvm.count}f{32 if isinstance(register_llvm.element, ir.FloatType) else 64}"
    kind = ir.FunctionType(register_llvm, [register_llvm] * len(arguments))
    function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.{name}.{suffix}")
    return builder.call(function, arguments)


# --- memory


@intrinsic
def lanes(typing_context, array):
    """Numbers of the array's type in one register, a compile-time constant."""
    count = Register(array.dtype).lanes

    def build(context, builder, signature, arguments):
        return ir.Constant(I64, count)

    return types.intp(array), build


@intrinsic
def load(typing_context, array, index):
    """array[index : index + lanes]."""
    register = Register(array.dtype)

    def build(context, builder, signature, arguments):
        address = pointer(context, builder, signature.args[0], *arguments)
        value = builder.load(builder.bitcast(address, register.llvm.as_pointer()))
        value.align = array.dtype.bitwidth // 8
        return value

    return register(array, types.intp), build


@intrinsic
def store(typing_context, array, index, value):
    """array[index : index + lanes] = value, a register or a number."""
    register = Register(array.dtype)

    def build(context, builder, signature, arguments):
        address = pointer(context, builder, signature.args[0], *arguments[:2])
        filled = as_register(builder, register, signature.args[2], arguments[2])
        written = builder.store(filled, builder.bitcast(address, register.llvm.as_pointer()))
        written.align = array.dtype.bitwidth // 8
        return context.get_dummy_value()

    return types.void(array, types.intp, _register_or_number(register, value)), build


def ask(builder, address, write=False):
    """Ask for the line at an address to be in the second-level cache soon; in the first, where it will be written."""
    byte = ir.IntType(8).as_pointer()
    kind = ir.FunctionType(ir.VoidType(), [byte, I32, I32, I32])
    function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
    builder.call(function, [builder.bitcast(address, byte), I32(int(write)), I32(3 if write else 2), I32(1)])  # 1: data


def _first(builder, register, count):
    """Mask of the first `count` lanes."""
    steps = ir.Constant(ir.VectorType(I64, register.lanes), list(range(register.lanes)))
    return builder.icmp_signed("<", steps, splat(builder, count, register.lanes))


def _masked(builder, register, name, result, address, count, *values):
    """Call llvm.masked.NAME on the first `count` lanes."""
    bits, mask = register.element.bitwidth, _first(builder, register, count)
    before, after = values[: name == "store"], values[name == "store" :]
    arguments = [*before, address, I32(bits // 8), mask, *after]
    kind = ir.FunctionType(result, [argument.type for argument in arguments])
    function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.masked.{name}.v{register.lanes}f{bits}.p0")
    return builder.call(function, arguments)


def _is_whole(builder, register, count):
    """Whether all lanes are meant: a masked access costs many times a plain one."""
    return builder.icmp_signed(">=", count, I64(register.lanes))


@intrinsic
def load_first(typing_context, array, index, count):
    """As load, but only the first `count` lanes are read; the others are 0."""
    register = Register(array.dtype)

    def build(context, builder, signature, arguments):
        address = pointer(context, builder, signature.args[0], *arguments[:2])
        address = builder.bitcast(address, register.llvm.as_pointer())
        found = cgutils.alloca_once(builder, register.llvm)
        with builder.if_else(_is_whole(builder, register, arguments[2]), likely=True) as (whole, part):
            with whole:
                value = builder.load(address)
                value.align = array.dtype.bitwidth // 8
                builder.store(value, found)
            with part:
                zeros = ir.Constant(register.llvm, None)
                builder.store(_masked(builder, register, "load", register.llvm, address, arguments[2], zeros), found)
        return builder.load(found)

    return register(array, types.intp, types.intp), build


@intrinsic
def store_first(typing_context, array, index, value, count):
    """As store, but only the first `count` lanes are written."""
    register = Register(array.dtype)

    def build(context, builder, signature, arguments):
        address = pointer(context, builder, signature.args[0], *arguments[:2])
        address = builder.bitcast(address, register.llvm.as_pointer())
        filled = as_register(builder, register, signature.args[2], arguments[2])
        with builder.if_else(_is_whole(builder, register, arguments[3]), likely=True) as (whole, part):
            with whole:
                written = builder.store(filled, address)
                written.align = array.dtype.bitwidth // 8
            with part:
                _masked(builder, register, "store", ir.VoidType(), address, arguments[3], filled)
        return context.get_dummy_value()

    return types.void(array, types.intp, _register_or_number(register, value), types.intp), build


# --- arithmetic: register with register, register with Python number


def as_register(builder, register, kind, value):
    """Widen a Python number to the register's element type and fill all lanes."""
    if kind == register:
        return value
    element = ELEMENTS[register.element]
    if isinstance(kind, types.Integer):
        value = builder.sitofp(value, element)
    elif kind.bitwidth > register.element.bitwidth:
        value = builder.fptrunc(value, element)
    elif kind.bitwidth < register.element.bitwidth:
        value = builder.fpext(value, element)
    return splat(builder, value, register.lanes)


def _register_or_number(register, kind):
    """What a store takes: a number fills all lanes."""
    return kind if _is_number(kind) else register


def _is_number(kind) -> bool:
    return isinstance(kind, (types.Float, types.Integer))


def _common_register(arguments):
    """The one register type among the arguments, or None if they do not go together."""
    registers = [kind for kind in arguments if isinstance(kind, Register)]
    fitting = registers and all(kind == registers[0] or _is_number(kind) for kind in arguments)
    return registers[0] if fitting else None


def _binary(function, instruction):
    @infer_global(function)
    class Typing(AbstractTemplate):
        def generic(self, arguments, keywords):
            register = _common_register(arguments) if len(arguments) == 2 else None
            return signature(register, *arguments) if register else None

    def build(context, builder, signature, arguments):
        register = signature.return_type
        left, right = (as_register(builder, register, *pair) for pair in zip(signature.args, arguments, strict=True))
        return getattr(builder, instruction)(left, right, flags=FLAGS)

    for kinds in ((Register, Register), (Register, types.Number), (types.Number, Register)):
        lower_builtin(function, *kinds)(build)


for _function, _instruction in (
    (operator.add, "fadd"),
    (operator.sub, "fsub"),
    (operator.mul, "fmul"),
    (operator.truediv, "fdiv"),
):
    _binary(_function, _instruction)


@infer_global(operator.neg)
class _Negation(AbstractTemplate):
    def generic(self, arguments, keywords):
        return signature(arguments[0], *arguments) if isinstance(arguments[0], Register) else None


@lower_builtin(operator.neg, Register)
def _negate(context, builder, signature, arguments):
    return builder.fneg(arguments[0])


@infer_global(operator.pow)
class _Power(AbstractTemplate):
    def generic(self, arguments, keywords):
        fits = isinstance(arguments[0], Register) and isinstance(arguments[1], types.IntegerLiteral)
        return signature(arguments[0], *arguments) if fits and arguments[1].literal_value > 0 else None


@lower_builtin(operator.pow, Register, types.IntegerLiteral)
def _power(context, builder, signature, arguments):
    """a**n by repeated squaring."""
    square, left, result = arguments[0], signature.args[1].literal_value, None
    while left:
        if left % 2:
            result = square if result is None else builder.fmul(result, square)
        square, left = builder.fmul(square, square), left // 2
    return result


# --- building blocks of the functions


@intrinsic
def filled(typing_context, like, number):
    """A register like `like` with `number` in every lane."""

    def build(context, builder, signature, arguments):
        return as_register(builder, like, signature.args[1], arguments[1])

    return like(like, number), build


@intrinsic
def fma(typing_context, a, b, c):
    """a b + c, rounded once."""

    def build(context, builder, signature, arguments):
        return vector_intrinsic(builder, "fma", a.llvm, arguments)

    return a(a, a, a), build


def _unary_intrinsic(name, documentation):
    @intrinsic
    def function(typing_context, a):
        def build(context, builder, signature, arguments):
            return vector_intrinsic(builder, name, a.llvm, arguments)

        return a(a), build

    function.__doc__ = documentation
    return function


square_root = _unary_intrinsic("sqrt", "sqrt(a), correctly rounded.")
magnitude = _unary_intrinsic("fabs", "|a|.")
nearest = _unary_intrinsic("roundeven", "a rounded to an integer, ties to even.")
logarithm = _unary_intrinsic("log", "log(a), lane by lane through the C library.")
sine = _unary_intrinsic("sin", "sin(a), lane by lane through the C library.")
cosine = _unary_intrinsic("cos", "cos(a), lane by lane through the C library.")


@intrinsic
def with_sign(typing_context, a, sign):
    """|a| with the sign of `sign`."""

    def build(context, builder, signature, arguments):
        return vector_intrinsic(builder, "copysign", a.llvm, arguments)

    return a(a, a), build


def _comparison(predicate, documentation):
    @intrinsic
    def choose(typing_context, a, b, then, otherwise):
        def build(context, builder, signature, arguments):
            pairs = zip(signature.args, arguments, strict=True)
            left, right, yes, no = (as_register(builder, register, *pair) for pair in pairs)
            compare = builder.fcmp_unordered if predicate == "!=" else builder.fcmp_ordered
            return builder.select(compare(predicate, left, right), yes, no)

        register = _common_register((a, b, then, otherwise))
        return register(a, b, then, otherwise), build

    choose.__doc__ = documentation
    return choose


if_less = _comparison("<", "then where a < b, else otherwise; a NaN compares false.")
if_differs = _comparison("!=", "then where a != b, else otherwise; a NaN differs from everything.")


@intrinsic
def any_beyond(typing_context, a, limit):
    """Whether |a| > limit in any lane; a NaN is not."""

    def build(context, builder, signature, arguments):
        bound = as_register(builder, a, limit, arguments[1])
        beyond = builder.fcmp_ordered(">", vector_intrinsic(builder, "fabs", a.llvm, arguments[:1]), bound)
        bits = builder.bitcast(beyond, ir.IntType(a.lanes))
        return builder.icmp_unsigned("!=", bits, ir.Constant(bits.type, 0))

    return types.boolean(a, limit), build


@intrinsic
def power_of_two(typing_context, exponent):
    """2**exponent for a register of integers within the normal range, by writing the exponent's bits."""
    bits = exponent.element.bitwidth
    mantissa, bias = (23, 127) if bits == 32 else (52, 1023)

    def build(context, builder, signature, arguments):
        integers = exponent.integers
        biased = builder.add(builder.fptosi(arguments[0], integers), ir.Constant(integers, [bias] * exponent.lanes))
        return builder.bitcast(builder.shl(biased, ir.Constant(integers, [mantissa] * exponent.lanes)), exponent.llvm)

    return exponent(exponent), build
