"""What a CUDA device needs, and the error that says which of it is missing."""

import importlib
from functools import cache
from types import ModuleType

from lstm_numba.errors import CudaUnavailableError

INSTALL = "install the extra: pip install 'lstm-numba[cuda]'"

PACKAGES = {
    "cuda": "cuda-bindings",
    "cupy": "cupy-cuda13x",
    "cupy_backends": "nvidia-cublas",
    "numba": "numba-cuda",
    "numba_cuda": "numba-cuda",
}  # of a module


@cache
def require(name: str) -> ModuleType:
    """A module of the extra `cuda`."""
    try:
        return _imported(name)
    except ImportError as error:
        package = PACKAGES.get(name.split(".", maxsplit=1)[0], name)
        reason = str(error).partition("\n")[0]  # a search for libraries lists folders behind it
        raise CudaUnavailableError(f"device='cuda' needs the package {package} ({reason}): {INSTALL}.") from None


def _imported(name: str) -> ModuleType:
    """As an attribute of its package, where that is how the package loads what the module is linked with: CuPy finds
    the cuBLAS of a wheel when it is asked for `libs.cublas`, and not when the module is imported past it."""
    package, _, last = name.rpartition(".")
    found = getattr(importlib.import_module(package), last, None) if package else None
    return found if isinstance(found, ModuleType) else importlib.import_module(name)
