"""How the time of a training step grows with T, B and H, and what a forward leaves in memory for its backward.

    python -m scripts.benchmarks.growth FOLDER     writes growth.png, prints Markdown

Times: one thread, float32, LSTM, our layer and torch.nn interleaved.  Memory: what the resident size of a fresh process
grows by in the first forward of full length, after one of a single step.
"""

import argparse
import gc
import resource
import subprocess
import sys
from dataclasses import dataclass
from itertools import pairwise
from math import log
from pathlib import Path

from scripts.benchmarks import threads

SWEEPS = {
    "T": [(T, 32, 128, 128) for T in (25, 50, 100, 200, 400, 800, 1600)],
    "B": [(100, B, 128, 128) for B in (1, 2, 4, 8, 16, 32, 64, 128, 256)],
    "H": [(50, 32, H, H) for H in (32, 64, 128, 256, 512, 1024)],
}
MEMORY_SIZE = (1000, 32, 128, 128)
MEMORY_KINDS = ("ours", "ours, save='states'", "torch.nn")
PAGE = resource.getpagesize()


@dataclass(frozen=True)
class Point:
    """One size: seconds of each candidate."""

    size: tuple[int, int, int, int]
    seconds: dict[str, float]


def sweep(sizes: list[tuple[int, int, int, int]]) -> list[Point]:
    """The training step at these sizes."""
    from scripts.benchmarks import measure, peers
    from scripts.benchmarks.cases import Case

    found = []
    for size in sizes:
        print(f"lstm train {size}", file=sys.stderr, flush=True)
        row = measure.measure(Case("lstm", size), ("torch.nn",), peers.installed(), seconds=1)
        found.append(Point(size, {name: time.median for name, time in row.times.items()}))
    return found


def exponents(points: list[Point], axis: int) -> list[float]:
    """Between neighbours: log of the ratio of times over log of the ratio of sizes; 1 is linear."""
    mine = [(point.size[axis], point.seconds["ours"]) for point in points]
    return [log(t2 / t1) / log(s2 / s1) for (s1, t1), (s2, t2) in pairwise(mine)]


def draw(found: dict[str, list[Point]], path: Path) -> None:
    """Three panels, both axes logarithmic: a straight line of slope 1 is linear."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 4), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, (name, points) in zip(figure.subplots(1, len(found)), found.items(), strict=True):
        sizes = [point.size["TBNH".index(name)] for point in points]
        for candidate in points[0].seconds:
            axes.loglog(sizes, [1e3 * point.seconds[candidate] for point in points], "o-", label=candidate)
        axes.set_xlabel(name)
        axes.set_ylabel("ms per training step")
        axes.grid(alpha=0.3, which="both")
        axes.legend()
    figure.savefig(path, dpi=120, metadata={"Software": None})


def resident() -> int:
    """Bytes of this process that are in memory now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


def left_by_a_forward(kind: str) -> int:
    """Bytes that a forward leaves for its backward, output included; for a process of its own."""
    from scripts.benchmarks.cases import Case, Data
    from scripts.benchmarks.peers import torch_modules

    data = Data(Case("lstm", MEMORY_SIZE))
    if kind == "torch.nn":
        forward = torch_modules.forward(data)
    else:
        save = "states" if "states" in kind else True
        forward = lambda steps: data.layer.forward(data.x[:steps], data.state, save=save)
    forward(1)  # what the first call loads and compiles is not the tape's
    gc.collect()
    before = resident()
    kept = forward(MEMORY_SIZE[0])
    after = resident()
    del kept
    return after - before


def memory() -> dict[str, int]:
    """Every kind in a process of its own."""
    command = [sys.executable, "-m", "scripts.benchmarks.growth", "--memory"]
    runs = {kind: subprocess.run([*command, kind], capture_output=True, text=True, check=True) for kind in MEMORY_KINDS}
    return {kind: int(run.stdout) for kind, run in runs.items()}


def markdown(found: dict[str, list[Point]], bytes_left: dict[str, int]) -> str:
    lines = []
    for name, points in found.items():
        axis = "TBNH".index(name)
        lines += ["", f"| {name} | ours, ms | torch.nn, ms | growth exponent |", "| --- | --- | --- | --- |"]
        slopes = ["", *(f"{slope:.2f}" for slope in exponents(points, axis))]
        for point, slope in zip(points, slopes, strict=True):
            times = " | ".join(f"{1e3 * point.seconds[one]:.3g}" for one in ("ours", "torch.nn"))
            lines.append(f"| {point.size[axis]} | {times} | {slope} |")
    T, B, N, H = MEMORY_SIZE
    lines += ["", f"| left by a forward, T={T} B={B} N={N} H={H} | MB |", "| --- | --- |"]
    lines += [f"| {kind} | {size / 1e6:.1f} |" for kind, size in bytes_left.items()]
    return "\n".join(lines[1:])


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m scripts.benchmarks.growth", description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path, nargs="?", default=Path())
    parser.add_argument("--memory", metavar="KIND", choices=MEMORY_KINDS, help="one figure of the last table")
    options = parser.parse_args()
    threads.pin(1)
    if options.memory:
        print(left_by_a_forward(options.memory))
        return 0
    from scripts.benchmarks import machine, table

    found = {name: sweep(sizes) for name, sizes in SWEEPS.items()}
    options.folder.mkdir(parents=True, exist_ok=True)
    draw(found, options.folder / "growth.png")
    head = machine.head("python -m scripts.benchmarks.growth", threads=1)
    print("\n\n".join([*table.origin(head), markdown(found, memory())]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
