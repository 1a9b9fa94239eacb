"""What the device is asked to do, on a stand-in for CuPy: addresses, matrix layouts, argument orders, graphs."""

from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("numba_cuda")

from lstm_numba.errors import ArgumentError
from lstm_numba.gpu import compiler
from lstm_numba.gpu import sweeps as gpu_sweeps
from lstm_numba.gpu.device import Device
from lstm_numba.gpu.products import Products, _laid_out
from lstm_numba.types import Types
from tests import layers
from tests.cuda import fake_cupy
from tests.cuda.devices import H100, along, made, twin
from tests.derive import user_cells

EXACT = Types("float64")


class Stood(Device):
    """The device over the stand-in."""

    limits = H100

    def __init__(self):
        super().__init__(fake_cupy.Cupy(), 0)
        self._products = Products(self.xp, fake_cupy, self.must_be_ready)

    def function(self, key, make):
        module, kinds, name = key
        space = next((s for kind, n, s in module.CELL.program if name.endswith(f"_{n}") and kind == "pointwise"), "")
        return fake_cupy.Function(module, kinds, name, space if name.startswith("unit") else "")


@pytest.mark.parametrize("sweep", [False, True], ids=["step by step", "at once"])
@pytest.mark.parametrize("cell", ["gru", "depth_gated", "clockwork"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_layer_runs_through_the_device(cell, sweep, dtype):
    exact = layers.random_layer(cell, 3, 4, dtype=dtype)
    own = twin(exact, Stood())
    own._placed.engine.sweeps.limits = H100 if sweep else None
    numbers = layers.numbers_for(exact, 4, 3)
    options = {"lengths": [4, 2, 1], "resets": np.arange(12).reshape(4, 3) % 5 == 1}
    expected = layers.everything(exact, numbers, **options)
    found = layers.everything(own, numbers, **options)
    assert layers.farther_apart(found, expected, 1e-12 if dtype == "float64" else 5e-6) == []


def test_along_a_direction_a_layer_runs_through_the_device():
    """Of a cell that stops a gradient: a number goes with the addresses."""
    exact = made(user_cells.half_held)
    numbers, further = layers.numbers_for(exact, 3, 2), layers.numbers_for(exact, 3, 2, seed=7)
    found = along(twin(exact, Stood()), numbers, further)
    assert layers.farther_apart(found, along(exact, numbers, further), 1e-12) == []


def test_a_time_loop_that_comes_again_with_the_same_arrays_is_replayed_as_a_graph():
    device, counted, graphs = Stood(), [], OrderedDict()
    array = fake_cupy.own(np.zeros(3))

    def run(arrays, count):
        counted.append(1)
        device.multiply(arrays["c"], arrays["a"], arrays["a"].T, EXACT)

    arrays = {"c": fake_cupy.own(np.zeros((1, 1))), "a": array.reshape(1, 3), "batch": 2}
    array += 1
    for _ in range(5):
        device.steps(graphs, run, arrays, 1)
    assert arrays["c"] == 15
    assert len(counted) == 2  # once in earnest, once into the graph
    device.steps(graphs, run, {**arrays, "batch": 3}, 1)
    assert len(counted) == 3


def test_a_thread_that_meets_a_time_loop_the_second_time_has_cublas_before_it_records():
    device, graphs = Stood(), OrderedDict()
    arrays = {name: fake_cupy.own(np.ones((1, 1))) for name in ("c", "a")}

    def run(arrays, count):
        device.multiply(arrays["c"], arrays["a"], arrays["a"], EXACT)

    with ThreadPoolExecutor(1) as other:
        other.submit(device.steps, graphs, run, arrays, 1).result()
    device.steps(graphs, run, arrays, 1)
    assert arrays["c"] == 3


def test_what_is_not_loaded_yet_is_not_loaded_into_a_graph_that_the_caller_records():
    device = Device(fake_cupy.Cupy(), 0)
    with fake_cupy.Stream() as stream:
        stream.begin_capture()
        with pytest.raises(ArgumentError, match="once in the same way before recording"):
            device.function("key", lambda: pytest.fail("nothing may be made"))
        with pytest.raises(ArgumentError, match="not loaded in this thread"):
            Stood()._products.make_ready()


@pytest.mark.parametrize("rows", [1, 2, 5])
@pytest.mark.parametrize("columns", [1, 3])
@pytest.mark.parametrize("depth", [1, 4])
@pytest.mark.parametrize("turned", [(False, False), (True, False), (False, True), (True, True)])
def test_products_read_every_layout_that_the_engine_uses(rows, columns, depth, turned):
    random, device = np.random.default_rng(0), Stood()

    def matrix(height, width, is_turned):
        """A slice of columns of a larger matrix, or the transpose of one."""
        whole = fake_cupy.own(random.normal(size=(width, height + 2) if is_turned else (height, width + 2)))
        return whole[:, 1 : 1 + height].T if is_turned else whole[:, 1 : 1 + width]

    left, right = matrix(rows, depth, turned[0]), matrix(depth, columns, turned[1])
    target = matrix(rows, columns, False)
    expected = np.array(target) + np.array(left) @ np.array(right)
    device.multiply(target, left, right, EXACT)
    assert np.allclose(target, expected, rtol=1e-14)


def test_rows_are_as_far_apart_as_cublas_asks():
    assert _laid_out(np.zeros((1, 5)))[1] >= 5


def test_every_argument_of_every_kernel_has_a_type():
    module = layers.random_layer("depth_gated", 2, 2)._module
    for name in ("unit_forward_1", "unit_backward_1"):
        kinds = {str(compiler.argument_type(n, EXACT)) for n in compiler.unit_arguments(module, name, "H")}
        assert kinds == {"int64", "int64*", "uint8*", "float64*"}
    known = {"dot_stop": "float32", "dot_low_h_prev": "uint16*", "dot_d_out_h": "uint16*", "dot_all_h": "float32*"}
    assert {name: str(compiler.argument_type(name, Types("bfloat16"))) for name in known} == known


def test_blocks_that_would_wait_for_ever_are_not_launched():
    exact = layers.random_layer("gru", 3, 8)
    device = Stood()
    engine = twin(exact, device)._placed.engine
    small = replace(H100, shared=11_400)  # several blocks share the units
    engine.sweeps.limits = small
    assert engine.plan("forward", 3).parts > 1
    device.xp.cuda.driver.room = 0
    assert engine.plan("forward", 2) is None
    engine.sweeps.limits = H100
    assert engine.plan("forward", 3).parts == 1  # nobody waits


def test_into_a_graph_that_the_caller_records_the_steps_go_as_they_are():
    device, counted, graphs = Stood(), [], OrderedDict()
    with fake_cupy.Stream() as stream:
        stream.begin_capture()
        for _ in range(3):
            device.steps(graphs, lambda *_: counted.append(1), {}, 1)
        stream.end_capture()
    assert (len(counted), len(graphs)) == (3, 0)


def test_lengths_cannot_be_recorded_in_a_graph():
    own = twin(layers.random_layer("gru", 3, 4), Stood())
    with fake_cupy.Stream() as stream:
        stream.begin_capture()
        with pytest.raises(ArgumentError, match="outside of the graph"):
            own.forward(np.zeros((2, 3, 3)), lengths=[1, 2, 2])


def test_work_goes_to_the_layers_device_whichever_is_current():
    own, seen = twin(layers.random_layer("gru", 3, 4), Stood()), []
    own._placed.device.number = 3
    launch = own._placed.device.launch
    own._placed.device.launch = lambda *a: (seen.append(fake_cupy.Device.current), launch(*a))
    own._placed.engine.sweeps.limits = None
    own.forward(np.zeros((2, 1, 3))).backward(np.zeros((2, 1, 4)))
    assert set(seen) == {3}


def test_a_plan_is_made_once_for_each_number_of_rows(monkeypatch):
    made, plan = [], gpu_sweeps.plan
    monkeypatch.setattr(gpu_sweeps, "plan", lambda *given: made.append(given[2]) or plan(*given))
    own = twin(layers.random_layer("gru", 3, 4), Stood())
    for rows in (2, 3, 2, 2):
        own.forward(np.zeros((2, rows, 3)), save=False)
    assert made == [2, 3]


def test_two_layers_with_one_kernel_do_not_take_shared_memory_from_each_other():
    """What a kernel may take is set once, to what the device has: a launch is between another's setting and its own."""
    device = Stood()
    layers_ = [twin(layers.random_layer("gru", 3, hidden), device) for hidden in (64, 4)]
    for own in layers_:
        own.forward(np.zeros((1, 1, 3)), save=False)
    assert device.xp.cuda.driver.allowed[fake_cupy.Function.ptr] == H100.shared
