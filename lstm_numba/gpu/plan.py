"""How a sweep is laid over a device: which blocks share the units and the rows, what lies in shared memory.

Everything here is arithmetic on sizes and on the device's limits; nothing is compiled for a size or a batch.

What a step of an LSTM is estimated to take on an H100, in cycles (1755 to a microsecond), by `_cycles` below:

    T     B   N = H  products       blocks  meeting  pointwise  product  of it on the way   microseconds
    1024  16  768    bfloat16  ->   64 x 2     1756        500     1364      500 (waits)            2.1
                               <-   48 x 2     1692        500     2652     1500 (waits)            2.8
    128   64  512    float32   ->   32 x 4     1628        500     8875      683                    6.3
                               <-   22 x 6     1588       1000    10325     1877                    7.4
    128   64  512    tf32      ->   32 x 4     1628        500     4072     1000 (waits)            3.5
                               <-   32 x 4     1628        500     7072     4000 (waits)            5.2
    3000  6   40     float32   ->    1 x 6        0        500      103        3                    0.3
    512   64  200    float32   ->    4 x 32    1516        500     1283       33                    1.9

Meetings and waits take most of a step of half numbers.  Weights that stay in registers would save their way from
shared memory, four reads of a warp for each instruction, 576 cycles of the first line's at most; but a register has no
index, so that every H would need a kernel of its own.  They lie in shared memory.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Self

from lstm_numba.gpu.operands import Operand
from lstm_numba.types import Types

MOST_ROWS = 64  # rows whose sums are in shared memory at once
APART = 32  # numbers from one group's counter to the next: each lies in a cache line of its own
RESERVED = 1024  # bytes of shared memory that the system takes from every block

# Cycles, estimated, not measured: they only rank the ways to divide the work.
MEETING, MEETING_PER_BLOCK = 1500, 4
BYTES_A_CYCLE = 48  # from the second-level cache to one multiprocessor
SUMS_A_CYCLE = 64  # multiply-adds of the exact product, of 128 at the peak
POINTWISE_CYCLES = 500  # a thread's scalar mathematics, from load to store
INSTRUCTION_CYCLES = 6  # of 16 x 8 sums, with what it reads of shared memory, all warps of a multiprocessor together
FETCH_CYCLES = 500  # eight steps of an operand on their way from the second-level cache, and what waits for them


@dataclass(frozen=True)
class Limits:
    """What one device offers.

    Attributes:
        architecture: compute capability.
        processors: streaming multiprocessors.
        shared: bytes of shared memory that one block can have.
    """

    architecture: tuple[int, int]
    processors: int
    shared: int


@dataclass(frozen=True)
class Method:
    """One way to multiply.

    Attributes:
        step: terms of a sum come in multiples of it; spare: numbers between two rows, so that the lanes of a warp meet
            in different banks.
    """

    tensor: bool
    step: int
    spare: int
    threads: int

    @classmethod
    def of(cls, kinds: Types) -> Self:
        if kinds.is_half:
            return cls(True, 16, 8, 256)
        return cls(True, 8, 4, 256) if kinds.products == "tf32" else cls(False, 1, 0, 256)

    @property
    def row_length(self) -> Callable[[int], int]:
        """Numbers of a held row in shared memory, a function that can be compiled too."""
        step, spare = self.step, self.spare
        return lambda depth: -(-depth // step) * step + spare

    def scratch(self, count: int) -> int:
        """Numbers that the threads' parts of sums take, of a matrix with so many rows."""
        if self.tensor:
            return self.threads // 32 * 128 * min(4, -(-count // 16))
        return (self.threads + 1) * 16


