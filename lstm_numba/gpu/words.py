"""The words of the generated CUDA functions, in plain Python: what each of them means for one thread.

`lstm_numba.gpu.scalars` and `lstm_numba.gpu.blocks` have the same words as compiled code.  Arrays are flat.  *Low*
arrays hold numbers in the type in which sequences are stored and products multiply (bfloat16, float16); where that is
the type of the arithmetic, the low copy of a state is an empty array and nothing is copied.
"""

from collections import defaultdict

import numpy as np

FOREVER = 2**62


def get(array, index):
    return array[index]


def put(array, index, value):
    array[index] = value


def get_low(array, index):
    """A stored number as one of the arithmetic."""
    return float(array[index])


def put_low(array, index, value):
    """Rounded to the type of storage."""
    array[index] = value


def put_both(array, low, index, value):
    """A value that products read too, in the type of storage: in `low`, or in the array itself where that is empty."""
    array[index] = value
    if len(low):
        low[index] = value


def erase_both(array, low, index):
    put_both(array, low, index, 0)


def end_of(lengths, row):
    """The step behind the row's last one; no lengths where all rows have all steps and nothing is reset."""
    return lengths[row] if len(lengths) else FOREVER


def erase(array, index):
    array[index] = 0


def summed(value, sums, at):
    """What was there and, where they are not in it yet, the recurrent products."""
    return value if sums is None else value + sums[at]


def take(array, index):
    """The adjoint that has come in; the next step begins with 0."""
    value = array[index]
    array[index] = 0
    return value


def add(array, index, value):
    array[index] += value


def put_adjoint(slots, slot, low, value):
    """The adjoint of a product, and the same for the products that read it."""
    slots[slot] = low[slot] = value


def erase_adjoint(slots, slot, low):
    put_adjoint(slots, slot, low, 0)


# --- resets


def starts_again(marked, resets, place, step, length):
    """Whether the row begins with its first state at `step`."""
    return bool(marked and step < length and resets[place])


def or_start(again, start, index, value):
    return start[index] if again else value


def or_give(again, start, place, value):
    """What has come in for a state; a row that began anew after it gives that to its first state instead."""
    if again:
        start[place] += value
        return value * 0
    return value


def ticks(now, periods, unit):
    """1 where the unit's period divides the step, else 0."""
    return 1 if now % periods[unit] == 0 else 0


# --- Blocks of threads; here one block of one thread


def thread():
    """The thread's number in its block."""
    return 0


def threads():
    return 1


def wait():
    """All threads of the block have come here."""


def share(parts, batch, size):
    """This block's part: its first unit and how many, its first row and the one after its last."""
    del parts
    return 0, size, 0, batch


def places(units):
    """How threads share the units of rows: this one's first row, and from one row to the next; the same of units."""
    return 0, 1, 0, 1


def shared_memory():
    """The block's shared memory: as stored numbers, and as numbers of the arithmetic."""
    return defaultdict(float), defaultdict(float)


def hold(stored, at, weights, run, skipped, gates, size, depth, first, units):
    """Keep this block's rows of `gates` stacked matrices (size, depth), from place `skipped` of `run` places on."""
    for gate, unit, k in np.ndindex(run, units, depth):
        row = (gate - skipped) * size + first + unit
        stored[at + (gate * units + unit) * depth + k] = weights[row * depth + k] if 0 <= gate - skipped < gates else 0


def hold_turned(stored, at, weights, depth, size, first, units):
    """Keep this block's columns of a matrix (depth, size), as rows."""
    for unit, k in np.ndindex(units, depth):
        stored[at + unit * depth + k] = weights[k * size + first + unit]


def deal(held, count, depth, apart, rows, at, tile, stage, span, scratch):
    """How the block's threads share a product, for all steps: of `count` rows of held, `depth` long, with so many rows,
    `apart` numbers from one to the next."""
    del stage, span, scratch
    return held, count, depth, apart, rows, at, tile


def multiply(stored, numbers, dealt, operand, start, more, waits):
    """numbers[at + i * tile + r] = (or +=, with `more`) the sum over k of held[i, k] operand[start + r * apart + k].

    With `waits` a number of the operand that nobody has written yet is waited for.
    """
    del waits
    held, count, depth, apart, rows, at, tile = dealt
    for i, r in np.ndindex(count, rows):
        total = sum(stored[held + i * depth + k] * float(operand[start + r * apart + k]) for k in range(depth))
        numbers[at + i * tile + r] = numbers[at + i * tile + r] * more + total
