"""What `derive flow` prints, gives as JSON and draws."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from derive.errors import DeriveError
from derive.flow import Curve, Flow
from derive.show import pages
from derive.show.document import block
from derive.show.notation import written

LEAST = 1e-12  # what is drawn
LAGS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
RULE = """An rnn with U = w Q, Q orthogonal.  At rest it is linear and the norm is w to the lag:
w < 1 vanishes, w > 1 explodes, only w = 1 keeps.  Driven by inputs, tanh' < 1 takes more at every step."""
CELL = """At the default initialisation, inputs standard normal.  "directly" holds the other states fixed:
the product of the diagonal part of the state's own block."""


def text(flow: Flow) -> str:
    """Return the report for a terminal."""
    parts = [
        f"{pages.head(flow.cell)}: how gradients flow back in time",
        *(block(section, "unicode", "", "    ") for section in pages.jacobian(flow.cell).sections),
        f"norm against the lag T - t: the linear rule\n{_indented(RULE)}\n{table(flow.rule, flow.steps)}",
        f"norm against the lag T - t: this cell, H = {flow.hidden}, T = {flow.steps}\n{_indented(CELL)}\n"
        + table(flow.curves, flow.steps),
        _exponents(flow),
        f"The printed Jacobian and the complex step of the equations differ by {flow.formula_error:.0e} (relative).",
    ]
    return "\n\n".join(parts)


def table(curves: tuple[Curve, ...], steps: int) -> str:
    """Return the norms at chosen lags, the factor a step and what that means, one curve a line."""
    lags = [lag for lag in LAGS if lag <= steps]
    rows = [["lag", *map(str, lags), "a step", ""]]
    rows += [[c.label, *(_number(c.norms[lag]) for lag in lags), f"{c.factor:.4f}", _verdict(c)] for c in curves]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(_row(row, widths) for row in rows)


def _row(row: list[str], widths: list[int]) -> str:
    cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:-1], widths[1:-1], strict=True))]
    return ("    " + "  ".join([*cells, row[-1]])).rstrip()


def _number(value: float) -> str:
    if not np.isfinite(value):
        return "> 1e308"
    return f"{value:.3f}" if value == 0 or 0.01 <= value < 1000 else f"{value:.1e}"


def _verdict(curve: Curve) -> str:
    if curve.expected is not None:
        return f"{curve.verdict}, {curve.expected:g} expected"
    return "stays exactly 1" if (curve.norms == 1).all() else curve.verdict


def _indented(paragraph: str) -> str:
    return "\n".join("    " + line for line in paragraph.splitlines())


def _exponents(flow: Flow) -> str:
    shown = [*flow.exponents[:3], *flow.exponents[-1:]]
    largest = flow.exponents[0]
    return (
        "Lyapunov exponents (QR)\n"
        f"    largest {', '.join(f'{value:.3f}' for value in shown[:3])}; smallest {shown[-1]:.3f}\n"
        f"    the slowest direction is multiplied by exp({largest:.3f}) = {math.exp(largest):.3f} a step"
    )


# --- JSON


def as_json(flow: Flow) -> str:
    """Return everything as JSON; what is not finite becomes null."""
    page = {
        "cell": flow.cell.module,
        "hidden": flow.hidden,
        "steps": flow.steps,
        "seed": flow.seed,
        "jacobian": [
            {"block": written(line.left, "python"), **{form: written(line.right, form) for form in ("python", "latex")}}
            for line in pages.jacobian(flow.cell).sections[0].lines
        ],
        "rule": [_curve(curve) for curve in flow.rule],
        "curves": [_curve(curve) for curve in flow.curves],
        "lyapunov": [_finite(value) for value in flow.exponents],
        "formula_error": flow.formula_error,
    }
    return json.dumps(page, indent=2, ensure_ascii=False, allow_nan=False)


def _curve(curve: Curve) -> dict[str, Any]:
    return {
        "label": curve.label,
        "factor": _finite(curve.factor),
        "verdict": curve.verdict,
        "expected": curve.expected,
        "norms": [_finite(value) for value in curve.norms],
    }


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


# --- Picture


class PlotError(DeriveError, RuntimeError):
    """The picture cannot be drawn: no matplotlib, an unknown ending, or a folder that cannot be written."""


def draw(flow: Flow, path: Path) -> None:
    """Draw the norms against the lag, logarithmic; the file's ending chooses the format.

    Raises:
        PlotError: matplotlib is not installed, or does not know the ending, or cannot write the file.
    """
    try:
        _figure(flow).savefig(path)
    except ImportError:
        raise PlotError("drawing needs matplotlib: pip install 'lstm-numba[run]'") from None
    except (OSError, ValueError) as error:
        raise PlotError(f"cannot draw {path}: {error}") from None


def _figure(flow: Flow) -> Any:
    from matplotlib.figure import Figure  # only here: drawing is an extra

    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.add_subplot()
    for curve in flow.rule:
        axes.semilogy(_positive(curve.norms), linestyle=":", label=curve.label)
    for curve in flow.curves:
        axes.semilogy(_positive(curve.norms), label=curve.label)
    axes.set(xlabel="lag T - t", ylabel="norm of the Jacobian of T - t steps", title=pages.head(flow.cell))
    axes.set_ylim(bottom=LEAST)
    axes.legend(fontsize="small", ncols=2)
    return figure


def _positive(norms: np.ndarray) -> np.ndarray:
    return np.where(norms > 0, norms, np.nan)
