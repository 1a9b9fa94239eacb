"""./scripts/gpu_check: what can only be known on a CUDA device, in under eight minutes.

1  compile every kernel, on all cores        compilation.py   needs no device
2  the ladder, a process for each cell       rungs.py         results against the CPU's float64 (ladder.py, modules.py)
3  speeds beside cuDNN and torch             speed.py, rows.py, limits.py
4  memory checked by compute-sanitizer       where it is installed, in the time that is left
5  a short summary, printed last             report.py

Each part runs in a process of its own: a kernel that fails takes only its own part with it.  What is found is written
at once, as JSON and Markdown (record.py): who stops it has that much.
"""

import argparse
import json
import os
import shutil
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import lstm_numba as ln
from scripts.gpu_checks import compilation, processes, report, rows, rungs
from scripts.gpu_checks.record import Record

AT_ONCE = 11  # ladders that share the device
LIMIT = 90  # seconds of one part
COMPILATION = 120  # seconds after which what is not compiled is left to those who need it
LADDERS, SPEEDS = 220, 400  # seconds after which no ladder is climbed on, and no row is begun
ALL = 460  # seconds of everything


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/gpu_check", description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path(), metavar="DIR", help="for gpu_check.json and gpu_check.md")
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


def ladders(cells: list[str], record: Record) -> None:
    """Part 2."""
    names = [name for name, _ in rungs.rungs(cells[0])]
    shares = processes.Shares(len(cells), AT_ONCE, record.begun + LADDERS)
    entries: list[dict[str, Any]] = [{"part": f"ladder:{cell}", "found": {}} for cell in cells]
    record.write(ladder=entries)

    def climb(entry: dict[str, Any]) -> None:
        def heard(name: str, wrong: Any) -> None:
            record.put(entry["found"], name, wrong)
            if wrong:
                record.say(f"{entry['part']}, {name}: {wrong}")

        processes.each(entry["part"], names, shares.next_end(), heard)
        record.say(f"{entry['part']}: {report.held([entry])}")

    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(climb, entries))


def speeds(record: Record) -> None:
    """Part 3."""
    table: dict[str, Any] = {}
    record.write(speed=table)

    def heard(number: str, entry: dict[str, Any]) -> None:
        record.put(table, number, entry)
        record.say(report.short_speed(number, entry))

    processes.each("speed", [str(number) for number in range(len(rows.ROWS))], record.begun + SPEEDS, heard)


def watch(record: Record) -> None:
    """Part 4."""
    sanitizer, watched = shutil.which("compute-sanitizer"), []
    for tool in ("memcheck", "racecheck") if sanitizer else ():
        before = (str(sanitizer), "--tool", tool, "--error-exitcode", "9")
        left = min(LIMIT, ALL - (time.monotonic() - record.begun))
        watched.append({"tool": tool, **processes.last("sanitize:lstm", left, before)})
        record.write(sanitizer=watched)


def everything(cells: list[str], record: Record, compile_only: bool) -> None:
    """All parts."""
    record.write()
    record.say(report.machine(record.found))
    seconds, wanted = None if compile_only else COMPILATION, record.found["architectures"].split(",")
    record.write(kernels=compilation.compile_all(cells, wanted, os.cpu_count() or 1, seconds))
    record.say(report.short_kernels(record.found))
    if "found" in record.found["machine"]:
        ladders(cells, record)
        speeds(record)
        watch(record)


def main() -> int:
    options, begun = arguments(), time.monotonic()
    if options.part:
        for found in part(options.part):
            print(json.dumps(found), flush=True)
        return 0
    cells = options.cells.split(",")
    machine = {} if options.compile_only else processes.last("machine:", LIMIT)
    wanted = options.architectures or machine.get("found", {}).get("architecture", "8.0,9.0")
    record = Record(options.out, begun, machine=machine, architectures=wanted, kernels=[])
    try:
        everything(cells, record, options.compile_only)
    finally:
        print(report.summary(record.found), flush=True)
    return int(report.failed(record.found) or not ("found" in machine or options.compile_only))


if __name__ == "__main__":
    sys.exit(main())
