"""./scripts/bench: every cell beside the peers that are installed, in one process, interleaved.

1  pin the threads of every library          threads.py
2  measure the machine's peak                peak.py
3  a group of rows at a time                 groups.py: cases, rivals, goals
     build the candidates on shared arrays   cases.py, candidate.py, peers/
     check that their results agree          check.py
     time them in turn                       timing.py
4  the torch modules over the layer          overhead.py
5  print Markdown, write JSON                table.py
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from scripts.benchmarks import threads


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__.split("\n")[0])
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every sample to this file")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="threads of every library (default 1)")
    parser.add_argument("--cells", metavar="A,B", help="only rows of these cells")
    parser.add_argument("--sizes", choices=("quick", "full"), default="quick", help="two sizes or four (default quick)")
    parser.add_argument("--seconds", type=float, default=4.0, help="time for the samples of one row (default 4)")
    parser.add_argument("--compile", action="store_true", help="torch.compile too: minutes for each row")
    return parser.parse_args()


def wanted(groups: list[Any], cells: str | None) -> list[Any]:
    """The groups with the rows of those cells."""
    chosen = cells.split(",") if cells else None
    kept = [replace(g, rows=tuple(row for row in g.rows if not chosen or row[0].cell in chosen)) for g in groups]
    return [group for group in kept if group.rows]


def main() -> int:
    options = arguments()
    threads.pin(options.threads)  # before anything below is imported
    from scripts.benchmarks import groups, machine, measure, overhead, peak, peers, table

    found = peers.installed()
    if not options.compile:
        found.pop("torch.compile", None)
    todo = wanted(groups.groups(options.sizes, options.threads), options.cells)
    if not todo:
        print(f"scripts/bench: no row has a cell of --cells {options.cells}", file=sys.stderr)
        return 2
    head = machine.head("./scripts/bench", options.threads)
    head["peak"] = {dtype: peak.measure(dtype, options.threads) for dtype in ("float32", "float64")}
    modules = list(overhead.rows(options.cells, options.seconds)) if "torch.nn" in found else []
    head["torch modules, us"] = modules
    results, count = [], sum(len(group.rows) for group in todo)
    for group in todo:
        rows = []
        for case, rivals in group.rows:
            done = sum(len(result.rows) for result in results) + len(rows)
            print(f"[{done + 1:3}/{count}] {case.label}", file=sys.stderr, flush=True)
            rows.append(measure.measure(case, rivals, found, options.seconds))
        results.append(measure.Result(group, rows))
        if options.json:  # after every group: a long run that is interrupted has not been in vain
            options.json.write_text(table.as_json(results, head))
    print(table.markdown(results, head))
    if modules:
        print(overhead.markdown(modules))
    return int(any(row.wrong for result in results for row in result.rows))


if __name__ == "__main__":
    sys.exit(main())
