"""What a user asks for in vain: one clear error, before anything is computed."""

import subprocess
import sys
from types import ModuleType

import numpy as np
import pytest

import lstm_numba as ln
from lstm_numba.errors import (
    ArgumentError,
    CudaMemoryError,
    CudaUnavailableError,
    DtypeError,
    OptionError,
    ShapeError,
    SizeError,
    UnknownNameError,
)
from lstm_numba.gpu import unavailable
from lstm_numba.gpu.interpreted import Interpreter
from lstm_numba.gpu.layer import _require_countable
from scripts.sizes import ROOT
from tests import layers
from tests.conftest import cuda_devices
from tests.cuda.devices import H100, on, twin

X = np.zeros((4, 2, 3), "float32")


@pytest.fixture
def layer():
    return twin(layers.random_layer("lstm", 3, 4, dtype="float32"), Interpreter(H100))


@pytest.mark.skipif(bool(cuda_devices()), reason="says what is missing where there is no device")
def test_without_a_device_the_error_says_what_is_missing():
    with pytest.raises(CudaUnavailableError, match=r"needs (the package|an NVIDIA driver|a CUDA device)"):
        ln.Layer("lstm", 3, 4, device="cuda")


def test_a_package_that_is_missing_is_named_with_the_extra_that_brings_it():
    with pytest.raises(CudaUnavailableError, match=r"needs the package no_such_package .*lstm-numba\[cuda\]"):
        unavailable.require("no_such_package")


def test_a_library_that_is_not_found_is_told_in_one_line(monkeypatch):
    def fails(name):
        raise ImportError("libcublasLt.so.13 not found\n  listdir(...):\n    libnvrtc.so.13")

    monkeypatch.setattr(unavailable, "_imported", fails)
    with pytest.raises(CudaUnavailableError, match=r"nvidia-cublas \(libcublasLt.so.13 not found\): install") as raised:
        unavailable.require("cupy_backends.no_such_module")
    assert "\n" not in str(raised.value)


def test_importing_the_library_imports_nothing_of_cuda():
    code = (
        "import sys, lstm_numba as ln; ln.Layer('lstm', 2, 3)\n"
        "wrong = ('cupy', 'numba_cuda', 'cuda')\n"
        "print([m for m in sys.modules if m.split('.')[0] in wrong or m.startswith('numba.cuda')])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert run.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("settings", "error", "said"),
    [
        ({"device": "gpu"}, OptionError, r"device must be one of 'cpu', 'cuda'; got 'gpu'"),
        ({"dtype": "bfloat16"}, DtypeError, r"'float32' or 'float64'"),
        ({"dtype": "int8", "device": "cuda"}, DtypeError, r"'bfloat16', 'float16'; got 'int8'"),
        ({"products": "fast"}, OptionError, r"products must be one of 'exact', 'tf32'"),
        ({"products": "tf32"}, OptionError, r"tf32' is for float32 on a CUDA device"),
        ({"products": "tf32", "device": "cuda", "dtype": "float64"}, OptionError, r"this layer is float64"),
    ],
)
def test_settings_that_do_not_go_together(settings, error, said):
    with on(Interpreter()), pytest.raises(error, match=said):
        ln.Layer("lstm", 3, 4, **settings)


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        ({"x": X.astype("float64")}, DtypeError, r"x must be float32, got float64: convert it"),
        ({"x": X[:, :, :2]}, ShapeError, r"x has shape \(4, 2, 2\), expected \(any, any, 3\)"),
        ({"x": X, "state": {"h": np.zeros((3, 4), "float32")}}, ShapeError, r"state\['h'\] has shape \(3, 4\)"),
        ({"x": X, "state": {"q": X}}, ArgumentError, r"no entry 'q'"),
        ({"x": X, "lengths": [4, 5]}, OptionError, r"lengths must lie in \[0, T\] = \[0, 4\]"),
        ({"x": X, "resets": np.zeros((4, 2))}, DtypeError, r"resets must be bool"),
        ({"x": X, "resets": np.zeros((2, 4), bool)}, ShapeError, r"resets has shape"),
        ({"x": X, "save": 1}, ArgumentError, r"save must be True, False or"),
        ({"x": "no"}, ArgumentError, r"x must be an array"),
    ],
)
def test_arguments_are_checked_as_on_the_cpu(layer, given, error, said):
    with pytest.raises(error, match=said):
        layer.forward(given.pop("x"), **given)


def test_parameters_take_only_their_own_shape(layer):
    with pytest.raises(ShapeError, match=r"parameter b_f has shape \(3,\)"):
        layer.parameters["b_f"] = np.zeros(3)
    with pytest.raises(UnknownNameError, match="did you mean 'b_f'"):
        layer.parameters["b_ff"] = np.zeros(4)


def test_too_little_memory_is_said_before_anything_is_taken(layer):
    device = layer._placed.device
    device.unused_bytes, device.free_bytes = lambda: 500, lambda: 1000
    with pytest.raises(CudaMemoryError, match=r"this forward needs \d+ bytes .* 1000 are free: call it with save="):
        layer.forward(X)
    device.free_bytes = lambda: 2**40
    run = layer.forward(X)
    device.free_bytes = lambda: 1000
    with pytest.raises(CudaMemoryError, match=r"this backward needs \d+ bytes"):
        run.backward(run.output)


def test_more_rows_than_a_product_can_count_are_refused():
    _require_countable(2**15, 2**15)
    with pytest.raises(SizeError, match="T x B = 65536 x 65536 is more rows"):
        _require_countable(2**16, 2**16)


def test_a_module_is_asked_of_its_package_which_may_load_what_it_is_linked_with(monkeypatch):
    """CuPy finds cuBLAS when `libs.cublas` is asked for, and not when the module is imported past that."""
    child, parent = ModuleType("stood_in.child"), ModuleType("stood_in")
    parent.__getattr__ = {"child": child}.__getitem__
    monkeypatch.setitem(sys.modules, "stood_in", parent)
    assert unavailable.require("stood_in.child") is child
