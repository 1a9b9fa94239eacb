"""The measured peak of fused multiply-adds: what the cores here could do if memory and instructions cost nothing.

GF/s = 2 W A n / seconds       A accumulators of W lanes, n rounds, on every thread at once
"""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from lstm_numba.cpu.target import REGISTER_BYTES

ACCUMULATORS = 12  # independent sums in flight: more than latency times ports of any processor in use
ROUNDS = 20_000_000
SCALARS = {"float32": (ir.FloatType(), "f32"), "float64": (ir.DoubleType(), "f64")}
INDEX = ir.IntType(64)


def lanes(dtype: str) -> int:
    return REGISTER_BYTES // np.dtype(dtype).itemsize


def code_generator(dtype: str) -> Callable[..., Any]:
    """LLVM text of   for n: a_k = a_k * 0.999 + 0.001 for every k;   return the first lane of their sum."""
    scalar, suffix = SCALARS[dtype]
    vector = ir.VectorType(scalar, lanes(dtype))
    scale, shift = (ir.Constant(vector, [value] * lanes(dtype)) for value in (0.999, 0.001))
    # none starts at 1, which the loop leaves as it is: LLVM would take that sum out of the loop
    starts = [ir.Constant(vector, [float(k)] * lanes(dtype)) for k in range(2, 2 + ACCUMULATORS)]

    def generate(_context: Any, b: Any, _signature: Any, arguments: Any) -> Any:
        fma = ir.Function(b.module, ir.FunctionType(vector, [vector] * 3), f"llvm.fma.v{lanes(dtype)}{suffix}")
        before, loop, after = b.block, b.append_basic_block("loop"), b.append_basic_block("after")
        b.branch(loop)
        b.position_at_end(loop)
        n, sums = b.phi(INDEX), [b.phi(vector) for _ in starts]
        updated = [b.call(fma, [one, scale, shift]) for one in sums]
        following = b.add(n, INDEX(1))
        for phi, first, later in zip([n, *sums], [INDEX(0), *starts], [following, *updated], strict=True):
            phi.add_incoming(first, before)
            phi.add_incoming(later, loop)
        b.cbranch(b.icmp_signed("<", following, arguments[0]), loop, after)
        b.position_at_end(after)
        total = updated[0]
        for one in updated[1:]:
            total = b.fadd(total, one)
        return b.extract_element(total, ir.IntType(32)(0))

    return generate


def spinner(dtype: str) -> Callable[[int], float]:
    """A compiled function that runs so many rounds without the interpreter lock."""
    result = getattr(types, dtype)

    @intrinsic
    def rounds(_typing_context: Any, _count: Any) -> Any:
        return result(types.int64), code_generator(dtype)

    @numba.njit(nogil=True)
    def spin(count: int) -> float:
        return rounds(count)

    spin(1)
    return spin


def measure(dtype: str = "float32", threads: int = 1) -> float:
    """GF/s of all threads together, the best of five."""
    spin = spinner(dtype)
    flops = 2 * lanes(dtype) * ACCUMULATORS * ROUNDS * threads
    with ThreadPoolExecutor(threads) as pool:
        return max(flops / _seconds(pool, spin, threads) for _ in range(5)) / 1e9


def _seconds(pool: ThreadPoolExecutor, spin: Callable[[int], float], threads: int) -> float:
    started = time.perf_counter()
    list(pool.map(spin, [ROUNDS] * threads))
    return time.perf_counter() - started
