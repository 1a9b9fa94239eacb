"""A cell from a file or from a name.

    load("my_cell.py")                    a Python file that defines `cell`; it is executed, as an import would do
    load("my_cell.cell")                  a text of equations; it is parsed, nothing in it is executed
    resolve("peephole:peepholes=io")      what a command line says: a name or a file, then options

Whatever is wrong with the file or the name becomes one error with the place, the rule and the cure.
"""

from __future__ import annotations

import os
import stat
import sys
import traceback
from collections.abc import Mapping
from contextvars import ContextVar
from importlib import import_module
from itertools import count
from pathlib import Path
from types import ModuleType
from typing import Any

from derive.cell import Cell
from derive.errors import DeriveError, OptionError, UnknownCellError
from derive.expression import suggestion
from derive.parse import parse

LARGEST = 1_000_000  # characters; a cell file has about a thousand
SUFFIXES = (".py", ".cell")

_running: ContextVar[tuple[Path, ...]] = ContextVar("_running", default=())  # files that are being executed
_loads = count()


class CellFileError(DeriveError, ImportError):
    """A file does not give a cell: not Python, an exception while it runs, or no `cell` in it."""


class CellFileNotFoundError(DeriveError, FileNotFoundError):
    """There is no such file, or it cannot be read."""


def load(path: str | os.PathLike[str], **options: Any) -> Cell:
    """Return the cell that the file at `path` defines, with `options` chosen.

    Raises:
        CellFileNotFoundError: no such file, or it cannot be read.
        CellFileError: the file is not Python, raises an exception (the message has the line), or has no `cell`.
        ParseError, CellError: the equations are not a cell.
        OptionError: the cell has no such option, or the option no such value.
    """
    file = Path(path)
    if file.suffix not in SUFFIXES:
        raise CellFileError(f"{file}: a cell file ends in {' or '.join(SUFFIXES)}")
    text = _text(file)
    cell = parse(text, _stem(file), place=str(file)) if file.suffix == ".cell" else _executed(text, file)
    return cell.variant(**options) if options else cell


def resolve(spelling: str) -> Cell:
    """Return the cell that `NAME`, `FILE` or either with `:option=value,option` spells.

    Raises:
        UnknownCellError: no cell has this name; the message has the nearest names.
        OptionError: the option or its value is unknown.
        CellFileError, ...: as for `load`.
    """
    name, choices = _split(spelling)
    cell = load(name) if _is_file(name) else named(name)
    return cell.variant(**{option: _value(cell, option, text) for option, text in choices.items()}) if choices else cell


def is_file(spelling: str) -> bool:
    """Whether a spelling means a file, not a cell of the package."""
    return _is_file(_split(spelling)[0])


def names() -> tuple[str, ...]:
    """The names of the package's cells, in historical order."""
    return tuple(_cells())


def named(name: str) -> Cell:
    """Return the cell of the package with this name.

    Raises:
        UnknownCellError: there is none; the message has the nearest names.
    """
    cells = _cells()
    if name not in cells:
        raise UnknownCellError(
            f"there is no cell {name[:80]!r}.{suggestion(name[:80], cells)} A file of your own ends in .py or .cell"
        )
    return cells[name]


def _cells() -> Mapping[str, Cell]:
    return import_module("derive.cells")  # type: ignore[return-value]  # the folder is itself the mapping


def _is_file(name: str) -> bool:
    return Path(name).suffix in SUFFIXES or "/" in name or os.sep in name


def _split(spelling: str) -> tuple[str, dict[str, str | None]]:
    """`peephole:peepholes=io` -> name and options; an option without a value is a flag."""
    name, colon, rest = spelling.rpartition(":")
    if not colon or Path(rest).suffix in SUFFIXES or "/" in rest or "\\" in rest:  # C:\cells\mine.py
        return spelling, {}
    pairs = [part.partition("=") for part in rest.split(",")]
    choices = {option.strip(): text.strip() if equals else None for option, equals, text in pairs}
    if len(choices) < len(pairs):
        raise OptionError(f"{spelling[:80]}: an option is given twice; choose one value for each")
    return name, choices


