"""How a sweep is divided: every unit and row has its block, regions fit and do not meet, blocks are not too many."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstm_numba.gpu import plan as planning
from lstm_numba.gpu.interpreted import Interpreter
from lstm_numba.gpu.memory import backward_bytes, forward_bytes
from lstm_numba.gpu.plan import RESERVED, Held, Limits, Method, plan
from lstm_numba.types import Types
from tests import layers
from tests.cuda.devices import H100, twin

KINDS = [Types("float32"), Types("float32", "tf32"), Types("bfloat16"), Types("float64")]
A100 = Limits((8, 0), 108, 166_912)


def lstm(hidden, kinds, batch=16, limits=H100):
    """Forward and backward of an LSTM."""
    forward = plan([Held("hold", 4, hidden, hidden, "at_1")], [hidden], batch, limits, kinds)
    return forward, plan([Held("turned", 1, hidden, 4 * hidden, "at_1")], [hidden], batch, limits, kinds)


@given(
    st.lists(st.integers(1, 1500), min_size=1, max_size=3), st.integers(1, 300), st.sampled_from(KINDS),
    st.integers(1, 6), st.sampled_from([H100, A100]),
)  # fmt: skip
def test_a_plan_keeps_to_the_limits_and_covers_everything(sizes, batch, kinds, gates, limits):
    """Products in a row through as many spaces."""
    held = [Held(f"hold_{k}", gates, size, sizes[k - 2], f"at_{k}") for k, size in enumerate(sizes, start=1)]
    found = plan(held, sizes, batch, limits, kinds)
    if found is None:
        return
    size, rows = max(sizes), -(-batch // found.groups)
    units = -(-size // found.parts)
    assert found.blocks <= limits.processors
    assert found.shared + RESERVED <= limits.shared
    assert (found.parts - 1) * units < size <= found.parts * units
    assert (found.groups - 1) * rows < batch <= found.groups * rows
    assert 0 < found.tile <= rows
    assert_regions_are_apart(found, held, kinds)


def assert_regions_are_apart(found, held, kinds):
    method, number = Method.of(kinds), kinds.arithmetic.itemsize
    matrices = [
        (found.places[m.name] * kinds.stored.itemsize,
         method.held(m.rows(found.parts), m.depth) * kinds.stored.itemsize)
        for m in held
    ]  # fmt: skip
    sums = [(found.places[m.sums] * number, m.gates * -(-m.size // found.parts) * found.tile * number) for m in held]
    most = max(m.gates * -(-m.size // found.parts) for m in held)
    stage = found.places["stage"] * kinds.stored.itemsize, method.stage(found.tile, found.span) * kinds.stored.itemsize
    regions = sorted(
        [*matrices, stage, *sums, (found.places["scratch"] * number, method.scratch(most, found.tile) * number)]
    )
    ends = [begin + length for begin, length in regions]
    assert all(end <= begin for end, (begin, _) in zip(ends, regions[1:], strict=False))
    assert ends[-1] == found.shared


def test_half_numbers_are_read_in_pairs_of_whatever_a_product_multiplies():
    kinds = Types("bfloat16")
    assert plan([Held("hold", 1, 8, 6, "at_1")], [8], 4, H100, kinds)
    assert plan([Held("hold", 1, 8, 5, "at_1")], [8], 4, H100, kinds) is None


@pytest.mark.parametrize(
    ("hidden", "kinds", "fits"),
    [(768, Types("bfloat16"), True), (1024, Types("float16"), True), (1300, Types("float32"), True),
     (1056, Types("float32", "tf32"), True), (2048, Types("float32"), False), (40, Types("float64"), True)],
)  # fmt: skip
def test_what_fits_on_an_h100(hidden, kinds, fits):
    assert [found is not None for found in lstm(hidden, kinds)] == [fits, fits]


def test_the_table_of_estimates_is_what_is_estimated():
    kinds = {"float32": Types("float32"), "tf32": Types("float32", "tf32"), "bfloat16": Types("bfloat16")}
    line = re.compile(r"(?:\d+ +(\d+) +(\d+) +(\w+))? +(->|<-) +(\d+) x (\d+) .* ([\d.]+)$")
    lines = [found.groups() for text in planning.__doc__.splitlines() if (found := line.search(text))]
    assert len(lines) == 12
    batch = hidden = kind = None
    for *own, way, parts, groups, microseconds in lines:
        batch, hidden, kind = own if own[0] else (batch, hidden, kind)
        units = int(hidden)
        held = [Held("m", 4, units, units, "at_1") if way == "->" else Held("m", 1, units, 4 * units, "at_1")]
        sizes = held, [units], int(batch)
        found = plan(*sizes, H100, kinds[kind])
        assert (found.parts, found.groups) == (int(parts), int(groups))
        cycles = planning._cycles(found, *sizes, kinds[kind], Method.of(kinds[kind]))
        assert f"{cycles / 1980:.1f}" == microseconds


def test_a_small_layer_needs_one_block_for_its_rows():
    assert [found.parts for found in lstm(40, Types("float32"), batch=6)] == [1, 1]


def test_half_numbers_are_read_in_pairs_so_odd_sizes_go_step_by_step():
    assert lstm(41, Types("bfloat16")) == (None, None)
    assert lstm(41, Types("float32", "tf32"))[0] is not None


@pytest.mark.parametrize("dtype", ["float64", "float16"])
@pytest.mark.parametrize("cell", ["lstm", "gru", "depth_gated"])
@pytest.mark.parametrize("save", [True, False])
def test_memory_is_counted_as_it_is_taken(cell, dtype, save):
    device = Counting()
    layer = twin(layers.random_layer(cell, 6, 8), device, dtype=dtype)
    shapes = layer._placed.engine.shapes
    x = {name: np.zeros((70, 4, layer.spaces[space]), dtype) for name, space in layer.spec.inputs.items()}
    device.xp.taken = 0
    run = layer.forward(x.pop("x"), save=save, **x)
    counted = forward_bytes(shapes, 70, 4, save)
    assert counted * 0.8 <= device.xp.taken <= counted * 1.2
    if save:
        device.xp.taken = 0
        run.backward(np.zeros(run.output.shape, dtype))
        counted = backward_bytes(shapes, 70, 4)
        assert counted * 0.8 <= device.xp.taken <= counted * 1.2


class Counting(Interpreter):
    """NumPy, and what was taken of it by name."""

    class Arrays:
        taken = 0

        def __getattr__(self, name):
            return getattr(np, name)

        def empty(self, *arguments):
            found = np.zeros(*arguments)
            self.taken += found.nbytes
            return found

        zeros = empty

        def asnumpy(self, array):
            return array

        def asarray(self, array, blocking=False):
            return array

    def __init__(self):
        super().__init__()
        self.xp = self.Arrays()
