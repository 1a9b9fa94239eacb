"""A call of a compiled kernel that is written down, for a thread that does not hold Python's lock.

    a call    [ who makes it | words up to the next call | the arguments, as compiled code holds them ]

Whoever writes a call keeps its arrays alive until it has been made.  Addresses are kept as pointers throughout.
"""

from collections.abc import Callable, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from llvmlite import ir
from numba import njit, typeof, types
from numba.core import cgutils
from numba.core.dispatcher import Dispatcher
from numba.extending import intrinsic
from numpy.typing import NDArray

from lstm_numba.cpu.cache import keep
from lstm_numba.cpu.linked import OPTIONS

Call = tuple[Callable[..., None], Sequence[Any]]

I32, I64, VOID = ir.IntType(32), ir.IntType(64), ir.IntType(8).as_pointer()
MAKER = ir.FunctionType(I32, [VOID]).as_pointer()
HEAD = 2  # words before the arguments
WIDEST = 9  # words of an argument: an array of two dimensions
UNKNOWN = -1


def is_compiled(call: Call) -> bool:
    """Plain-Python kernels need the lock."""
    return isinstance(call[0], Dispatcher)


def room(calls: Sequence[Call]) -> int:
    """Words that hold the calls, and more."""
    return sum(HEAD + WIDEST * len(arguments) for _, arguments in calls)


def write(words: NDArray[np.int64], place: int, call: Call) -> int:
    """Write a call at a place; return the next one's."""
    kernel, arguments = call
    writer = _writer_of(kernel)
    end = writer(words, place, 0, *arguments)
    if end == UNKNOWN:
        end = writer(words, place, _address(kernel, arguments), *arguments)
    return int(end)


def _address(kernel: Any, arguments: Sequence[Any]) -> int:
    """Of the machine code for arguments of these types."""
    found = tuple(map(typeof, arguments))
    kernel.compile(found)
    entry = kernel.overloads[found]
    return int(entry.library.get_pointer_to_function(entry.fndesc.llvm_func_name))


WRITERS: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()


def _writer_of(kernel: Any) -> Any:
    """Return writer(words, place, address, *arguments); an address other than 0 is kept for the types that came."""
    if kernel not in WRITERS:
        WRITERS[kernel] = _make_writer(kernel)
    return WRITERS[kernel]


def _make_writer(kernel: Any) -> Any:
    def writer(words, place, address, *arguments):
        return written(words, place, address, arguments)

    return keep(njit(**OPTIONS)(writer), f"writer for {kernel.py_func.__qualname__}: {kernel.text}")


@intrinsic
def written(typing_context, words, place, address, arguments):
    """Write a call of the kernel whose address is known; without one return UNKNOWN."""

    def build(context, builder, signature, given):
        kinds, (words, place, address, arguments) = list(signature.args[3]), given
        kernel = cgutils.add_global_variable(builder.module, VOID, f"{builder.function.name}.kernel")
        kernel.linkage, kernel.initializer = "internal", ir.Constant(VOID, None)
        with builder.if_then(builder.icmp_unsigned("!=", address, I64(0))):
            builder.store(address, builder.bitcast(kernel, I64.as_pointer()))
        is_known = cgutils.is_not_null(builder, builder.load(kernel))
        result = cgutils.alloca_once_value(builder, I64(UNKNOWN))
        with builder.if_then(is_known):
            maker = _maker(context, builder, kinds, kernel)
            start = builder.gep(data_of(context, builder, signature.args[0], words), [place])
            size = _write(context, builder, kinds, maker, start, cgutils.unpack_tuple(builder, arguments))
            builder.store(builder.add(place, I64(size)), result)
        return builder.load(result)

    return types.intp(words, place, address, arguments), build


def data_of(context, builder, kind, array):
    return cgutils.create_struct_proxy(kind)(context, builder, array).data


def _layout(context, kinds):
    return ir.LiteralStructType([context.get_data_type(kind) for kind in kinds])


def _write(context, builder, kinds, maker, start, arguments) -> int:
    """Fill the words from `start` on; return how many."""
    layout = _layout(context, kinds)
    size = HEAD + -(-context.get_abi_sizeof(layout) // 8)
    if size > HEAD + WIDEST * len(kinds):
        raise TypeError(f"an argument of more than {WIDEST} words: {kinds}")
    builder.store(maker, builder.bitcast(start, MAKER.as_pointer()))
    builder.store(I64(size), builder.gep(start, [I64(1)]))
    place = builder.bitcast(builder.gep(start, [I64(HEAD)]), layout.as_pointer())
    for k, (kind, argument) in enumerate(zip(kinds, arguments, strict=True)):
        value = _unowned(context, builder, kind, argument)
        context.pack_value(builder, kind, value, cgutils.gep_inbounds(builder, place, 0, k))
    return size


def _unowned(context, builder, kind, value):
    """An array without the owner whom Numba would count references for."""
    if not isinstance(kind, types.Array):
        return value
    array = cgutils.create_struct_proxy(kind)(context, builder, value)
    array.meminfo, array.parent = (cgutils.get_null_value(part.type) for part in (array.meminfo, array.parent))
    return array._getvalue()


def _maker(context, builder, kinds, kernel) -> ir.Function:
    """The function that makes a call, from its arguments in memory; it returns 0 if all went well."""
    function = ir.Function(builder.module, MAKER.pointee, f"{builder.function.name}.maker")
    function.linkage = "internal"
    inner = ir.IRBuilder(function.append_basic_block())
    layout, convention = _layout(context, kinds), context.call_conv
    place = inner.bitcast(function.args[0], layout.as_pointer())
    parts = [cgutils.gep_inbounds(inner, place, 0, k) for k in range(len(kinds))]
    values = [context.unpack_value(inner, kind, part) for kind, part in zip(kinds, parts, strict=True)]
    called = convention.get_function_type(types.none, kinds)
    returned, error = (cgutils.alloca_once(inner, kind.pointee) for kind in called.args[:2])
    flat = context.get_arg_packer(kinds).as_arguments(inner, values)
    address = inner.bitcast(inner.load(kernel), called.as_pointer())
    inner.ret(inner.call(address, [returned, error, *flat]))
    return function


@intrinsic
def make_next(typing_context, box, where):
    """Make the call whose address box[where] holds, and put the next one's there; 0 if all went well."""

    def build(context, builder, signature, given):
        pointer = builder.bitcast(builder.gep(data_of(context, builder, signature.args[0], given[0]), [given[1]]), VOID)
        pointer = builder.bitcast(pointer, I64.as_pointer().as_pointer())
        start = builder.load(pointer)
        maker = builder.load(builder.bitcast(start, MAKER.as_pointer()))
        size = builder.load(builder.gep(start, [I64(1)]))
        status = builder.call(maker, [builder.bitcast(builder.gep(start, [I64(HEAD)]), VOID)])
        builder.store(builder.gep(start, [size]), pointer)
        return builder.sext(status, I64)

    return types.intp(box, where), build
