"""As much of CuPy as the device uses, over NumPy: memory by address, cuBLAS by its manual, streams that record.

Kernels are the generated functions in plain Python, on ctypes pointers to the addresses that they were launched with.
"""

import ctypes
import inspect
import threading
from contextlib import contextmanager
from types import FunctionType, SimpleNamespace

import numpy as np

from lstm_numba.gpu import compiler, words

CTYPES = {"int64": ctypes.c_int64, "uint8": ctypes.c_uint8, "uint32": ctypes.c_uint32}
CTYPES |= {"float32": ctypes.c_float, "float64": ctypes.c_double}


class Array(np.ndarray):
    """An array with `data.ptr` and `data.memset_async`."""

    @property
    def data(self):
        def memset_async(value, size):
            submit(lambda: ctypes.memset(self.ctypes.data, value, size))

        return SimpleNamespace(ptr=self.ctypes.data, memset_async=memset_async)


def own(array):
    return np.asarray(array).view(Array)


class Stream:
    """Work runs at once, or is recorded and runs when the graph does."""

    current, waits = None, 0

    def __init__(self, non_blocking=False, pointer=5):
        self.recorded, self.ptr = None, pointer

    def is_capturing(self):
        return self.recorded is not None

    def __enter__(self):
        self.before, Stream.current = Stream.current, self
        return self

    def __exit__(self, *_):
        Stream.current = self.before

    def begin_capture(self):
        self.recorded = []

    def synchronize(self):
        Stream.waits += 1

    def end_capture(self):
        work, self.recorded = self.recorded, None
        return SimpleNamespace(launch=lambda: [one() for one in work])


Stream.null = Stream(pointer=0)


class ExternalStream(Stream):
    """Somebody else's, on a device."""

    def __init__(self, pointer, number):
        super().__init__(pointer=pointer)
        self.number = number


class Device:
    """The current device, for as long as a `with` lasts."""

    current = 0

    def __init__(self, number=None):
        self.id = Device.current if number is None else number

    def __enter__(self):
        self.before, Device.current = Device.current, self.id
        return self

    def __exit__(self, *_):
        Device.current = self.before


class Allocator:
    """Memory by two functions."""

    def __init__(self, take, release):
        self.functions = take, release

    def malloc(self, size):
        raise AssertionError("the two functions give the memory")


class Driver:
    """Kernels' attributes; a multiprocessor has room for one block of them."""

    room, allowed = 1, {}

    def funcSetAttribute(self, pointer, attribute, value):
        assert attribute == 8  # CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
        self.allowed[pointer] = value

    def occupancyMaxActiveBlocksPerMultiprocessor(self, pointer, threads, shared):
        assert shared <= self.allowed[pointer]
        return self.room


def submit(work):
    stream = Stream.current
    if stream is not None and stream.recorded is not None:
        stream.recorded.append(work)
    else:
        work()


# --- cuBLAS


def at(address, count, kind):
    """The numbers that begin at an address."""
    return np.ctypeslib.as_array(ctypes.cast(address, ctypes.POINTER(CTYPES[kind])), (count,))


def cublasSetStream_v2(handle, stream):
    assert handle == 7


def cublasGemmEx(
    handle, turn_a, turn_b, m, n, k, alpha, a, a_kind, lda, b, b_kind, ldb, beta, c, c_kind, ldc, compute, algo
):  # fmt: skip
    """C = alpha op(A) op(B) + beta C, all by columns: op(A) is m x k, op(B) k x n, C m x n."""
    kinds = {0: "float32", 1: "float64"}

    def matrix(address, kind, rows, columns, lead):
        assert lead >= max(1, rows)  # what cuBLAS asks for
        flat = at(address, lead * (columns - 1) + rows, kinds[kind])
        return np.lib.stride_tricks.as_strided(flat, (rows, columns), (flat.itemsize, lead * flat.itemsize))

    def work():
        left = matrix(a, a_kind, *((k, m) if turn_a else (m, k)), lda)
        right = matrix(b, b_kind, *((n, k) if turn_b else (k, n)), ldb)
        target, one = matrix(c, c_kind, m, n, ldc), at(alpha, 1, kinds[c_kind])[0]
        target[...] = (
            one * (left.T if turn_a else left) @ (right.T if turn_b else right) + at(beta, 1, kinds[c_kind])[0] * target
        )

    assert compute == {0: 68, 1: 70}[c_kind]
    submit(work)


# --- Kernels


