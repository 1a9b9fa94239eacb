"""Threads for kernels that release the lock: chunks of work, in this thread and in a pool made when first needed."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

# A forked child has the parent's executor but none of its threads: the process number is part of the key.


@lru_cache(maxsize=8)
def _pool(process: int, threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="lstm_numba")


def run(tasks: Sequence[Callable[[], None]], threads: int) -> None:
    """Run the tasks, the last one in this thread; an error of any of them is raised when all have ended."""
    if not tasks:
        return
    *others, last = tasks
    if threads == 1 or not others:
        for task in (*others, last):
            task()
        return
    waiting = [_pool(os.getpid(), threads - 1).submit(task) for task in others]
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
