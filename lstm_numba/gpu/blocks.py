"""The words of a block, compiled: exact products, or tensor cores; how rows are padded for them, on both sides."""

from functools import cache
from typing import Any

from numba import cuda
from numba.cuda import types

from lstm_numba.gpu import block, tensor
from lstm_numba.gpu.plan import APART, Method
from lstm_numba.gpu.scalars import ARITHMETIC, STORED, Table, inlined, words
from lstm_numba.types import Types


@cache
def block_words(kinds: Types) -> Table:
    """The words of a sweep, on these types."""
    method = Method.of(kinds)
    number, stored = ARITHMETIC[kinds.arithmetic.name], STORED[kinds.stored.name]
    zero, none = number(0), stored(0)
    row_length = inlined(method.row_length)
    hold, hold_turned = block.make_hold(row_length, none, inlined(_kept(kinds)))
    pointer, arrive, have_arrived = tensor.pointer, tensor.arrive, tensor.have_arrived

    def shared_memory():
        return pointer(cuda.shared.array(0, stored)), pointer(cuda.shared.array(0, number))

    def meet(barrier, parts, met):
        cuda.syncthreads()
        if parts == 1:
            return met
        group = cuda.blockIdx.x // parts * APART
        if cuda.threadIdx.x == 0:
            arrive(barrier, group)
            while not have_arrived(barrier, group, met + parts):
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
        ahead = kinds.arithmetic.itemsize == 4
        return block.make_multiply(block.LANES, ahead, zero, *block.make_sums(inlined, zero))
    kind, none = kinds.storage if kinds.is_half else "tf32", types.uint32(0)
    fragments = block.half_fragments(tensor.pair, none)
    if not kinds.is_half:
        fragments = block.tf32_fragments(tensor.bits, tensor.rounded, none)
    held, operand = map(inlined, fragments)
    steps = block.make_steps(inlined, held, operand, tensor.make_mma(kind))
    return block.make_tensor_multiply(method.step, row_length, zero, *steps, *block.make_parts(inlined, zero))
