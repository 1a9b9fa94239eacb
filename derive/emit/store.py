"""Generated text on disk: write what changed, delete what is stale, compare without writing.

A manifest is `{path: text}`, the paths relative to one folder.  `generate` and `check` take the same manifest, so the
file that is written and the file that is checked cannot differ.  A file that does not carry `MARK` belongs to the user:
it is never overwritten and never deleted.
"""

from __future__ import annotations

import contextlib
import difflib
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from derive.cell import Cell
from derive.errors import DeriveError

MARK = "GENERATED - edit"
"""Stands in the first lines of every generated file; what has it is ours to replace and to delete."""

PACKAGE = Path(__file__).resolve().parents[2] / "lstm_numba" / "generated"
HEAD = 2000  # characters in which the mark is looked for
IGNORED = ("__pycache__", ".DS_Store")


class StoreError(DeriveError, OSError):
    """A generated file cannot be written where it should go."""


@dataclass(frozen=True)
class Difference:
    """One file that is not what the equations give: `kind` is "missing", "changed" or "stale"."""

    path: str
    kind: str
    diff: str


def generate(cells: Sequence[Cell] | None = None, out: Path | None = None) -> list[Path]:
    """Write the files of `cells` below `out`; return those whose text changed, and those deleted.

    Args:
        cells: default is the whole package; only then are stale files deleted, and only there.
        out: default is the package.
    """
    return store(texts_of(cells), out or PACKAGE, complete=cells is None and out is None)


def check(cells: Sequence[Cell] | None = None, out: Path | None = None) -> list[Difference]:
    """Regenerate in a temporary folder and compare with `out`; empty if nothing differs.

    Args:
        cells: default is the whole package; only then are the lists of files compared both ways.
        out: default is the package.
    """
    with tempfile.TemporaryDirectory(prefix="derive-check-") as folder:
        texts, wanted, found = texts_of(cells), Path(folder), out or PACKAGE
        store(texts, wanted, complete=False)
        return compare(wanted, found) if cells is None else _differences(sorted(texts), wanted, found)


def texts_of(cells: Sequence[Cell] | None = None) -> dict[str, str]:
    """The manifest: path below the output folder -> text."""
    from derive.emit.manifest import manifest  # here, so that storing can be tested without generating

    return {PurePosixPath(path).as_posix(): text for path, text in manifest(cells).items()}


def store(texts: Mapping[str, str], out: Path, *, complete: bool) -> list[Path]:
    """Make `out` hold `texts`; with `complete`, also delete our own files that `texts` does not name."""
    with _explained(out):
        changed = {target: text for path, text in texts.items() if _read(target := _place(path, out)) != text}
        for target in changed:
            _refuse_foreign(target)
        for target, text in changed.items():
            _replace(target, text)
        stale = [out / path for path in files(out) if path not in texts and _ours(out / path)] if complete else []
        for target in stale:
            target.unlink()
    return [*changed, *stale]


def compare(wanted: Path, found: Path) -> list[Difference]:
    """Return how the generated files in `found` differ from those in `wanted`; the lists are compared both ways."""
    left, right = files(wanted), [path for path in files(found) if _counts(found / path)]
    return _differences(sorted({*left, *right}), wanted, found)


def _differences(paths: Sequence[str], wanted: Path, found: Path) -> list[Difference]:
    return [entry for path in paths if (entry := _difference(path, wanted / path, found / path)) is not None]


def files(folder: Path) -> list[str]:
    """Return the POSIX paths, relative to `folder`, of its files, in order; caches left out."""
    found = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else ()
    return sorted(path.as_posix() for path in found if not set(path.parts) & set(IGNORED) and path.suffix != ".pyc")


def _difference(path: str, wanted: Path, found: Path) -> Difference | None:
    new, old = _read(wanted), _read(found)
    if new == old:
        return None
    kind = "missing" if old is None else "stale" if new is None else "changed"
    lines = difflib.unified_diff(
        (old or "").splitlines(), (new or "").splitlines(), f"on disk/{path}", f"from the equations/{path}", lineterm=""
    )
    return Difference(path, kind, "\n".join(lines))


def _place(path: str, out: Path) -> Path:
    parts = PurePosixPath(path).parts
    if not parts or PurePosixPath(path).is_absolute() or ".." in parts:
        raise StoreError(f"manifest: path {path!r} leaves the output folder {out}; paths are relative, without '..'")
    return out.joinpath(*parts)


def _replace(target: Path, text: str) -> None:
    """Write beside, flush to the disk, rename: a reader sees the old text or the new one, never half of it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, beside = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".tmp", dir=target.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(beside, 0o644)  # mkstemp makes private files; source text is for everyone
        os.replace(beside, target)
    except BaseException:
        Path(beside).unlink(missing_ok=True)
        raise


def _read(path: Path) -> str | None:
    try:
        return path.read_bytes().decode("utf-8", errors="replace")
    except (FileNotFoundError, NotADirectoryError):
        return None


def _ours(path: Path) -> bool:
    """Whether a file may be deleted; an __init__.py makes the folder a package, whoever wrote it."""
    return path.name != "__init__.py" and MARK in (_read(path) or "")[:HEAD]


def _counts(path: Path) -> bool:
    """Whether a file must be in the manifest: a hand-made Python file in the folder shows up as stale."""
    return _ours(path) or (path.suffix == ".py" and path.name != "__init__.py")


def _refuse_foreign(target: Path) -> None:
    text = _read(target)
    if text and MARK not in text[:HEAD]:
        raise StoreError(
            f"{target} is not a generated file (its first lines do not say {MARK!r}), so it is not overwritten.\n"
            "    Move it away, or choose another folder with --out DIR."
        )


@contextlib.contextmanager
def _explained(out: Path) -> Iterator[None]:
    try:
        yield
    except StoreError:
        raise
    except OSError as error:
        reason = error.strerror or error
        raise StoreError(f"cannot write below {out}: {reason}. Choose another folder: --out DIR") from error
