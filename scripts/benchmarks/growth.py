"""How the time of a training step grows with T, B and H, and what it takes of memory (memory.py).

    python -m scripts.benchmarks.growth FOLDER     writes growth.png, prints Markdown

One thread, float32, LSTM, our layer and torch.nn interleaved.
"""

import argparse
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


def markdown(found: dict[str, list[Point]]) -> str:
    lines = []
    for name, points in found.items():
        axis = "TBNH".index(name)
        lines += ["", f"| {name} | ours, ms | torch.nn, ms | growth exponent |", "| --- | --- | --- | --- |"]
        slopes = ["", *(f"{slope:.2f}" for slope in exponents(points, axis))]
        for point, slope in zip(points, slopes, strict=True):
            times = " | ".join(f"{1e3 * point.seconds[one]:.3g}" for one in ("ours", "torch.nn"))
            lines.append(f"| {point.size[axis]} | {times} | {slope} |")
    return "\n".join(lines[1:])


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m scripts.benchmarks.growth", description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path, nargs="?", default=Path())
    options = parser.parse_args()
    threads.pin(1)
    from scripts.benchmarks import machine, memory, table

    found = {name: sweep(sizes) for name, sizes in SWEEPS.items()}
    options.folder.mkdir(parents=True, exist_ok=True)
    draw(found, options.folder / "growth.png")
    head = machine.head("python -m scripts.benchmarks.growth", threads=1)
    print("\n\n".join([*table.origin(head), markdown(found), memory.markdown(memory.all_figures())]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
