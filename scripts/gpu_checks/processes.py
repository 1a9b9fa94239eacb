"""Parts of the work in processes of their own: one that crashes, hangs or loses the device loses nothing else."""

import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

QUIET = 90.0  # seconds without a line after which a process is taken to hang


@dataclass
class Told:
    """What a process has printed, a JSON value a line, and why it ended early, if it did."""

    values: list[Any] = field(default_factory=list)
    failed: str = ""


def told(part: str, seconds: float, before: tuple[str, ...] = (), heard: Callable[[Any], None] | None = None) -> Told:
    """Run one part for so many seconds at most; what it says is `heard` at once."""
    found, ends = Told(), time.monotonic() + seconds
    if seconds < 5:
        return Told(failed="no time was left for it")
    command = [*before, sys.executable, "-m", "scripts.gpu_checks", "--part", part]
    with tempfile.TemporaryFile("w+") as errors:
        # in a session of its own, so that nothing of it outlives its time
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, start_new_session=True)
        lines: queue.Queue[str | None] = queue.Queue()
        reader = threading.Thread(target=_read, args=(process.stdout, lines), daemon=True)
        reader.start()
        try:
            while (line := lines.get(timeout=max(0.1, min(QUIET, ends - time.monotonic())))) is not None:
                if (value := _said(line)) is not None:
                    found.values.append(value)
                    if heard is not None:
                        heard(value)
            if process.wait():
                errors.seek(0)
                found.failed = errors.read().strip()[-2000:] or f"exit {process.returncode}"
        except queue.Empty:
            found.failed = "took too long"
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            reader.join()
    return found


def _said(line: str) -> Any:
    """A line's value; None of what a tool that watches, or a library, prints besides."""
    with suppress(json.JSONDecodeError):
        return json.loads(line) if line.startswith(("{", "[")) else None
    return None


class Shares:
    """Time for parts of which some run at once: what is left is shared by those that have not begun."""

    def __init__(self, parts: int, at_once: int, ends: float) -> None:
        self.waiting, self.at_once, self.ends, self.lock = parts, at_once, ends, threading.Lock()

    def next_end(self) -> float:
        """When the part that begins now has to end."""
        with self.lock:
            turns, now = -(-self.waiting // self.at_once), time.monotonic()
            self.waiting -= 1
            return now + max(0.0, self.ends - now) / turns


def _read(output: Any, lines: Any) -> None:
    with output:
        for line in output:
            lines.put(line.strip())
    lines.put(None)


def last(part: str, seconds: float, before: tuple[str, ...] = ()) -> dict[str, Any]:
    """What a part found, its last word, or how it failed."""
    found = told(part, seconds, before)
    if found.failed or not found.values:
        return {"part": part, "failed": found.failed or "it said nothing"}
    return {"part": part, "found": found.values[-1]}


def each(part: str, names: list[str], ends: float, heard: Callable[[str, Any], None]) -> None:
    """A part that says one thing for each name: where it breaks off, another process goes on behind that."""
    done = 0

    def hear(name: str, value: Any) -> None:
        nonlocal done
        done += 1
        heard(name, value)

    while done < len(names):
        answer = told(f"{part}:{done}", ends - time.monotonic(), heard=lambda pair: hear(*pair))
        if done < len(names) and (answer.failed or not answer.values):
            hear(names[done], {"failed": answer.failed or "it said nothing"})
