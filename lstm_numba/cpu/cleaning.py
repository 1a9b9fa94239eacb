"""Folders of compiled kernels that no version in use reads any more are removed.

    base/
        0098545e4aff0659/       named after a fingerprint; its time says when a process last began with it
            .in_use             every process that lives holds a shared lock on it

A folder goes when nobody holds it and it is either old or one of too many.  What is not recognised as ours is left
alone, and so is everything where the disk refuses or the system has no such locks.
"""

import os
import re
import shutil
import time
from contextlib import suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

FOLDER = re.compile(r"[0-9a-f]{16}")
GONE = re.compile(r"\.gone-[0-9a-f]{16}")
LOCK = ".in_use"
# Compiled kernels of both kinds, modules of cells built by users, and what a write that was killed has left.
OURS = re.compile(
    r".*\.nbc|.*\.[0-9a-f]{16}|cuda_\w+\.cubin|\.?lstm_numba_built_\w+\.py(\..*\.tmp)?|__pycache__|\.in_use"
)
DAY = 24 * 60 * 60
OLD, RECENT, MANY = 30 * DAY, DAY, 16


def use(folder: Path) -> None:
    """Mark a folder as used from now until this process ends, and remove its neighbours that nobody needs."""
    with suppress(OSError):
        os.utime(folder)
        if fcntl is not None:
            _hold(folder)
            _clean(folder)


def _hold(folder: Path) -> None:
    """The lock ends with the last process that has the file open: this one or a fork of it."""
    descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)


def _clean(used: Path) -> None:
    for entry in used.parent.iterdir():
        if GONE.fullmatch(entry.name):
            shutil.rmtree(entry, ignore_errors=True)
    others = [entry for entry in used.parent.iterdir() if FOLDER.fullmatch(entry.name) and entry != used]
    idle = {entry: time.time() - entry.lstat().st_mtime for entry in others}
    for place, entry in enumerate(sorted(others, key=idle.__getitem__), start=1):
        is_unused = idle[entry] > OLD or (place >= MANY and idle[entry] > RECENT)
        if is_unused and _is_ours(entry):
            _remove(entry)


def _is_ours(entry: Path) -> bool:
    return not entry.is_symlink() and entry.is_dir() and all(OURS.fullmatch(name) for name in os.listdir(entry))


def _remove(folder: Path) -> None:
    """Take its name away at once, so that nobody begins to use it, and then what is in it."""
    with suppress(OSError):
        descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            gone = folder.rename(folder.with_name(f".gone-{folder.name}"))
            shutil.rmtree(gone, ignore_errors=True)
        finally:
            os.close(descriptor)
