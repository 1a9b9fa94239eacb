"""Arrays in and out: torch and CuPy arrays over DLPack on the caller's stream, without copies; anything else by NumPy.

What comes out is of the kind that came in.
"""

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import numpy as np

from lstm_numba.checks import as_array, fitting
from lstm_numba.errors import ArgumentError, DtypeError

CUDA = 2  # DLPack's number for memory of a CUDA device


class Host:
    """NumPy arrays, and what NumPy can read: copied to the device and back, each of which is waited for."""

    def __init__(self, xp: Any, like: Any = None) -> None:
        self.xp, self.like = xp, like

    def working(self, device: Any) -> AbstractContextManager[Any]:
        """In it work goes to the caller's stream on this device."""
        return device.active()

    def free_bytes(self, device: Any) -> int:
        """What new arrays can take."""
        return device.free_bytes()

    def take(self, name: str, value: Any) -> tuple[Any, str]:
        """An array on the device, bfloat16 as its bits, and what its numbers are called."""
        array = _contiguous(as_array(name, value), np)
        return on_device(_as_bits(array), self.xp), array.dtype.name

    def give(self, array: Any) -> Any:
        """A result for the user."""
        return self._in_its_type(on_host(array, self.xp))

    def settle(self, device: Any) -> None:
        """What a host's array was written to is there for every stream from now on."""
        device.settle()

    def _in_its_type(self, array: Any) -> Any:
        """Bits of bfloat16 in that type again, which NumPy and CuPy have from the package of what was taken."""
        kind = getattr(self.like, "dtype", None)
        return array.view(kind) if array.dtype == np.uint16 and getattr(kind, "name", "") == "bfloat16" else array


class OnDevice(Host):
    """Arrays of CuPy, and of whoever else exports DLPack from the device; results are CuPy's."""

    def take(self, name: str, value: Any) -> tuple[Any, str]:
        array = _contiguous(self.xp.from_dlpack(value), self.xp)
        return _as_bits(array), array.dtype.name

    def give(self, array: Any) -> Any:
        return self._in_its_type(array)

    def settle(self, device: Any) -> None:
        """Who hands over arrays of a device orders its streams."""


class Torch(OnDevice):
    """Tensors of torch on the device."""

    @property
    def _torch(self) -> Any:
        return sys.modules["torch"]

    @contextmanager
    def working(self, device: Any) -> Iterator[None]:
        """Torch's current stream, and arrays from torch's memory: it keeps what it has freed, and lets nobody else
        have it; inside of a graph that torch records it knows which memory the graph may have."""
        cuda = self._torch.cuda
        pointer = cuda.current_stream(self.like.device).cuda_stream
        taken = device.memory(
            lambda size, number: cuda.caching_allocator_alloc(size, number, pointer),
            lambda address, _: cuda.caching_allocator_delete(address),
        )
        with cuda.device(self.like.device), device.active(), device.stream(pointer), taken:
            yield

    def free_bytes(self, device: Any) -> int:
        cuda, place = self._torch.cuda, self.like.device
        return device.unused_bytes() + cuda.memory_reserved(place) - cuda.memory_allocated(place)

    def take(self, name: str, value: Any) -> tuple[Any, str]:
        tensor, kind = value.detach().contiguous(), str(value.dtype).removeprefix("torch.")
        if kind == "bfloat16":  # CuPy has it from another package, which need not be there
            return self.xp.from_dlpack(tensor.view(self._torch.int16)).view(np.uint16), kind
        return self.xp.from_dlpack(tensor), kind

    def give(self, array: Any) -> Any:
        if array.dtype == np.uint16:
            return self._torch.from_dlpack(array.view(np.int16)).view(self._torch.bfloat16)
        return self._torch.from_dlpack(array)


def _contiguous(array: Any, xp: Any) -> Any:
    """The same shape, also of a number: `ascontiguousarray` makes a vector of it."""
    return array if array.flags.c_contiguous else xp.ascontiguousarray(array)


def _as_bits(array: Any) -> Any:
    """bfloat16 as kernels and products take it."""
    return array.view(np.uint16) if array.dtype.name == "bfloat16" else array


def on_device(array: Any, xp: Any) -> Any:
    """A host's array on the device, there for every stream; the host's own may be changed or freed."""
    return array if xp is np else xp.asarray(array, blocking=True)


def on_host(array: Any, xp: Any) -> Any:
    """A device's array as one of NumPy, which waits for it."""
    return array if xp is np else xp.asnumpy(array)


def kind_of(value: Any, xp: Any) -> Host:
    """How to exchange arrays with the maker of this one."""
    root = type(value).__module__.partition(".")[0]
    if root == "torch" and value.is_cuda:
        return Torch(xp, value)
    return (OnDevice if _is_on_device(value) else Host)(xp, value)


def _is_on_device(value: Any) -> bool:
    where = getattr(value, "__dlpack_device__", None)
    return where is not None and where()[0] == CUDA


def taken(
    name: str, value: Any, wanted: str, shape: tuple[int | None, ...], read_from: str, xp: Any, number: int = 0
) -> Any:
    """A contiguous array on the device of this type and shape; None in the shape is any size.

    Raises:
        ArgumentError, DtypeError, ShapeError: it is no array, or another device's, or another type or shape.
    """
    if _is_on_device(value) and value.__dlpack_device__()[1] != number:
        there = value.__dlpack_device__()[1]
        raise ArgumentError(
            f"{name} is on device {there}, and the layer was made on device {number}: move one of them."
        )
    array, found = kind_of(value, xp).take(name, value)
    if found != wanted:
        raise DtypeError(f"{name} must be {wanted}, got {found}: convert it, or make the layer with dtype='{found}'.")
    fitting(name, array.shape, shape, read_from)
    return array
