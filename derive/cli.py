"""The command `derive`.

    derive list                     the cells of the package
    derive show lstm --what gradients
    derive generate                 write the kernels
    derive check                    are the kernels on disk what the equations give?
    derive verify my_cell.py        are the kernels right?
    derive flow lstm                do gradients vanish?

Exit code 0: good.  1: the thing checked does not hold.  2: wrong usage or bad input, with one message and no traceback.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from derive.errors import DeriveError

GOOD, DOES_NOT_HOLD, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130

# As in derive.show, which is not imported here: `derive --help` answers without SymPy.
WHAT = ("equations", "gradients", "second", "jacobian", "program", "cost", "penalty", "all")
FORMS = ("unicode", "latex", "markdown", "python", "json")
CELL = "a cell's name, NAME:option=value, or a file that ends in .py or .cell"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code."""
    _never_fail_to_print()
    options = _parser().parse_args(arguments)
    try:
        code = options.run(options)
        print(end="", flush=True)  # here, where a full disk can still be told
        return code
    except DeriveError as error:
        print(f"derive {options.command}: {error}", file=sys.stderr)
        return BAD_INPUT
    except BrokenPipeError:  # `derive list | head -1`
        _print_nothing_more()
        return GOOD
    except OSError as error:
        _print_nothing_more()
        print(f"derive {options.command}: cannot write: {error.strerror or error}", file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt:
        return INTERRUPTED


def _print_nothing_more() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


# --- The commands


def _list(options: argparse.Namespace) -> int:
    from derive.load import named, names

    entries = [_entry(named(name)) for name in names()]
    print(json.dumps(entries, indent=2, ensure_ascii=False) if options.json else _columns(_rows(entries)))
    return GOOD


def _show(options: argparse.Namespace) -> int:
    from derive.load import resolve
    from derive.show import show

    print(show(resolve(options.cell), options.what, options.form))
    return GOOD


def _generate(options: argparse.Namespace) -> int:
    from derive.emit.store import generate

    changed = generate(*_cells_and_folder(options))
    for path in changed:
        print(f"{'wrote' if path.exists() else 'deleted'} {_short(path)}")
    if not changed:
        print("every file is as it should be")
    return GOOD


def _cells_and_folder(options: argparse.Namespace) -> tuple[list[Any] | None, Path | None]:
    """What is generated, and where; None is the whole package."""
    from derive.load import is_file, resolve

    cells = [resolve(spelling) for spelling in options.cells] or None
    # A cell of one's own is no part of the package, where `derive check` would call it stale.
    default = Path("generated") if any(map(is_file, options.cells)) else None
    return cells, options.out or default


def _check(options: argparse.Namespace) -> int:
    from derive.emit.store import PACKAGE, check

    cells, folder = _cells_and_folder(options)
    differences, where = check(cells, folder), _short(folder or PACKAGE)
    for difference in differences:
        print(f"{difference.kind}: {difference.path}\n{difference.diff}\n")
    if not differences:
        print(f"{where} is what the equations give")
        return GOOD
    fix = shlex.join(["derive", "generate", *options.cells, *(["--out", str(options.out)] if options.out else [])])
    print(f"{where} is not what the equations give (files: {len(differences)}); to fix: {fix}")
    return DOES_NOT_HOLD


def _verify(options: argparse.Namespace) -> int:
    from derive import verify
    from derive.load import resolve

    spellings = options.cells or _every_spelling(options.quick)
    cells = [resolve(spelling) for spelling in spellings]  # all of them, before the first minute is spent
    reports = []
    for number, (cell, spelling) in enumerate(zip(cells, spellings, strict=True), 1):
        _progress(f"verifying {spelling} ({number} of {len(cells)})")
        reports.append(verify.run([cell], quick=options.quick, sources=[spelling]))
    _progress("")
    report = replace(reports[0], cells=tuple(found for report in reports for found in report.cells))
    print(report.json() if options.json else report.text())
    return GOOD if report.ok else DOES_NOT_HOLD


def _every_spelling(quick: bool) -> list[str]:
    """Every cell; without --quick, every variant of it."""
    from derive.load import named, names
    from derive.verify import spelling

    return [spelling(cell) for name in names() for cell in named(name).variants()[: 1 if quick else None]]


def _progress(text: str) -> None:
    """Say what is going on, in one line that is overwritten; only to a person."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def _flow(options: argparse.Namespace) -> int:
    from derive.flow import flow
    from derive.load import resolve
    from derive.show.flow import as_json, draw, text

    measured = flow(resolve(options.cell), options.hidden, options.steps, options.seed)
    if options.plot:
        draw(measured, options.plot)
    print(as_json(measured) if options.json else text(measured))
    return GOOD


# --- What they are called and take


@dataclass(frozen=True)
class Command:
    """One subcommand; an argument is its names and what argparse takes."""

    name: str
    run: Callable[[argparse.Namespace], int]
    help: str
    arguments: tuple[tuple[tuple[str, ...], dict[str, Any]], ...] = field(default=())


def _size(text: str) -> int:
    """A number of units or steps: at least 1, and what a laptop can hold."""
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= LARGEST:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is not a whole number from 1 to {LARGEST}")
    return int(text)


def _seed(text: str) -> int:
    """What NumPy's generators begin with."""
    if not text.isascii() or not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is not a whole number from 0 on")
    return int(text)


LARGEST = 1000
OUT = (("--out",), {"type": Path, "metavar": "DIR", "help": "default: the package; ./generated for a file"})
JSON = (("--json",), {"action": "store_true", "help": "print JSON"})
ONE_CELL = (("cell",), {"metavar": "CELL", "help": CELL})
CELLS = (("cells",), {"metavar": "CELL", "nargs": "*", "help": f"{CELL}; default: every one"})

COMMANDS = (
    Command("list", _list, "the cells of the package", (JSON,)),
    Command(
        "show",
        _show,
        "what is derived from a cell's equations",
        (
            ONE_CELL,
            (("--what",), {"choices": WHAT, "default": "equations", "help": "which page (default: equations)"}),
            (("--as",), {"dest": "form", "choices": FORMS, "default": "unicode", "help": "how (default: unicode)"}),
        ),
    ),
    Command(
        "generate",
        _generate,
        "write the kernels; only files whose text changes",
        (CELLS, OUT),
    ),
    Command("check", _check, "exit 0 if the kernels on disk are exactly what the equations give", (CELLS, OUT)),
    Command(
        "verify",
        _verify,
        "hold the kernels against the equations, rung by rung",
        (CELLS, (("--quick",), {"action": "store_true", "help": "fewer and smaller problems"}), JSON),
    ),
    Command(
        "flow",
        _flow,
        "the step Jacobian, and what happens to gradients with the lag",
        (
            ONE_CELL,
            JSON,
            (("--plot",), {"type": Path, "metavar": "FILE", "help": "draw it; .png .svg .pdf (needs matplotlib)"}),
            (("--hidden",), {"type": _size, "default": 32, "metavar": "H", "help": "units (default: 32)"}),
            (("--steps",), {"type": _size, "default": 100, "metavar": "T", "help": "steps (default: 100)"}),
            (("--seed",), {"type": _seed, "default": 0, "metavar": "S", "help": "of weights and inputs (default: 0)"}),
        ),
    ),
)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="derive", description="From a recurrent cell's equations to kernels.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in COMMANDS:
        made = commands.add_parser(command.name, help=command.help, description=command.help)
        made.set_defaults(run=command.run)
        for names, what in command.arguments:
            made.add_argument(*names, **what)
    return parser


# --- Printing


def _entry(cell: Any) -> dict[str, Any]:
    return {
        "name": cell.name,
        "title": cell.title,
        "year": cell.year,
        "reference": cell.reference,
        "states": list(cell.states),
        "gates": list(cell.gates),
        "parameters": {name: list(symbol.shape) for name, symbol in cell.parameters.items()},
        "options": {option: list(values) for option, values in cell.options.items()},
    }


def _rows(entries: list[dict[str, Any]]) -> list[tuple[str, ...]]:
    heads = ("name", "year", "states", "gates", "options", "title")
    return [heads, *(tuple(_cell_text(entry[head]) for head in heads) for entry in entries)]


def _cell_text(value: Any) -> str:
    if isinstance(value, dict):
        return " ".join(f"{option}={'|'.join(map(str, values))}" for option, values in value.items())
    return " ".join(value) if isinstance(value, list) else str(value)


def _columns(rows: list[tuple[str, ...]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join("  ".join(text.ljust(w) for text, w in zip(row, widths, strict=True)).rstrip() for row in rows)


def _short(path: Path) -> str:
    """The path from here, if that is shorter to read."""
    with contextlib.suppress(ValueError):
        return str(path.resolve().relative_to(Path.cwd()))
    return str(path)


def _never_fail_to_print() -> None:
    """A terminal without Greek letters shows question marks instead of a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
