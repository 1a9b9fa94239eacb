"""What this processor's registers hold: the one place that knows about instruction sets.

    register bytes   64 (AVX-512), 32 (AVX2), 16 (NEON, SSE)
    tile             rows x vectors of accumulators that stay in registers during a product

`LSTM_NUMBA_SIMD=avx2` (or `sse`) narrows the choice, to test one machine's kernels on another.
"""

import os

import llvmlite.binding as llvm

from lstm_numba.errors import OptionError

# instruction set -> (register bytes, vector registers)
INSTRUCTION_SETS = {"avx512": (64, 32), "avx2": (32, 16), "neon": (16, 32), "sse": (16, 16)}

# Tiles by number of registers: vectors -> rows, most first, then the heights that finish a batch. Measured: a spill
# (3 x 4 with 16 registers, 12 x 2 with 32) halves the speed or worse.
TILES = {
    16: {1: (8, 4, 2, 1), 2: (6, 4, 2, 1), 3: (4, 2, 1)},
    32: {1: (12, 6, 4, 2, 1), 2: (8, 6, 4, 2, 1), 3: (8, 6, 4, 2, 1), 4: (6, 4, 2, 1), 5: (5, 3, 2, 1)},
}
# Cycles from one addition to the next that depends on it, and additions started in each: a low tile cannot be faster
# than the first.
LATENCY, PER_CYCLE = 4, 2


def _detect() -> str:
    features = llvm.get_host_cpu_features()
    if features.get("avx512f"):
        return "avx512"
    if features.get("avx2") and features.get("fma"):
        return "avx2"
    return "neon" if features.get("neon") else "sse"


def _chosen() -> str:
    wanted, found = os.environ.get("LSTM_NUMBA_SIMD"), _detect()
    if wanted is None:
        return found
    if wanted not in INSTRUCTION_SETS or INSTRUCTION_SETS[wanted][0] > INSTRUCTION_SETS[found][0]:
        raise OptionError(
            f"LSTM_NUMBA_SIMD must be one of {', '.join(INSTRUCTION_SETS)} and no wider than this processor's {found}, "
            f"got {wanted!r}: unset it or choose a narrower set."
        )
    return wanted


NAME = _chosen()
REGISTER_BYTES, REGISTERS = INSTRUCTION_SETS[NAME]
HEIGHTS = TILES[REGISTERS]

# The widest tile for products that may choose theirs.
WIDE = 2 if REGISTERS == 16 else 4

# Registers of units in a panel whose gates alone make a narrow tile: enough for a fast tile, and few enough that the
# silent modules of a clockwork fill whole panels.
PAIR = 2

LINE_BYTES = 64

# Terms that a tile adds to its sums before it stores them: its weights come from the second-level cache in time, and
# the fewer passes over the slots the better.
BLOCK = 512

# Slots of a batch that are computed together before the pointwise stage reads them: a share of the second-level cache.
SLOTS_TOGETHER = 65536


def finish(width: int) -> dict[int, dict[int, int]]:
    """Rows left over -> how often each height covers them in the fewest cycles; up to a whole tile more than one."""
    heights = HEIGHTS[width]
    best: dict[int, tuple[float, dict[int, int]]] = {0: (0.0, {})}
    for rows in range(1, 2 * heights[0]):
        choices = [(best[rows - h][0] + max(LATENCY, h * width / PER_CYCLE), h) for h in heights if h <= rows]
        cycles, height = min(choices)
        times = best[rows - height][1]
        best[rows] = cycles, {**times, height: times.get(height, 0) + 1}
    return {rows: times for rows, (_, times) in best.items()}


def tile_width(vectors: int) -> int:
    """The widest tile that divides a panel of this many vectors."""
    return max(width for width in HEIGHTS if vectors % width == 0)


def unit_vectors(gates: int) -> int:
    """Vectors of units in a panel of so many gates: more than one where the gates alone make a narrow tile."""
    return 1 if tile_width(gates) > 1 else PAIR


def groups_at_once(rows: int, width: int) -> int:
    """Tiles side by side that a short batch needs: enough sums in flight to hide the latency of an addition."""
    return max(1, HEIGHTS[width][0] // rows)
