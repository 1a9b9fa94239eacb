"""Where and with what a benchmark ran: the processor, never the host's name."""

import os
import platform
import re
import shlex
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from lstm_numba.cpu import target

PACKAGES = ("lstm-numba", "numba", "numpy", "torch", "jax", "onnxruntime")


def processor() -> str:
    """The processor's name as the system gives it."""
    try:
        found = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    except OSError:
        found = None
    return found.group(1).strip() if found else platform.processor() or platform.machine()


def versions(packages: tuple[str, ...] = PACKAGES) -> dict[str, str]:
    found = {"Python": platform.python_version()}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def head(command: str, threads: int) -> dict[str, object]:
    """When, where and how something is measured."""
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "command": shlex.join([*command.split(), *sys.argv[1:]]),
        "threads": threads,
        "machine": describe(),
    }


def describe() -> dict[str, object]:
    """The machine, for the head of a table."""
    return {
        "processor": processor(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "instructions": target.NAME,
        "versions": versions(),
    }
