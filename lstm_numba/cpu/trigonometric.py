"""sin and cos on SIMD registers, accurate over the whole range of the type.

    a = n pi/2 + r, n = round(a 2/pi):    sin(a) is sin(r), cos(r), -sin(r), -cos(r), by n modulo 4

pi/2 is three numbers of the type.  Up to LARGEST the first difference a - n HALF_PI[0] is exact: both are multiples of
the last place of HALF_PI[0], and the rest fits the type.  What lies beyond, infinities among it, goes lane by lane
through the C library, whose reduction knows as many digits of pi as there are exponents: float32 keeps its bound, and
glibc's float64 is wrong by 8 units of the last place beside the zero of cos that is nearest to a float64.
"""

import math

import numpy as np
from numba import types

from lstm_numba.cpu import simd
from lstm_numba.cpu.series import economised, inlined, polynomial
from lstm_numba.cpu.simd import any_beyond, filled, fma, if_differs, if_less, magnitude, nearest

HALF_PI = {
    types.float32: (1.5707963705062866, -4.371138828673793e-8, -1.7151245100058819e-15),
    types.float64: (1.5707963267948966, 6.123233995736766e-17, -1.4973849048591698e-33),
}
LARGEST = {types.float32: 2.0**17, types.float64: 2.0**30}
# Coefficients in the brackets of r (1 + z (-1/6 + ...)) and 1 - z/2 + z z (1/24 - ...), z = r r, |r| <= pi/4 and a
# little more, as n is rounded: what is left out is below a tenth of a unit of the last place.
TERMS = {types.float32: 4, types.float64: 7}
BOUND = 0.79


def _series(first: int, terms: int):
    """Of sin (first = 3) or cos (first = 4) from r**first on, divided by that, as a polynomial in r**2."""
    powers = np.arange(first, first + 32)
    signs = np.where(powers % 2 == first % 2, (-1.0) ** (powers // 2), 0)
    return economised(signs / [math.factorial(k) for k in powers], BOUND, 2 * terms - 1)[::2]


def _wave(element, shift: int, library):
    """sin(a + shift pi/2)."""
    high, middle, low = HALF_PI[element]
    most, per_half_pi = LARGEST[element], 2 / math.pi
    of_sine, of_cosine = (polynomial(_series(first, TERMS[element])) for first in (3, 4))

    @inlined
    def wave(a):
        n = nearest(a * per_half_pi)
        r = fma(n, filled(a, -low), fma(n, filled(a, -middle), fma(n, filled(a, -high), a)))
        z = r * r
        sine = fma(r * z, of_sine(z), r)
        cosine = fma(z * z, of_cosine(z), fma(z, filled(a, -0.5), filled(a, 1.0)))
        turned = n + shift
        quadrant = turned - 4.0 * nearest(turned * 0.25)  # -2 .. 2; no integer, which a NaN could not be
        found = if_differs(magnitude(quadrant), 1.0, sine, cosine)
        found = if_less(magnitude(quadrant - 0.5), 1.0, found, -found)
        if any_beyond(a, most):
            found = if_less(most, magnitude(a), library(a), found)
        return found

    return wave


def sine(element):
    return _wave(element, 0, simd.sine)


def cosine(element):
    return _wave(element, 1, simd.cosine)
