"""Threads for kernels that release the lock: this one, and a team made when first needed.

A member of the team waits for its next task in compiled code for a while before it sleeps: between two kernels of a
training step it is there at once, and it needs no lock that whoever gives it work may hold.
"""

import ctypes
import os
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import numpy as np

from lstm_numba.cpu import mailbox
from lstm_numba.cpu.calls import Call, is_compiled, room, write

Task = Sequence[Call]

# The processor that a thread runs on, where the system says it.
here = getattr(ctypes.CDLL(None), "sched_getcpu", None) if sys.platform == "linux" else None

# Pauses before a thread that waits sleeps, about a millisecond; and seconds that one sleeps who waits for the others.
PATIENCE, NAP = 25_000, 1e-4
NAPS = 100  # after which somebody is woken once more, should an interruption have come between post and wake


class Member:
    """One thread's mailbox, and the calls in it."""

    def __init__(self) -> None:
        self.box, self._words = mailbox.new(), np.empty(0, np.int64)
        self._task: Task = ()  # whose arrays live until it has ended

    def post(self, task: Task) -> bool:
        """Hand over a task; true where the thread has to be woken."""
        if len(self._words) < room(task):
            self._words = np.empty(2 * room(task), np.int64)
        place = 0
        for call in task:
            place = write(self._words, place, call)
        self._task = task
        self.box[mailbox.CALLS], self.box[mailbox.WHERE] = len(task), self._words.ctypes.data
        return bool(mailbox.post(self.box) == mailbox.ASLEEP)

    def is_left(self) -> bool:
        """Whether nobody has taken the task yet."""
        return bool(self.box[mailbox.STATE] == mailbox.POSTED)

    def has_ended(self, patience: int) -> bool:
        return bool(mailbox.has_ended(self.box, patience))

    def let_go(self) -> MemoryError | None:
        """Of a task that has ended; the error of a kernel that found no room for what it needs itself."""
        self._task, failed, self.box[mailbox.FAILED] = (), self.box[mailbox.FAILED], 0
        return MemoryError("no room for what a kernel needs itself") if failed else None


class Team:
    """Threads that keep off the processor of whoever gives them work.

    Linux may wake a sleeping thread on the processor of the thread that wakes it, where it then waits although another
    processor is idle: on virtual machines it does so more often than not.
    """

    def __init__(self, size: int) -> None:
        self._members = [Member() for _ in range(size)]
        self._threads: list[int] = []
        self._pool = ThreadPoolExecutor(size, thread_name_prefix="lstm_numba", initializer=self._begin)
        self._placed: object = None
        self._patience = PATIENCE if (os.cpu_count() or 1) > size else 0

    def _begin(self) -> None:
        self._threads.append(threading.get_native_id())

    def run(self, tasks: Sequence[Task], own: Task) -> None:
        if here is not None:
            self._keep_off(here())
        given = self._members[: len(tasks)]
        try:
            for member, task in zip(given, tasks, strict=True):
                if member.post(task):
                    self._wake(member)
            make(own)
        finally:
            errors = [error for member in given for error in (self._wait(member), member.let_go())]
        for error in filter(None, errors):
            raise error

    def _wait(self, member: Member) -> BaseException | None:
        """Until a task has ended, whatever comes meanwhile: it works in the arrays of whoever waits."""
        came, naps = None, 0
        while True:
            try:
                if member.has_ended(self._patience):
                    return came
                time.sleep(NAP)
                naps += 1
                if naps % NAPS == 0 and member.is_left():
                    self._wake(member)
            except BaseException as error:  # noqa: BLE001  (an interruption: raised when nobody works any more)
                came = error

    def _wake(self, member: Member) -> None:
        try:
            self._pool.submit(mailbox.serve, member.box, self._patience)
        except RuntimeError:  # no thread can be had, now or because the interpreter ends: then here
            self._pool.shutdown(wait=False, cancel_futures=True)
            mailbox.serve(member.box, 0)

    def _keep_off(self, processor: int) -> None:
        allowed, threads = os.sched_getaffinity(0), tuple(self._threads)
        if self._placed == (processor, allowed, threads):
            return
        self._placed = processor, allowed, threads
        # more threads than processors: whoever waits awake keeps another from its work
        self._patience = PATIENCE if len(allowed) > len(self._members) else 0
        for thread in threads:
            with suppress(OSError):  # a wish: without it the results are the same
                os.sched_setaffinity(thread, (allowed - {processor}) or allowed)


# Teams that have no work.  A forked child has the parent's, but none of their threads: the process is part of the key.
FREE: dict[tuple[int, int], list[Team]] = {}


def run(tasks: Sequence[Task], threads: int) -> None:
    """Run the tasks side by side, the last one in this thread; an error is raised when all have ended.

    Threads of Python that run tasks at the same time have a team each.
    """
    if threads == 1 or len(tasks) < 2 or not all(is_compiled(call) for call in tasks[-1]):
        for task in tasks:
            make(task)
        return
    free = FREE.setdefault((os.getpid(), threads), [])
    try:
        team = free.pop()
    except IndexError:
        team = Team(threads - 1)
    try:
        team.run(tasks[:-1], tasks[-1])
    finally:
        free.append(team)


def make(task: Task) -> None:
    for kernel, arguments in task:
        kernel(*arguments)


def parts(count: int, pieces: int) -> list[tuple[int, int]]:
    """Contiguous (first, length) pieces of 0 .. count - 1, the longer ones first, none empty unless count is 0."""
    pieces = max(1, min(pieces, count))
    size, longer = divmod(count, pieces)
    lengths = [size + (k < longer) for k in range(pieces)]
    return [(sum(lengths[:k]), length) for k, length in enumerate(lengths)]
