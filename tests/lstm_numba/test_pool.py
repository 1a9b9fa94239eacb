"""Threads that share the work of a layer.

Truth: what the system says of them.
"""

import os
import threading
from functools import partial

import pytest

from lstm_numba.cpu import pool


def ran(count):
    """The thread that ran each of so many tasks, and the processors that it may use."""
    found = [None] * count
    allowed = getattr(os, "sched_getaffinity", lambda _: None)

    def task(k, together):
        together.wait(timeout=30)
        found[k] = threading.get_ident(), allowed(0)

    pool.run([partial(task, k, together) for together in [threading.Barrier(count)] for k in range(count)], count)
    return found


def test_tasks_run_side_by_side_and_the_last_one_here():
    threads = [thread for thread, _ in ran(3)]
    assert len(set(threads)) == 3
    assert threads[-1] == threading.get_ident()


@pytest.mark.skipif(pool.here is None, reason="the system does not say where a thread runs")
def test_workers_keep_off_the_processor_that_gives_them_work():
    before = os.sched_getaffinity(0)
    if len(before) < 2:
        pytest.skip("there is one processor")
    ran(2)
    os.sched_setaffinity(0, {min(before)})  # this thread stays where it is; the workers may use what it may
    try:
        assert ran(2)[0][1] == {min(before)}
        os.sched_setaffinity(0, before)
        *workers, (_, own) = ran(2)
    finally:
        os.sched_setaffinity(0, before)
    assert own == before
    assert all(len(allowed) == len(before) - 1 for _, allowed in workers)


@pytest.mark.parametrize("failing", [0, 1])
def test_an_error_of_any_task_is_raised_when_all_have_ended(failing):
    ended = []

    def task(k):
        if k == failing:
            raise ValueError(k)
        ended.append(k)

    with pytest.raises(ValueError, match=str(failing)):
        pool.run([partial(task, k) for k in range(2)], 2)
    assert ended == [1 - failing]
