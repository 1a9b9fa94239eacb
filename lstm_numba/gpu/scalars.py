"""The words of `lstm_numba.gpu.words` and the functions of `lstm_numba.functions` as compiled code for CUDA scalars.

exp, log, log1p, sin, cos and sqrt are NVIDIA's libdevice in its accurate form, 2 units of the last place at most; so
is float64's tanh, and its sigmoid adds a sum and a quotient to exp.  Those of float32 are our own (float32.py).
Nothing is compiled with fastmath, and every selection below keeps a NaN.
"""

import math
from collections.abc import Callable
from functools import cache
from typing import Any

from numba.cuda import types
from numba.cuda.extending import register_jitable

from lstm_numba.gpu import float32
from lstm_numba.gpu.access import add_to, is_given
from lstm_numba.gpu.awaited import publish
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
    found = {name: inlined(function) for name, function in table.items()}
    return found if number == types.float64 else {**found, "sigmoid": float32.sigmoid, "tanh": float32.tanh}


@cache
def words(kinds: Types) -> Table:
    """The words, on these types, for slots that hold their recurrent products already."""
    number = ARITHMETIC[kinds.arithmetic.name]
    zero, one = number(0), number(1)
    low, publish_low, put_both = _low_words(kinds), published(kinds), _put_both(kinds)

    def take(array, index):
        value = array[index]
        array[index] = zero
        return value

    def put_adjoint(slots, slot, low_slots, value):
        publish_low(low_slots, slot, value)  # first, for those who wait
        slots[slot] = value

    def erase_adjoint(slots, slot, low_slots):
        slots[slot] = zero
        publish_low(low_slots, slot, zero)

    def or_give(again, start, place, value):
        if again:
            add_to(start, place, value)
            return zero
        return value

    table: Table = {
        "get": lambda array, index: array[index],
        "put": _put,
        "put_both": put_both,
        "erase_both": lambda array, low, index: put_both(array, low, index, zero),
        "erase": _eraser(zero),
        "add": lambda array, index, value: add_to(array, index, value),
        "end_of": lambda lengths, row: lengths[row] if is_given(lengths) else FOREVER,
        "take": take,
        "put_adjoint": put_adjoint,
        "erase_adjoint": erase_adjoint,
        "summed": lambda value, sums, at: value,
        "starts_again": lambda marked, resets, place, step, length: (
            marked != 0 and step < length and resets[place] != 0
        ),
        "or_start": lambda again, start, index, value: start[index] if again else value,
        "or_give": or_give,
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
        return {"get_low": inlined(lambda array, index: array[index]), "put_low": inlined(_put)}
    read, rounded = CONVERSIONS[kinds.storage]

    def put_low(array, index, value):
        array[index] = rounded(value)

    return {"get_low": inlined(lambda array, index: read(array[index])), "put_low": inlined(put_low)}


def published(kinds: Types) -> Callable[..., Any]:
    """(array, index, number of the arithmetic): written in the type of storage, for other blocks that wait for it."""
    if not kinds.is_half:
        return publish
    _, rounded = CONVERSIONS[kinds.storage]
    return inlined(lambda array, index, value: publish(array, index, rounded(value)))


def _put_both(kinds: Types) -> Callable[..., Any]:
    publish_low = published(kinds)

    def put_both(array, low, index, value):
        array[index] = value
        publish_low(low, index, value)

    def put_once(array, low, index, value):
        publish_low(array, index, value)

    return inlined(put_both if kinds.is_half else put_once)
