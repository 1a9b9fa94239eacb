"""Which device, driver and packages; never the host's name."""

from typing import Any

from scripts.benchmarks.machine import versions

PACKAGES = ("numba", "numba-cuda", "cupy-cuda13x", "torch", "numpy", "cuda-bindings")


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
        "versions": versions(PACKAGES),
    }
