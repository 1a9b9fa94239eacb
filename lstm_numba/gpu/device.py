"""The CUDA device: memory, products, launches and graphs, over CuPy.

CuPy is what array programs on a GPU already use: its pool orders memory by streams, it calls cuBLAS by address, it
loads machine code, and it exchanges arrays with torch without copies.
"""

from collections import OrderedDict
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cache, cached_property
from types import ModuleType
from typing import Any

import numpy as np

from lstm_numba.errors import ArgumentError, CudaUnavailableError
from lstm_numba.gpu import compiler, products
from lstm_numba.gpu.plan import Limits, Plan
from lstm_numba.gpu.products import Products
from lstm_numba.gpu.unavailable import require
from lstm_numba.types import Types

Graphs = OrderedDict[Any, Any]
GRAPHS = 16  # of one layer
MOST_SHARED = 8  # CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES


def current() -> "Device":
    """The device that this thread is at.

    Raises:
        CudaUnavailableError: a package, the driver or the device is missing, or the device is too old.
    """
    return numbered(int(_driver().cuda.Device().id))


@cache
def numbered(number: int) -> "Device":
    """One device by the driver's number.

    Raises:
        CudaUnavailableError: as of `current`.
    """
    device = Device(_driver(), number)
    if device.limits.architecture < compiler.LEAST:
        have, least = (".".join(map(str, version)) for version in (device.limits.architecture, compiler.LEAST))
        raise CudaUnavailableError(f"device='cuda' needs compute capability {least} or later, and this one has {have}.")
    return device


@cache
def _driver() -> ModuleType:
    """CuPy, where everything is there that a device needs."""
    cupy = require("cupy")
    for package in ("numba_cuda", "cuda.bindings.nvjitlink", "cupy_backends.cuda.libs.cublas"):
        require(package)
    try:
        found = cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        raise CudaUnavailableError(
            f"device='cuda' needs an NVIDIA driver for CUDA 13 and a device ({error}): use device='cpu' here."
        ) from None
    if not found:
        raise CudaUnavailableError(
            "device='cuda' needs a CUDA device, and the driver sees none: use device='cpu' here."
        )
    return cupy


@dataclass(frozen=True)
class Pointed:
    """A stream by its address, in CUDA's protocol for streams."""

    pointer: int

    def __cuda_stream__(self) -> tuple[int, int]:
        return 0, self.pointer


