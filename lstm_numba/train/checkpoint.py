"""Checkpoints: arrays and facts in one file that is either whole or not there.

The file is an uncompressed zip of .npy members, so `numpy.load` reads it too, and one member of JSON. It carries no
clock: the same content gives the same bytes. The zip's checksums find damage. Writing goes to a file beside, which
replaces the old one only when all of it is on the disk.
"""

import json
import zipfile
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lstm_numba.checks import as_array
from lstm_numba.errors import ArgumentError, CheckpointError, CheckpointWriteError
from lstm_numba.train.arguments import named
from lstm_numba.whole_file import is_no_file, replaced_when_whole

FORMAT = "lstm_numba checkpoint 1"
FACTS = "facts.json"
NO_CLOCK = (1980, 1, 1, 0, 0, 0)


def save(path: Path | str, arrays: Mapping[str, NDArray], facts: Mapping[str, Any] | None = None) -> None:
    """Write arrays by name, and facts that JSON can hold; atomically.

    Raises: CheckpointWriteError if the disk refuses (full, read-only), ArgumentError if the arrays or the facts are
        something else; an earlier file at this path stays as it was.
    """
    document = _document(arrays, facts)
    with replaced_when_whole(Path(path), CheckpointWriteError) as file, zipfile.ZipFile(file, "w") as archive:
        archive.writestr(zipfile.ZipInfo(FACTS, NO_CLOCK), document)
        for name, array in arrays.items():
            archive.writestr(zipfile.ZipInfo(f"{name}.npy", NO_CLOCK), _npy(name, array))


def load(path: Path | str) -> tuple[dict[str, NDArray], dict[str, Any]]:
    """Read the arrays and the facts; everything is read and checked before anything is returned.

    Raises: CheckpointError, one message, if the file is missing, damaged or something else.
    """
    try:
        _require_file(Path(path))
        with zipfile.ZipFile(path) as archive:
            document = json.loads(archive.read(FACTS))
            _check_format(document["format"])
            return {name: _read_array(archive, name) for name in document["arrays"]}, document["facts"]
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None
    except FileNotFoundError:
        raise CheckpointError(f"{path}: there is no such file. A checkpoint is written when training starts.") from None
    except Exception as error:  # a damaged zip raises BadZipFile, KeyError, ValueError, EOFError, NotImplementedError
        raise CheckpointError(
            f"{path} is not a checkpoint, or is damaged ({type(error).__name__}: {error}).\n"
            "    The file was left as it is; start again from an older one."
        ) from error


def restore(into: Mapping[str, NDArray], arrays: Mapping[str, NDArray]) -> None:
    """Copy ``arrays`` into the arrays of the same names; all of them fit, or CheckpointError and none is changed."""
    wrong = [name for name in {**into, **arrays} if not _alike(into.get(name), arrays.get(name))]
    if wrong:
        lines = [f"{name}: here {_described(into.get(name))}, there {_described(arrays.get(name))}" for name in wrong]
        raise CheckpointError("\n    ".join(["The checkpoint belongs to another model:", *lines]))
    for name, array in into.items():
        array[...] = arrays[name]


# --- writing


def _document(arrays: Any, facts: Any) -> str:
    said = {"format": FORMAT, "arrays": list(named("arrays", arrays)), "facts": dict(named("facts", facts or {}))}
    try:
        return json.dumps(said, sort_keys=True)
    except (TypeError, ValueError) as error:
        raise ArgumentError(
            f"The facts of a checkpoint are what JSON can hold: numbers, strings, lists, dicts. {error}."
        ) from None


def _npy(name: str, given: Any) -> bytes:
    array, content = as_array(name, given), BytesIO()
    if array.dtype.hasobject:
        raise ArgumentError(f"{name} holds objects; the arrays of a checkpoint hold numbers.")
    np.lib.format.write_array(content, array, allow_pickle=False)
    return content.getvalue()


# --- reading


def _require_file(path: Path) -> None:
    if is_no_file(path):
        raise CheckpointError("a folder, a pipe or a device; a checkpoint is a file.")


def _read_array(archive: zipfile.ZipFile, name: str) -> NDArray:
    # The whole member is read first: only then has its checksum been compared.
    return np.lib.format.read_array(BytesIO(archive.read(f"{name}.npy")), allow_pickle=False)


def _check_format(found: str) -> None:
    if found != FORMAT:
        raise CheckpointError(f"the format is {found!r}, expected {FORMAT!r}; read it with the version that wrote it.")


def _alike(here: NDArray | None, there: NDArray | None) -> bool:
    return here is not None and there is not None and (here.shape, here.dtype) == (there.shape, there.dtype)


def _described(array: NDArray | None) -> str:
    return "nothing" if array is None else f"{array.dtype} {array.shape}"
