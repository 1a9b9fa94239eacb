"""./scripts/gpu_check: what can only be known on a CUDA device, in under eight minutes.

1  compile every kernel, on all cores        compilation.py   needs no device
2  the ladder, a process for each cell       ladder.py        results against the CPU's float64
3  memory checked by compute-sanitizer       where it is installed
4  speeds beside cuDNN and torch             speed.py, rows.py
5  print Markdown, write JSON                report.py

Each part runs in a process of its own: a kernel that fails takes only its own part with it.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import lstm_numba as ln
from scripts.gpu_checks import compilation, report, rows

AT_ONCE = 3  # ladders that share the device
LIMIT = 120  # seconds of one part
ALL = 470  # seconds of everything


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/gpu_check", description=__doc__.split("\n")[0])
    parser.add_argument("--json", type=Path, default=Path("gpu_check.json"), metavar="FILE", help="every figure")
    parser.add_argument("--markdown", type=Path, default=Path("gpu_check.md"), metavar="FILE", help="the tables")
    parser.add_argument("--cells", default=",".join(ln.cells()), metavar="A,B", help="only these cells")
    parser.add_argument("--compile-only", action="store_true", help="only what needs no device")
    parser.add_argument(
        "--architectures", default="", metavar="8.0,9.0", help="compile for these; else for the device's, or these two"
    )
    parser.add_argument("--part", metavar="NAME", help=argparse.SUPPRESS)
    return parser.parse_args()


def part(name: str) -> Any:
    """What one process does."""
    kind, _, rest = name.partition(":")
    if kind == "ladder":
        from scripts.gpu_checks import ladder

        return ladder.climb(rest)
    if kind == "sanitize":
        from scripts.gpu_checks import ladder

        return ladder.few(rest)
    if kind == "machine":
        from scripts.gpu_checks import machine

        return machine.describe()
    from scripts.gpu_checks import speed

    return speed.measure(rows.ROWS[int(rest)])


def in_process(name: str, seconds: float, before: tuple[str, ...] = ()) -> dict[str, Any]:
    """A part in its own process: what it found, or how it failed."""
    command = [*before, sys.executable, "-m", "scripts.gpu_checks", "--part", name]
    try:
        run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=max(seconds, 1))
    except subprocess.TimeoutExpired:
        return {"part": name, "failed": f"took more than {seconds:.0f} s"}
    lines = run.stdout.strip().splitlines()
    if run.returncode or not lines:
        return {"part": name, "failed": (run.stderr or run.stdout).strip()[-2000:] or f"exit {run.returncode}"}
    return {"part": name, "found": json.loads(lines[-1])}


def everything(cells: list[str], begun: float) -> dict[str, Any]:
    """Parts 2 to 4."""

    def left() -> float:
        return min(LIMIT, ALL - (time.monotonic() - begun))

    with ThreadPoolExecutor(AT_ONCE) as pool:
        ladders = list(pool.map(lambda cell: in_process(f"ladder:{cell}", left()), cells))
    found = {"ladder": ladders, "sanitizer": []}
    sanitizer = shutil.which("compute-sanitizer")
    if sanitizer:
        for tool in ("memcheck", "racecheck"):
            before = (sanitizer, "--tool", tool, "--error-exitcode", "9")
            found["sanitizer"].append({"tool": tool, **in_process("sanitize:lstm", min(left(), 60), before)})
    found["speed"] = [in_process(f"speed:{number}", left()) for number in range(len(rows.ROWS)) if left() > 5]
    return found


def main() -> int:
    options, begun = arguments(), time.monotonic()
    if options.part:
        print(json.dumps(part(options.part)))
        return 0
    cells = options.cells.split(",")
    machine = {} if options.compile_only else in_process("machine:", LIMIT)
    wanted = options.architectures or machine.get("found", {}).get("architecture", "8.0,9.0")
    found: dict[str, Any] = {"machine": machine, "architectures": wanted}
    found["kernels"] = compilation.compile_all(cells, wanted.split(","), os.cpu_count() or 1)
    if not options.compile_only and "failed" not in machine:
        found |= everything(cells, begun)
    found["seconds"] = round(time.monotonic() - begun, 1)
    text = report.markdown(found)
    options.json.write_text(json.dumps(found, indent=1) + "\n")
    options.markdown.write_text(text)
    print(text)
    return int(report.failed(found) or (not options.compile_only and "failed" in machine))


if __name__ == "__main__":
    sys.exit(main())
