"""What was found, as Markdown."""

import statistics
from typing import Any

from scripts.gpu_checks.rows import ROWS, Row

COLUMNS = (
    "what", "ours, ms", "us a step", "rival, ms", "theirs / ours", "goal", "others, ms", "blocks forward, backward",
    "limit, us a step", "share of it", "most is lost in, us a step",
)  # fmt: skip
LIMITS = (
    "The limit of a part is the longest of its arithmetic at the device's peak, the bytes that have to move once at "
    "the memory's peak, and the waits of its blocks for a number of each other, as long as one takes in a kernel that "
    "does nothing else. The parts are waited for one by one to be timed, which the column `ours` is not. "
    "torch.compile runs 16 steps, scaled to all."
)


def line(cells: list[Any]) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def table(header: list[str], rows: list[list[Any]]) -> str:
    return "\n".join([line(header), line(["---"] * len(header)), *map(line, rows)])


def failed(found: dict[str, Any]) -> bool:
    """Whether anything that had to hold does not: speeds are told, not judged."""
    kernels = [k for k in found.get("kernels", []) if "failed" in k or (k["spilled"] and k["architecture"] == "9.0")]
    wrong = [what for _, _, what in rungs(found.get("ladder", [])) if what]
    return bool(kernels or wrong or any(said(p) != CLEAN for p in watched(found)))


CLEAN = "clean"


def said(entry: dict[str, Any]) -> str:
    """What a tool that watches found."""
    if "failed" in entry:
        return entry["failed"][-300:]
    wrong = [f"{rung}: {'; '.join(what[:3])}" for rung, what in entry["found"].items() if what]
    return ", ".join(wrong) or CLEAN


def watched(found: dict[str, Any]) -> list[dict[str, Any]]:
    return found.get("sanitizer", [])


def rungs(ladder: list[dict[str, Any]]) -> list[tuple[str, str, list[str]]]:
    """(part, rung, what is wrong)."""
    entries = []
    for entry in ladder:
        for rung, wrong in entry["found"].items():
            entries.append((entry["part"], rung, [wrong["failed"]] if isinstance(wrong, dict) else wrong))
    return entries


def markdown(found: dict[str, Any]) -> str:
    parts = ["# CUDA", machine(found), kernels(found)]
    if "ladder" in found:
        parts.append(ladder(found))
    if "speed" in found:
        parts += [speeds(found), sanitizer(found)]
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
    wrong = [f"- {part}, {rung}: {'; '.join(what[:6])}" for part, rung, what in rungs(found["ladder"]) if what]
    return "\n".join(["## Results", "", f"{held(found['ladder'])}.", *wrong])


def held(ladder: list[dict[str, Any]]) -> str:
    """How many of the checks that were made hold."""
    entries = rungs(ladder)
    return f"{sum(not what for _, _, what in entries)} of {len(entries)} checks hold"


def sanitizer(found: dict[str, Any]) -> str:
    if not watched(found):
        return "compute-sanitizer has not run."
    return "\n".join(f"- compute-sanitizer {p['tool']}: {said(p)}" for p in watched(found))


def speeds(found: dict[str, Any]) -> str:
    rows = [_speed(ROWS[int(number)], entry) for number, entry in found["speed"].items()]
    return "\n".join(["## Speed", "", table(list(COLUMNS), rows), "", LIMITS])


def _speed(row: Row, found: dict[str, Any]) -> list[Any]:
    if "milliseconds" not in found:
        return [row.label, f"failed: {found['failed'].splitlines()[-1][:200]}", *[""] * (len(COLUMNS) - 2)]
    times = {name: statistics.median(values) for name, values in found["milliseconds"].items()}
    own, first = times["this"], times.get(row.rivals[0])
    others = [f"{name} {times[name]:.3g}" for name in row.rivals[1:] if name in times]
    others += [f"{name} failed" for name in found["failed"]]
    plans = [_blocks(found["plans"][way]) for way in ("forward", "backward")]
    return [
        row.label,
        f"{own:.3g}",
        f"{1e3 * own / row.size[0]:.2f}",
        f"{row.rivals[0]} {first:.3g}" if first else "failed",
        f"{first / own:.2f}" if first else "",
        f"{row.goal:.2f}",
        "; ".join(others),
        ", ".join(plans),
        *limit(found, own, row.size[0]),
    ]