def _in_one(*modules):
    """The functions of these modules with one dictionary of names, the last module's first."""
    names = {name: value for module in modules for name, value in vars(module).items()}
    for name, value in names.items():
        if isinstance(value, FunctionType):
            names[name] = FunctionType(value.__code__, names, name, value.__defaults__)
    # the type of storage is the arithmetic's: nothing to copy, and no length to ask an address for
    names["put_both"] = lambda array, low, index, value: names["put"](array, index, value)
    names["end_of"] = lambda lengths, row: lengths[row] if lengths else words.FOREVER
    return names


class Function:
    """One kernel, called as `cupy.cuda.Function` is."""

    ptr = 1

    def __init__(self, module, kinds, name, space):
        self.module, self.kinds, self.name, self.space = module, kinds, name, space
        functions = _in_one(module, words)
        self.run, self.read = functions[name], functions.get(name.replace("unit_", "read_"))
        self.names = (
            compiler.unit_arguments(module, name, space) if space else tuple(inspect.signature(self.run).parameters)
        )

    def __call__(self, grid, block, values, shared_mem=0, enable_cooperative_groups=False):
        assert shared_mem <= max(48 * 1024, Driver.allowed.get(self.ptr, 0))
        assert all(isinstance(value, (int, np.generic)) for value in values)
        assert len(values) == len(self.names)
        given = dict(zip(self.names, map(self.pointed, self.names, values), strict=True))
        submit(lambda: self.launched(given, grid[0] * block[0]))

    def pointed(self, name, value):
        kind = str(compiler.argument_type(name, self.kinds))
        return value if not kind.endswith("*") else ctypes.cast(value, ctypes.POINTER(CTYPES[kind.rstrip("*")]))

    def launched(self, given, threads):
        if not self.space:  # one block of one thread does the work of all: its regions lie further apart
            places = [name for name in given if name.startswith((*compiler.PLACES, "scratch", "stage"))]
            self.run(**{**given, **{name: number * 10**9 for number, name in enumerate(places)}})
            return
        size = given[self.space]
        assert given["batch"] * size <= threads
        rest, loads = self.fixed(self.run, given), self.read and self.fixed(self.read, given)
        for row, unit in np.ndindex(given["batch"], size):
            found = {} if loads is None else {"read": self.read(row=row, unit=unit, **loads)}
            self.run(row=row, unit=unit, **rest, **found)

    @staticmethod
    def fixed(function, given):
        """What is the same for all units; the sums are in the slots."""
        names = [n for n in inspect.signature(function).parameters if n not in ("row", "unit", "read")]
        return {n: given.get(n, None if n.startswith("sums_") else 0) for n in names}


class Cupy:
    """The module."""

    allocator = None
    float32, float64 = np.float32, np.float64

    def __init__(self):
        self.unread, self.threads = [], threading.local()
        runtime = SimpleNamespace(memGetInfo=lambda: (2**34, 2**35))
        device = SimpleNamespace(get_cublas_handle=self.handle)
        streams = {"Stream": Stream, "ExternalStream": ExternalStream}
        streams["get_current_stream"] = lambda: Stream.current or Stream.null
        memory = {"PythonFunctionAllocator": Allocator, "using_allocator": self.using}
        self.cuda = SimpleNamespace(runtime=runtime, device=device, Device=Device, driver=Driver(), **streams, **memory)

    @staticmethod
    @contextmanager
    def using(malloc):
        Cupy.allocator = malloc.__self__
        yield
        Cupy.allocator = None

    def __getattr__(self, name):
        function = getattr(np, name)
        return (lambda *a, **k: own(function(*a, **k))) if callable(function) else function

    def handle(self):
        """Of cuBLAS: each thread has its own, and to make one takes memory."""
        if not hasattr(self.threads, "handle"):
            assert Stream.current is None or not Stream.current.is_capturing()
            self.threads.handle = 7
        return self.threads.handle

    def concatenate(self, *_, **__):
        raise AssertionError("of many parts it copies the addresses from the host, which a graph would read again")

    def asarray(self, array, blocking=False):
        """A copy that is not waited for may read the host's array later."""
        found = own(np.array(array))
        if not blocking:
            self.unread.append((found, array))
        return found

    def read(self):
        """Whatever was not waited for is copied now."""
        for found, array in self.unread:
            found[...] = array

    def from_dlpack(self, exported):
        return own(exported.array)

    def asnumpy(self, array):
        return np.array(array)

    def get_default_memory_pool(self):
        return SimpleNamespace(free_bytes=lambda: 0)
