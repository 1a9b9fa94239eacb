"""Threads for kernels that release the lock: chunks of work, in this thread and in a pool made when first needed."""

import ctypes
import os
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import lru_cache

# The processor that a thread runs on, where the system says it.
here = getattr(ctypes.CDLL(None), "sched_getcpu", None) if sys.platform == "linux" else None


class Workers:
    """Threads that keep off the processor of whoever gives them work.

    Linux may wake a sleeping thread on the processor of the thread that wakes it, where it then waits although another
    processor is idle: on virtual machines it does so more often than not.
    """

    def __init__(self, threads: int) -> None:
        self._threads: list[int] = []
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="lstm_numba", initializer=self._begin)
        self._placed: object = None

    def _begin(self) -> None:
        self._threads.append(threading.get_native_id())

    def submit(self, tasks: Sequence[Callable[[], None]]) -> list[Future[None]]:
        if here is not None:
            self._keep_off(here())
        return [self._pool.submit(task) for task in tasks]

    def _keep_off(self, processor: int) -> None:
        allowed, threads = os.sched_getaffinity(0), tuple(self._threads)
        if self._placed == (processor, allowed, threads):
            return
        self._placed = processor, allowed, threads
        for thread in threads:
            with suppress(OSError):  # a wish: without it the results are the same
                os.sched_setaffinity(thread, (allowed - {processor}) or allowed)


# A forked child has the parent's pool but none of its threads: the process number is part of the key.
@lru_cache(maxsize=8)
def _workers(process: int, threads: int) -> Workers:
    return Workers(threads)


def run(tasks: Sequence[Callable[[], None]], threads: int) -> None:
    """Run the tasks, the last one in this thread; an error of any of them is raised when all have ended."""
    if threads == 1 or len(tasks) < 2:
        for task in tasks:
            task()
        return
    *others, last = tasks
    waiting = _workers(os.getpid(), threads - 1).submit(others)
    try:
        last()
    finally:
        errors = [future.exception() for future in waiting]
    for error in filter(None, errors):
        raise error


def parts(count: int, pieces: int) -> list[tuple[int, int]]:
    """Contiguous (first, length) pieces of 0 .. count - 1, the longer ones first, none empty unless count is 0."""
    pieces = max(1, min(pieces, count))
    size, longer = divmod(count, pieces)
    lengths = [size + (k < longer) for k in range(pieces)]
    return [(sum(lengths[:k]), length) for k, length in enumerate(lengths)]
