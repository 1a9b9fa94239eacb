"""Every kernel of some cells for one architecture, in every type, on all cores; kept on disk for what runs next."""

from concurrent.futures import ProcessPoolExecutor
from typing import Any

from lstm_numba import registry
from lstm_numba.gpu import compiler
from lstm_numba.types import Types

KINDS = (Types("float32"), Types("float32", "tf32"), Types("bfloat16"), Types("float16"), Types("float64"))


def jobs(cells: list[str]) -> list[tuple[str, str, str, Types]]:
    """(cell, kernel, space of its threads or "", types)."""
    found = []
    for cell in cells:
        module = registry.find(cell, {})
        units = [
            (f"unit_{way}_{number}", space)
            for kind, number, space in module.CELL.program
            if kind == "pointwise"
            for way in ("forward", "backward")
        ]
        sweeps = [(name, "") for name in ("sweep_forward", "sweep_backward") if hasattr(module, name)]
        found += [(cell, name, space, kinds) for kinds in KINDS for name, space in sweeps + units]
    return found


def compile_one(job: tuple[str, str, str, Types], architecture: tuple[int, int]) -> dict[str, Any]:
    """What the linker says of one kernel."""
    cell, name, space, kinds = job
    module = registry.find(cell, {})
    facts: dict[str, Any] = {"cell": cell, "kernel": name, "storage": kinds.storage, "products": kinds.products}
    try:
        if space:
            binary = compiler.unit_binary(module, kinds, name, space, architecture)
        else:
            binary = compiler.sweep_binary(module, kinds, name, architecture)
    except Exception as error:  # noqa: BLE001  (reported, and the rest goes on)
        return facts | {"failed": f"{type(error).__name__}: {error}"[:500]}
    return facts | {"registers": binary.registers, "spilled": binary.spilled, "bytes": len(binary.code)}


def compile_all(cells: list[str], architecture: str, workers: int) -> list[dict[str, Any]]:
    major, minor = map(int, architecture.split("."))
    todo = jobs(cells)
    with ProcessPoolExecutor(workers) as pool:
        return list(pool.map(compile_one, todo, [(major, minor)] * len(todo)))