class Device:
    """One CUDA device; all work goes to CuPy's current stream.

    Args:
        number: the driver's number of it.
    """

    def __init__(self, cupy: ModuleType, number: int) -> None:
        self.xp, self.number = cupy, number
        self._functions: dict[Any, Any] = {}
        self._allowed: set[Any] = set()  # of them, those that may take all shared memory

    @cached_property
    def limits(self) -> Limits:
        runtime, number = self.xp.cuda.runtime, self.number
        text = self.xp.cuda.Device(number).compute_capability
        processors, shared = (
            runtime.deviceGetAttribute(attribute, number)
            for attribute in (runtime.cudaDevAttrMultiProcessorCount, runtime.cudaDevAttrMaxSharedMemoryPerBlockOptin)
        )
        return Limits((int(text[:-1]), int(text[-1])), processors, shared)

    # --- where work goes, and what it has

    def active(self) -> AbstractContextManager[Any]:
        """In it the device is the current one, whichever the caller has chosen meanwhile."""
        return self.xp.cuda.Device(self.number)

    def stream(self, pointer: int) -> AbstractContextManager[Any]:
        """In it work goes to somebody else's stream; 0 is the default one."""
        cuda = self.xp.cuda
        if not pointer:
            return cuda.Stream.null
        if hasattr(cuda.Stream, "from_external"):  # of CuPy 14, which warns about the older way
            return cuda.Stream.from_external(Pointed(pointer))
        return cuda.ExternalStream(pointer, self.number)

    def settle(self) -> None:
        """Wait for what the current stream has been asked for."""
        self.xp.cuda.get_current_stream().synchronize()

    def memory(self, take: Callable[..., int], release: Callable[..., None]) -> AbstractContextManager[Any]:
        """In it arrays are taken from somebody else: (bytes, number) -> address, (address, number)."""
        cuda = self.xp.cuda
        return cuda.using_allocator(cuda.PythonFunctionAllocator(take, release).malloc)

    def is_capturing(self) -> bool:
        """Whether the caller records a graph: work is noted, and nothing of it has run yet."""
        stream = self.xp.cuda.get_current_stream()
        return bool(stream.ptr) and stream.is_capturing()

    def must_be_ready(self) -> None:
        """Refuse to load or to make what is not there yet while the caller records a graph.

        Raises:
            ArgumentError: the device would break the recording off.
        """
        if self.is_capturing():
            raise ArgumentError(
                "a CUDA graph is being recorded, and what this layer needs is not loaded in this thread yet: call the "
                "layer (and its backward) once in the same way before recording."
            )

    def unused_bytes(self) -> int:
        """What nobody has taken from the driver."""
        with self.active():
            return self.xp.cuda.runtime.memGetInfo()[0]

    def free_bytes(self) -> int:
        """What new arrays of CuPy's can take: free on the device, and free in CuPy's pool."""
        with self.active():
            return self.unused_bytes() + self.xp.get_default_memory_pool().free_bytes()

    def unwrite(self, array: Any) -> None:
        """Set all bits: nobody has written a number there yet."""
        if array.size:
            array.data.memset_async(0xFF, array.nbytes)

    # --- products

    @cached_property
    def _products(self) -> Products:
        return Products(self.xp, products.library(), self.must_be_ready)

    def multiply(self, target: Any, left: Any, right: Any, kinds: Types) -> None:
        """target += left @ right: matrices whose rows or columns are contiguous."""
        if target.size and left.shape[1]:
            self._products.add(target, left, right, kinds)

    # --- kernels

    def function(self, key: Any, make: Callable[[], compiler.Binary]) -> Any:
        """A kernel, loaded once."""
        if key not in self._functions:
            self.must_be_ready()
            binary = make()
            module = self.xp.cuda.function.Module()
            module.load(binary.code)
            self._functions[key] = module.get_function(binary.entry)
        return self._functions[key]

    def launch(self, module: ModuleType, kinds: Types, name: str, arguments: dict[str, Any], space: str) -> None:
        """Run a unit function, a thread for each unit of `space` of each row."""
        threads = arguments["batch"] * arguments[space]
        if threads:
            architecture = self.limits.architecture
            function = self.function(
                (module, kinds, name), lambda: compiler.unit_binary(module, kinds, name, space, architecture)
            )
            names = compiler.unit_arguments(module, name, space)
            function(
                (-(-threads // compiler.THREADS),), (compiler.THREADS,), tuple(address(arguments[n]) for n in names)
            )

    def _sweep(self, module: ModuleType, kinds: Types, name: str) -> Any:
        """The kernel of all steps, its blocks allowed all shared memory: each launch takes what its plan says."""
        key = module, kinds, name
        function = self.function(key, lambda: compiler.sweep_binary(*key, self.limits.architecture))
        if key not in self._allowed:
            self.xp.cuda.driver.funcSetAttribute(function.ptr, MOST_SHARED, self.limits.shared)
            self._allowed.add(key)
        return function

    def holds(self, module: ModuleType, kinds: Types, name: str, found: Plan) -> bool:
        """Whether all blocks of a plan are on the device at once: blocks that wait for one that is not would wait
        for ever.  CuPy would launch fewer of them and go on."""
        if found.parts == 1:
            return True
        function = self._sweep(module, kinds, name)
        occupancy = self.xp.cuda.driver.occupancyMaxActiveBlocksPerMultiprocessor
        return occupancy(function.ptr, found.threads, found.shared) * self.limits.processors >= found.blocks

    def sweep(self, module: ModuleType, kinds: Types, name: str, arguments: dict[str, Any], found: Plan) -> None:
        """Run all steps as one kernel whose blocks wait for each other."""
        function = self._sweep(module, kinds, name)
        values = [address(arguments[n]) for n in compiler.signature(module, name)]
        function(
            (found.blocks,),
            (found.threads,),
            values,
            shared_mem=found.shared,
            enable_cooperative_groups=found.parts > 1,
        )

    def to_low(self, array: Any, kinds: Types) -> Any:
        """A copy in the type of storage."""
        if not kinds.is_half:
            return array
        if kinds.storage == "float16":
            return array.astype(kinds.stored)
        result = self.xp.empty(array.shape, kinds.stored)
        if array.size:
            function = self.function(kinds.storage, lambda: compiler.rounding_binary(kinds, self.limits.architecture))
            source = self.xp.ascontiguousarray(array)
            function(
                (-(-array.size // compiler.THREADS),),
                (compiler.THREADS,),
                [array.size, address(source), address(result)],
            )
        return result

    # --- graphs

    def steps(self, graphs: Graphs, run: Callable[..., None], arrays: dict[str, Any], count: int) -> None:
        """Run a time loop; the second time that it comes with the same arrays it becomes a graph, and is replayed."""
        if self.is_capturing():  # into the caller's own graph
            run(arrays, count)
            return
        key = (run.__name__, count, tuple((name, address(value)) for name, value in arrays.items()))
        graph = graphs.pop(key, None)
        if graph is None:
            _remember(graphs, key, "seen")
            run(arrays, count)
            return
        if graph == "seen":
            graph = self._captured(run, arrays, count)
        _remember(graphs, key, graph)
        graph.launch()

    def _captured(self, run: Callable[..., None], arrays: dict[str, Any], count: int) -> Any:
        self._products.make_ready()  # another thread may have run the loop the first time
        stream = self.xp.cuda.Stream(non_blocking=True)
        with stream:
            stream.begin_capture()
            try:
                run(arrays, count)
            finally:
                graph = stream.end_capture()
        return graph


def _remember(graphs: Graphs, key: Any, graph: Any) -> None:
    graphs[key] = graph
    while len(graphs) > GRAPHS:
        graphs.popitem(last=False)


def address(value: Any) -> Any:
    """What a kernel takes: a number, or where an array begins."""
    return value if isinstance(value, (int, np.generic)) else value.data.ptr
