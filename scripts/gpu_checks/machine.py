"""Which device, driver and packages; never the host's name."""

import shutil
import subprocess
from datetime import UTC, datetime
from typing import Any

from scripts.benchmarks.machine import versions
from scripts.gpu_checks import limits

PACKAGES = ("numba", "numba-cuda", "cupy-cuda13x", "torch", "numpy", "cuda-bindings")


def driver() -> str:
    """Its version, where the tool that says it is there."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return "not known"
    command = [tool, "--query-gpu=driver_version", "--format=csv,noheader"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.split("\n")[0].strip()


def describe() -> dict[str, Any]:
    """Of the current device."""
    from lstm_numba.gpu import device

    current = device.current()
    runtime = current.xp.cuda.runtime
    facts = runtime.getDeviceProperties(current.number)
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "name": facts["name"].decode(),
        "architecture": ".".join(map(str, current.limits.architecture)),
        "processors": current.limits.processors,
        "shared": current.limits.shared,
        "second-level cache": facts["l2CacheSize"],
        "clock MHz": runtime.deviceGetAttribute(limits.CLOCK, current.number) // 1000,
        "memory MHz": runtime.deviceGetAttribute(limits.MEMORY_CLOCK, current.number) // 1000,
        "memory bits": runtime.deviceGetAttribute(limits.BUS_WIDTH, current.number),
        "driver": driver(),
        "CUDA of the driver": runtime.driverGetVersion(),
        "CUDA of the runtime": runtime.runtimeGetVersion(),
        "versions": versions(PACKAGES),
    }