@dataclass(frozen=True)
class Held:
    """A matrix that blocks keep: `gates` rows for each of `size` units, `depth` long, under an argument's name."""

    name: str
    gates: int
    size: int
    depth: int
    stage: int

    def rows(self, parts: int) -> int:
        """Of one block."""
        return self.gates * -(-self.size // parts)


@dataclass(frozen=True)
class Plan:
    """One launch.

    Attributes:
        parts: blocks that share the units; groups: of rows, which need not wait for each other.
        tile: rows whose sums are in shared memory at once; shared: bytes of it.
        places: argument -> where its region begins, in stored numbers for matrices, else in numbers of the arithmetic.
    """

    parts: int
    groups: int
    tile: int
    threads: int
    shared: int
    places: dict[str, int]

    @property
    def blocks(self) -> int:
        return self.parts * self.groups


def held_forward(operands: Sequence[Operand]) -> list[Held]:
    """Rows of the matrices of the time loop, all slots that any of a stage's products reaches."""
    recurrent = [o for o in operands if not o.is_input]
    return [Held(f"hold_{o.key}", reach(recurrent, o.stage), o.units, o.depth, o.stage) for o in recurrent]


def reach(recurrent: Sequence[Operand], stage: int) -> int:
    """Slots from the first to the last that a product of this stage's time loop reaches."""
    own = [o for o in recurrent if o.stage == stage]
    return max(o.low + len(o.matrices) for o in own) - min(o.low for o in own)


def held_backward(operands: Sequence[Operand]) -> list[Held]:
    """Columns of those that send an adjoint back."""
    return [
        Held(f"turned_{o.key}", 1, o.depth, len(o.matrices) * o.units, o.stage) for o in operands if o.target
    ]


def plan(held: Sequence[Held], sizes: Sequence[int], batch: int, limits: Limits, kinds: Types) -> Plan | None:
    """The division that should take the fewest cycles a step; None where the matrices do not fit, or not in pairs.

    Args:
        sizes: units of each pointwise stage.
    """
    method = Method.of(kinds)
    if not batch or (kinds.is_half and any(size % 2 for size in (*sizes, *(matrix.depth for matrix in held)))):
        return None
    size = max([*sizes, *(matrix.size for matrix in held)])
    found = [p for p in _divisions(held, size, batch, limits, kinds, method) if p.shared + RESERVED <= limits.shared]
    return min(found, key=lambda p: (_cycles(p, held, sizes, batch, kinds, method), p.blocks), default=None)


def _divisions(
    held: Sequence[Held], size: int, batch: int, limits: Limits, kinds: Types, method: Method
) -> Iterator[Plan]:
    """Every number of parts that units of the largest space fall into, and one group of rows or as many as fit."""
    for units in range(1, size + 1):
        parts = -(-size // units)
        if parts > limits.processors or parts == -(-size // (units - 1) if units > 1 else 0):
            continue  # too many, or more units than so many blocks need
        for wanted in {1, limits.processors // parts}:
            rows = -(-batch // min(wanted, batch))
            groups, tile = -(-batch // rows), min(rows, MOST_ROWS)
            shared, places = _regions(held, parts, tile, kinds, method)
            yield Plan(parts, groups, tile, method.threads, shared, places)


def _regions(held: Sequence[Held], parts: int, tile: int, kinds: Types, method: Method) -> tuple[int, dict[str, int]]:
    """Bytes of shared memory, and where each region begins."""
    places, stored = {}, 0
    for matrix in held:
        places[matrix.name] = stored
        stored += matrix.rows(parts) * method.row_length(matrix.depth)
    number = kinds.arithmetic.itemsize
    end = -(-stored * kinds.stored.itemsize // 16) * 16 // number
    for stage in dict.fromkeys(matrix.stage for matrix in held):
        places[f"at_{stage}"] = end
        end += max(matrix.rows(parts) for matrix in held if matrix.stage == stage) * tile
    places["scratch"] = end
    most = max((matrix.rows(parts) for matrix in held), default=0)
    return (end + method.scratch(most)) * number, places


def _cycles(
    p: Plan, held: Sequence[Held], sizes: Sequence[int], batch: int, kinds: Types, method: Method
) -> float:
    """What a step should take: products, the operands on their way, and the meetings."""
    rows = -(-batch // p.groups)
    total = float(sum(-(-(-(-size // p.parts) * rows) // p.threads) * POINTWISE_CYCLES for size in sizes))
    for matrix in held:
        count, brought = matrix.rows(p.parts), rows * matrix.depth * kinds.stored.itemsize / BYTES_A_CYCLE
        if method.tensor:
            total += _tensor_cycles(count, rows, -(-matrix.depth // method.step), method.threads // 32, brought)
        else:
            total += count * rows * matrix.depth / SUMS_A_CYCLE + brought
        total += MEETING + MEETING_PER_BLOCK * p.parts if p.parts > 1 else 0
    return total


def _tensor_cycles(count: int, rows: int, steps: int, warps: int, brought: float) -> float:
    """Of a product with so many rows of the matrix: instructions, and waits for the operand, one after the other, or
    as long as all of it takes to be `brought`."""
    tiles = -(-count // 64) * -(-rows // 8)
    at_once = min(warps, 1 << (tiles - 1).bit_length())
    waits = -(-tiles // at_once) * -(-steps // (warps // at_once * 8))
    return max(waits * FETCH_CYCLES, brought) + -(-count // 16) * -(-rows // 8) * steps * INSTRUCTION_CYCLES
