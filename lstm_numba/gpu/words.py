"""The words of the generated CUDA functions, in plain Python: what each of them means for one thread.

`lstm_numba.gpu.scalars` has the same words as compiled code.  Arrays are flat.  *Low* arrays hold numbers in the type in
which sequences are stored and products multiply (bfloat16, float16); where that is the type of the arithmetic, a low copy
is an empty array and nothing is copied.
"""


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


def copy_low(low, index, value):
    """A product reads the value in the type of storage."""
    if len(low):
        low[index] = value


def erase(array, index):
    array[index] = 0


def erase_low(low, index):
    copy_low(low, index, 0)


def summed(slots, slot, sums, at):
    """A slot: its input products and, where they are not in it yet, its recurrent ones."""
    return slots[slot] + sums[at] if len(sums) else slots[slot]


def take(array, index):
    """The adjoint that has come in; the next step begins with 0."""
    value = array[index]
    array[index] = 0
    return value


def add(array, index, value):
    array[index] += value


def put_adjoint(slots, slot, low, value):
    """The adjoint of a product, in both types."""
    slots[slot] = value
    copy_low(low, slot, value)


def erase_adjoint(slots, slot, low):
    put_adjoint(slots, slot, low, 0)


# --- resets


def starts_again(marked, resets, place, step, length):
    """Whether the row begins with its first state at `step`."""
    return bool(marked and step < length and resets[place])


def or_start(again, start, index, value):
    return start[index] if again else value


def take_state(again, start, place, array, index):
    """What has come in for a state; a row that began anew after it gives that to its first state instead."""
    value = take(array, index)
    if again:
        start[place] += value
        return value * 0
    return value


def ticks(now, periods, unit):
    """1 where the unit's period divides the step, else 0."""
    return 1 if now % periods[unit] == 0 else 0
