"""The other libraries, one file each.  A peer is `build(data) -> Candidate | None`: None where it has no such cell."""

from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec

from scripts.benchmarks.candidate import Candidate
from scripts.benchmarks.cases import Data

# name in the tables -> (what must be installed, module here, function in it)
PEERS = {
    "torch.nn": ("torch", "torch_modules", "build"),
    "torch loop": ("torch", "torch_loop", "build"),
    "torch.compile": ("torch", "torch_loop", "build_compiled"),
    "JAX scan": ("jax", "jax_scan", "build"),
    "onnxruntime": ("onnxruntime", "onnx_runtime", "build"),
}


def installed() -> dict[str, Callable[[Data], Candidate | None]]:
    """The peers of this environment."""
    found = {name: where for name, where in PEERS.items() if find_spec(where[0])}
    return {name: getattr(import_module(f"{__name__}.{module}"), build) for name, (_, module, build) in found.items()}
