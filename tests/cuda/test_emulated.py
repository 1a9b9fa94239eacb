"""The compiled kernels themselves, instruction by instruction: several blocks of 256 threads, tensor cores, barriers.

Kept here is what neither plain Python nor the simulator shows: that nothing races, that no barrier and no instruction
of tensor cores is come to by half a warp, that addresses are aligned, that fragments lie as the PTX manual says.
"""

import re

import ml_dtypes
import numpy as np
import pytest

pytest.importorskip("numba_cuda")

from numba import cuda

from lstm_numba import registry
from lstm_numba.gpu import compiler, scalars, sweeps
from lstm_numba.gpu.plan import Limits
from lstm_numba.types import Types
from scripts.gpu_checks import functions, ladder
from tests import layers
from tests.cuda import arithmetic, ptx
from tests.cuda.devices import along, twin
from tests.cuda.emulated import Emulator
from tests.cuda.races import RaceError
from tests.cuda.test_semantics import RESETS, divided

ENDS = {"lengths": [3, 2, 1], "resets": RESETS[:3]}


def farther_apart(cell, storage, products, hidden, device):
    """Names of results that are not the CPU's, from the same rounded sequences and matrices."""
    exact, kinds = layers.random_layer(cell, 3, hidden), Types(storage, products)
    for array in exact.parameters.values():
        array[...] = ladder.rounded(array * 1.5 / max(1.0, np.sqrt(hidden)), storage)
    own, numbers = twin(exact, device, dtype=storage, products=products), layers.numbers_for(exact, 3, 3)
    stored = ml_dtypes.bfloat16 if storage == "bfloat16" else kinds.stored
    low, full = numbers.cast(stored), numbers.cast(kinds.arithmetic)
    given = layers.Numbers(low.inputs, full.state, low.d_output, full.d_state)
    found = {name: a.astype("float64") for name, a in layers.everything(own, given, **ENDS).items()}
    low = low.each(lambda array: array.astype("float64"))
    rounded = layers.Numbers(low.inputs, numbers.state, low.d_output, numbers.d_state)
    expected = layers.everything(exact, rounded, **ENDS)
    return layers.farther_apart(found, expected, ladder.TOLERANCE["tf32" if products == "tf32" else storage])


FAST = [("gru", "float32", "tf32", 12, 2, 1)]
MORE = [
    ("lstm", "float32", "exact", 9, 2, 2),
    ("lstm", "bfloat16", "exact", 40, 3, 2),
    ("gru", "float16", "exact", 18, 3, 1),
    ("lstm_projected", "float32", "tf32", 20, 4, 1),
    ("lstm_projected", "float64", "exact", 9, 2, 1),
    ("depth_gated", "bfloat16", "exact", 34, 2, 1),
    ("clockwork", "float32", "exact", 10, 2, 1),
]


@pytest.mark.parametrize("case", [*FAST, *(pytest.param(case, marks=pytest.mark.slow) for case in MORE)], ids=str)
def test_blocks_that_share_the_units_give_what_the_cpu_gives(case, monkeypatch):
    cell, storage, products, hidden, parts, groups = case
    monkeypatch.setattr(sweeps, "plan", divided(parts, groups))
    device = Emulator(Limits((9, 0), parts * groups, 0))
    assert farther_apart(cell, storage, products, hidden, device) == []


@pytest.mark.slow
@pytest.mark.parametrize(("products", "rows"), [("exact", 67), ("tf32", 27), ("tf32", 75)])
def test_more_sums_than_the_threads_take_at_once_and_more_rows_than_a_tile(products, rows, monkeypatch):
    """A block of its own for all units: every team goes round several times."""
    monkeypatch.setattr(sweeps, "plan", divided(1, 1))
    exact = layers.random_layer("rnn", 3, 70)
    for array in exact.parameters.values():
        array *= 0.2
    own = twin(exact, Emulator(Limits((9, 0), 1, 0)), dtype="float32", products=products)
    numbers = layers.numbers_for(exact, 2, rows)
    found = layers.everything(own, numbers.cast("float32"))
    tolerance = ladder.TOLERANCE["float32" if products == "exact" else "tf32"]
    assert layers.farther_apart(found, layers.everything(exact, numbers), tolerance) == []


@pytest.mark.slow
@pytest.mark.parametrize(("storage", "products"), [("float32", "exact"), ("float32", "tf32"), ("float16", "exact")])
def test_an_operand_comes_so_many_columns_at_a_time(storage, products, monkeypatch):
    monkeypatch.setattr(sweeps, "plan", divided(2, 1, least_span=True))
    device = Emulator(Limits((9, 0), 2, 0))
    assert farther_apart("rnn", storage, products, 150, device) == []


