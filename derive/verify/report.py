"""What the ladder found: measurements, the table of a terminal, JSON, and a failure explained.

peephole, dL/dp_f[5], float64, T=4 B=3 N=2 H=5:
    kernel  -0.412083   complex step  -0.398771   relative error 3.2e-02 (allowed 1.0e-13)
    ...
"""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version

import numpy as np

from derive.verify.analytic import Array
from derive.verify.problem import Problem


@dataclass(frozen=True)
class Place:
    """The element that is most wrong."""

    index: tuple[int, ...]
    found: float
    expected: float
    step: int | None = None


@dataclass(frozen=True)
class Measurement:
    """One comparison of one rung.

    Args:
        rung: which one, for example "gradient".
        quantity: what was compared: "dL/dU_f", "h", a property in words.
        sides: what the two values are called: ("kernel", "complex step").
        error, allowed: norm-wise and relative, unless `note` says otherwise.
        problem: the sizes, dtype and seed, in words.
        place: where it is most wrong; None where it holds.
    """

    rung: str
    quantity: str
    sides: tuple[str, str]
    error: float
    allowed: float
    problem: str = ""
    place: Place | None = None
    note: str = ""

    @property
    def ok(self) -> bool:
        return bool(self.error <= self.allowed)  # NaN is not


@dataclass(frozen=True)
class CellReport:
    """All measurements of one cell; `source` is what to write after `derive verify` to see them again."""

    cell: str
    source: str
    measurements: tuple[Measurement, ...]
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        return bool(self.measurements) and all(measurement.ok for measurement in self.measurements)

    def rungs(self) -> dict[str, tuple[Measurement, ...]]:
        """Rung -> its measurements, in the order in which they were climbed."""
        names = dict.fromkeys(measurement.rung for measurement in self.measurements)
        return {name: tuple(m for m in self.measurements if m.rung == name) for name in names}

    def passed(self) -> list[str]:
        return [name for name, measured in self.rungs().items() if all(m.ok for m in measured)]

    def failed(self) -> list[str]:
        return [name for name, measured in self.rungs().items() if not all(m.ok for m in measured)]

    def failures(self) -> Iterator[str]:
        """One explanation a failed rung: its worst measurement."""
        for name in self.failed():
            yield explain(self, worst(self.rungs()[name]))


@dataclass(frozen=True)
class Report:
    """What `derive verify` found out about some cells."""

    cells: tuple[CellReport, ...]
    quick: bool = False
    versions: dict[str, str] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        return bool(self.cells) and all(cell.ok for cell in self.cells)

    def json(self) -> str:
        """The whole report, every number as it was measured; not-a-number and infinity as text."""
        return json.dumps(_plain({**asdict(self), "ok": self.ok}), indent=2, allow_nan=False)

    def table(self) -> list[tuple[str, ...]]:
        """Rows for people: cell, rung, comparisons, worst error, allowed, verdict."""
        return [
            HEADINGS,
            *(_row(cell, name, measured) for cell in self.cells for name, measured in cell.rungs().items()),
        ]

    def text(self) -> str:
        """The table, then an explanation of each failed rung."""
        rows = self.table()
        widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS))]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        failures = [failure for cell in self.cells for failure in cell.failures()]
        return "\n".join(lines) + "".join(f"\n\n{failure}" for failure in failures)


def versions() -> dict[str, str]:
    """What the numbers were measured with."""
    return {"python": platform.python_version(), **{name: version(name) for name in ("numpy", "numba", "sympy")}}


HEADINGS = ("cell", "rung", "held against", "compared", "worst error", "allowed", "")


def _row(cell: CellReport, name: str, measured: tuple[Measurement, ...]) -> tuple[str, ...]:
    shown = worst(measured)
    verdict = "ok" if all(m.ok for m in measured) else "FAILED"
    return (cell.cell, name, shown.sides[1], str(len(measured)), f"{shown.error:.1e}", f"{shown.allowed:.1e}", verdict)


