"""Compiled kernels on disk, under a folder named after everything that they depend on.

Numba's own cache looks at one source file and misses changes in helpers, flags and constants; here the folder's name is
the hash of all of this package's source, the versions of the tools and the instruction set.  A damaged entry is deleted
and compiled again; where no folder is writable, kernels are compiled in memory.  Folders of other versions are removed
when they have long not been used (`cleaning.py`).
"""

import hashlib
import itertools
import os
import pickle
import secrets
import stat
import sys
import tempfile
import warnings
from contextlib import suppress
from functools import cache
from pathlib import Path

import llvmlite
import numba
import numpy as np
from numba.core.bytecode import FunctionIdentity
from numba.core.caching import FunctionCache, _CacheLocator
from numba.core.serialize import dumps

from lstm_numba.cpu import cleaning, target

PACKAGE = Path(__file__).resolve().parents[1]
DIGEST_BYTES = hashlib.sha256().digest_size


def _source(files) -> bytes:
    return b"".join(path.relative_to(PACKAGE).as_posix().encode() + path.read_bytes() for path in files)


@cache
def fingerprint() -> str:
    """Hash of the source that every kernel is built from, of the tools and of the instruction set."""
    versions = (sys.version, numba.__version__, llvmlite.__version__, np.__version__, target.NAME)
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
    with suppress(OSError):  # there may be none at all
        yield Path(tempfile.gettempdir()) / f"lstm_numba-{os.getuid() if hasattr(os, 'getuid') else 'user'}"


def _is_private(folder: Path) -> bool:
    """A cache holds pickles: it must be ours, and nobody else may write to it or put another in its place."""
    if not hasattr(os, "getuid"):
        return True
    own, above, others = folder.stat(), folder.parent.stat(), stat.S_IWGRP | stat.S_IWOTH
    is_fixed = above.st_uid in (0, os.getuid()) and (not above.st_mode & others or above.st_mode & stat.S_ISVTX)
    return own.st_uid == os.getuid() and not own.st_mode & others and bool(is_fixed)


@cache
def folder() -> Path | None:
    """The folder for this fingerprint, or None if none can be written."""
    tried = list(_candidates())
    for candidate in tried:
        chosen = candidate / fingerprint()
        try:
            candidate.mkdir(mode=0o700, parents=True, exist_ok=True)
            chosen.mkdir(mode=0o700, exist_ok=True)
            with tempfile.TemporaryFile(dir=chosen):
                pass
            if _is_private(chosen):
                cleaning.use(chosen)
                return chosen
        except OSError:
            continue
    warnings.warn(
        f"no folder for compiled kernels is both writable and private to this user ({', '.join(map(str, tried))}): "
        "every process compiles them anew; name a better folder in LSTM_NUMBA_CACHE_DIR.",
        RuntimeWarning,
        stacklevel=2,
    )
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


def write_whole(path: Path, content: bytes) -> None:
    """Write a file with its digest, whole or not at all."""
    unfinished = path.with_suffix(f".{secrets.token_hex(8)}")
    try:
        unfinished.write_bytes(hashlib.sha256(content).digest() + content)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def read_whole(path: Path) -> bytes:
    """What was written.

    Raises:
        FileNotFoundError: nothing was; ValueError: the file is not as it was written.
    """
    content = path.read_bytes()
    digest, data = content[:DIGEST_BYTES], content[DIGEST_BYTES:]
    if hashlib.sha256(data).digest() != digest:
        raise ValueError(f"{path} is damaged")
    return data


class Entries:
    """In place of Numba's index and data files: a file for each key, so that no two processes write to the same one."""

    def __init__(self, cache_path: str, name: str) -> None:
        self._base = Path(cache_path) / name

    def _path(self, key) -> Path:
        return self._base.with_name(f"{self._base.name}.{hashlib.sha256(repr(key).encode()).hexdigest()[:24]}.nbc")

    def load(self, key):
        """What was saved under the key, or None.  A file that is not as it was written raises ValueError."""
        try:
            data = read_whole(self._path(key))
        except FileNotFoundError:
            return None
        return pickle.loads(data)  # noqa: S301  (the folder is ours alone, see _is_private)

    def save(self, key, data) -> None:
        write_whole(self._path(key), dumps(data))

    def flush(self) -> None:
        for path in self._base.parent.glob(f"{self._base.name}.*"):
            with suppress(OSError):  # what cannot be removed is written over, or left alone
                path.unlink(missing_ok=True)


def name_apart() -> None:
    """Let the names of compiled functions differ from those of every other process.

    Numba numbers functions from 1 in each process, and of two functions of one name the linker takes the first: kernels
    that were cached by different processes would call each other's helpers.
    """
    FunctionIdentity._unique_ids = itertools.count(secrets.randbits(48))


name_apart()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=name_apart)


class KernelCache(FunctionCache):
    """One function's entries, keyed by the text that it comes from; every failure of the disk means compiling."""

    _impl_class = _Impl

    def __init__(self, function, text: str) -> None:
        self._text_hash = hashlib.sha256(text.encode()).hexdigest()
        super().__init__(function)
        self._cache_file = Entries(self.cache_path, self._impl.filename_base)

    def _index_key(self, signature, codegen):
        # Numba would hash the byte code and the closure, which holds objects that are new in every process
        return signature, codegen.magic_tuple(), self._text_hash

    def load_overload(self, signature, target_context):
        try:
            return super().load_overload(signature, target_context)
        except Exception:  # noqa: BLE001  (a damaged pickle can raise anything)
            self.flush()
            return None

    def save_overload(self, signature, data):
        try:
            super().save_overload(signature, data)
        except OSError:  # a full disk; the kernel is in memory
            self.flush()


def keep(dispatcher, text: str):
    """Let a compiled function be kept on disk; `text` is what it depends on besides the fingerprint."""
    dispatcher.text = text
    if folder() is not None:
        dispatcher._cache = KernelCache(dispatcher.py_func, text)
    return dispatcher
