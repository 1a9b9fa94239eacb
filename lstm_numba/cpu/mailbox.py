"""Where a thread finds the calls that it is to make.

    state    IDLE -> POSTED -> TAKEN -> IDLE -> ...    while somebody serves it; of two who do one takes it
             IDLE -> ASLEEP                            nothing came for a while: who posts next wakes somebody
    calls    how many
    where    the address of the next one
    failed   what the calls returned: 0 if all went well

Who posts writes the rest first and the state last; who serves reads the state first.
"""

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

from lstm_numba.cpu.calls import I32, I64, data_of, make_next
from lstm_numba.cpu.linked import compiled

IDLE, POSTED, TAKEN, ASLEEP = range(4)
# A line of memory of its own, between two that nobody touches.
WORDS, STATE, CALLS, WHERE, FAILED = 24, 8, 9, 10, 11

# What tells a processor that it waits for another: LLVM's name, and its arguments.
PAUSES = {"x86_64": ("llvm.x86.sse2.pause", []), "aarch64": ("llvm.aarch64.hint", [I32(1)])}
PAUSE = next((pause for name, pause in PAUSES.items() if llvm.get_default_triple().startswith(name)), None)


def new() -> NDArray[np.int64]:
    box = np.zeros(WORDS, np.int64)
    box[STATE] = ASLEEP
    return box


@intrinsic
def pause(typing_context):
    """Wait for some tens of cycles."""

    def build(context, builder, signature, given):
        if PAUSE:
            name, arguments = PAUSE
            kind = ir.FunctionType(ir.VoidType(), [argument.type for argument in arguments])
            builder.call(cgutils.get_or_insert_function(builder.module, kind, name), arguments)
        return context.get_dummy_value()

    return types.none(), build


@intrinsic
def state_of(typing_context, box):
    """What others wrote before they wrote this state is seen after it."""

    def build(context, builder, signature, given):
        return builder.load_atomic(_state(context, builder, signature, given), "acquire", 8)

    return types.intp(box), build


@intrinsic
def set_state(typing_context, box, state):
    """Return the state before."""

    def build(context, builder, signature, given):
        return builder.atomic_rmw("xchg", _state(context, builder, signature, given), given[1], "acq_rel")

    return types.intp(box, types.intp), build


@intrinsic
def changed_state(typing_context, box, old, new):
    """old -> new; false where the state was another."""

    def build(context, builder, signature, given):
        place = _state(context, builder, signature, given)
        return builder.extract_value(builder.cmpxchg(place, given[1], given[2], "acq_rel", "acquire"), 1)

    return types.boolean(box, types.intp, types.intp), build


def _state(context, builder, signature, given):
    return builder.gep(data_of(context, builder, signature.args[0], given[0]), [I64(STATE)])


def _post(box):
    return set_state(box, POSTED)


def _serve(box, patience):
    left = patience
    while True:
        state = state_of(box)
        if state == POSTED and changed_state(box, POSTED, TAKEN):
            failed = 0
            for _ in range(box[CALLS]):
                failed |= make_next(box, WHERE)
            box[FAILED] = failed
            set_state(box, IDLE)
            left = patience
        elif state == ASLEEP:
            return
        elif left > 0:
            pause()
            left -= 1
        else:
            changed_state(box, IDLE, ASLEEP)


def _has_ended(box, patience):
    left = patience
    while POSTED <= state_of(box) <= TAKEN:
        if left <= 0:
            return False
        pause()
        left -= 1
    return True


# post(box): the state before.  serve(box, patience): make what is posted, until nothing came for so many pauses.
# has_ended(box, patience): whether what was posted has been made, after so many pauses at most.
post, serve, has_ended = (compiled(function, "mailbox") for function in (_post, _serve, _has_ended))
