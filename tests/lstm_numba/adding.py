"""A kernel that calls a linked function, for new processes to import."""

import numpy as np

from lstm_numba.cpu import linked


def make_add(step):
    def add(array):
        array[0] += step

    return add


def adding(times):
    add = linked.linked(make_add, 3)

    def kernel(array):
        for _ in range(times):
            add(array)

    return linked.compiled(kernel, f"add {times} times")


def report():
    """Print what two additions give, and how often the kernel and the addition were found in the cache."""
    kernel, array = adding(2), np.zeros(1)
    kernel(array)
    hits = [sum(one.stats.cache_hits.values()) for one in (kernel, linked._dispatcher(make_add, (3,)))]
    print(array[0], *hits)
