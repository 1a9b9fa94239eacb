"""What was found, as Markdown."""

import statistics
from typing import Any

from scripts.gpu_checks.rows import ROWS, Row


def line(cells: list[Any]) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def table(header: list[str], rows: list[list[Any]]) -> str:
    return "\n".join([line(header), line(["---"] * len(header)), *map(line, rows)])


def failed(found: dict[str, Any]) -> bool:
    """Whether anything that had to hold does not: speeds are told, not judged."""
    kernels = [k for k in found.get("kernels", []) if "failed" in k or k["spilled"]]
    return bool(kernels or any(wrong for _, _, wrong in rungs(found)) or any("failed" in p for p in watched(found)))


def watched(found: dict[str, Any]) -> list[dict[str, Any]]:
    return found.get("sanitizer", [])


def rungs(found: dict[str, Any]) -> list[tuple[str, str, list[str]]]:
    """(part, rung, what is wrong)."""
    entries = []
    for entry in found.get("ladder", []):
        entries += [(entry["part"], rung, wrong) for rung, wrong in entry.get("found", {}).items()]
        entries += [(entry["part"], "the process", [entry["failed"]])] if "failed" in entry else []
    return entries


def markdown(found: dict[str, Any]) -> str:
    parts = ["# CUDA", machine(found), kernels(found)]
    if "ladder" in found:
        parts += [ladder(found), sanitizer(found), speeds(found)]
    return "\n\n".join([*parts, f"All of it took {found['seconds']} s."]) + "\n"


def machine(found: dict[str, Any]) -> str:
    entry = found["machine"]
    if "found" not in entry:
        said = (entry.get("failed") or "none was asked for").splitlines()[-1]
        compiled = f"Compiled for compute capability {found['architectures']}"
        return f"No device: {said}. {compiled}; nothing of this has run on a GPU."
    return "\n".join(f"- {name}: {value}" for name, value in entry["found"].items())


def kernels(found: dict[str, Any]) -> str:
    """Worst registers and spills for each type."""
    rows: list[list[Any]] = []
    for kind in dict.fromkeys((k["storage"], k["products"]) for k in found["kernels"]):
        own = [k for k in found["kernels"] if (k["storage"], k["products"]) == kind]
        good = [k for k in own if "failed" not in k]
        most = max((k["registers"] for k in good), default=0)
        rows.append([*kind, len(good), most, sum(k["spilled"] for k in good), len(own) - len(good)])
    failures = [f"- {k['cell']} {k['kernel']} {k['storage']}: {k['failed']}" for k in found["kernels"] if "failed" in k]
    header = ["storage", "products", "kernels", "most registers", "bytes spilled", "failed"]
    return "\n".join(["## Machine code", "", table(header, rows), *failures])


def ladder(found: dict[str, Any]) -> str:
    entries = rungs(found)
    wrong = [f"- {part}, {rung}: {'; '.join(what[:6])}" for part, rung, what in entries if what]
    return "\n".join(["## Results", "", f"{len(entries) - len(wrong)} of {len(entries)} checks hold.", *wrong])


def sanitizer(found: dict[str, Any]) -> str:
    if not watched(found):
        return "compute-sanitizer is not installed."
    return "\n".join(f"- compute-sanitizer {p['tool']}: {p.get('failed', 'clean')[-300:]}" for p in watched(found))


def speeds(found: dict[str, Any]) -> str:
    rows = [cells for entry in found["speed"] if (cells := _speed(entry))]
    header = [
        "what",
        "ours, ms",
        "us a step",
        "first rival, ms",
        "theirs / ours",
        "goal",
        "others, ms",
        "blocks forward, backward",
    ]
    return "\n".join(["## Speed", "", table(header, rows)])


def _speed(entry: dict[str, Any]) -> list[Any]:
    row: Row = ROWS[int(entry["part"].partition(":")[2])]
    if "failed" in entry:
        return [row.label, f"failed: {entry['failed'].splitlines()[-1][:200]}", *[""] * 6]
    times = {name: statistics.median(values) for name, values in entry["found"]["milliseconds"].items()}
    own, first = times["ours"], times.get(row.rivals[0])
    others = [f"{name} {times[name]:.3g}" for name in row.rivals[1:] if name in times]
    others += [f"{name} failed" for name in entry["found"]["failed"]]
    plans = [_blocks(entry["found"]["plans"][way]) for way in ("forward", "backward")]
    ratio = f"{first / own:.2f}" if first else ""
    ahead = f"{first:.3g}" if first else "failed"
    return [
        row.label,
        f"{own:.3g}",
        f"{1e3 * own / row.size[0]:.2f}",
        ahead,
        ratio,
        f"{row.goal:.2f}",
        "; ".join(others),
        ", ".join(plans),
    ]


def _blocks(plan: dict[str, int] | None) -> str:
    return "step by step" if plan is None else f"{plan['parts']} x {plan['groups']}"
