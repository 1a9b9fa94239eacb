"""Calls of kernels that are written down once for a shape, and made again with what a user hands in each time.

    phase    tasks that run side by side; the next phase begins when all have ended
    task     calls in a row, for one thread

Most of what a small call costs is Python that finds out which arrays a kernel takes: it depends on the shape alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lstm_numba.cpu import pool
from lstm_numba.cpu.calls import Call

Phase = list[list[Call]]


@dataclass(frozen=True)
class Blank:
    """Stands in a call for an array that is another one every time."""

    name: str


class Script:
    """Phases of tasks for so many threads.

    Attributes:
        subject: what the arrays belong to that the calls name; whoever has others needs another script.
    """

    def __init__(self, phases: Sequence[Phase], threads: int, subject: tuple[Any, ...] = ()) -> None:
        copied = [[[(kernel, [*given]) for kernel, given in task] for task in phase] for phase in phases]
        # One thread makes every call after the other.
        self._phases = copied if threads > 1 else [[[call for phase in copied for task in phase for call in task]]]
        self._threads, self.subject = threads, subject
        written = [given for phase in self._phases for task in phase for _, given in task]
        places = [(value, given, k) for given in written for k, value in enumerate(given) if type(value) is Blank]
        self._blanks = [(blank.name, given, k) for blank, given, k in places]

    def run(self, arrays: Mapping[str, Any]) -> None:
        """Make all calls, with these arrays in the blanks, of which nothing is kept."""
        for name, given, k in self._blanks:
            given[k] = arrays[name]
        try:
            for phase in self._phases:
                pool.run(phase, self._threads)
        finally:
            for _, given, k in self._blanks:
                given[k] = None
