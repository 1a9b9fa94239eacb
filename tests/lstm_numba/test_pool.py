"""Threads that share the work of a layer, and the calls that are written down for them.

Truth: the same calls made here, and what the system says of the threads.
"""

import _thread
import ctypes
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np
import pytest
from numba import njit

from lstm_numba.cpu import mailbox, pool
from lstm_numba.cpu.linked import compiled

os_thread = ctypes.CDLL(None).pthread_self
os_thread.restype, os_thread.argtypes = ctypes.c_size_t, []
needs_places = pytest.mark.skipif(pool.here is None, reason="the system does not say where a thread runs")


@cache
def kernel(function):
    """Compiled, and not kept."""
    made = njit(nogil=True)(function)
    made.text = ""
    return made


def who(found, k, together, count):
    """Leave the number of this thread, and wait until all have come."""
    found[k], together[k] = os_thread(), 1
    while together.sum() < count:
        os_thread()  # for the compiler a call that may have changed the sum


def add(numbers, table, factor, flag, total):
    """Every kind of argument that our kernels take."""
    for k in range(len(numbers)):
        total[k] += factor * numbers[k] * table[k % 2, k % 3] if flag else 1


def ran(count, threads=None):
    """The thread that ran each of so many tasks."""
    found, together = np.zeros(count, np.int64), np.zeros(count, np.int64)
    pool.run([[(kernel(who), (found, k, together, count))] for k in range(count)], threads or count)
    return found.tolist()


def problem(dtype, size=7):
    return np.arange(size).astype(dtype), np.arange(6).astype(dtype).reshape(2, 3), size, True, np.zeros(size, dtype)


def sums(dtype, calls, task_size):
    """What calls leave behind, in tasks of so many."""
    arguments = [problem(dtype, size) for size in range(1, calls + 1)]
    made = [(kernel(add), given) for given in arguments]
    tasks = [made[first : first + task_size] for first in range(0, calls, task_size)]
    pool.run(tasks, len(tasks))
    return [total for *_, total in arguments]


def test_tasks_run_side_by_side_and_the_last_one_here():
    threads = ran(3)
    assert len(set(threads)) == 3
    assert threads[-1] == os_thread()


@pytest.mark.parametrize("dtype", ["float32", "float64", "uint8"])
@pytest.mark.parametrize("task_size", [1, 5, 50])
def test_a_written_call_is_the_same_call(dtype, task_size):
    for found, expected in zip(sums(dtype, 50, task_size), sums(dtype, 50, 50), strict=True):
        assert np.array_equal(found, expected)


def test_a_kernel_of_plain_python_runs_here():
    found = []
    pool.run([[(found.append, (threading.get_ident(),))] for _ in range(3)], 3)
    assert found == [threading.get_ident()] * 3


@pytest.mark.parametrize("patience", [0, 1, 100, pool.PATIENCE])
def test_no_call_is_lost_whether_a_member_sleeps_or_waits(patience, monkeypatch):
    monkeypatch.setattr(pool, "FREE", {})
    team = pool.Team(1)
    team._patience, team._keep_off = patience, lambda processor: None
    total, one = np.zeros(2, np.int64), np.ones((2, 3), np.int64)
    task = [[(kernel(add), (one[0, :1], one, 1, True, total[k : k + 1]))] for k in range(2)]
    for k in range(2000):
        team.run(task[:1], task[1])
        assert total.tolist() == [k + 1, k + 1]
        if k % 100 == 0:
            time.sleep(0.002)


def test_threads_of_python_have_a_team_each():
    with ThreadPoolExecutor(4) as callers:
        found = list(callers.map(lambda _: [ran(2) for _ in range(20)], range(4)))
    for threads in (threads for of_caller in found for threads in of_caller):
        assert len(set(threads)) == 2


