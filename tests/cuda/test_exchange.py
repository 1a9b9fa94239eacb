"""Arrays in and out, on a stand-in for CuPy: what is waited for and what is not, and bfloat16 as its bits."""

from dataclasses import dataclass

import ml_dtypes
import numpy as np
import pytest

pytest.importorskip("numba_cuda")

from lstm_numba.gpu.exchange import Host, OnDevice, kind_of
from tests import layers
from tests.cuda import fake_cupy
from tests.cuda.devices import twin
from tests.cuda.test_device import Stood


@dataclass
class Exported:
    """An array of a device."""

    array: np.ndarray

    @property
    def dtype(self):
        return self.array.dtype

    def __dlpack_device__(self):
        return 2, 0


def test_a_hosts_array_may_be_changed_as_soon_as_it_is_taken():
    xp, given = fake_cupy.Cupy(), np.ones(3)
    taken, _ = Host(xp).take("x", given)
    given[:] = 7
    xp.read()
    assert (taken == 1).all()


def test_only_what_a_host_writes_to_parameters_is_waited_for():
    own = twin(layers.random_layer("gru", 3, 4), Stood())
    before = fake_cupy.Stream.waits
    own.parameters["b_r"] = Exported(np.ones(4))
    assert fake_cupy.Stream.waits == before
    own.parameters["b_r"] = np.full(4, 2.0)
    assert fake_cupy.Stream.waits == before + 1
    assert (own.parameters["b_r"] == 2).all()


def test_a_run_on_a_devices_arrays_waits_for_nothing():
    own = twin(layers.random_layer("gru", 3, 4), Stood())
    before, copied = fake_cupy.Stream.waits, len(own._placed.device.xp.unread)
    run = own.forward(Exported(np.ones((2, 3, 3))))
    run.backward(Exported(np.ones((2, 3, 4))))
    assert (fake_cupy.Stream.waits, len(own._placed.device.xp.unread)) == (before, copied)


@pytest.mark.parametrize("hand_over", [lambda array: array, Exported], ids=["of a host", "of a device"])
def test_bfloat16_is_taken_as_its_bits_and_given_in_its_type(hand_over):
    numbers = np.array([1.5, -2.0, 0.0]).astype(ml_dtypes.bfloat16)
    given = hand_over(numbers)
    exchange = kind_of(given, fake_cupy.Cupy())
    assert type(exchange) is (OnDevice if isinstance(given, Exported) else Host)
    taken, kind = exchange.take("x", given)
    assert (taken.dtype, kind) == (np.uint16, "bfloat16")
    found = exchange.give(taken)
    assert found.dtype == ml_dtypes.bfloat16
    assert np.array_equal(found, numbers)
