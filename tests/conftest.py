"""What holds for every test: strict arithmetic, repeatable Hypothesis runs, marks."""

import ctypes
import os

# Two workers must not fight over two cores: set before NumPy, torch and Numba read it.
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("dev", deadline=None, max_examples=30, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("dev"), derandomize=True, database=None, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "dev")


def pytest_configure():
    # A test that wants an infinity or a NaN says so with np.errstate; elsewhere one is a bug.  Underflow to 0 is what
    # saturated gates do.
    np.seterr(divide="raise", over="raise", invalid="raise", under="ignore")


def cuda_devices() -> int:
    """How many CUDA devices the driver sees; 0 where there is no driver."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return 0
    count = ctypes.c_int()
    usable = driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0
    return count.value if usable else 0


def pytest_collection_modifyitems(items):
    # The longest first: when two workers share the suite, none is left alone with them at the end.
    items.sort(key=lambda item: "verify" not in item.path.parts)
    if cuda_devices():
        return
    for item in items:
        if "gpu" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))