@needs_places
def test_members_keep_off_the_processor_that_gives_them_work(monkeypatch):
    before = os.sched_getaffinity(0)
    if len(before) < 2:
        pytest.skip("there is one processor")
    monkeypatch.setattr(pool, "FREE", {})
    ran(2)
    os.sched_setaffinity(0, {min(before)})  # this thread stays where it is; a member may use what it may
    try:
        ran(2)
        [team] = pool.FREE[os.getpid(), 2]
        assert os.sched_getaffinity(team._threads[0]) == {min(before)}
        assert team._patience == 0
        os.sched_setaffinity(0, before)
        ran(2)
        assert len(os.sched_getaffinity(team._threads[0])) == len(before) - 1
        assert team._patience == pool.PATIENCE
    finally:
        os.sched_setaffinity(0, before)


def too_much(size, out):
    out[0] = np.empty(size, np.float64)[0]


@pytest.mark.parametrize("failing", [0, 1])
def test_a_kernel_without_room_is_an_error_when_all_have_ended(failing):
    out, sizes = np.full(2, 7.0), [1, 1]
    sizes[failing] = 1 << 50
    with pytest.raises(MemoryError):
        pool.run([[(kernel(too_much), (sizes[k], out[k : k + 1]))] for k in range(2)], 2)
    assert out[failing] == 7
    assert out[1 - failing] != 7
    assert len(set(ran(2))) == 2


def take_long(rounds, out):
    for k in range(rounds):
        out[0] = np.sqrt(out[0] + k)
    out[1] = 1


def test_an_interruption_waits_until_nobody_works_any_more():
    long, short = np.zeros(2), np.zeros(2)
    tasks = [[(kernel(take_long), (200_000_000, long))], [(kernel(take_long), (1, short))]]
    pool.run([tasks[1], tasks[1]], 2)  # all is compiled
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever runs tests side by side ignores it
    try:
        threading.Timer(0.05, _thread.interrupt_main).start()
        with pytest.raises(KeyboardInterrupt):
            pool.run(tasks, 2)
    finally:
        signal.signal(signal.SIGINT, before)
    assert (long[1], short[1]) == (1, 1)
    assert len(set(ran(2))) == 2


def test_without_threads_the_work_is_done_here(monkeypatch):
    team = pool.Team(1)

    def refuse(*_):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(team._pool, "submit", refuse)
    for _ in range(3):
        total, one = np.zeros(1), np.ones((2, 3))
        team.run([[(kernel(add), (one[0, :1], one, 1.0, True, total))]], [])
        assert total == [1]


def test_a_task_that_nobody_was_woken_for_is_made_all_the_same(monkeypatch):
    team, woken = pool.Team(1), []
    wake = team._wake
    monkeypatch.setattr(team, "_wake", lambda member: woken.append(member) or (len(woken) > 1 and wake(member)))
    total, one = np.zeros(1), np.ones((2, 3))
    team.run([[(kernel(add), (one[0, :1], one, 1.0, True, total))]], [])
    assert (total.tolist(), len(woken)) == ([1], 2)


def test_two_that_serve_one_mailbox_make_a_call_once():
    member, total, one = pool.Member(), np.zeros(1), np.ones((2, 3))
    for k in range(1, 200):
        member.post([(kernel(add), (one[0, :1], one, 1.0, True, total))])
        both = [threading.Thread(target=mailbox.serve, args=(member.box, 1000)) for _ in range(2)]
        for thread in both:
            thread.start()
        for thread in both:
            thread.join()
        assert total == [k]


def test_a_mailbox_that_sleeps_is_left_at_once():
    box = mailbox.new()
    mailbox.serve(box, 1 << 60)
    assert box[mailbox.STATE] == mailbox.ASLEEP


def test_a_writer_knows_the_kernel_that_it_was_made_for():
    """Two kernels of one text and of the same arguments."""

    def one(out):
        out[0] = 1

    def two(out):
        out[0] = 2

    found = np.zeros(2)
    made = [compiled(function, "test of writers") for function in (one, two)]
    pool.run([[(made[0], (found[:1],))], [], []], 3)
    pool.run([[(made[1], (found[1:],))], [], []], 3)
    assert found.tolist() == [1, 2]
