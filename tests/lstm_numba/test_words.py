"""The words of the generated kernels, compiled and in plain Python: one meaning.

Truth: `lstm_numba.words`, which says in NumPy what each of them means; products to rounding, all else bit for bit.
"""

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit

from lstm_numba import words
from lstm_numba.cpu import kernels, product, target

repeatable = settings(derandomize=True, database=None, deadline=None, max_examples=40)
LANES = target.REGISTER_BYTES // 8
few, length = st.integers(0, 3), 3 * LANES
# (run, gates, low): one gate, all of several, some in the middle, more than a tile is wide
SHAPES = [(1, 1, 0), (4, 4, 0), (3, 4, 1), (2, 5, 1), (7, 7, 0)]


def numbers(*shape, seed=0):
    """Random numbers whose sums and products are exact."""
    return np.random.default_rng((seed, *shape)).integers(-9, 10, shape) / 4.0


@cache
def compiled(name):
    return njit(kernels.WORDS[name])


# --- sizes


def test_every_number_of_gates_has_its_units():
    slots, gates = np.zeros(0), range(1, 200)
    assert [compiled("units_of")(slots, g) for g in gates] == [words.units_of(slots, g) for g in gates]


@repeatable
@given(st.integers(1, 300), st.integers(1, 9), st.sampled_from([0, 1, 2, 4]))
def test_panels_hold_their_units_and_are_padded_alike(size, units, times):
    units, beside = units * LANES, times * units * LANES
    panels = words.panels_of(size, units, beside)
    assert panels == compiled("panels_of")(size, units, beside)
    assert size <= panels * units < size + max(units, beside)
    if beside:
        assert panels * units == words.panels_of(size, beside, units) * beside


@repeatable
@given(st.integers(1, 999), st.integers(1, 99), st.integers(1, 99))
def test_panels_that_are_computed_together(rows, panels, units):
    assert compiled("together")(rows, panels, units) == words.together(rows, panels, units)


# --- registers


def moved(load, store):
    """array -> target, a register at a time."""
    load_first, store_first = kernels.WORDS[load], kernels.WORDS[store]

    def move(array, index, count, to, place, kept):
        store_first(to, place, load_first(array, index, count), kept)

    return njit(move)


move_first = moved("load_first", "store_first")


@repeatable
@given(st.integers(0, 2 * LANES), st.integers(-2, LANES + 2), st.integers(0, 2 * LANES), st.integers(-2, LANES + 2))
def test_the_first_numbers_of_a_register(index, count, place, kept):
    array, plain, found = numbers(length), np.full(length, 7.0), np.full(length, 7.0)
    words.store_first(plain, place, words.load_first(array, index, count), kept)
    move_first(array, index, count, found, place, kept)
    np.testing.assert_array_equal(found, plain)


def test_nothing_beside_the_first_numbers_is_touched():
    """The array ends inside the register."""
    array, found = numbers(LANES - 1), np.full(2 * LANES, 7.0)
    move_first(array, 0, LANES - 1, found, 0, LANES - 1)
    np.testing.assert_array_equal(found, [*array, *[7.0] * (LANES + 1)])


# --- rows


def same(name, arrays, *arguments):
    """Whether a word leaves the same in its arrays, plain and compiled; arrays are given by their numbers."""
    plain, found = [[array.copy() for array in arrays] for _ in range(2)]
    getattr(words, name)(*(plain[a.number] if isinstance(a, At) else a for a in arguments))
    compiled(name)(*(found[a.number] if isinstance(a, At) else a for a in arguments))
    return all(np.array_equal(a, b) for a, b in zip(plain, found, strict=True))


class At:
    """The place of an array among the arguments."""

    def __init__(self, number):
        self.number = number


@repeatable
@given(few, few, few, few, st.integers(0, 9))
def test_words_on_rows(rows, first, before, given_at, seed):
    row, flags = 4, (numbers(9, seed=seed) > 0).astype(np.uint8)
    start, states = numbers(9 * row, seed=seed), numbers(9 * row, seed=seed + 1)
    assert same("clear", [states], rows, At(0), first, row)
    assert same("restore", [states], rows, flags, given_at, start, first, At(0), before, row)
    assert same("release", [states, start], rows, flags, given_at, At(0), before, At(1), first, row)
    assert same("ring", [states], given_at, np.array([1, 2, 3, 4, 8]), At(0), 5)


