"""How a sweep is laid over a device: which blocks share the units and the rows, what lies in shared memory.

Everything here is arithmetic on sizes and on the device's limits; nothing is compiled for a size or a batch.

What a step of an LSTM took on an H200, in microseconds, and what `_cycles` below estimates, 1980 cycles each:

    T     B   N = H  products       blocks   taken  estimated
    1024  16  768    bfloat16  ->   64 x 2     4.7        4.1
                               <-   48 x 2     8.5        5.9
    128   64  512    float32   ->   32 x 4    11.3        9.0
                               <-   32 x 4    15.8       11.5
    128   64  512    tf32      ->   32 x 4     7.3        4.5
                               <-   32 x 4    12.8        7.2
    3000  6   40     float32   ->    1 x 6     1.8        2.7
                               <-    1 x 6     2.0        2.7
    512   64  200    float32   ->    4 x 32    5.1        5.1
                               <-    4 x 32    6.6        5.1
    512   64  200    tf32      ->   13 x 10    4.9        4.0
                               <-   13 x 10    6.6        4.9

Waits take most of it: for the operand, which all blocks ask the second-level cache for at once; for what the scalar
mathematics reads; and 0.9 microseconds for each other.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

from lstm_numba.gpu.operands import Operand
from lstm_numba.types import Types

MOST_ROWS, FEWER_ROWS = 64, 8  # whose sums are in shared memory at once
APART = 32  # numbers from one group's counter to the next: each lies in a cache line of its own
RESERVED = 1024  # bytes of shared memory that the system takes from every block

# Cycles, near to what an H200 takes: they only rank the ways to divide the work.
MEETING, MEETING_PER_BLOCK = 2600, 4
BYTES_A_CYCLE = 20  # from the second-level cache to one multiprocessor, where all ask at once
POINTWISE_CYCLES = 2000  # a thread's scalar mathematics, from load to store
FETCH_CYCLES = 1500  # of an operand on its way from the second-level cache, and what waits for it
TILE_CYCLES = 1500  # where a tile begins, and from its parts to its sums
INSTRUCTION_CYCLES = 4  # two warps take turns


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
        tensor: on tensor cores; chunk: numbers that rows come in multiples of.
    """

    tensor: bool
    chunk: int
    threads: int = 256

    @classmethod
    def of(cls, kinds: Types) -> Self:
        tensor = kinds.is_half or kinds.products == "tf32"
        return cls(tensor, (64 if tensor else 16) // kinds.stored.itemsize)

    def held(self, rows: int, depth: int) -> int:
        """Numbers that a matrix takes in shared memory."""
        rows = -(-rows // 8) * 8 if self.tensor else rows
        return rows * -(-depth // self.chunk) * self.chunk

    def scratch(self, count: int, tile: int) -> int:
        """Numbers that the threads' parts of sums take, of a matrix with so many rows and so many of the operand."""
        if self.tensor:
            return self.threads // 32 * 128 * min(4, -(-count // 16)) * (2 if tile > 8 else 1)
        return self.threads * 4


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
    """Every number of parts that units of the largest space fall into, one group of rows or as many as fit, and the
    rows of a tile: fewer take less shared memory."""
    for units in range(1, size + 1):
        parts = -(-size // units)
        if parts > limits.processors or parts == -(-size // (units - 1) if units > 1 else 0):
            continue  # too many, or more units than so many blocks need
        for wanted in {1, limits.processors // parts}:
            rows = -(-batch // min(wanted, batch))
            for tile in dict.fromkeys([min(rows, MOST_ROWS), min(rows, FEWER_ROWS)]):
                shared, places = _regions(held, parts, tile, kinds, method)
                yield Plan(parts, -(-batch // rows), tile, method.threads, shared, places)


def _regions(held: Sequence[Held], parts: int, tile: int, kinds: Types, method: Method) -> tuple[int, dict[str, int]]:
    """Bytes of shared memory, and where each region begins."""
    places, stored = {}, 0
    for matrix in held:
        places[matrix.name] = stored
        stored += method.held(matrix.rows(parts), matrix.depth)
    number = kinds.arithmetic.itemsize
    end = -(-stored * kinds.stored.itemsize // 16) * 16 // number
    for stage in dict.fromkeys(matrix.stage for matrix in held):
        places[f"at_{stage}"] = end
        end += max(matrix.rows(parts) for matrix in held if matrix.stage == stage) * tile
    places["scratch"] = end
    most = max((matrix.rows(parts) for matrix in held), default=0)
    return (end + method.scratch(most, tile)) * number, places


def _cycles(
    p: Plan, held: Sequence[Held], sizes: Sequence[int], batch: int, kinds: Types, method: Method
) -> float:
    """What a step should take: products, the operands on their way, and the meetings."""
    rows, product = -(-batch // p.groups), _tensor_cycles if method.tensor else _exact_cycles
    tiles, total = -(-rows // p.tile), 0.0
    for size in sizes:
        total += tiles * -(-(-(-size // p.parts) * p.tile) // p.threads) * POINTWISE_CYCLES
    for matrix in held:
        brought = p.tile * matrix.depth * kinds.stored.itemsize / BYTES_A_CYCLE
        chunks = -(-matrix.depth // method.chunk)
        total += tiles * product(matrix.rows(p.parts), p.tile, chunks, method.threads, brought)
        total += MEETING + MEETING_PER_BLOCK * p.parts if p.parts > 1 else 0
    return total


def _shared_out(tiles: int, teams: int) -> tuple[int, int]:
    """Rounds of all teams, and the teams that share a tile."""
    members = 1
    while teams // (2 * members) >= tiles:
        members *= 2
    return -(-tiles // (teams // members)), members


def _tensor_cycles(count: int, rows: int, groups: int, threads: int, brought: float) -> float:
    """Of a product with so many rows of the matrix: waits for the operand, four groups at a time, or as long as all of
    it takes to be brought; and instructions."""
    rounds, members = _shared_out(-(-count // 64) * -(-rows // 16), threads // 32)
    each = -(-groups // members)
    instructions = 12 + 6 * min(4, -(-count // 16)) * min(2, -(-rows // 8))
    waits, work = rounds * -(-each // 4) * FETCH_CYCLES, INSTRUCTION_CYCLES * each * instructions
    return max(waits, brought) + rounds * (work + TILE_CYCLES)


def _exact_cycles(count: int, rows: int, chunks: int, threads: int, brought: float) -> float:
    """The same: two chunks at a time."""
    rounds, members = _shared_out(-(-count // 8) * -(-rows // 4), threads // 8)
    each = -(-chunks // (8 * members))
    instructions = 20 + 34 * min(4, rows)
    work = INSTRUCTION_CYCLES * each * instructions
    return max(rounds * FETCH_CYCLES, brought) + rounds * (work + TILE_CYCLES)