@pytest.mark.parametrize("kind", ["float32", "float64", "float16"])
def test_a_nan_that_looks_like_nothing_is_no_reason_to_wait(kind, monkeypatch):
    """All bits of the first state are set: it is read as it is, and handed on as another NaN."""
    monkeypatch.setattr(sweeps, "plan", divided(2, 1))
    layer = layers.random_layer("lstm", 3, 8)
    own = twin(layer, Emulator(Limits((9, 0), 2, 0)), dtype=kind)
    numbers = layers.numbers_for(layer, 3, 2)
    low, full = numbers.cast(own.types.storage), numbers.cast(own.dtype.name)
    full.state["h"].view(f"i{full.state['h'].itemsize}")[...] = -1
    run = layers.forward(own, layers.Numbers(low.inputs, full.state, low.d_output, full.d_state))
    assert np.isnan(run.output).all()


@pytest.mark.parametrize("name", functions.RIGHT)
def test_our_functions_of_float32_are_right_to_the_last_places(name):
    """2**a and 1 / a are exact here: what is left is what the formulas lose."""
    kernel = compiler.from_text(
        functions.APPLY, "apply", grid=cuda.grid, function=scalars.functions(scalars.ARITHMETIC["float32"])[name]
    )
    arguments = tuple(compiler.argument_type(n, Types("float32")) for n in ("count", "source", "target"))
    given = np.concatenate([np.linspace(-9, 9, 5000), np.linspace(-0.7, 0.7, 5000)]).astype("float32")
    found = np.zeros_like(given)
    ptx.launch(compiler.to_ptx(kernel, arguments), 40, 256, 0, [given.size, given, found])
    assert functions.farthest(name, given, found) < functions.MOST[name] / 2


def test_units_step_by_step_give_what_the_cpu_gives():
    assert farther_apart("peephole", "float16", "exact", 3, Emulator()) == []


@pytest.mark.slow
def test_units_along_a_direction_give_what_the_cpu_gives():
    exact = layers.random_layer("lstm1997", 3, 4, truncated=True)
    numbers, further = (layers.numbers_for(exact, 3, 3, seed=seed) for seed in (0, 7))
    found = along(twin(exact, Emulator()), numbers, further, **ENDS)
    assert layers.farther_apart(found, along(exact, numbers, further, **ENDS), 1e-12) == []


# --- Planted bugs


def without(pattern, which):
    """The text without one of the lines of this pattern."""

    def change(text):
        places = [found.span() for found in re.finditer(pattern, text)]
        first, last = places[which % len(places)]
        return text[:first] + text[last:]

    return change


BARRIER, SEEN = r"\bbar\.sync[^;]*;", r"ld\.relaxed\.gpu\.global"
FRAGMENT = r"(mma\S+ \{[^}]*\}, \{%r\d+, ?)(%r\d+), ?(%r\d+)"


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(without(BARRIER, 3), id="columns are multiplied before all are laid down"),
        pytest.param(without(BARRIER, 4), id="parts of sums are read before they are written"),
        pytest.param(without(BARRIER, 5), id="sums are read before all are there"),
        pytest.param(lambda text: re.sub(SEEN, "ld.global", text), id="numbers of other blocks are read as one's own"),
        pytest.param(lambda text: text.replace("cvt.rna.tf32.f32", "mov.b32"), id="factors are not rounded"),
        pytest.param(lambda text: re.sub(FRAGMENT, r"\1\3,\2", text), id="fragments"),
    ],
)
def test_what_a_device_would_not_forgive_is_noticed(change, monkeypatch):
    monkeypatch.setattr(sweeps, "plan", divided(2, 1))
    device = Emulator(Limits((9, 0), 2, 0), change)
    try:
        apart = farther_apart("rnn", "float32", "tf32", 16, device)
    except RaceError:
        return
    assert apart


def exchanged(parts, blocks, count, turns=10**6):
    board = np.full(count * blocks, -1, np.int32).view(np.float32)
    ptx.launch(compiler.exchange_ptx(Types("float32")), blocks, 64, 0, [count, parts, board], turns=turns)
    return board


def test_blocks_of_a_group_wait_for_a_number_of_each_other():
    assert not exchanged(parts=3, blocks=6, count=5).any()


def test_a_block_that_waits_for_nobody_is_noticed():
    with pytest.raises(RaceError, match=r"wait for ever|outside"):
        exchanged(parts=3, blocks=2, count=1, turns=300)


def test_the_layouts_of_fragments_cover_each_matrix_once():
    """What the manual's formulas say, for themselves."""
    for places, a, b in ((arithmetic.half_places, (16, 16), (16, 8)), (arithmetic.tf32_places, (16, 8), (8, 8))):
        for which, (rows, columns) in enumerate((a, b)):
            found = sorted(place for lane in range(32) for place in places(lane)[which])
            assert found == [(row, column) for row in range(rows) for column in range(columns)]


def test_every_kernel_of_a_sweep_has_the_same_arguments_as_its_function():
    module = registry.find("lstm", {})
    program = ptx.parsed(compiler.sweep_ptx(module, Types("float32", "tf32"), "sweep_forward"))
    assert len(program.parameters) == len(compiler.signature(module, "sweep_forward"))
