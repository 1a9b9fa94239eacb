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
        return importlib.import_module(name)
    except ImportError as error:
        package = PACKAGES.get(name.split(".", maxsplit=1)[0], name)
        raise CudaUnavailableError(f"device='cuda' needs the package {package} ({error}): {INSTALL}.") from None
