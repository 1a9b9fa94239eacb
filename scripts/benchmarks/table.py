"""The results as Markdown and as JSON."""

import json
import math
from typing import Any

from scripts.benchmarks.measure import Result, Row
from scripts.benchmarks.timing import Timing

Head = dict[str, Any]  # machine, peak by dtype, command, date, threads
MOVED = "Rounds in which the host had moved this machine's processors were taken again (see `benchmarks/placement.py`)."


def milliseconds(time: Timing) -> str:
    return f"{time.median * 1e3:.3g} ±{time.spread:.0%}"


def figure(value: float, form: str) -> str:
    return "" if math.isnan(value) else format(value, form)


def line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def table(header: list[str], rows: list[list[str]]) -> str:
    return "\n".join([line(header), line(["---"] * len(header)), *map(line, rows)])


def share(row: Row, head: Head) -> float:
    return row.rate / head["peak"][row.case.dtype]


def row_cells(row: Row, head: Head) -> list[str]:
    rivals = [f"{name} {milliseconds(time)}" for name, time in row.times.items() if name != "ours"]
    wrong = [f"**{name} disagrees: {text}**" for name, text in row.wrong.items()]
    wrong += [f"**{name} failed: {text}**" for name, text in row.failed.items()]
    return [
        row.case.label,
        milliseconds(row.times["ours"]),
        figure(row.rate, ".0f"),
        figure(share(row, head), ".0%"),
        "; ".join(rivals + wrong) or "none installed",
        figure(row.ratio, ".2f"),
    ]


def summary(results: list[Result]) -> str:
    """One line a group: what was to be reached, and what was."""
    header = ["group", "geometric mean", "goal", "smallest", "goal", "reached"]
    figures = [(r, (r.mean, r.group.mean, r.least, r.group.least)) for r in results if r.ratios]
    return table(header, [[r.group.title, *map("{:.2f}".format, of), "yes" if r.is_met else "no"] for r, of in figures])


def share_of_peak(results: list[Result], head: Head) -> str:
    """The smallest share of the peak among the training steps where the product should dominate."""
    rows = {
        row.case.label: share(row, head)
        for result in results
        for row in result.rows
        if row.case.mode == "train" and row.case.size[3] >= 256 and row.case.valid == 1 and not math.isnan(row.rate)
    }
    if not rows:
        return ""
    low = min(rows, key=rows.__getitem__)
    smallest, largest = f"{rows[low]:.0%} ({low})", f"{max(rows.values()):.0%}"
    return f"Share of the multiply-add peak, training steps with H >= 256: {smallest} to {largest}."


def origin(head: Head) -> list[str]:
    """When, where and how it was measured."""
    machine = head["machine"]
    return [
        f"{head['date']}, {machine['processor']} ({machine['instructions']}), threads: {head['threads']}",
        f"`{head['command']}` with " + ", ".join(" ".join(pair) for pair in machine["versions"].items()),
    ]


def markdown(results: list[Result], head: Head) -> str:
    """The whole report."""
    peaks = ", ".join(f"{dtype} {value:.0f} GF/s" for dtype, value in head["peak"].items())
    parts = [
        *origin(head),
        f"Measured peak of fused multiply-adds: {peaks}.",
        "Times are medians in ms, ± half the interquartile range; ratio = time of the fastest other / ours.",
        MOVED if head["threads"] > 1 else "",
    ]
    for result in results:
        header = ["case (T x B x N x H)", "ours", "GF/s", "of peak", "others", "ratio"]
        parts += [f"### {result.group.title}", table(header, [row_cells(row, head) for row in result.rows])]
    parts += ["### Summary", summary(results), share_of_peak(results, head)]
    return "\n\n".join(part for part in parts if part) + "\n"


def as_json(results: list[Result], head: Head) -> str:
    """Every sample, for plots and comparisons."""
    groups = [
        {
            "group": result.group.title,
            "goal": {"mean": result.group.mean, "least": result.group.least},
            "reached": result.is_met,
            "rows": [row_json(row) for row in result.rows],
        }
        for result in results
    ]
    return json.dumps({**head, "groups": groups}, indent=1) + "\n"


def row_json(row: Row) -> dict[str, Any]:
    size = dict(zip("TBNH", row.case.size, strict=True))
    return {
        "case": row.case.label,
        **size,
        "flops": None if math.isnan(row.flops) else row.flops,
        "wrong": row.wrong,
        "failed": row.failed,
        "ratio": None if math.isnan(row.ratio) else row.ratio,
        "seconds": {name: {"median": time.median, "samples": time.samples} for name, time in row.times.items()},
    }
