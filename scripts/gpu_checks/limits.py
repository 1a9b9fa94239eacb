"""What a row could take at the least on this device, part by part, beside what its parts do take.

    project     input products of all steps                    arithmetic, bytes
    forward     the time loop                                  arithmetic, bytes, and blocks that wait for each other
    backward    its transpose                                  the same
    after       gradients of matrices and of sequences         arithmetic, bytes

Arithmetic is at the device's peak for the type of the products, bytes are those that have to move at least once at the
memory's peak, a wait takes what it takes in a kernel in which blocks write a number each and read those of the others.
A part takes no less than the longest of the three; what it takes besides is lost.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from lstm_numba.gpu import compiler

# Architecture -> multiply-adds of one multiprocessor in a cycle, of dense factors: NVIDIA's white papers of A100, H100.
RATES = {
    (8, 0): {"exact32": 64, "exact64": 32, "tf32": 512, "half": 1024},
    (9, 0): {"exact32": 128, "exact64": 64, "tf32": 1024, "half": 2048},
}
CLOCK, MEMORY_CLOCK, BUS_WIDTH = 13, 36, 37  # cudaDevAttrClockRate, MemoryClockRate (kHz), GlobalMemoryBusWidth (bits)
WAITS = 2000
PARTS = {"_project": "project", "_run": "", "add_matrices": "after", "add_others": "after", "_input_gradient": "after"}


def kind_of_rate(kinds: Any) -> str:
    if kinds.is_half:
        return "half"
    return "tf32" if kinds.products == "tf32" else "exact64" if kinds.storage == "float64" else "exact32"


def rates(device: Any, kinds: Any) -> tuple[float, float] | None:
    """Multiply-adds and bytes in a microsecond; None for an architecture that is not in the table."""
    known = RATES.get(device.limits.architecture)
    if known is None:
        return None
    ask = device.xp.cuda.runtime.deviceGetAttribute
    clock, memory, bits = (ask(attribute, device.number) for attribute in (CLOCK, MEMORY_CLOCK, BUS_WIDTH))
    sums = known[kind_of_rate(kinds)] * device.limits.processors * clock / 1e3
    return sums, 2 * memory * bits / 8 / 1e3


# --- At the least, from the sizes


def work(engine: Any, steps: int, batch: int, mode: str) -> dict[str, tuple[float, float, float]]:
    """Part -> multiply-adds, bytes, and waits of all steps."""
    rows, number, stored = steps * batch, engine.types.arithmetic.itemsize, engine.types.stored.itemsize
    inputs, loop = (
        sum(len(o.matrices) * o.units * o.depth for o in engine.operands if o.is_input == kind)
        for kind in (True, False)
    )
    slots = sum(engine.shapes.columns(k) for k in engine.shapes.stages)
    states = sum(engine.spaces[space] for space in engine.spec.states.values())
    outputs = sum(engine.spaces[engine.spec.states[name]] for name in engine.spec.outputs)
    sequences = sum(engine.spaces[space] for space in engine.spec.inputs.values())
    train, waits = mode == "train", len([1 for o in engine.operands if not o.is_input])
    passed = slots * number * (1 + train) + states * number * train + outputs * stored
    found = {
        "project": (rows * inputs, rows * (sequences * stored + slots * number), 0),
        "forward": (rows * loop, rows * passed, steps * waits),
    }
    if train:
        moved = rows * (2 * slots * number + states * number + outputs * stored)
        found["backward"] = (rows * loop, moved, steps * len([1 for o in engine.operands if o.target]))
        found["after"] = (
            rows * (2 * inputs + loop), rows * (slots * stored + states * stored + 2 * sequences * stored), 0,
        )  # fmt: skip
    return found


def least(engine: Any, steps: int, batch: int, mode: str) -> dict[str, dict[str, float]]:
    """Part -> microseconds of arithmetic, of bytes and of waits; nothing where the device's rates are not known."""
    known = rates(engine.device, engine.types)
    if known is None:
        return {}
    sums, moved = known
    found = {}
    for part, (arithmetic, size, waits) in work(engine, steps, batch, mode).items():
        plan = engine.plan(part, batch) if part in ("forward", "backward") else None
        each = wait(engine.device, engine.types, plan) if plan and plan.parts > 1 else 0.0
        found[part] = {"arithmetic": arithmetic / sums, "bytes": size / moved, "waits": waits * each}
    return found


def wait(device: Any, kinds: Any, plan: Any) -> float:
    """Microseconds until as many blocks as the plan has have each others' numbers."""
    function = device.function(("exchange", kinds), lambda: compiler.exchange_binary(kinds, device.limits.architecture))
    board = device.xp.empty(WAITS * plan.blocks, kinds.arithmetic)

    def taken(count: int) -> float:
        device.unwrite(board)
        torch.cuda.synchronize()
        started = time.perf_counter()
        function((plan.blocks,), (plan.threads,), [count, plan.parts, board.data.ptr], enable_cooperative_groups=True)
        torch.cuda.synchronize()
        return time.perf_counter() - started

    with device.active():
        taken(1)
        return max(0.0, min(taken(WAITS) - taken(1) for _ in range(3)) * 1e6 / (WAITS - 1))


# --- What the parts do take


@contextmanager
def watched(engine: Any, took: dict[str, float]) -> Iterator[None]:
    """In it each part of the engine's work is waited for, and its microseconds are added up."""

    def timed(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any) -> Any:
            torch.cuda.synchronize()
            started = time.perf_counter()
            found = method(*arguments)
            torch.cuda.synchronize()
            part = PARTS[name] or arguments[0]
            took[part] = took.get(part, 0.0) + 1e6 * (time.perf_counter() - started)
            return found

        return run

    for name in PARTS:
        setattr(engine, name, timed(name, getattr(engine, name)))
    try:
        yield
    finally:
        for name in PARTS:
            delattr(engine, name)


def shares(engine: Any, call: Callable[[], Any], steps: int, batch: int, mode: str) -> dict[str, Any]:
    """Microseconds at the least and as taken, of each part; and of everything else."""
    samples: list[dict[str, float]] = []
    for _ in range(3):
        torch.cuda.synchronize()
        started, took = time.perf_counter(), {}
        with watched(engine, took):
            call()
        torch.cuda.synchronize()
        took["the rest"] = 1e6 * (time.perf_counter() - started) - sum(took.values())
        samples.append(took)
    names = dict.fromkeys(name for took in samples for name in took)
    taken = {name: float(np.median([took.get(name, 0.0) for took in samples])) for name in names}
    return {"least": least(engine, steps, batch, mode), "taken": taken}
