"""What has been found so far: written to disk with everything that comes in, and told in a line when it matters."""

import json
import threading
import time
from pathlib import Path
from typing import Any

from scripts.gpu_checks import report

SHORT = 200  # characters of one line


class Record:
    """The figures of one run, in gpu_check.json and gpu_check.md of a folder.

    Attributes:
        found: part -> what it found.
    """

    def __init__(self, folder: Path, begun: float, **found: Any) -> None:
        self.folder, self.begun, self.found, self.lock = folder, begun, found, threading.RLock()
        folder.mkdir(parents=True, exist_ok=True)

    def write(self, **more: Any) -> None:
        """Add parts, and put everything on disk: who stops the run has that much."""
        with self.lock:
            self.found.update(more)
            self.found["seconds"] = round(time.monotonic() - self.begun, 1)
            self._replace("gpu_check.json", json.dumps(self.found, indent=1) + "\n")
            self._replace("gpu_check.md", report.markdown(self.found))

    def put(self, entry: dict[str, Any], name: str, value: Any) -> None:
        """One thing that a part has said."""
        with self.lock:
            entry[name] = value
            self.write()

    def _replace(self, name: str, text: str) -> None:
        """Never half a file: the run may be ended at any moment."""
        draft = self.folder / f"{name}.draft"
        draft.write_text(text)
        draft.replace(self.folder / name)

    def say(self, text: str) -> None:
        """One line on the way."""
        line = " ".join(text.split())[:SHORT]
        print(f"{time.monotonic() - self.begun:4.0f} s  {line}", flush=True)
