"""The words of a block, compiled: exact products, or tensor cores; how rows are padded for them, on both sides."""

from typing import Any

from numba import cuda
from numba.cuda import types

from lstm_numba.gpu import block, tensor
from lstm_numba.gpu.plan import Method
from lstm_numba.gpu.scalars import ARITHMETIC, STORED, Table, inlined, words
from lstm_numba.types import Types

APART = 32  # counters lie in cache lines of their own


def block_words(kinds: Types) -> Table:
    """The words of a sweep, on these types."""
    method = Method.of(kinds)
    number, stored = ARITHMETIC[kinds.arithmetic.name], STORED[kinds.stored.name]
    zero, none = number(0), stored(0)
    row_length = inlined(method.row_length)
    hold, hold_turned = block.make_hold(row_length, none, inlined(_kept(kinds)))
    pointer, arrive, arrived = tensor.pointer, tensor.arrive, tensor.arrived

    def shared_memory():
        return pointer(cuda.shared.array(0, stored)), pointer(cuda.shared.array(0, number))

    def meet(barrier, parts, met):
        cuda.syncthreads()
        if parts == 1:
            return met
        group = cuda.blockIdx.x // parts * APART
        if cuda.threadIdx.x == 0:
            arrive(barrier, group)
            while arrived(barrier, group) < met + parts:
                pass
        cuda.syncthreads()
        return met + parts

    table: Table = {
        "thread": block.thread,
        "threads": block.threads,
        "wait": block.wait,
        "share": block.share,
        "hold": hold,
        "hold_turned": hold_turned,
        "shared_memory": shared_memory,
        "meet": meet,
        "multiply": _multiply(kinds, method, zero, row_length),
        "summed": lambda slots, slot, sums, at: slots[slot] + sums[at],
    }
    return {**words(kinds), **{name: inlined(function) for name, function in table.items()}}


def _kept(kinds: Types) -> Any:
    """How a weight is kept: rounded once where products round."""
    if kinds.products != "tf32":
        return lambda value: value
    rounded, real = tensor.rounded, tensor.real
    return lambda value: real(rounded(value))


def _multiply(kinds: Types, method: Method, zero: Any, row_length: Any) -> Any:
    if not method.tensor:
        return block.make_multiply(block.LANES, zero)
    kind = kinds.storage if kinds.is_half else "tf32"
    held, operand = _half_fragments() if kinds.is_half else _tf32_fragments()
    return block.make_tensor_multiply(
        method.step, row_length, zero, inlined(held), inlined(operand), tensor.make_mma(kind)
    )


def _half_fragments() -> Any:
    """A lane's pairs of terms: 2 column + {0, 1} and 8 more."""
    pair, none = tensor.pair, types.uint32(0)

    def held(stored, upper, lower, column):
        low = 2 * column
        return (
            pair(stored, upper + low),
            pair(stored, lower + low),
            pair(stored, upper + low + 8),
            pair(stored, lower + low + 8),
        )

    def operand(array, row, k, depth, column):
        low = k + 2 * column
        first = pair(array, row + low) if low < depth else none
        return first, pair(array, row + low + 8) if low + 8 < depth else none

    return held, operand


def _tf32_fragments() -> Any:
    """A lane's terms: column and 4 more; weights are rounded already."""
    bits, rounded, none = tensor.bits, tensor.rounded, types.uint32(0)

    def held(stored, upper, lower, column):
        first, second = upper + column, lower + column
        return bits(stored[first]), bits(stored[second]), bits(stored[first + 4]), bits(stored[second + 4])

    def operand(array, row, k, depth, column):
        low = k + column
        first = rounded(array[row + low]) if low < depth else none
        return first, rounded(array[row + low + 4]) if low + 4 < depth else none

    return held, operand
