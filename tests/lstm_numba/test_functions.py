"""Accuracy of the functions on SIMD registers, in units of the last place (ulp) of the exact result.

Truth: for float32 NumPy in float64, on every 61st number there is, and with `pytest -m slow` on every number (softplus:
every 7th); for float64 mpmath, on random numbers of every magnitude; at NaN, infinities and zeros the same functions on
NumPy arrays.
"""

from functools import cache
from inspect import signature
from itertools import product

import mpmath
import numpy as np
import pytest
from numba import njit

from lstm_numba import functions
from lstm_numba.cpu.kernels import bound, compiled
from lstm_numba.cpu.simd import lanes, load, store

# The table of `lstm_numba.cpu.elementary`.
BOUNDS = {"exp": (2, 2), "sigmoid": (3, 3), "tanh": (3, 3), "softplus": (4, 4), "sin": (2, 2), "cos": (2, 2)}
EXACT = {
    "exp": mpmath.exp,
    "sigmoid": lambda a: 1 / (1 + mpmath.exp(-a)),
    "tanh": mpmath.tanh,
    "softplus": lambda a: mpmath.log1p(mpmath.exp(a)),
    "sin": mpmath.sin,
    "cos": mpmath.cos,
}
WAVES = ("sin", "cos")
EVERY = (*BOUNDS, "log", "sqrt", "relu", "absolute", "positive", "maximum", "minimum")
# Below these sigmoid is only that small.
ROUGH = {"float32": 2.0**-126, "float64": 2.0**-1022}
# Infinity counts as the number that follows the largest one.
BEYOND = {"float32": np.float64(2.0**128), "float64": mpmath.mpf(2) ** 1024}


def along(source, other, target):
    for i in range(0, len(source), lanes(source)):
        store(target, i, function(load(source, i)))  # noqa: F821  (bound below)


def along_both(source, other, target):
    for i in range(0, len(source), lanes(source)):
        store(target, i, function(load(source, i), load(other, i)))  # noqa: F821  (bound below)


@cache
def vectorised(name):
    """The function on every register of one or two arrays."""
    function = getattr(functions, name)
    loop = along if len(signature(function).parameters) == 1 else along_both
    meanings = {"function": function, "lanes": lanes, "load": load, "store": store}
    return compiled(bound(loop, meanings), f"test of {name}")