def _value(cell: Cell, option: str, text: str | None) -> Any:
    """The value among the option's own that is spelled `text`: what is typed never becomes anything else."""
    if option not in cell.options:
        known = suggestion(option[:80], cell.options) if cell.options else " It has no options."
        raise OptionError(f"cell {cell.name} has no option {option[:80]!r}.{known}")
    spelled = {_spelled(value): value for value in cell.options[option]}
    wanted = "true" if text is None else text.lower() if text in ("True", "False") else text
    if wanted not in spelled:
        raise OptionError(f"cell {cell.name}: {option}={wanted[:80]} is unknown.{suggestion(wanted[:80], spelled)}")
    return spelled[wanted]


def _spelled(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


# --- Files


def _text(file: Path) -> str:
    try:
        mode = file.stat().st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):  # a pipe would be waited for
            raise CellFileError(f"{file}: a pipe or a device; a cell is read from a file on a disk")
        with file.open("rb") as handle:
            raw = handle.read(LARGEST + 1)
    except OSError as error:
        raise CellFileNotFoundError(f"cannot read {file}: {error.strerror or error}") from None
    except ValueError as error:  # a null character in the path
        raise CellFileNotFoundError(f"cannot read {str(file)!r}: {error}") from None
    if len(raw) > LARGEST:
        raise CellFileError(f"{file}: more than {LARGEST} bytes; a cell is a few equations")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise CellFileError(f"{file}: not a text file in UTF-8 (byte {error.start})") from None


def _stem(file: Path) -> str:
    return "".join(letter if letter.isascii() and letter.isalnum() else "_" for letter in file.stem)


def _executed(text: str, file: Path) -> Cell:
    if file.resolve() in _running.get():
        raise CellFileError(f"{file} loads itself, directly or through another cell file")
    module = ModuleType(f"derive_cell_{next(_loads)}_{_stem(file)}")
    module.__file__ = str(file)
    sys.modules[module.__name__] = module  # dataclasses look their module up there
    outer = _running.set((*_running.get(), file.resolve()))
    try:
        code = compile(text, str(file), "exec", dont_inherit=True)
        exec(code, module.__dict__)  # noqa: S102 (the user's own file: trusted as an import of it is)
    except KeyboardInterrupt:
        raise
    except SyntaxError as error:
        line = error.lineno or 1
        raise CellFileError(f"{file}, line {line}: not Python: {error.msg}{_source(text, line)}") from None
    except BaseException as error:  # SystemExit too: a cell file must not end the program that reads it
        raise _explained(error, text, file) from error
    finally:
        _running.reset(outer)
        sys.modules.pop(module.__name__, None)
    return _cell(module, file)


def _cell(module: ModuleType, file: Path) -> Cell:
    cell = getattr(module, "cell", None)
    if isinstance(cell, Cell):
        return cell
    found = [name for name, value in vars(module).items() if isinstance(value, Cell)]
    came = f"`cell` is a {type(cell).__name__}" if hasattr(module, "cell") else "there is no `cell`"
    cure = f"write cell = {found[0]}" if found else "end the file with cell = Cell(name=..., equations=[...])"
    raise CellFileError(f"{file}: {came}; {cure}")


def _explained(error: BaseException, text: str, file: Path) -> DeriveError:
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(file)]
    line = lines[-1] if lines else None
    place = f"{file}, line {line}" if line else str(file)
    if isinstance(error, DeriveError):  # a law of cells: the class says which, so it is kept
        return type(error)(f"{place}: {error}")
    cure = next((f"; {cure}" for said, cure in CURES.items() if said in str(error)), "")
    return CellFileError(f"{place}: {type(error).__name__}: {error}{cure}{_source(text, line)}")


# What Python, SymPy and NumPy say of an equation that is written for numbers -> how it is written for symbols.
CURES = {
    "truth value of Relational": "a choice is where(a > b, c, d), a bound maximum(a, b) or minimum(a, b)",
    "does not support argument 0 of type": "functions of symbols come from derive.language",
    "must be Tensor, not": "functions of symbols come from derive.language",
    "operand type(s) for @": "left of @ stands a matrix or a bracket of matrices; write r * (W @ v)",
}


def _source(text: str, line: int | None) -> str:
    lines = text.splitlines()
    return f"\n    {lines[line - 1].strip()[:160]}" if line and line <= len(lines) else ""
