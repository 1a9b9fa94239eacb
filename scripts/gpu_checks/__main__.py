"""./scripts/gpu_check: what can only be known on a CUDA device, in under eight minutes.

1  compile every kernel, on all cores        compilation.py   needs no device
2  the ladder, a process for each cell       rungs.py         results against the CPU's float64 (ladder.py, modules.py)
3  speeds beside cuDNN and torch             speed.py, rows.py, limits.py
4  memory checked by compute-sanitizer       where it is installed, in the time that is left
5  print Markdown, write JSON                report.py

Each part runs in a process of its own: a kernel that fails takes only its own part with it.  What is found is written
after every part: who stops it has that much.
"""

import argparse
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import lstm_numba as ln
from scripts.gpu_checks import compilation, processes, report, rows, rungs

AT_ONCE = 6  # ladders that share the device
LIMIT = 90  # seconds of one part
COMPILATION = 120  # seconds after which what is not compiled is left to those who need it
LADDERS, SPEEDS = 220, 400  # seconds after which no ladder is climbed on, and no row is begun
ALL = 460  # seconds of everything


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


def part(name: str) -> Iterator[Any]:
    """What one process does, and says line by line."""
    kind, *rest = name.split(":")
    if kind == "ladder":
        yield from rungs.climb(rest[0], int(rest[1]))
    elif kind == "sanitize":
        yield rungs.few(rest[0])
    elif kind == "machine":
        from scripts.gpu_checks import machine

        yield machine.describe()
    else:
        from scripts.gpu_checks import speed

        yield from speed.measured(int(rest[0]))


def everything(cells: list[str], begun: float, write: Callable[[dict[str, Any]], None]) -> None:
    """Parts 2 to 4."""

    def left() -> float:
        return min(LIMIT, ALL - (time.monotonic() - begun))

    names, shares = [name for name, _ in rungs.rungs(cells[0])], processes.Shares(len(cells), AT_ONCE, begun + LADDERS)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        ladders = list(pool.map(lambda cell: processes.each(f"ladder:{cell}", names, shares.next_end()), cells))
    write({"ladder": ladders})
    numbers = [str(number) for number in range(len(rows.ROWS))]
    write({"speed": processes.each("speed", numbers, begun + SPEEDS)["found"]})
    sanitizer, watched = shutil.which("compute-sanitizer"), []
    for tool in ("memcheck", "racecheck") if sanitizer else ():
        before = (str(sanitizer), "--tool", tool, "--error-exitcode", "9")
        watched.append({"tool": tool, **processes.last("sanitize:lstm", left(), before)})
        write({"sanitizer": watched})


def main() -> int:
    options, begun = arguments(), time.monotonic()
    if options.part:
        for found in part(options.part):
            print(json.dumps(found), flush=True)
        return 0
    cells = options.cells.split(",")
    machine = {} if options.compile_only else processes.last("machine:", LIMIT)
    wanted = options.architectures or machine.get("found", {}).get("architecture", "8.0,9.0")
    found = {"machine": machine, "architectures": wanted}

    def write(more: dict[str, Any]) -> None:
        found.update(more)
        found["seconds"] = round(time.monotonic() - begun, 1)
        options.json.write_text(json.dumps(found, indent=1) + "\n")
        options.markdown.write_text(report.markdown(found))

    cores, seconds = os.cpu_count() or 1, None if options.compile_only else COMPILATION
    write({"kernels": compilation.compile_all(cells, wanted.split(","), cores, seconds)})
    if not options.compile_only and "failed" not in machine:
        everything(cells, begun, write)
    print(report.markdown(found))
    return int(report.failed(found) or (not options.compile_only and "failed" in machine))


if __name__ == "__main__":
    sys.exit(main())
