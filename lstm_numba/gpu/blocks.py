"""The words of a block, compiled: exact products, or tensor cores; how rows are padded for them, on both sides."""

from functools import cache
from typing import Any

from numba import cuda
from numba.cuda import types

from lstm_numba.gpu import access, block, cores, exact, tensor
from lstm_numba.gpu.integers import short
from lstm_numba.gpu.plan import APART, Method
from lstm_numba.gpu.scalars import ARITHMETIC, STORED, Table, inlined, words
from lstm_numba.types import Types


@cache
def block_words(kinds: Types) -> Table:
    """The words of a sweep, on these types."""
    method = Method.of(kinds)
    number, stored = ARITHMETIC[kinds.arithmetic.name], STORED[kinds.stored.name]
    lines, span, spot = map(short, _layout(kinds, method))
    hold, hold_turned = block.make_hold(short, lines, span, spot, stored(0), inlined(_kept(kinds)))
    product, pointer, ahead = _product(kinds, method, number(0)), access.pointer, access.ahead

    def shared_memory():
        return pointer(cuda.shared.array(0, stored)), pointer(cuda.shared.array(0, number))

    def multiply(stored, held, count, depth, operand, start, apart, rows, numbers, at, tile, scratch, more):
        product(stored, held, count, depth, ahead(operand, start), apart, rows, numbers, at, tile, scratch, more)

    table: Table = {
        "thread": block.thread,
        "threads": block.threads,
        "wait": block.wait,
        "shared_memory": shared_memory,
        "meet": _meet(),
        "multiply": multiply,
        "summed": lambda slots, slot, sums, at: slots[slot] + sums[at],
    }
    compiled = {name: inlined(function) for name, function in table.items()}
    whole = {"share": block.share, "hold": hold, "hold_turned": hold_turned}
    return {**words(kinds), **compiled, **{name: short(function) for name, function in whole.items()}}


def _layout(kinds: Types, method: Method) -> Any:
    """lines, span and spot of held matrices."""
    return cores.make_spot(4 // kinds.stored.itemsize) if method.tensor else exact.make_spot(method.chunk)


def _meet() -> Any:
    arrive, have_arrived, group_of = tensor.arrive, tensor.have_arrived, short(block.group)

    def meet(barrier, parts, met):
        cuda.syncthreads()
        if parts == 1:
            return met
        if cuda.threadIdx.x == 0:
            group = group_of(parts) * APART
            arrive(barrier, group)
            while not have_arrived(barrier, group, met + parts):
                pass
        cuda.syncthreads()
        return met + parts

    return meet


def _kept(kinds: Types) -> Any:
    """How a weight is kept: rounded once where products round."""
    if kinds.products != "tf32":
        return lambda value: value
    rounded, real, bits = tensor.rounded, tensor.real, tensor.bits
    return lambda value: real(rounded(bits(value)))


def _product(kinds: Types, method: Method, zero: Any) -> Any:
    if not method.tensor:
        chunk = 16 // kinds.arithmetic.itemsize
        return short(exact.make_multiply(short, chunk, access.several, tensor.swapped, access.is_aligned, zero))
    ratio, mma = 4 // kinds.stored.itemsize, tensor.make_mma(kinds.storage if kinds.is_half else "tf32")
    prepared = inlined(lambda word: word) if kinds.is_half else tensor.rounded
    read = access.ahead, access.two_words, access.four_words, access.word, prepared, types.uint32(0)
    return short(cores.make_multiply(short, ratio, *read, mma, access.is_aligned, zero))
