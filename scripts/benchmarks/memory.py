"""What an LSTM's training step takes of memory: ours, ours with save="states", and torch.nn.

    python -m scripts.benchmarks.memory     prints Markdown

Each in a fresh process, after a training step of T = 1: what the resident size grows by in the first forward of full
length, what it grows by at most in that step, and how many pages a later step has to ask the system for.
"""

import ctypes
import gc
import json
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from scripts.benchmarks import threads

SIZE = (1000, 32, 128, 128)
KINDS = ("ours", "ours, save='states'", "torch.nn")
PAGE = resource.getpagesize()
SELF = Path("/proc/self")
Figures = dict[str, float]
Calls = tuple[Callable[[int], Any], Callable[[Any], Any]]


def resident() -> int:
    """Bytes of this process that are in memory now."""
    return int((SELF / "statm").read_text().split()[1]) * PAGE


def most_resident() -> int:
    """The most that they were since `forget_the_most`."""
    line = next(line for line in (SELF / "status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def forget_the_most() -> None:
    (SELF / "clear_refs").write_text("5")


def faults(step: Callable[[], Any], repeats: int = 3) -> float:
    """Pages that one call asks for, once calls have settled."""
    step()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(repeats):
        step()
    return (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / repeats


def calls(kind: str) -> Calls:
    """A forward of so many steps, and a backward of what it returned."""
    from scripts.benchmarks.cases import Case, Data
    from scripts.benchmarks.peers import torch_modules

    data = Data(Case("lstm", SIZE))
    if kind == "torch.nn":
        return torch_modules.forward(data), torch_modules.backward(data)
    save = "states" if "states" in kind else True
    forward = lambda steps: data.layer.forward(data.x[:steps], data.state, save=save)
    return forward, lambda run: run.backward(data.d_output[: len(run.output)])


def figures(kind: str) -> Figures:
    """Bytes left by a forward, most bytes in its step, pages of a later step; for a process of its own."""
    forward, backward = calls(kind)
    backward(forward(1))  # what the first call loads and compiles is not the step's
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # what it left free in the heap would hide a part of the step's
    forget_the_most()
    before = resident()
    kept = forward(SIZE[0])
    left = resident() - before
    found = backward(kept)
    most = most_resident() - before
    del kept, found
    return {"left": left, "most": most, "faults": faults(lambda: backward(forward(SIZE[0])))}


def all_figures() -> dict[str, Figures]:
    """Every kind in a process of its own."""
    command = [sys.executable, "-m", "scripts.benchmarks.memory"]
    runs = {kind: subprocess.run([*command, kind], capture_output=True, text=True, check=True) for kind in KINDS}
    return {kind: json.loads(run.stdout) for kind, run in runs.items()}


def markdown(found: dict[str, Figures]) -> str:
    from scripts.benchmarks import table

    T, B, N, H = SIZE
    header = [f"T={T} B={B} N={N} H={H}", "left by a forward, MB", "most in a step, MB", "page faults of a later step"]
    rows = [
        [kind, f"{one['left'] / 1e6:.1f}", f"{one['most'] / 1e6:.1f}", f"{one['faults']:.0f}"]
        for kind, one in found.items()
    ]
    return table.table(header, rows)


def main() -> int:
    threads.pin(1)
    if len(sys.argv) > 1:
        print(json.dumps(figures(sys.argv[1])))
        return 0
    print(markdown(all_figures()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
