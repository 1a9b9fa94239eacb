"""The words of a block, compiled: exact products, or tensor cores; how rows are padded for them, on both sides."""

from functools import cache
from typing import Any

from numba import cuda
from numba.cuda import types

from lstm_numba.gpu import access, awaited, block, cores, exact, tensor
from lstm_numba.gpu.integers import short
from lstm_numba.gpu.plan import Method
from lstm_numba.gpu.scalars import ARITHMETIC, STORED, Table, inlined, words
from lstm_numba.gpu.staging import make_stage
from lstm_numba.types import Types


@cache
def block_words(kinds: Types) -> Table:
    """The words of a sweep, on these types."""
    method = Method.of(kinds)
    number, stored = ARITHMETIC[kinds.arithmetic.name], STORED[kinds.stored.name]
    lines, span, spot = map(short, _layout(kinds, method))
    hold, hold_turned = block.make_hold(short, lines, span, spot, stored(0), inlined(_kept(kinds)))
    (deal, product), place, ahead = _product(kinds, method, number(0)), access.shared, access.ahead

    def shared_memory():
        return place(cuda.shared.array(0, stored)), place(cuda.shared.array(0, number))

    def multiply(stored, numbers, dealt, operand, start, more, waits):
        product(stored, numbers, dealt, ahead(operand, start), more, waits)

    table: Table = {
        "thread": block.thread,
        "threads": block.threads,
        "wait": block.wait,
        "shared_memory": shared_memory,
        "exchange": _exchange(number(0)),
        "multiply": multiply,
        "summed": lambda value, sums, at: value + sums[at],
    }
    compiled = {name: inlined(function) for name, function in table.items()}
    found = {"share": short(block.share), "places": short(block.places), "hold": short(hold)}
    found |= {"hold_turned": short(hold_turned), "deal": deal}
    return {**words(kinds), **compiled, **found}


def _layout(kinds: Types, method: Method) -> Any:
    """lines, span and spot of held matrices."""
    return cores.make_spot(4 // kinds.stored.itemsize) if method.tensor else exact.make_spot(method.chunk)


def _exchange(zero: Any) -> Any:
    """One step of blocks that only wait for a number of each other."""
    number, lacks, share = awaited.number, awaited.make_lacks(is_half=False), short(block.board)

    def exchange(board, now, parts):
        own, other = share(now, parts)
        if cuda.threadIdx.x == 0:
            awaited.publish(board, own, zero)
        if cuda.threadIdx.x < parts:
            while lacks(number(board, other)):
                pass
        cuda.syncthreads()

    return exchange


def _kept(kinds: Types) -> Any:
    """How a weight is kept: rounded once where products round."""
    if kinds.products != "tf32":
        return lambda value: value
    rounded, real, bits = tensor.rounded, tensor.real, tensor.bits
    return lambda value: real(rounded(bits(value)))


def _product(kinds: Types, method: Method, zero: Any) -> Any:
    """deal and multiply."""
    lacks, put = awaited.make_lacks(kinds.is_half), (access.put_several, access.put_one)
    as_it_is, join = inlined(lambda piece: piece), inlined(block.join)
    if not method.tensor:
        pieces = awaited.four_numbers if method.size == 4 else awaited.two_numbers
        read = pieces, awaited.number, lacks, join
        stage = make_stage(short, method.size, 1, method.at_once, read, put, as_it_is, zero)
        return exact.make_multiply(
            short, method.size, access.several, stage, tensor.swapped, access.is_aligned, zero
        )  # fmt: skip
    ratio, nothing = 4 // kinds.stored.itemsize, types.uint32(0)
    read, words_of = (awaited.four_words, awaited.word, lacks, join), (access.two_words, access.four_words)
    mma, prepared = tensor.make_mma(kinds.storage if kinds.is_half else "tf32"), tensor.rounded
    stage = make_stage(
        short, method.size, ratio, method.at_once, read, put, as_it_is if kinds.is_half else prepared, nothing
    )  # fmt: skip
    return cores.make_multiply(short, ratio, stage, *words_of, mma, nothing, access.is_aligned, zero)
