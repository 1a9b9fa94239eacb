"""The words of `lstm_numba.gpu.words` and the functions of `lstm_numba.functions` as compiled code for CUDA scalars.

exp, tanh, log, log1p, sin, cos and sqrt are NVIDIA's libdevice in its accurate form, 2 units of the last place at most;
sigmoid adds a sum and a quotient to exp.  Nothing is compiled with fastmath, and every selection below keeps a NaN.
"""

import math
from collections.abc import Callable
from functools import cache
from typing import Any

from numba.cuda import types
from numba.cuda.extending import register_jitable

from lstm_numba.gpu.access import add_to, is_given
from lstm_numba.gpu.half import CONVERSIONS
from lstm_numba.gpu.words import FOREVER
from lstm_numba.types import Types

ARITHMETIC = {"float32": types.float32, "float64": types.float64}
STORED = {"float32": types.float32, "float64": types.float64, "uint16": types.uint16, "float16": types.uint16}

Table = dict[str, Callable[..., Any]]

inlined = register_jitable(forceinline=True)


@cache
def functions(number: Any) -> Table:
    """The functions that generated text may call, on this type."""
    zero, one = number(0), number(1)
    table: Table = {
        "sigmoid": lambda a: one / (one + math.exp(-a)),
        "softplus": lambda a: (zero if a < zero else a) + math.log1p(math.exp(-abs(a))),  # noqa: FURB136  (max loses a NaN)
        "tanh": lambda a: math.tanh(a),
        "exp": lambda a: math.exp(a),
        "log": lambda a: math.log(a),
        "sqrt": lambda a: math.sqrt(a),
        "sin": lambda a: math.sin(a),
        "cos": lambda a: math.cos(a),
        "relu": lambda a: zero if a < zero else a,  # noqa: FURB136  (max loses a NaN)
        "absolute": lambda a: abs(a),
        "positive": lambda a: one if a > zero else zero,
        "where": lambda condition, then, otherwise: then if condition != zero else otherwise,
        "stop": lambda a: a,
        "maximum": lambda a, b: b if b > a or b != b else a,
        "minimum": lambda a, b: b if b < a or b != b else a,
    }
    return {name: inlined(function) for name, function in table.items()}


@cache
def words(kinds: Types) -> Table:
    """The words, on these types, for slots that hold their recurrent products already."""
    number = ARITHMETIC[kinds.arithmetic.name]
    zero, one = number(0), number(1)
    low = _low_words(kinds)
    put_low_copy, erase_low_copy = low["copy_low"], low["erase_low"]

    def take(array, index):
        value = array[index]
        array[index] = zero
        return value

    def put_adjoint(slots, slot, low_slots, value):
        slots[slot] = value
        put_low_copy(low_slots, slot, value)

    def erase_adjoint(slots, slot, low_slots):
        slots[slot] = zero
        erase_low_copy(low_slots, slot)

    def take_state(again, start, place, array, index):
        value = array[index]
        array[index] = zero
        if again:
            add_to(start, place, value)
            return zero
        return value

    table: Table = {
        "get": lambda array, index: array[index],
        "put": _put,
        "erase": _eraser(zero),
        "add": lambda array, index, value: add_to(array, index, value),
        "end_of": lambda lengths, row: lengths[row] if is_given(lengths) else FOREVER,
        "take": take,
        "take_state": take_state,
        "put_adjoint": put_adjoint,
        "erase_adjoint": erase_adjoint,
        "summed": lambda slots, slot, sums, at: slots[slot],
        "starts_again": lambda marked, resets, place, step, length: (
            marked != 0 and step < length and resets[place] != 0
        ),
        "or_start": lambda again, start, index, value: start[index] if again else value,
        "ticks": lambda now, periods, unit: one if now % periods[unit] == 0 else zero,
    }
    return {**{name: inlined(function) for name, function in table.items()}, **low}


def _put(array, index, value):
    array[index] = value


def _eraser(zero):
    def erase(array, index):
        array[index] = zero

    return erase


def _low_words(kinds: Types) -> Table:
    """Words for arrays in the type of storage."""
    if not kinds.is_half:

        def copy_low(array, index, value):
            pass

        def erase_low(array, index):
            pass

        table = {"get_low": lambda array, index: array[index], "put_low": _put}
        table |= {"copy_low": copy_low, "erase_low": erase_low}
    else:
        read, rounded = CONVERSIONS[kinds.storage]
        nothing = types.uint16(0)

        def put_low(array, index, value):
            array[index] = rounded(value)

        table = {"get_low": lambda array, index: read(array[index]), "put_low": put_low}
        table |= {"copy_low": put_low, "erase_low": _eraser(nothing)}
    return {name: inlined(function) for name, function in table.items()}
