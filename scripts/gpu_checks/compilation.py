"""Every kernel of some cells in every type, on all cores, for every architecture asked for; kept on disk for what runs
next.
"""

from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
from functools import partial
from typing import Any

from lstm_numba import registry
from lstm_numba.gpu import compiler
from lstm_numba.types import Types

KINDS = (Types("float32"), Types("float32", "tf32"), Types("bfloat16"), Types("float16"), Types("float64"))
WAYS = ("forward", "backward", "forward_tangent", "backward_tangent")


def jobs(cells: Sequence[str]) -> list[tuple[str, Types]]:
    """A process takes one cell in one type: its kernels have most of their functions in common."""
    return [(cell, kinds) for kinds in KINDS for cell in cells]


def kernels(cell: str) -> list[tuple[str, str]]:
    """(name, space of its threads or "")."""
    program = registry.find(cell, {}).CELL.program
    units = [(f"unit_{way}_{k}", space) for kind, k, space in program if kind == "pointwise" for way in WAYS]
    return [("sweep_forward", ""), ("sweep_backward", ""), *units]


def compile_one(job: tuple[str, Types], architectures: Sequence[tuple[int, int]]) -> list[dict[str, Any]]:
    """What the linker says of one cell's kernels."""
    cell, kinds = job
    return [
        _compiled(cell, kinds, name, space, architecture)
        for name, space in kernels(cell)
        for architecture in architectures
    ]


def _compiled(cell: str, kinds: Types, name: str, space: str, architecture: tuple[int, int]) -> dict[str, Any]:
    module, facts = registry.find(cell, {}), {"cell": cell, "kernel": name, "storage": kinds.storage}
    facts |= {"products": kinds.products, "architecture": ".".join(map(str, architecture))}
    try:
        if space:
            binary = compiler.unit_binary(module, kinds, name, space, architecture)
        else:
            binary = compiler.sweep_binary(module, kinds, name, architecture)
    except Exception as error:  # noqa: BLE001  (reported, and the rest goes on)
        return facts | {"failed": f"{type(error).__name__}: {error}"[:500]}
    return facts | {"registers": binary.registers, "spilled": binary.spilled, "bytes": len(binary.code)}


def compile_all(
    cells: Sequence[str], architectures: Sequence[str], workers: int, seconds: float | None = None
) -> list[dict[str, Any]]:
    """What the linker says of all kernels; of those that are not compiled after so many seconds, that."""
    wanted, all_jobs = [tuple(map(int, text.split("."))) for text in architectures], jobs(cells)
    pool = ProcessPoolExecutor(workers)
    futures = [pool.submit(partial(compile_one, architectures=wanted), job) for job in all_jobs]
    wait(futures, timeout=seconds)
    found = [_told(future, job) for future, job in zip(futures, all_jobs, strict=True)]
    pool.shutdown(wait=False, cancel_futures=True)
    return [facts for entry in found for facts in entry]


def _told(future: Future[list[dict[str, Any]]], job: tuple[str, Types]) -> list[dict[str, Any]]:
    """What a process said, or why it did not."""
    error = future.exception() if future.done() else "not compiled in time"
    if error is None:
        return future.result()
    cell, kinds = job
    facts = {"cell": cell, "kernel": "of all", "storage": kinds.storage, "products": kinds.products}
    return [facts | {"failed": str(error)}]
