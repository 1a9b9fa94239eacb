"""How a sweep is laid over a device: which blocks share the units and the rows, what lies in shared memory.

Everything here is arithmetic on sizes and on the device's limits; nothing is compiled for a size or a batch.

What a step of an LSTM took on an H200, in microseconds, and what `_cycles` below estimates, 1980 cycles each:

    T     B   N = H  products       blocks   taken  estimated
    1024  16  768    bfloat16  ->   64 x 2     3.0        2.4
                               <-   48 x 2     4.8        3.5
    128   64  512    float32   ->   32 x 4     8.3        7.4
                               <-   32 x 4    10.7       10.1
    128   64  512    tf32      ->   32 x 4     4.9        3.0
                               <-   32 x 4     9.2        6.0
    3000  6   40     float32   ->    1 x 6     1.6        1.8
                               <-    1 x 6     1.7        1.8
    512   64  200    float32   ->    4 x 32    3.3        3.1
                               <-    4 x 32    3.6        3.1
    512   64  200    tf32      ->   25 x 5     3.1        2.1
                               <-   13 x 10    3.7        2.3

Most of it is the instructions that a warp has to go through from the numbers that it waits for to those that it writes:
some 800 where nothing has to be waited for any more, each for the one before it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

from lstm_numba.gpu.operands import Operand
from lstm_numba.types import Types

MOST_ROWS, FEWER_ROWS = 64, 8  # that go through all steps together
PAD = 64  # bytes behind a row of an operand in shared memory: neighbouring rows are read from different banks
LEAST_SPAN = 8  # times 16 bytes of a row, at once in shared memory
RESERVED = 1024  # bytes of shared memory that the system takes from every block

# Cycles, near to what an H200 takes: they only rank the ways to divide the work.
WAIT, WAIT_PER_BLOCK = 700, 4  # for the numbers of all blocks that share the units
BYTES_A_CYCLE = 28  # from the second-level cache to one multiprocessor, where all ask at once
SHARED_BYTES_A_CYCLE = 128  # from a multiprocessor's own memory
POINTWISE_CYCLES = 1200  # a thread's scalar mathematics, from load to store
FETCH_CYCLES = 700  # of an operand on its way from the second-level cache
COLUMNS_CYCLES = 650  # where some columns of it are laid down
TILE_CYCLES = 500  # from the parts of a tile to its sums
INSTRUCTION_CYCLES = 4  # two warps take turns


def power_of_two(number: int) -> int:
    """The least that is not smaller."""
    return 1 << max(0, number - 1).bit_length()


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
        at_once: times 16 bytes of an operand that a thread has on their way.
    """

    tensor: bool
    chunk: int
    at_once: int
    threads: int = 256

    @classmethod
    def of(cls, kinds: Types) -> Self:
        tensor = kinds.is_half or kinds.products == "tf32"
        # as many of doubles would be more than the registers hold
        return cls(tensor, (64 if tensor else 16) // kinds.stored.itemsize, 4 if kinds.storage == "float64" else 8)

    @property
    def size(self) -> int:
        """Numbers of 16 bytes."""
        return self.chunk // 4 if self.tensor else self.chunk

    def span(self, tile: int, depth: int) -> int:
        """Times 16 bytes of a row that are laid into shared memory at once."""
        most = min(self.threads, self.at_once * self.threads // power_of_two(tile))
        return min(most, max(LEAST_SPAN, power_of_two(-(-depth // self.size))))

    def stage(self, tile: int, span: int) -> int:
        """Numbers of these, and of the space between rows; products read eight rows at a time, or four."""
        return power_of_two(max(tile, 8 if self.tensor else 4)) * (span + PAD // 16) * self.size

    def held(self, rows: int, depth: int) -> int:
        """Numbers that a matrix takes in shared memory."""
        rows = max(rows, 8) if not self.tensor or rows <= 8 else -(-rows // 16) * 16
        return rows * -(-depth // self.chunk) * self.chunk

    def scratch(self, count: int, tile: int) -> int:
        """Numbers that the threads' parts of sums take, of a matrix with so many rows and so many of the operand."""
        if self.tensor:
            return self.threads // 32 * 128 * min(4, -(-count // 16)) * (2 if tile > 8 else 1)
        return self.threads * 4  # eight by four sums of every eight threads


@dataclass(frozen=True)
class Held:
    """A matrix that blocks keep: `gates` rows for each of `size` units, `depth` long, under an argument's name; its
    sums lie in the region of another."""

    name: str
    gates: int
    size: int
    depth: int
    sums: str

    def rows(self, parts: int) -> int:
        """Of one block."""
        return self.gates * -(-self.size // parts)


@dataclass(frozen=True)
class Plan:
    """One launch.

    Attributes:
        parts: blocks that share the units; groups: of rows, which need not wait for each other.
        tile: rows that go through all steps together; span: times 16 bytes of a row that are in shared memory at once.
        shared: bytes of it.
        places: argument -> where its region begins, in stored numbers for matrices, else in numbers of the arithmetic.
    """

    parts: int
    groups: int
    tile: int
    span: int
    threads: int
    shared: int
    places: dict[str, int]

    @property
    def blocks(self) -> int:
        return self.parts * self.groups


def held_forward(operands: Sequence[Operand]) -> list[Held]:
    """Rows of the matrices of the time loop, all slots that any of a stage's products reaches."""
    recurrent = [o for o in operands if not o.is_input]
    return [Held(f"hold_{o.key}", reach(recurrent, o.stage), o.units, o.depth, f"at_{o.stage}") for o in recurrent]


def reach(recurrent: Sequence[Operand], stage: int) -> int:
    """Slots from the first to the last that a product of this stage's time loop reaches."""
    own = [o for o in recurrent if o.stage == stage]
    return max(o.low + len(o.matrices) for o in own) - min(o.low for o in own)


def held_backward(operands: Sequence[Operand]) -> list[Held]:
    """Columns of those that send an adjoint back."""
    return [
        Held(f"turned_{o.key}", 1, o.depth, len(o.matrices) * o.units, f"at_{o.name}") for o in operands if o.target
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
                most = method.span(tile, max(matrix.depth for matrix in held)) if held else LEAST_SPAN
                for span in dict.fromkeys([most, max(LEAST_SPAN, most // 4), LEAST_SPAN]):
                    shared, places = _regions(held, parts, tile, span, kinds, method)
                    yield Plan(parts, -(-batch // rows), tile, span, method.threads, shared, places)


def _regions(
    held: Sequence[Held], parts: int, tile: int, span: int, kinds: Types, method: Method
) -> tuple[int, dict[str, int]]:
    """Bytes of shared memory, and where each region begins."""
    places, stored = {}, 0
    for matrix in held:
        places[matrix.name] = stored
        stored += method.held(matrix.rows(parts), matrix.depth)
    if held:
        places["stage"] = stored
        stored += method.stage(tile, span)
    number = kinds.arithmetic.itemsize
    end = -(-stored * kinds.stored.itemsize // 16) * 16 // number
    for sums in dict.fromkeys(matrix.sums for matrix in held):
        places[sums] = end
        end += max(matrix.rows(parts) for matrix in held if matrix.sums == sums) * tile
    places["scratch"] = end
    most = max((matrix.rows(parts) for matrix in held), default=0)
    return (end + method.scratch(most, tile)) * number, places


def _cycles(p: Plan, held: Sequence[Held], sizes: Sequence[int], batch: int, kinds: Types, method: Method) -> float:
    """What a step should take: products, the operands on their way, and the waits for other blocks."""
    rows, product = -(-batch // p.groups), _tensor_cycles if method.tensor else _exact_cycles
    tiles, total = -(-rows // p.tile), 0.0
    for size in sizes:
        units = -(-size // p.parts)
        columns = min(p.threads, power_of_two(units))
        total += tiles * -(-p.tile * columns // p.threads) * -(-units // columns) * POINTWISE_CYCLES
    for matrix in held:
        brought = p.tile * matrix.depth * kinds.stored.itemsize / BYTES_A_CYCLE
        chunks, pieces = -(-matrix.depth // method.chunk), -(-matrix.depth // (p.span * method.size))
        rounds, work = product(matrix.rows(p.parts), p.tile, chunks, method.threads)
        read = method.held(matrix.rows(p.parts), matrix.depth) * kinds.stored.itemsize * method.tensor
        total += tiles * read / SHARED_BYTES_A_CYCLE  # while exact products read they calculate
        total += tiles * (max(rounds * FETCH_CYCLES, brought) + rounds * (pieces * COLUMNS_CYCLES + work + TILE_CYCLES))
        total += tiles * (WAIT + WAIT_PER_BLOCK * p.parts) if p.parts > 1 else 0
    return total


def _shared_out(tiles: int, teams: int) -> tuple[int, int]:
    """Rounds of all teams, and the teams that share a tile."""
    members = 1
    while teams // (2 * members) >= tiles:
        members *= 2
    return -(-tiles // (teams // members)), members


def _tensor_cycles(count: int, rows: int, groups: int, threads: int) -> tuple[int, int]:
    """Of a product with so many rows of the matrix: rounds, and what the instructions of one take."""
    rounds, members = _shared_out(-(-count // 64) * -(-rows // 16), threads // 32)
    instructions = 8 + 4 * min(4, -(-count // 16)) * min(2, -(-rows // 8))
    return rounds, INSTRUCTION_CYCLES * -(-groups // members) * instructions


def _exact_cycles(count: int, rows: int, chunks: int, threads: int) -> tuple[int, int]:
    """The same."""
    rounds, members = _shared_out(-(-count // 8) * -(-rows // 4), threads // 8)
    return rounds, INSTRUCTION_CYCLES * -(-chunks // (8 * members)) * (16 + 36 * min(4, rows))
