"""What the checks import, and one line that says what is missing of it; imports nothing itself."""

import sys
from collections.abc import Collection
from importlib.util import find_spec

# Module -> what installs it.
COMPILING = {
    "numpy": "numpy", "scipy": "scipy", "numba": "numba", "numba_cuda": "numba-cuda", "cuda.bindings": "cuda-bindings",
}  # fmt: skip
RUNNING = {"cupy": "cupy-cuda13x", "torch": "torch"}


def missing(arguments: Collection[str]) -> list[str]:
    """Packages that are not installed."""
    wanted = COMPILING if "--compile-only" in arguments else COMPILING | RUNNING
    return [package for module, package in wanted.items() if not _is_there(module)]


def _is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ImportError:  # of the package that it is in
        return False


def main() -> int:
    lacking = missing(sys.argv[1:])
    if lacking:
        print(f"gpu_check: {sys.executable} has no {', '.join(lacking)}: install, or set PYTHON.", file=sys.stderr)
    return 2 if lacking else 0


if __name__ == "__main__":
    sys.exit(main())
