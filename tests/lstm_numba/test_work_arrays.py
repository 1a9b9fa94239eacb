"""Work arrays are lent to one run at a time: no run sees another's, and what a user holds is nobody's work array."""

import gc
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from lstm_numba.cpu import memory
from tests.layers import Arrays, backward, everything, forward, numbers_for, other_bits, random_layer, values

T, B, N, H = 5, 3, 4, 6
LENGTHS, RESETS = np.array([5, 0, 3]), np.arange(T * B).reshape(T, B) % 4 == 1
cells = pytest.mark.parametrize("cell", ["lstm", "gru", "clockwork", "depth_gated"])
rows = pytest.mark.parametrize("options", [{}, {"lengths": LENGTHS, "resets": RESETS}, {"save": "states"}])


@pytest.fixture(autouse=True)
def small_arrays_are_large(monkeypatch):
    """What users get comes from lent memory too, whatever its size."""
    monkeypatch.setattr(memory, "LARGE_BYTES", 0)


def made(cell):
    return random_layer(cell, N, H, **({"periods": (1, 2)} if cell == "clockwork" else {}))


def gradients_of(run, numbers) -> Arrays:
    found = backward(run, numbers)
    return {**found.parameters, **{f"d {n}": a for n, a in found.inputs.items()}, **found.state}


@cells
@rows
def test_runs_of_one_shape_that_overlap_do_not_disturb_each_other(cell, options):
    layer = made(cell)
    first, second = numbers_for(layer, T, B, 1), numbers_for(layer, T, B, 2)
    alone = [gradients_of(forward(layer, numbers, **options), numbers) for numbers in (first, second)]
    runs = [forward(layer, numbers, **options) for numbers in (first, second)]
    forward(layer, second, save=False)
    for k in (0, 1, 0, 1):
        assert other_bits(gradients_of(runs[k], (first, second)[k]), alone[k]) == []


@cells
@rows
def test_what_a_run_gave_stays_when_the_run_is_gone_and_others_follow(cell, options):
    layer = made(cell)
    numbers = numbers_for(layer, T, B)
    held = everything(layer, numbers, **options)
    run = forward(layer, numbers)
    held |= {f"change of {name}": array for name, array in run.jvp({"x": numbers.inputs["x"]}).outputs.items()}
    inferred = forward(layer, numbers, save=False)
    held |= {f"inferred {name}": array for name, array in values(inferred).items()}
    del run, inferred
    before = {name: array.copy() for name, array in held.items()}
    for seed in (1, 2):
        everything(layer, numbers_for(layer, T, B, seed), **options)
        forward(layer, numbers_for(layer, T, B, seed), save=False)
    assert other_bits(held, before) == []


def test_a_view_of_what_a_run_gave_stays_when_all_else_is_gone():
    layer = made("lstm")
    numbers = numbers_for(layer, T, B)
    run = forward(layer, numbers)
    gradients = backward(run, numbers)
    views = [run.output[1:, 0], gradients.x.reshape(-1)[3:], gradients.parameters["U_f"].T, gradients.parameters.flat]
    before = [view.copy() for view in views]
    del run, gradients
    for seed in (1, 2):
        everything(layer, numbers_for(layer, T, B, seed))
    assert [(view == copy).all() for view, copy in zip(views, before, strict=True)] == [True] * 4


def test_memory_that_nobody_holds_is_used_again():
    layer = made("lstm")
    x = numbers_for(layer, T, B).inputs["x"]
    first = layer.forward(x).output.ctypes.data
    assert layer.forward(x).output.ctypes.data == first


def test_no_array_of_a_users_outlives_the_run_that_read_it():
    layer = made("lstm")
    numbers = numbers_for(layer, T, B)
    x, d_output = numbers.inputs["x"].copy(), numbers.d_output.copy()
    watched = [weakref.ref(x), weakref.ref(d_output)]
    run = layer.forward(x)
    gradients = run.backward(d_output)
    watched += [weakref.ref(run.output.base if run.output.base is not None else run.output), weakref.ref(gradients.x)]
    del run, gradients, x, d_output
    gc.collect()
    assert [reference() for reference in watched] == [None] * 4


def test_only_the_work_arrays_of_the_latest_shape_are_kept():
    layer = made("lstm")
    memories = [layer._engine.work.tapes, layer._engine.work.adjoints, layer._engine.packing._memory]
    for steps in (*range(1, 20), 3):
        for batch in (1, 4, 2):
            numbers = numbers_for(layer, steps, batch)
            backward(forward(layer, numbers), numbers)
    assert [len(memory._kept.free) for memory in memories] == [1, 1, 1]
    assert [memory._kept.key[0] for memory in memories] == [2, 2, True]


def test_what_was_held_at_a_time_is_not_kept_for_ever():
    layer = made("lstm")
    numbers = numbers_for(layer, T, B)
    runs = [forward(layer, numbers) for _ in range(10)]
    found = [backward(run, numbers) for run in runs]
    del runs, found
    gc.collect()
    engine = layer._engine
    memories = [engine.work.tapes, engine.work.adjoints, *engine.handed._memories.values()]
    assert len(memories) == 5
    assert {len(one._kept.free) for one in memories} <= set(range(memory.Memory.SPARE + 1))


def test_threads_that_share_a_layer_get_what_each_gets_alone():
    layer = made("lstm")
    problems = [numbers_for(layer, T, B + k % 2, k) for k in range(8)]
    alone = [everything(layer, numbers) for numbers in problems]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(10):
            found = list(pool.map(lambda numbers: everything(layer, numbers), problems))
            assert [other_bits(one, other) for one, other in zip(found, alone, strict=True)] == [[]] * len(problems)
