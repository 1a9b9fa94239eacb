"""sigmoid and tanh of float32 from the device's own 2**a and 1 / a, one instruction each, without a branch.

A sigmoid is wrong by 2e-7 at most, a tanh by 6 units of the last place (scripts/gpu_checks/functions.py).  Near 0 tanh
is a polynomial: 1 - 2 / (1 + exp(2 a)) would lose all places there.  A NaN comes out as one, and infinities as the
limits.
"""

import math

from llvmlite import ir
from numba.cuda import types
from numba.cuda.extending import intrinsic, register_jitable

LOG2_E, SMALL = types.float32(1.4426950408889634), types.float32(0.5625)
ONE, TWO = types.float32(1), types.float32(2)
# tanh(a) = a + a u (C_0 + C_1 u + C_2 u u + C_3 u u u), u = a a < SMALL**2, by 5e-8 of it
C_0, C_1 = types.float32(-0.33332875), types.float32(0.13319080)
C_2, C_3 = types.float32(-0.052565116), types.float32(0.016232911)


def _instruction(text):
    """Return a function: one PTX instruction from a float32 to one."""

    @intrinsic
    def instruction(typing_context, value):
        def build(context, builder, signature, arguments):
            code = ir.InlineAsm(ir.FunctionType(ir.FloatType(), [ir.FloatType()]), f"{text} $0, $1;", "=f,f", False)
            return builder.call(code, arguments)

        return types.float32(types.float32), build

    return instruction


power_of_two, reciprocal = _instruction("ex2.approx.ftz.f32"), _instruction("rcp.approx.ftz.f32")


@register_jitable(forceinline=True)
def sigmoid(a):
    return reciprocal(ONE + power_of_two(-a * LOG2_E))


@register_jitable(forceinline=True)
def tanh(a):
    size, u = abs(a), a * a
    near = size + size * (u * (C_0 + u * (C_1 + u * (C_2 + u * C_3))))
    far = ONE - TWO * reciprocal(ONE + power_of_two(size * (TWO * LOG2_E)))
    return math.copysign(near if size < SMALL else far, a)