def on_registers(name, a, b=None):
    """What the registers make of an array of any length."""
    length = -(-len(a) // 64) * 64
    full, other, result = (np.resize(values, length) for values in (a, a if b is None else b, a))
    vectorised(name)(full, other, result)
    return result[: len(a)]


# --- float32, all of it


@njit(error_model="numpy", cache=False)
def worst_ulp(ours, exact, least):
    """The largest error where the exact result is at least `least`, and the largest result where it is less."""
    error, small = 0.0, 0.0
    for k in range(len(ours)):
        found = np.minimum(np.float64(ours[k]), 2.0**128)  # unlike min, it keeps a NaN
        if abs(exact[k]) >= least:
            exponent = max((np.float32(exact[k]).view(np.int32) >> 23) & 255, 1)
            error = np.maximum(error, abs(found - exact[k]) * np.int64(1173 - exponent << 52).view(np.float64))
        else:
            small = np.maximum(small, found)
    return error, small


def softplus(a):
    return np.maximum(a, 0) + np.log1p(np.exp(-np.abs(a)))


# Exact results on |a| < 2**-12, on |a| < 128 and beyond.  Series: the first term left out is below 2**-50.
REFERENCES = {
    "exp": (lambda a: 1 + a + a * a / 2 + a * a * a / 6, np.exp, lambda a: np.where(a > 0, 2.0**128, 0)),
    "sigmoid": (lambda a: 0.5 + a / 4 - a * a * a / 48, functions.sigmoid, lambda a: np.where(a > 0, 1.0, 0)),
    "tanh": (lambda a: a - a * a * a / 3, np.tanh, np.sign),
    "softplus": (softplus, softplus, lambda a: np.maximum(a, 0)),
    "sin": (np.sin, np.sin, np.sin),
    "cos": (np.cos, np.cos, np.cos),
}
EXPONENT = 2**23  # numbers with one exponent
BLOCK = 2**16
TINY, LARGE, NAN = 127 - 12, 127 + 7, 255  # biased exponents where the references change


def every(step):
    """(exponent, numbers) of every step-th float32, NaN and infinities aside."""
    for sign, exponent in product((0, 256), range(NAN)):
        first, end = (sign + exponent) * EXPONENT, (sign + exponent + 1) * EXPONENT
        first += -first % step
        for start in range(first, end, BLOCK * step):
            bits = np.arange(start, min(start + BLOCK * step, end), step, dtype=np.uint32)
            yield exponent, np.resize(bits, -(-len(bits) // 16) * 16).view(np.float32)


@np.errstate(over="ignore")
def errors(name, step):
    """(error in ulp, largest result where only smallness is promised) of each block."""
    least, result = ROUGH["float32"] if name == "sigmoid" else 0.0, np.empty(BLOCK, np.float32)
    for exponent, a in every(step):
        reference = REFERENCES[name][(exponent >= TINY) + (exponent >= LARGE)]
        vectorised(name)(a, a, result[: len(a)])
        exact = np.minimum(reference(a.astype(np.float64)), BEYOND["float32"])
        yield worst_ulp(result[: len(a)], exact, least)


def check_float32(name, step):
    worst, small = np.max(list(errors(name, step)), axis=0)
    assert worst <= BOUNDS[name][0]
    assert small <= 2 * ROUGH["float32"]


@pytest.mark.parametrize("name", BOUNDS)
def test_float32_keeps_its_bound_on_every_61st_number(name):
    check_float32(name, 61)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", BOUNDS)
def test_float32_keeps_its_bound_on_every_number(name, pytestconfig):
    if "slow" not in pytestconfig.option.markexpr:
        pytest.skip("half a minute for each function: run with -m slow")
    check_float32(name, 7 if name == "softplus" else 1)


# --- float64


def magnitudes(count):
    """Random numbers: of every exponent, and evenly where the functions bend."""
    random = np.random.default_rng(0)
    wide = random.choice([-1, 1], count) * 2.0 ** random.uniform(-1074, 10, count)
    return np.concatenate([wide, random.uniform(-40, 40, count), random.uniform(-746, 711, count)])


def ulp(exact):
    """The last place of a float64 near an exact result."""
    exponent = max(mpmath.frexp(exact)[1] - 1, -1022) if exact else -1022
    return mpmath.ldexp(1, exponent - 52)


def error(found, exact):
    found = BEYOND["float64"] if np.isinf(found) else mpmath.mpf(float(found))
    return abs(found - exact) / ulp(exact)


@pytest.mark.parametrize("name", BOUNDS)
def test_float64_keeps_its_bound_on_random_numbers(name):
    a = magnitudes(700)
    with mpmath.workdps(340 if name == "softplus" else 40):
        pairs = [
            (found, EXACT[name](mpmath.mpf(float(number))))
            for number, found in zip(a, on_registers(name, a), strict=True)
        ]
        least = ROUGH["float64"] if name == "sigmoid" else 0
        assert (
            max(error(found, min(exact, BEYOND["float64"])) for found, exact in pairs if exact >= least or exact < 0)
            <= BOUNDS[name][1]
        )
        assert all(0 <= found <= 2 * least for found, exact in pairs if 0 <= exact < least)


def beside_zeros(count):
    """Where sin or cos nearly vanishes: beside multiples of pi/2, up to 2**30."""
    multiples = np.unique(np.round(2.0 ** np.random.default_rng(1).uniform(0, 29.3, count)))
    with mpmath.workdps(60):
        near = np.array([float(k * mpmath.pi / 2) for k in map(int, multiples)])
    return np.concatenate([near, -near, np.nextafter(near, 0), [2.0**30, -(2.0**30)]])


@pytest.mark.parametrize("name", WAVES)
def test_float64_keeps_its_bound_beside_zeros(name):
    a = beside_zeros(500)
    with mpmath.workdps(40):
        exact = [EXACT[name](mpmath.mpf(float(number))) for number in a]
        found = on_registers(name, a)
        assert max(error(ours, true) for ours, true in zip(found, exact, strict=True)) <= BOUNDS[name][1]


@pytest.mark.parametrize("name", WAVES)
def test_huge_numbers_are_reduced_with_enough_digits_of_pi(name):
    """The last number is the worst float64 there is: beside a zero of cos, where glibc is wrong by 8 units."""
    a = np.append(2.0 ** np.arange(30, 1024, 3.5), np.ldexp(6381956970095103.0, 797))
    with mpmath.workdps(40):
        exact = np.array([float(EXACT[name](mpmath.mpf(float(number)))) for number in a])
    np.testing.assert_allclose(on_registers(name, a), exact, rtol=9 * 2.0**-52, atol=0)


@pytest.mark.parametrize("name", WAVES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_huge_neighbour_changes_no_bit(name, dtype):
    a = np.random.default_rng(2).normal(size=64).astype(dtype)
    beside = np.where(np.arange(64) % 5 == 0, np.finfo(dtype).max, a).astype(dtype)
    kept = np.arange(64) % 5 != 0
    assert np.array_equal(on_registers(name, beside)[kept], on_registers(name, a)[kept])


# --- NaN, infinities, zeros

SPECIAL = (np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, -2.0, 1e-40, -1e-40, 1e30)


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_at_special_numbers_registers_agree_with_numpy(name, dtype):
    count = len(signature(getattr(functions, name)).parameters)
    arguments = [np.array(values, dtype) for values in zip(*product(SPECIAL, repeat=count), strict=True)]
    with np.errstate(all="ignore"):
        expected = getattr(functions, name)(*arguments)
    np.testing.assert_allclose(
        on_registers(name, *arguments), expected, rtol=4 * np.finfo(dtype).eps, atol=2 * np.finfo(dtype).tiny
    )


@pytest.mark.parametrize("name", ["maximum", "minimum"])
def test_a_nan_on_either_side_stays(name):
    nan, one = np.full(16, np.nan), np.ones(16)
    assert np.isnan(on_registers(name, nan, one)).all()
    assert np.isnan(on_registers(name, one, nan)).all()


@pytest.mark.parametrize("name", ["tanh", "sigmoid", "exp", "softplus"])
def test_every_nan_and_nothing_else_gives_nan(name):
    a = np.array([2139095041, 2143289344, 4286578689, 4294967295, 2139095040, 4286578688], np.uint32).view(np.float32)
    assert np.isnan(on_registers(name, a)).tolist() == [True] * 4 + [False] * 2


def test_subnormal_numbers_are_not_flushed_to_zero():
    assert on_registers("tanh", np.array([1e-42], np.float32)) == np.float32(1e-42)
    assert on_registers("exp", np.array([-100], np.float32)) == np.float32(np.exp(-100.0))