def limit(found: dict[str, Any], milliseconds: float, steps: int) -> list[str]:
    """The limit of a step, what each part's is, ours as a share of it, and where most is lost."""
    least, taken = found["least"], found["taken"]
    if not least:
        return ["not known here", "", ""]
    bounds = {part: max(costs, key=lambda name: costs[name]) for part, costs in least.items()}
    floors = {part: least[part][bounds[part]] for part in least}
    total = sum(floors.values())
    lost = {part: spent - floors.get(part, 0.0) for part, spent in taken.items()}
    worst = max(lost, key=lambda part: lost[part])
    each = ", ".join(f"{part} {floors[part] / steps:.2f} ({bounds[part]})" for part in floors)
    return [
        f"{total / steps:.2f}: {each}",
        f"{total / 1e3 / milliseconds:.0%}",
        f"{worst}: {taken[worst] / steps:.2f}, at the least {floors.get(worst, 0.0) / steps:.2f}",
    ]


def _blocks(plan: dict[str, int] | None) -> str:
    return "step by step" if plan is None else f"{plan['parts']} x {plan['groups']}"


# --- In short: the end of what is printed, which is all that some machines keep

MOST = {"machine": 700, "kernels": 900, "ladder": 2800, "speed": 2900}  # characters


def summary(found: dict[str, Any]) -> str:
    """Every part in few words, under 8000 characters."""
    parts = {"machine": machine(found), "kernels": "\n".join([short_kernels(found), *_uncompiled(found)])}
    if "ladder" in found:
        parts["ladder"] = "\n".join(_short_ladder(entry) for entry in found["ladder"])
    if "speed" in found:
        parts["speed"] = "\n".join(short_speed(number, entry) for number, entry in found["speed"].items())
        watching = sanitizer(found)
    else:
        watching = "Nothing was timed."
    cut = [_cut(text, MOST[name]) for name, text in parts.items()]
    return "\n\n".join(["# In short", *cut, _cut(watching, 250), f"All of it took {found['seconds']} s."])


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 4]} ..."


def short_kernels(found: dict[str, Any]) -> str:
    good = [k for k in found["kernels"] if "failed" not in k]
    most, spilled = max((k["registers"] for k in good), default=0), sum(k["spilled"] for k in good)
    failures = len(found["kernels"]) - len(good)
    return f"{len(good)} kernels compiled, {failures} failed, at most {most} registers, {spilled} bytes spilled"


def _uncompiled(found: dict[str, Any]) -> list[str]:
    bad = [k for k in found["kernels"] if "failed" in k]
    return [f"- {k['cell']} {k['kernel']} {k['storage']}: {k['failed'][:120]}" for k in bad]


def _short_ladder(entry: dict[str, Any]) -> str:
    """How many hold, and the first that does not, whose reason is often that of the others."""
    wrong = [(rung, what) for _, rung, what in rungs([entry]) if what]
    first = f"; first {wrong[0][0]}: {' '.join('; '.join(wrong[0][1]).split())[-140:]}" if wrong else ""
    return f"{entry['part']}: {held([entry])}{first}"


def short_speed(number: str, entry: dict[str, Any]) -> str:
    """One row."""
    row = ROWS[int(number)]
    if "milliseconds" not in entry:
        return f"{row.label}: failed: {' '.join(entry['failed'].split())[-60:]}"
    _, own, _, rival, ratio, goal, *_ = _speed(row, entry)
    return f"{row.label}: {own} ms; {rival}; {ratio} of {goal}"
