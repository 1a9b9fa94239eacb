"""Which device, driver and packages; never the host's name."""

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

PACKAGES = ("numba", "numba-cuda", "cupy-cuda13x", "torch", "numpy", "cuda-bindings")


def versions() -> dict[str, str]:
    found = {"Python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def describe() -> dict[str, Any]:
    """Of the current device."""
    from lstm_numba.gpu import device

    current = device.current()
    runtime = current.xp.cuda.runtime
    facts = runtime.getDeviceProperties(current.number)
    return {
        "name": facts["name"].decode(),
        "architecture": ".".join(map(str, current.limits.architecture)),
        "processors": current.limits.processors,
        "shared": current.limits.shared,
        "second-level cache": facts["l2CacheSize"],
        "clock MHz": facts.get("clockRate", 0) // 1000,
        "CUDA of the driver": runtime.driverGetVersion(),
        "CUDA of the runtime": runtime.runtimeGetVersion(),
        "versions": versions(),
    }
