"""The text: the Python standard library's own source files, as bytes.

Every machine that can run the job has it, it is real, and it is large enough (about 12 MB) for a few minutes of
learning. Which file is held out depends on nothing but the file's name, so a file never changes sides from one machine
or version to another.
"""

import hashlib
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scripts.main_job.errors import CorpusError

TRAINING_BYTES = 8 << 20
HELD_OUT_BYTES = 256 << 10

# Left out: other people's packages; the tests, which not every Python carries; tables that exist in a hundred
# near-copies (a held-out copy would be known by heart); files written for one machine.
EXCLUDED_FOLDERS = frozenset(
    ["site-packages", "dist-packages", "test", "tests", "idle_test", "encodings", "pydoc_data"]
)
EXCLUDED_PREFIX = "_sysconfigdata"

END_OF_FILE = b"\0"  # no Python source file contains it


@dataclass(frozen=True)
class Corpus:
    """Training and held-out bytes, uint8, and the names of the files they come from."""

    training: NDArray[np.uint8]
    held_out: NDArray[np.uint8]
    training_files: tuple[str, ...]
    held_out_files: tuple[str, ...]

    @cached_property
    def digest(self) -> str:
        """Identify the text: a run may be resumed only on the same bytes."""
        return hashlib.sha256(self.training.tobytes() + self.held_out.tobytes()).hexdigest()


def python_source(
    root: Path | None = None, training_bytes: int = TRAINING_BYTES, held_out_bytes: int = HELD_OUT_BYTES
) -> Corpus:
    """Read the corpus: one file in sixteen is a candidate to be held out, in the order of the hashes of their names."""
    root = root or Path(sysconfig.get_path("stdlib"))
    names = sorted(source_files(root), key=name_hash)
    held_out_names = [name for name in names if is_held_out(name)]
    training_names = [name for name in names if not is_held_out(name)]
    training, training_files = take(root, training_names, training_bytes)
    held_out, held_out_files = take(root, held_out_names, held_out_bytes)
    return Corpus(training, held_out, training_files, held_out_files)


def source_files(root: Path) -> Iterator[str]:
    """Names relative to the root, with forward slashes, of the files that count."""
    for path in root.rglob("*.py"):
        name = path.relative_to(root)
        if EXCLUDED_FOLDERS.isdisjoint(name.parts) and not name.name.startswith(EXCLUDED_PREFIX):
            yield name.as_posix()


def name_hash(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


def is_held_out(name: str) -> bool:
    return name_hash(name).startswith("0")


def take(root: Path, names: list[str], limit: int) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    """Concatenate files, each followed by the end mark, until the limit; the last one is cut there."""
    pieces, used, size = [], [], 0
    for name in names:
        if size >= limit:
            break
        pieces.append((root / name).read_bytes() + END_OF_FILE)
        used.append(name)
        size += len(pieces[-1])
    if size < MINIMUM_BYTES:
        raise CorpusError(
            f"{root} holds {size} bytes of Python source on one side of the split, expected at least {MINIMUM_BYTES}.\n"
            "    Some Pythons keep their standard library in a zip file: use one that has it as plain .py files."
        )
    return np.frombuffer(b"".join(pieces)[:limit], np.uint8), tuple(used)


MINIMUM_BYTES = 4096
