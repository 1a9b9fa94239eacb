"""Matrix products: cuBLAS by address, also into a graph that is recorded.

CuPy loads the library and keeps a handle for each thread, but refuses to call it while a stream is captured; so the
two functions that a product needs are called in the library itself.
"""

import ctypes
import threading
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np

from lstm_numba.errors import CudaMemoryError, CudaUnavailableError
from lstm_numba.gpu.unavailable import require
from lstm_numba.types import Types

# cuBLAS speaks of columns: with rows as columns, target' += right' left'.
ROWS, TURNED = 0, 1
COMPUTE = {"exact32": 68, "tf32": 77, "exact64": 70}  # CUBLAS_COMPUTE_32F, 32F_FAST_TF32, 64F
KINDS = {"float32": 0, "float64": 1, "float16": 2, "uint16": 14}  # CUDA_R_32F, 64F, 16F, 16BF
BEST = -1  # CUBLAS_GEMM_DEFAULT: the library chooses
OUT_OF_MEMORY = 3  # CUBLAS_STATUS_ALLOC_FAILED

_int, _pointer = ctypes.c_int, ctypes.c_void_p
ARGUMENTS = {
    "cublasSetStream_v2": [_pointer, _pointer],
    # handle, turned, turned, m, n, k, alpha, A, its type, its rows, B, .., .., beta, C, .., .., arithmetic, algorithm
    "cublasGemmEx": [
        _pointer, *[_int] * 5, _pointer, *[_pointer, _int, _int] * 2, _pointer, _pointer, _int, _int, _int, _int,
    ],
}  # fmt: skip


def library() -> Any:
    """The cuBLAS that CuPy has loaded."""
    handle = require("cupy").cuda.device.get_cublas_handle()
    version = require("cupy_backends.cuda.libs.cublas").getVersion(handle)
    found = ctypes.CDLL(f"libcublas.so.{version // 10000}")
    for name, kinds in ARGUMENTS.items():
        getattr(found, name).argtypes = kinds
    return found


class Products:
    """Sums in the target's type, never with atomics.

    Args:
        cublas: the library.
        must_be_ready: called before a thread's first use, which takes memory.
    """

    def __init__(self, cupy: ModuleType, cublas: Any, must_be_ready: Callable[[], None]) -> None:
        self.xp, self.cublas, self.must_be_ready, self.threads = cupy, cublas, must_be_ready, threading.local()
        self.ones = {kind: np.ones(1, kind) for kind in ("float32", "float64")}

    def make_ready(self) -> int:
        """This thread's handle, made if there is none: CuPy keeps one for each thread."""
        if not hasattr(self.threads, "ready"):
            self.must_be_ready()
        handle = self.xp.cuda.device.get_cublas_handle()
        self.threads.ready = True
        return handle

    def add(self, target: Any, left: Any, right: Any, kinds: Types) -> None:
        """target += left @ right."""
        compute = "tf32" if kinds.products == "tf32" else "exact64" if kinds.storage == "float64" else "exact32"
        one, handle = self.ones[kinds.arithmetic.name].ctypes.data, self.make_ready()
        (first, first_row), (second, second_row) = _laid_out(right), _laid_out(left)
        _must_succeed(self.cublas.cublasSetStream_v2(handle, self.xp.cuda.get_current_stream().ptr))
        _must_succeed(self.cublas.cublasGemmEx(
            handle, first, second, target.shape[1], target.shape[0], left.shape[1],
            one, right.data.ptr, KINDS[right.dtype.name], first_row, left.data.ptr, KINDS[left.dtype.name], second_row,
            one, target.data.ptr, KINDS[target.dtype.name], _laid_out(target)[1], COMPUTE[compute], BEST,
        ))  # fmt: skip


def _must_succeed(status: int) -> None:
    if status == OUT_OF_MEMORY:
        raise CudaMemoryError("cuBLAS got no memory for a product: take fewer steps or rows at once, or free some.")
    if status:
        raise CudaUnavailableError(f"cuBLAS refused a product with status {status}: does this driver suit this device?")


def _laid_out(matrix: Any) -> tuple[int, int]:
    """Whether a matrix is stored turned, and the numbers from one stored row to the next."""
    row, column = (stride // matrix.itemsize for stride in matrix.strides)
    turned = column != 1 and matrix.shape[1] > 1
    return (TURNED, column) if turned else (ROWS, max(row, matrix.shape[1]))
