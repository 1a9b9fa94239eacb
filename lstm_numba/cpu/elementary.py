"""The functions of `lstm_numba.functions` on SIMD registers.

Bounds over the whole range of the type, in units of the last place of the result, checked by the tests (float32: every
number, of softplus every 7th):

              float32   float64
    exp           2         2
    sigmoid       3         3
    tanh          3         3
    softplus      4         4
    sin, cos      2         2     float64: up to 2**30, then the C library's

sigmoid below 2**-126 (2**-1022) is only that small, not accurate.  A NaN stays a NaN: every selection below keeps the
operand that holds it.
"""

import math

import numpy as np
from numba import types
from numba.extending import overload

from lstm_numba import functions
from lstm_numba.cpu import simd, trigonometric
from lstm_numba.cpu.series import INLINE, economised, inlined, polynomial
from lstm_numba.cpu.simd import Register, filled, fma, if_differs, if_less, magnitude, nearest, power_of_two, with_sign

# exp(r) = 1 + r + r r (1/2 + r/6 + ...) on |r| <= log(2)/2 with so many coefficients in the brackets: what is left out
# is below a tenth of a unit of the last place.
EXP_TERMS = {types.float32: 5, types.float64: 11}
# log(2) in two parts, the first with so few bits that n * LOG2_HIGH is exact.
LOG2_HIGH = {types.float32: 0.693359375, types.float64: 6.93145751953125e-1}
LOG2_LOW = {types.float32: -2.12194440054690583e-4, types.float64: 1.42860682030941723212e-6}
# Arguments beyond these give infinity and 0 all the same; the bounded ones keep 2**n a normal number.
LARGEST = {types.float32: 174.0, types.float64: 1416.0}
BOUNDED = {types.float32: 87.5, types.float64: 708.5}


def _exp_coefficients(terms: int):
    """Of (exp(r) - 1 - r) / r**2: its Chebyshev series on the interval, cut off, as a polynomial in r."""
    taylor = np.array([1 / math.factorial(k + 2) for k in range(20)])
    return economised(taylor, math.log(2) / 2, terms)


def _reduced(element, least, most=None):
    """Return a function: a -> (n, exp(r) - 1), n = round(a / log 2), r = a - n log 2, a clamped to least .. most.

    exp(r) - 1 = r + r r (1/2 + r/6 + ...): small beside what it is added to, so that its rounding hardly matters.
    """
    high, low, per_log2 = LOG2_HIGH[element], LOG2_LOW[element], 1 / math.log(2)
    series = polynomial(_exp_coefficients(EXP_TERMS[element]))

    @inlined
    def reduced(a):
        a = if_less(a, least, least, a)
        if most is not None:
            a = if_less(most, a, most, a)
        n = nearest(a * per_log2)
        r = fma(n, filled(a, -low), fma(n, filled(a, -high), a))
        return n, fma(r * r, series(r), r)

    return reduced


def _exp(element):
    """exp(a) = 2**n exp(r), with 2**n as two factors: each is normal where the product overflows or is subnormal."""
    reduced = _reduced(element, -LARGEST[element], LARGEST[element])

    @inlined
    def exp(a):
        n, m = reduced(a)
        half = nearest(n * 0.5)
        return (1.0 + m) * power_of_two(half) * power_of_two(n - half)

    return exp


def _sigmoid(element):
    """1 / (1 + exp(-a)) = 1 / ((1 + s) + s m), s = 2**n, m = exp(r) - 1."""
    reduced = _reduced(element, -BOUNDED[element], BOUNDED[element])

    @inlined
    def sigmoid(a):
        n, m = reduced(-a)
        scale = power_of_two(n)
        return 1.0 / fma(scale, m, 1.0 + scale)

    return sigmoid


def _tanh(element):
    """tanh|a| = -d / (2 + d), d = exp(-2|a|) - 1 = (s - 1) + s m, which loses nothing near 0."""
    reduced = _reduced(element, -BOUNDED[element])  # its argument is not above 0

    @inlined
    def tanh(a):
        n, m = reduced(-2.0 * magnitude(a))
        scale = power_of_two(n)
        d = fma(scale, m, scale - 1.0)
        return with_sign(-d / (2.0 + d), a)

    return tanh


def _softplus(element):
    """log(1 + exp(a)) = max(a, 0) + log1p(exp(-|a|)), log1p(u) = log(1 + u) u / ((1 + u) - 1)."""
    exp = _exp(element)

    @inlined
    def softplus(a):
        u = exp(-magnitude(a))
        w = 1.0 + u
        log1p = if_less(w - 1.0, element_tiny, u, simd.logarithm(w) * (u / (w - 1.0)))
        return if_less(0.0, a, a + log1p, if_differs(a, a, a, log1p))

    element_tiny = 2.0**-24 if element == types.float32 else 2.0**-53
    return softplus


def _by_element(make):
    """One implementation for each element type."""
    return {element: make(element) for element in (types.float32, types.float64)}


def _register(function, implementations):
    """Let `function` on a register mean the implementation for its element type."""
    if function.__code__.co_argcount == 1:

        @overload(function, jit_options=INLINE)
        def _(a):
            if isinstance(a, Register):
                chosen = implementations[a.element]
                return lambda a: chosen(a)

    else:

        @overload(function, jit_options=INLINE)
        def _(a, b):
            if isinstance(a, Register) or isinstance(b, Register):
                chosen = implementations[(a if isinstance(a, Register) else b).element]
                return lambda a, b: chosen(a, b)


def _same(implementation):
    return _by_element(lambda element: inlined(implementation))


for _function, _implementations in {
    functions.exp: _by_element(_exp),
    functions.sigmoid: _by_element(_sigmoid),
    functions.tanh: _by_element(_tanh),
    functions.softplus: _by_element(_softplus),
    functions.sin: _by_element(trigonometric.sine),
    functions.cos: _by_element(trigonometric.cosine),
    functions.log: _same(lambda a: simd.logarithm(a)),
    functions.sqrt: _same(lambda a: simd.square_root(a)),
    functions.relu: _same(lambda a: if_less(a, 0.0, filled(a, 0.0), a)),
    functions.absolute: _same(lambda a: magnitude(a)),
    functions.positive: _same(lambda a: if_less(0.0, a, 1.0, 0.0)),
    functions.stop: _same(lambda a: a),
    functions.maximum: _same(lambda a, b: if_less(a, b, b, if_differs(b, b, b, a))),
    functions.minimum: _same(lambda a, b: if_less(b, a, b, if_differs(b, b, b, a))),
}.items():
    _register(_function, _implementations)


@overload(functions.where, jit_options=INLINE)
def _where(condition, then, otherwise):
    if isinstance(condition, Register):
        return lambda condition, then, otherwise: if_differs(condition, 0.0, then, otherwise)
