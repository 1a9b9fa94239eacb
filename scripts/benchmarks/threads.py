"""The same number of threads for every library: set before any of them is imported."""

import os
from pathlib import Path

VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "TORCHINDUCTOR_COMPILE_THREADS",
)


def siblings(cpu: int) -> str:
    """The hardware threads that share this one's core, as the kernel writes them."""
    try:
        return Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list").read_text()
    except OSError:
        return str(cpu)


def pin(threads: int) -> None:
    """Bind the process to so many cores, one hardware thread each, and tell every library the same.

    The binding is what XLA goes by; the variables are for the others.
    """
    os.environ.update(dict.fromkeys(VARIABLES, str(threads)))
    if not hasattr(os, "sched_setaffinity"):
        return
    allowed = sorted(os.sched_getaffinity(0))
    one_a_core = list({siblings(cpu): cpu for cpu in reversed(allowed)}.values())[::-1]
    chosen = (one_a_core + [cpu for cpu in allowed if cpu not in one_a_core])[:threads]
    if len(chosen) < threads:
        raise SystemExit(f"--threads {threads}: this process may use {len(allowed)} hardware threads, {allowed}")
    os.sched_setaffinity(0, chosen)
