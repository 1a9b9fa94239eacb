"""Compiled kernels on disk, under a folder named after everything that they depend on.

Numba's own cache looks at one source file and misses changes in helpers, flags and constants; here the folder's name is the hash of all
of this package's source, the versions of the tools and the instruction set.  A damaged entry is deleted and compiled again; where no
folder is writable, kernels are compiled in memory.
"""

import hashlib
import os
import stat
import sys
import tempfile
from functools import cache
from pathlib import Path

import llvmlite
import numba
import numpy
from numba.core.caching import FunctionCache, _CacheLocator

from lstm_numba.cpu import target

PACKAGE = Path(__file__).resolve().parents[1]


def _source(files) -> bytes:
    return b"".join(path.relative_to(PACKAGE).as_posix().encode() + path.read_bytes() for path in files)


@cache
def fingerprint() -> str:
    """Hash of the source that every kernel is built from, of the tools and of the instruction set."""
    versions = (sys.version, numba.__version__, llvmlite.__version__, numpy.__version__, target.NAME)
    files = [*sorted(PACKAGE.glob("cpu/*.py")), PACKAGE / "words.py", PACKAGE / "functions.py"]
    return hashlib.sha256(_source(files) + repr(versions).encode()).hexdigest()[:16]


def _candidates():
    """Folders to try, best first: what the user names, the user's cache, a private temporary folder."""
    named = os.environ.get("LSTM_NUMBA_CACHE_DIR")
    if named:
        yield Path(named)
        return
    home = os.environ.get("XDG_CACHE_HOME") or (os.environ.get("HOME") and Path(os.environ["HOME"]) / ".cache")
    if home:
        yield Path(home) / "lstm_numba"
    yield Path(tempfile.gettempdir()) / f"lstm_numba-{os.getuid() if hasattr(os, 'getuid') else 'user'}"


def _is_private(folder: Path) -> bool:
    """A cache holds pickles: it must be ours, and nobody else may write to it."""
    status = folder.stat()
    return not hasattr(os, "getuid") or (status.st_uid == os.getuid() and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH))


@cache
def folder() -> Path | None:
    """The folder for this fingerprint, or None if none can be written."""
    for candidate in _candidates():
        chosen = candidate / fingerprint()
        try:
            chosen.mkdir(mode=0o700, parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=chosen):
                pass
            if _is_private(chosen):
                return chosen
        except OSError:
            continue
    return None


class _Locator(_CacheLocator):
    """Numba's question where to keep a function, answered with our folder."""

    def get_cache_path(self) -> str:
        return str(folder())

    def get_source_stamp(self) -> str:
        return fingerprint()

    def get_disambiguator(self) -> str:
        return ""

    @classmethod
    def from_function(cls, *_):
        return cls()


class _Impl(FunctionCache._impl_class):
    _locator_classes = (_Locator,)


class KernelCache(FunctionCache):
    """One function's entries, keyed by the text that it comes from; every failure of the disk means compiling, never an error."""

    _impl_class = _Impl

    def __init__(self, function, text: str) -> None:
        self._text_hash = hashlib.sha256(text.encode()).hexdigest()
        super().__init__(function)

    def _index_key(self, signature, codegen):
        # Numba would hash the byte code and the closure, which holds objects that are new in every process
        return signature, codegen.magic_tuple(), self._text_hash

    def load_overload(self, signature, target_context):
        try:
            return super().load_overload(signature, target_context)
        except Exception:  # noqa: BLE001  (a damaged pickle can raise anything)
            self._forget()
            return None

    def save_overload(self, signature, data):
        try:
            super().save_overload(signature, data)
        except OSError:  # a full disk; the kernel is in memory
            self._forget()

    def _forget(self) -> None:
        for path in Path(self.cache_path).glob(f"{self._impl.filename_base}*"):
            path.unlink(missing_ok=True)


def keep(dispatcher, text: str):
    """Let a compiled function be kept on disk; `text` is what it depends on besides the fingerprint."""
    if folder() is not None:
        dispatcher._cache = KernelCache(dispatcher.py_func, text)
    return dispatcher
