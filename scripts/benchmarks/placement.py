"""Whether the processors stand where they usually do: a virtual machine's host moves them.

Two of them may come to share one core, or to lie far apart, from one second to the next and for up to a minute, and
nothing that the system tells shows it.  Every library on several threads then takes up to twice its time.

    away      seconds that a flag takes to another processor and back: far more where they lie apart
    together  seconds of the same multiply-adds on every processor at once: twice as many where two share a core

`python -m scripts.benchmarks.placement` prints both until it is stopped.
"""

import math
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import count
from typing import Any

import numba

from lstm_numba.cpu import mailbox
from lstm_numba.cpu.mailbox import IDLE, POSTED, pause, set_state, state_of
from scripts.benchmarks import peak

FLAGS, ROUNDS, TRIES = 1000, 100_000, 3  # of a probe, which takes about 10 ms
PATIENCE = 100_000  # pauses until a flag counts as lost
FIRST = 20  # probes that find what is usual
LONGEST = {"away": 3.0, "together": 1.5}  # of the least found; what is moved takes 6 times as long, or twice


@numba.njit(nogil=True)
def flags(box: Any, number: int) -> None:
    for _ in range(number):
        set_state(box, POSTED)
        left = PATIENCE
        while state_of(box) != IDLE and left > 0:
            pause()
            left -= 1
        if left == 0:  # nobody serves any more: the others would be lost too
            return


class Placement:
    """Probes of the processors, one thread bound to each, and the best that any of them found."""

    def __init__(self, threads: int) -> None:
        processors, numbers = sorted(os.sched_getaffinity(0))[:threads], count()

        def bind() -> None:
            os.sched_setaffinity(threading.get_native_id(), {processors[next(numbers)]})

        self._pool = ThreadPoolExecutor(threads, initializer=bind)
        self._spin, self._threads, self._box = peak.spinner("float32"), threads, mailbox.new()
        self._least = dict.fromkeys(LONGEST, math.inf)
        for _ in range(FIRST):
            self.is_usual()

    def found(self) -> dict[str, float]:
        """Seconds of each probe, now."""
        return {"away": _shortest(self._away), "together": _shortest(self._together)}

    def is_usual(self) -> bool:
        """Whether no probe takes far more than it did at its best."""
        found = self.found()
        self._least = {name: min(self._least[name], seconds) for name, seconds in found.items()}
        return all(found[name] <= LONGEST[name] * self._least[name] for name in found)

    def _away(self) -> float:
        self._box[mailbox.STATE] = IDLE
        serving = self._pool.submit(mailbox.serve, self._box, PATIENCE)
        seconds = self._pool.submit(_timed, flags, self._box, FLAGS).result()
        serving.result()
        return seconds

    def _together(self) -> float:
        return max(self._pool.map(_timed, [self._spin] * self._threads, [ROUNDS] * self._threads))


@cache
def probe(threads: int) -> Callable[[], bool]:
    """Whether the processors stand as usual; always, where the system binds no thread to one."""
    return Placement(threads).is_usual if hasattr(os, "sched_setaffinity") else lambda: True


def _shortest(timed: Callable[[], float]) -> float:
    return min(timed() for _ in range(TRIES))


def _timed(call: Callable[..., object], *arguments: object) -> float:
    started = time.perf_counter()
    call(*arguments)
    return time.perf_counter() - started


def main() -> None:
    """Print both probes, one line each half second."""
    placement = Placement(min(2, os.cpu_count() or 1))
    while True:
        found = placement.found()
        print("  ".join(f"{name} {seconds * 1e6:8.1f} us" for name, seconds in found.items()), flush=True)
        time.sleep(0.5)


if __name__ == "__main__":
    main()