def worst(measured: Iterable[Measurement]) -> Measurement:
    """The measurement that exceeds its allowance by most, or comes nearest to it."""
    return max(measured, key=lambda m: np.inf if np.isnan(m.error) else _excess(m))


def _excess(measured: Measurement) -> float:
    if measured.allowed > 0:
        return measured.error / measured.allowed
    return np.inf if measured.error > 0 else 0.0


def explain(report: CellReport, failed: Measurement) -> str:
    """A failure as a person wants to read it: where, both values, how wrong, which rungs hold, how to see it again."""
    at, (ours, theirs) = failed.place, failed.sides
    index = f"[{', '.join(map(str, at.index))}]" if at and at.index else ""
    step = f", step t={at.step}" if at and at.step is not None else ""
    values = f"{ours}  {at.found:.9g}   {theirs}  {at.expected:.9g}   " if at else ""
    lines = [
        f"{report.cell}, {failed.quantity}{index}{step}, {failed.problem}:",
        f"    {values}relative error {failed.error:.1e} (allowed {failed.allowed:.1e})",
        *([f"    {failed.note}"] if failed.note else []),
        f"    rungs passed: {', '.join(report.passed()) or 'none'}    rungs failed: {', '.join(report.failed())}",
        f"    reproduce: derive verify {report.source}",
    ]
    return "\n".join(lines)


# --- Comparing

# Below this norm it is asked what a tensor is a sum of.
NOTHING = 1e-12
# In a result that cancels: a few hundred units of the last place of its terms.
ROUNDINGS = 300 * 2.0**-52


def compare(
    rung: str,
    quantity: str,
    sides: tuple[str, str],
    found: Array,
    expected: Array,
    allowed: float,
    problem: Problem | str,
    terms: Callable[[], float] = lambda: 0.0,
) -> Measurement:
    """Hold `found` against `expected`, norm-wise: |found - expected| / |expected|.

    An expected tensor that is a mere rounding of its `terms`, the norm of what it is a sum of, is measured against
    these: no order of summation gives it better.  Without terms zeros admit nothing but zeros; what is not finite is
    infinitely wrong.
    """
    error = norm_error(found, expected)
    if not error <= allowed and norm(expected) < NOTHING:
        error = norm_error(found, expected, terms())
    words = problem if isinstance(problem, str) else describe(problem, found.dtype)
    measurement = Measurement(rung, quantity, sides, error, allowed, words)
    return measurement if measurement.ok else replace(measurement, place=_worst_place(found, expected))


def norm(values: Array) -> float:
    return float(np.linalg.norm(np.ravel(values).astype(np.float64)))


def norm_error(found: Array, expected: Array, terms: float = 0.0) -> float:
    """|found - expected| / |expected|, or / terms where they are so large that |expected| is a rounding of them."""
    if found.shape != expected.shape:
        return float("inf")
    if np.array_equal(found, expected):  # also where squares would underflow to equal norms
        return 0.0
    difference = np.linalg.norm(np.ravel(np.subtract(found, expected, dtype=np.float64)))
    scale = norm(expected) if norm(expected) > ROUNDINGS * terms else terms
    if not np.isfinite(difference):
        return float("inf")
    return max(float(difference / scale), np.finfo(np.float64).tiny) if scale > 0 else float("inf")


def _worst_place(found: Array, expected: Array) -> Place | None:
    if found.shape != expected.shape or not found.size:
        return None
    difference = np.abs(np.subtract(found, expected, dtype=np.float64))
    flat = int(np.argmax(np.where(np.isfinite(difference), difference, np.inf)))
    index = tuple(int(axis) for axis in np.unravel_index(flat, found.shape))
    step = index[0] if found.ndim == 3 else None  # only sequences have three axes
    return Place(index, float(found[index]), float(expected[index]), step)


def describe(problem: Problem, dtype: np.dtype | None = None) -> str:
    """Dtype, sizes, options and seed of a problem in one line."""
    return f"{dtype or np.dtype(np.float64)}, {problem!r}"


def _plain(value: object) -> object:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not np.isfinite(value):
        return str(value)
    return value
