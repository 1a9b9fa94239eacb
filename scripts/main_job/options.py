"""The command line, and how large the default and the quick job are."""

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Size:
    """How much of everything a job does."""

    verified: tuple[str, ...]  # cells; none means all
    minutes: float
    hidden: int
    rate: float  # the fewer steps, the larger
    forecast_cells: tuple[str, ...]
    forecast_epochs: int
    forecast_seeds: int


QUICK = Size(("lstm",), 0.5, 128, 1.6e-2, ("rnn", "lstm", "gru"), 150, 2)
FORECASTERS = ("rnn", "lstm1997", "lstm", "peephole", "coupled", "gru", "gru_reset_after", "clockwork")
FULL = Size((), 4.0, 256, 8e-3, FORECASTERS, 300, 3)

DECIDED = ("cell", "hidden", "layers", "minutes", "steps", "seed", "name")  # by the start; a resumed run keeps them


def parsed(arguments: Sequence[str] | None, cells: Sequence[str]) -> argparse.Namespace:
    """Read the command line; ``cells`` are those there are, which two processes know from different sides."""
    parser = argparse.ArgumentParser(
        prog="scripts/run", description="Train a character model on real text, forecast a real series, report."
    )
    parser.add_argument("--quick", action="store_true", help="a small model for half a minute, fewer forecasts")
    parser.add_argument("--resume", nargs="?", const="", metavar="FOLDER", help="continue a run, by default the last")
    parser.add_argument("--runs", type=Path, default=Path("runs"), metavar="DIR", help="where runs are kept (runs)")
    parser.add_argument("--threads", type=whole, default=processors(), help="threads of the layers (all processors)")
    start = parser.add_argument_group("what a run is; a resumed one keeps its own")
    start.add_argument("--cell", choices=cells, help="lstm")
    start.add_argument("--hidden", type=whole, help=f"units ({FULL.hidden}; quick {QUICK.hidden})")
    start.add_argument("--layers", type=whole, help="1")
    start.add_argument("--minutes", type=positive, help=f"to train ({FULL.minutes:g}; quick {QUICK.minutes:g})")
    start.add_argument("--steps", type=whole, help="to train, instead of minutes")
    start.add_argument("--seed", type=count, help="0")
    start.add_argument("--name", type=folder_name, help="of the folder in DIR (the cell's)")
    options = parser.parse_args(arguments)
    given = [f"--{key}" for key in DECIDED if vars(options)[key] is not None]
    if options.resume is not None and given:
        parser.error(f"a resumed run keeps what it began with: leave out {', '.join(given)}")
    return options


def size_of(options: argparse.Namespace) -> Size:
    return QUICK if options.quick else FULL


def whole(text: str, least: int = 1) -> int:
    value = int(text)
    if value < least:
        raise argparse.ArgumentTypeError(f"must be at least {least}, but {value} came")
    return value


def count(text: str) -> int:
    return whole(text, least=0)


def folder_name(text: str) -> str:
    if text in ("", ".", "..") or Path(text).name != text:
        raise argparse.ArgumentTypeError(f"must be the name of one folder, but {text!r} came")
    return text


def positive(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be above 0, but {value} came")
    return value


def processors() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
