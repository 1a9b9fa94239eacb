"""Polynomials on SIMD registers: what `elementary` and `trigonometric` are made of."""

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic, register_jitable
from numpy.polynomial import chebyshev

from lstm_numba.cpu import simd

# Inlined by LLVM: Numba's own inlining of nested functions takes minutes.
INLINE = {"forceinline": True}
inlined = register_jitable(**INLINE)


def polynomial(coefficients):
    """Return a function: the polynomial of these coefficients, lowest power first, by Horner's rule."""

    @intrinsic
    def horner(typing_context, z):
        def build(context, builder, signature, arguments):
            terms = [simd.as_register(builder, z, types.float64, ir.Constant(ir.DoubleType(), c)) for c in coefficients]
            total = terms[-1]
            for term in terms[-2::-1]:
                total = simd.vector_intrinsic(builder, "fma", z.llvm, [total, arguments[0], term])
            return total

        return z(z), build

    return horner


def economised(taylor, bound: float, terms: int):
    """The first `terms` coefficients of a series on |r| <= bound: its Chebyshev series there, cut off."""
    powers = bound ** np.arange(len(taylor))
    return chebyshev.cheb2poly(chebyshev.poly2cheb(taylor * powers)[:terms]) / powers[:terms]
