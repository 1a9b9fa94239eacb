"""Properties of rows and steps that hold whatever the formulas are, drawn by Hypothesis.

Truth: runs of the same kernels on parts of the same numbers.  Rows never influence each other, so what belongs to rows
is equal bit for bit; sums over rows that are taken in another order are equal to rounding.
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lstm_numba.cpu import engine, packed
from tests.layers import (
    added,
    backward,
    by_row,
    everything,
    farther_apart,
    forward,
    numbers_for,
    other_bits,
    parameter_gradients,
    random_layer,
    select,
    sequence_gradients,
    side_by_side,
    values,
)

CELLS = ("lstm", "gru", "peephole", "clockwork", "depth_gated")
PERIODS = (1, 2)  # of clockwork: a sequence may be cut at even steps
ROUNDING = 1e-13

repeatable = settings(derandomize=True, database=None, deadline=None, max_examples=40)
# Long ones pass the blocks in which steps and rows are worked on; large batches the height of a tile.
STEPS, ROWS = st.integers(0, 5) | st.sampled_from([40, 70]), st.integers(1, 9)


@st.composite
def problems(draw, steps=STEPS, batch=ROWS):
    """A layer and numbers for it: batches below and above the height of a tile, sizes below and above a register."""
    cell = draw(st.sampled_from(CELLS))
    options = {"periods": PERIODS} if cell == "clockwork" else {}
    hidden, inputs, seed = (
        draw(st.sampled_from([2, 6, 8, 34, 70])),
        draw(st.sampled_from([1, 3])),
        draw(st.integers(0, 99)),
    )
    layer = random_layer(cell, inputs, hidden, seed=seed, **options)
    return layer, numbers_for(layer, draw(steps), draw(batch), seed)


def shape(numbers):
    return numbers.d_output.shape[:2]


@st.composite
def lengths_of(draw, numbers):
    steps, batch = shape(numbers)
    return np.array(draw(st.lists(st.integers(0, steps), min_size=batch, max_size=batch)), int)


@st.composite
def resets_of(draw, numbers):
    return np.random.default_rng(draw(st.integers(0, 99))).random(shape(numbers)) < 0.3


def ragged(data, numbers):
    """Lengths and resets, or none."""
    lengths = data.draw(st.none() | lengths_of(numbers))
    return {"lengths": lengths, "resets": data.draw(st.none() | resets_of(numbers))}


def some_rows(options, rows):
    lengths, resets = options["lengths"], options["resets"]
    return {
        "lengths": None if lengths is None else lengths[rows],
        "resets": None if resets is None else resets[:, rows],
    }


# --- rows


@repeatable
@given(problems(), st.data())
def test_a_batch_is_its_parts(problem, data):
    (layer, numbers), options = problem, ragged(data, problem[1])
    cut = data.draw(st.integers(0, shape(numbers)[1]))
    parts = [by_row(layer, numbers.rows(rows), **some_rows(options, rows)) for rows in (slice(cut), slice(cut, None))]
    assert other_bits(side_by_side(parts), by_row(layer, numbers, **options)) == []


@repeatable
@given(problems(), st.data())
def test_gradients_of_parameters_are_the_sum_of_those_of_the_rows(problem, data):
    (layer, numbers), options = problem, ragged(data, problem[1])
    rows = [slice(b, b + 1) for b in range(shape(numbers)[1])]
    parts = [everything(layer, numbers.rows(row), **some_rows(options, row)) for row in rows]
    expected = added({name: part[f"d {name}"] for name in layer.parameters} for part in parts)
    found = backward(forward(layer, numbers, **options), numbers).parameters
    scale = max(1, *(np.linalg.norm(array) for array in expected.values()))
    assert all(np.linalg.norm(found[name] - array) <= ROUNDING * scale for name, array in expected.items())


@repeatable
@given(problems(), st.data())
def test_every_number_of_threads_gives_the_same_bits(problem, data):
    (layer, numbers), options = problem, ragged(data, problem[1])
    expected = everything(layer, numbers, **options)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packed, "WORTH", 1)
        for threads in (2, 3, 4):
            layer.threads = threads
            assert other_bits(everything(layer, numbers, **options), expected) == []
            unsaved = values(forward(layer, numbers, save=False, **options))
            assert other_bits(unsaved, {name: expected[name] for name in unsaved}) == []


@repeatable
@given(problems(), st.data())
def test_the_order_of_rows_does_not_matter(problem, data):
    (layer, numbers), options = problem, ragged(data, problem[1])
    order = np.array(data.draw(st.permutations(range(shape(numbers)[1]))))
    found = by_row(layer, numbers.rows(order), **some_rows(options, order))
    assert other_bits(found, select(by_row(layer, numbers, **options), order)) == []


@repeatable
@given(problems(steps=st.integers(1, 5), batch=st.integers(2, 9)), st.data())
def test_a_nan_stays_in_its_row(problem, data):
    (layer, numbers), options = problem, ragged(data, problem[1])
    steps, batch = shape(numbers)
    bad, t = data.draw(st.integers(0, batch - 1)), data.draw(st.integers(0, steps - 1))
    place = data.draw(st.sampled_from(["inputs", "state", "d_output", "d_state"]))
    spoiled = numbers.cast("float64")
    target = getattr(spoiled, place)
    array = target if place == "d_output" else next(iter(target.values()))
    array[(t, bad) if array.ndim == 3 else bad] = np.nan
    others = np.arange(batch) != bad
    found, clean = by_row(layer, spoiled, **options), by_row(layer, numbers, **options)
    assert other_bits(select(found, others), select(clean, others)) == []


def test_a_nan_is_not_lost_on_its_way():
    layer = random_layer("lstm", 3, 5)
    numbers = numbers_for(layer, 4, 2)
    numbers.inputs["x"][1, 0, 0] = np.nan
    found = everything(layer, numbers)
    assert np.isnan(found["h"][1:, 0]).all()
    assert np.isnan(found["d x"][1, 0]).all()
    assert np.isnan(found["d W_i"]).any()


# --- steps


def even_cut(data, numbers):
    return 2 * data.draw(st.integers(0, shape(numbers)[0] // 2))


@repeatable
@given(problems(), st.data())
def test_a_sequence_is_its_parts_with_the_state_carried_over(problem, data):
    layer, numbers = problem
    cut = even_cut(data, numbers)
    first, second = numbers.steps(slice(cut)), numbers.steps(slice(cut, None))
    early = forward(layer, first)
    second = second.starting(early.state)
    late = forward(layer, second)
    late_gradients = backward(late, second)
    early_gradients = backward(early, first.ending(late_gradients.state))
    whole = forward(layer, numbers)
    whole_gradients = backward(whole, numbers)
    joined = {name: np.concatenate([array, late.outputs[name]]) for name, array in early.outputs.items()}
    joined |= {name: values(late)[name] for name in values(late) if name.startswith("final")}
    assert other_bits(joined, values(whole)) == []
    pulled = {
        name: np.concatenate([array, late_gradients.inputs[name]]) for name, array in early_gradients.inputs.items()
    }
    assert other_bits(pulled, whole_gradients.inputs) == []
    assert other_bits(early_gradients.state, whole_gradients.state) == []
    total = added(parameter_gradients(g) for g in (early_gradients, late_gradients))
    assert farther_apart(total, parameter_gradients(whole_gradients), ROUNDING) == []


@repeatable
@given(problems(), st.data())
def test_lengths_mean_shorter_runs(problem, data):
    layer, numbers = problem
    batch = shape(numbers)[1]
    lengths = data.draw(lengths_of(numbers))
    whole = by_row(layer, numbers, lengths=lengths)
    for b in range(batch):
        alone = by_row(layer, numbers.rows(slice(b, b + 1)).steps(slice(lengths[b])))
        row = select(whole, slice(b, b + 1))
        assert other_bits({k: v[: lengths[b]] if v.ndim == 3 else v for k, v in row.items()}, alone) == []
        assert not any(v[lengths[b] :].any() for v in row.values() if v.ndim == 3)


@repeatable
@given(problems(steps=st.integers(1, 5)), st.data())
def test_what_stands_past_a_rows_end_is_ignored(problem, data):
    layer, numbers = problem
    lengths = data.draw(lengths_of(numbers))
    spoiled = numbers.cast("float64")
    past = np.arange(shape(numbers)[0])[:, None] >= lengths
    for array in (*spoiled.inputs.values(), spoiled.d_output):
        array[past] = np.nan
    assert other_bits(everything(layer, spoiled, lengths=lengths), everything(layer, numbers, lengths=lengths)) == []


@repeatable
@given(problems(), st.data())
def test_a_reset_of_all_rows_means_two_runs(problem, data):
    layer, numbers = problem
    cut = even_cut(data, numbers)
    resets = np.zeros(shape(numbers), bool)
    resets[cut : cut + 1] = True
    zeros = {name: np.zeros_like(array) for name, array in numbers.d_state.items()}
    last = numbers.steps(slice(cut, None))
    parts = [everything(layer, numbers.steps(slice(cut)).ending(zeros)), everything(layer, last)]
    whole = everything(layer, numbers, resets=resets)
    if not resets.any():  # nothing stands behind the cut, and nothing is reset
        return
    joined = {k: np.concatenate([part[k] for part in parts]) for k in whole if whole[k].ndim == 3}
    assert other_bits(joined, {k: whole[k] for k in joined}) == []
    sums = added({k: part[k] for k in whole if k not in joined and not k.startswith("final")} for part in parts)
    assert farther_apart({k: whole[k] for k in sums}, sums, ROUNDING) == []
    ends = [{k: v for k, v in arrays.items() if k.startswith("final")} for arrays in (whole, parts[1])]
    assert other_bits(*ends) == []


@repeatable
@given(problems(), st.data())
def test_rows_are_reset_each_at_its_own_steps(problem, data):
    layer, numbers = problem
    resets = data.draw(resets_of(numbers))
    whole = by_row(layer, numbers, resets=resets)
    rows = [slice(b, b + 1) for b in range(shape(numbers)[1])]
    parts = [by_row(layer, numbers.rows(row), resets=resets[:, row]) for row in rows]
    assert other_bits(side_by_side(parts), whole) == []


@repeatable
@given(problems(), st.data())
def test_reverse_is_the_valid_part_turned_round(problem, data):
    layer, numbers = problem
    lengths, resets = data.draw(lengths_of(numbers)), data.draw(resets_of(numbers))
    time = np.arange(shape(numbers)[0])[:, None]
    flip = np.where(time < lengths, lengths - 1 - time, time)

    def turned(array):
        return array[flip, np.arange(len(lengths))] if array.ndim == 3 else array

    # a reset is meant before a step, in the order in which the steps are read
    plain = everything(layer, numbers.each(turned), lengths=lengths, resets=turned(resets[..., None])[..., 0])
    layer.reverse = True
    found = everything(layer, numbers, lengths=lengths, resets=resets)
    assert other_bits(found, {name: turned(array) for name, array in plain.items()}) == []


# --- runs


@repeatable
@given(problems(), st.data())
def test_inference_gives_the_same_bits(problem, data):
    (layer, numbers), options = problem, ragged(data, problem[1])
    found = values(forward(layer, numbers, save=False, **options))
    assert other_bits(found, values(forward(layer, numbers, **options))) == []


@pytest.mark.parametrize("cell", CELLS)
def test_inference_takes_as_many_steps_ahead_as_it_likes(cell, monkeypatch):
    layer = random_layer(cell, 3, 6, **({"periods": PERIODS} if cell == "clockwork" else {}))
    numbers, lengths = numbers_for(layer, 8, 2), [8, 4]
    whole = values(forward(layer, numbers, save=False, lengths=lengths))
    monkeypatch.setattr(engine, "AHEAD", 3)
    monkeypatch.setattr(engine, "SLOTS_TOGETHER", 1)
    assert other_bits(values(forward(layer, numbers, save=False, lengths=lengths)), whole) == []


@repeatable
@given(problems(), st.data())
def test_a_backward_may_be_repeated(problem, data):
    (layer, numbers), options = problem, ragged(data, problem[1])
    run = forward(layer, numbers, **options)
    first, second = backward(run, numbers), backward(run, numbers)
    assert other_bits(sequence_gradients(second), sequence_gradients(first)) == []
    assert other_bits(parameter_gradients(second), parameter_gradients(first)) == []


@repeatable
@given(problems(), st.data())
def test_a_batch_of_nan_leaves_no_trace_in_the_next(problem, data):
    (layer, numbers), options = problem, ragged(data, problem[1])
    expected = everything(layer, numbers, **options)
    everything(layer, numbers.each(lambda array: array * np.nan))
    assert other_bits(everything(layer, numbers, **options), expected) == []


@pytest.mark.parametrize("cell", CELLS)
def test_float32_is_float64_to_rounding(cell):
    options = {"periods": PERIODS} if cell == "clockwork" else {}
    single, double = (random_layer(cell, 3, 34, dtype, **options) for dtype in ("float32", "float64"))
    single.parameters.flat[...] = double.parameters.flat
    double.parameters.flat[...] = single.parameters.flat  # the same numbers, rounded
    numbers = numbers_for(single, 7, 9)
    found = everything(single, numbers)
    assert {array.dtype for array in found.values()} == {np.dtype("float32")}
    assert farther_apart(found, everything(double, numbers.cast("float64")), 5e-6) == []