@repeatable
@given(few, few, few, few, st.integers(0, 9))
def test_biases_are_spread_over_rows(rows, low, registers, first, seed):
    slots, bias = numbers(40 * LANES, seed=seed), numbers(6 * LANES, seed=seed + 1)
    assert same("spread", [slots], rows, low * LANES, registers * LANES, bias, At(0), first, 7 * LANES)


# --- products


@cache
def product_of(shape):
    return kernels.compiled(kernels._multiply(*shape), f"test of multiply {shape}")


@cache
def biased_of(gates):
    return kernels.compiled(kernels._biased(gates), f"test of biased {gates}")


@cache
def transpose_of(shape):
    return kernels.compiled(product.make_transpose(*shape), f"test of transpose {shape}")


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(
    ("count", "depth", "panels"), [(1, 1, 1), (1, 9, 3), (1, 5, 40), (5, 3, 2), (13, 7, 3), (2, 999, 1)]
)
def test_products(shape, count, depth, panels):
    run, gates, _ = shape
    units = words.units_of(np.zeros(0), gates)
    row = gates * panels * units + 8
    a, w, c = numbers(count * (depth + 2)), numbers(panels * run * units * depth, seed=1), numbers(count * row, seed=2)
    for first, start in ((0, 0), (panels - 1, depth // 2)):
        plain, found = c.copy(), c.copy()
        limits = (count, first, panels - first, start, depth)
        words.Product(*shape)(*limits, a, 0, depth + 2, w, plain, 0, row)
        product_of(shape)(*limits, a, 0, depth + 2, w, found, 0, row)
        np.testing.assert_array_equal(found, plain)


@pytest.mark.parametrize("gates", [1, 4, 5, 7])
@pytest.mark.parametrize(("count", "depth", "panels"), [(1, 9, 3), (1, 5, 40), (5, 3, 2), (13, 7, 3), (2, 999, 1)])
def test_products_that_begin_with_biases(gates, count, depth, panels):
    """Whatever stood in the slots."""
    length = gates * words.units_of(np.zeros(0), gates)
    row = panels * length + 8
    a, w, bias = numbers(count * depth), numbers(panels * length * depth, seed=1), numbers(panels * length, seed=2)
    for first in (0, panels - 1):
        plain, found = np.full(count * row, np.nan), np.full(count * row, np.nan)
        limits = (count, first, panels - first, depth)
        words.Biased(gates)(*limits, a, 0, depth, w, bias, plain, 0, row)
        biased_of(gates)(*limits, a, 0, depth, w, bias, found, 0, row)
        np.testing.assert_array_equal(found, plain)
        assert np.isfinite(found.reshape(count, row)[:, first * length : panels * length]).all()


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(
    ("count", "size", "panels"), [(1, 1, 1), (1, 9, 3), (1, 150, 2), (5, 3, 2), (13, 70, 3), (2, 33, 40)]
)
def test_transposed_products(shape, count, size, panels):
    run, gates, _ = shape
    units = words.units_of(np.zeros(0), gates)
    row, slots_row = -(-size // LANES) * LANES, gates * panels * units + 8
    slots, w = numbers(count * slots_row), numbers(panels * run * units * row, seed=1)
    groups = size // LANES + 1
    for low, ends in ((0, np.full(groups, panels)), (panels - 1, np.minimum(np.arange(groups) + 1, panels))):
        plain, found = numbers(count * row, seed=2), numbers(count * row, seed=2)
        words.Transposed(*shape)(count, low, panels, panels, ends, slots, 0, slots_row, w, plain, 0, row, size)
        transpose_of(shape)(count, low, panels, panels, ends, slots, 0, slots_row, w, found, 0, row, size)
        np.testing.assert_array_equal(found, plain)
