"""Files that are either whole or not there: written beside, on the disk before they take the name."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO


@contextmanager
def replaced_when_whole(path: Path, refused: type[OSError]) -> Iterator[BinaryIO]:
    """Give a file beside ``path``; on success it is on the disk before it takes the name, on failure it is gone.

    Raises: ``refused`` if the disk refuses (full, read-only); what stood at the path before is as it was.
    """
    if not path.name or "\0" in path.name:
        raise refused(f"{str(path)!r} is no name of a file.")
    if is_no_file(path):  # a rename would put a file in the place of a device
        raise refused(f"{path} is a folder, a pipe or a device: choose another name.")
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with open(beside, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
        _sync_folder(path.parent)
    except OSError as error:
        raise refused(
            f"{path} could not be written ({error}).\n"
            "    What stood there before is untouched; free some space or choose another folder."
        ) from error
    finally:
        with suppress(OSError):
            beside.unlink(missing_ok=True)


def is_no_file(path: Path) -> bool:
    """Whether a folder, a pipe or a device stands at the path: it is not read (a pipe is waited for), nor replaced."""
    try:
        return path.exists() and not path.is_file()
    except OSError:  # too long a name, which is said when it is opened
        return False


def _sync_folder(folder: Path) -> None:
    """Make the new name itself survive a power cut, where the system can."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
