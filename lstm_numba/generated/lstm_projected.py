"""LSTM with projection: one step, its derivatives, and the kernels of a sequence.

GENERATED - edit derive/cells/lstm_projected.py, then run

    derive generate lstm_projected

Equations  sha256 a37a27b35ae7a6537d60218d70d30c72305f9e7b422b3ffab07f79af7410b929   (SymPy 1.14.0)
Reference  H. Sak, A. Senior, F. Beaufays, "Long short-term memory based recurrent neural network architectures for
           large vocabulary speech recognition", 2014, arXiv 1402.1128

    i = sigmoid(W_i @ x + U_i @ r_prev + b_i)
    f = sigmoid(W_f @ x + U_f @ r_prev + b_f)
    g = tanh(W_g @ x + U_g @ r_prev + b_g)
    o = sigmoid(W_o @ x + U_o @ r_prev + b_o)
    c = f * c_prev + g * i
    h = o * tanh(c)
    r = W_hr @ h

In the step functions every argument is one element [b, j] of an array (B, H).  d_v means dL/dv, dot_v a tangent.
"""

from lstm_numba.gpu.words import (
    add,
    deal,
    end_of,
    erase,
    erase_adjoint,
    erase_both,
    get,
    get_low,
    hold,
    hold_turned,
    multiply,
    or_give,
    or_start,
    places,
    put,
    put_adjoint,
    put_both,
    put_low,
    share,
    shared_memory,
    starts_again,
    summed,
    take,
    thread,
    threads,
    wait,
)
from lstm_numba.functions import sigmoid, tanh
from lstm_numba.spec import CellSpec, Slot, Stage
from lstm_numba.words import (
    Biased,
    Product,
    Transposed,
    clear,
    lanes,
    load,
    load_first,
    panels_of,
    release,
    restore,
    store,
    store_first,
    together,
    units_of,
)

CELL = CellSpec(
    name="lstm_projected",
    module="lstm_projected",
    title="LSTM with projection",
    year=2014,
    reference="H. Sak, A. Senior, F. Beaufays, \"Long short-term memory based recurrent neural network architectures for large vocabulary speech recognition\", 2014, arXiv 1402.1128",
    equations_hash="a37a27b35ae7a6537d60218d70d30c72305f9e7b422b3ffab07f79af7410b929",
    inputs={"x": "N"},
    outputs=("r",),
    states={"r": "P", "c": "H"},
    parameters={
        "W_i": ("H", "N"),
        "U_i": ("H", "P"),
        "b_i": ("H",),
        "W_f": ("H", "N"),
        "U_f": ("H", "P"),
        "b_f": ("H",),
        "W_g": ("H", "N"),
        "U_g": ("H", "P"),
        "b_g": ("H",),
        "W_o": ("H", "N"),
        "U_o": ("H", "P"),
        "b_o": ("H",),
        "W_hr": ("P", "H"),
    },
    initial={"b_f": 1},
    biases=("b_i", "b_f", "b_g", "b_o"),
    kept={"h": "H", "tanh_c": "H"},
    program=(("affine", 1, "H"), ("pointwise", 1, "H"), ("affine", 2, "P"), ("pointwise", 2, "P")),
    stages=(
        Stage(
            "H",
            (
                Slot("z_i", (("W_i", "x"), ("U_i", "r_prev")), "b_i"),
                Slot("z_f", (("W_f", "x"), ("U_f", "r_prev")), "b_f"),
                Slot("z_g", (("W_g", "x"), ("U_g", "r_prev")), "b_g"),
                Slot("z_o", (("W_o", "x"), ("U_o", "r_prev")), "b_o"),
            ),
        ),
        Stage(
            "P",
            (
                Slot("z_r", (("W_hr", "h"),), None),
            ),
        ),
    ),
)

multiply_1_x = Product(run=4, gates=4, low=0)
multiply_1_r_prev = Product(run=4, gates=4, low=0)
multiply_2_h = Product(run=1, gates=1, low=0)
transpose_1_r_prev = Transposed(run=4, gates=4, low=0)
transpose_2_h = Transposed(run=1, gates=1, low=0)
biased_1_x = Biased(gates=4)
biased_2_h = Biased(gates=1)



def step_1(z_i, z_f, z_g, z_o, c_prev):
    """Return c, h, and for the derivatives i, f, g, o, tanh_c.  Cost: 1 add, 3 mul, 3 sigmoid, 2 tanh."""

    # gates
    i = sigmoid(z_i)
    f = sigmoid(z_f)
    g = tanh(z_g)
    o = sigmoid(z_o)

    # states
    c = f * c_prev + g * i

    # h = o * tanh(c)
    tanh_c = tanh(c)
    h = o * tanh_c

    return c, h, i, f, g, o, tanh_c


def step_1_vjp(d_c_next, d_h, c_prev, i, f, g, o, tanh_c):
    """Pull d_c_next, d_h back to z_i, z_f, z_g, z_o, c_prev; d_v means dL/dv.  Cost: 6 add, 16 mul."""

    # h = o * tanh(c),  c also feeds the next step
    d_o = d_h * tanh_c
    d_c = d_c_next + d_h * o * (1 - tanh_c * tanh_c)

    # c = f * c_prev + g * i
    d_i = d_c * g
    d_f = d_c * c_prev
    d_g = d_c * i
    d_c_prev = d_c * f

    # i = sigmoid(z_i),  f = sigmoid(z_f),  g = tanh(z_g),  o = sigmoid(z_o)
    d_z_i = d_i * i * (1 - i)
    d_z_f = d_f * f * (1 - f)
    d_z_g = d_g * (1 - g * g)
    d_z_o = d_o * o * (1 - o)

    return d_z_i, d_z_f, d_z_g, d_z_o, d_c_prev


def step_1_jvp(dot_z_i, dot_z_f, dot_z_g, dot_z_o, dot_c_prev, c_prev, i, f, g, o, tanh_c):
    """Push dot_z_i, dot_z_f, dot_z_g, dot_z_o, dot_c_prev forward to dot_c, dot_h, and for the second derivatives
    dot_i, dot_f, dot_g, dot_o, dot_tanh_c.

    Cost: 9 add, 16 mul.
    """

    # i = sigmoid(z_i),  f = sigmoid(z_f),  g = tanh(z_g),  o = sigmoid(z_o)
    dot_i = dot_z_i * i * (1 - i)
    dot_f = dot_z_f * f * (1 - f)
    dot_g = dot_z_g * (1 - g * g)
    dot_o = dot_z_o * o * (1 - o)

    # c = f * c_prev + g * i
    dot_c = dot_c_prev * f + dot_f * c_prev + dot_g * i + dot_i * g

    # h = o * tanh(c)
    dot_tanh_c = dot_c * (1 - tanh_c * tanh_c)
    dot_h = dot_o * tanh_c + dot_tanh_c * o

    return dot_c, dot_h, dot_i, dot_f, dot_g, dot_o, dot_tanh_c


def step_1_vjp_jvp(
    dot_d_c_next, dot_d_h, dot_c_prev, dot_i, dot_f, dot_g, dot_o, dot_tanh_c, d_c_next, d_h, c_prev, i, f, g, o,
    tanh_c,
):
    """step_1_vjp and its tangent; dot_d_v is the change of d_v along a direction.  Cost: 27 add, 56 mul."""

    # h = o * tanh(c),  c also feeds the next step
    d_o = d_h * tanh_c
    d_c = d_c_next + d_h * o * (1 - tanh_c * tanh_c)
    dot_d_o = d_h * dot_tanh_c + dot_d_h * tanh_c
    dot_d_c = (
        dot_d_c_next
        + d_h * dot_o * (1 - tanh_c * tanh_c)
        + dot_d_h * o * (1 - tanh_c * tanh_c)
        - 2 * d_h * dot_tanh_c * o * tanh_c
    )

    # c = f * c_prev + g * i
    d_i = d_c * g
    d_f = d_c * c_prev
    d_g = d_c * i
    d_c_prev = d_c * f
    dot_d_i = d_c * dot_g + dot_d_c * g
    dot_d_f = d_c * dot_c_prev + dot_d_c * c_prev
    dot_d_g = d_c * dot_i + dot_d_c * i
    dot_d_c_prev = d_c * dot_f + dot_d_c * f

    # i = sigmoid(z_i),  f = sigmoid(z_f),  g = tanh(z_g),  o = sigmoid(z_o)
    d_z_i = d_i * i * (1 - i)
    dot_d_z_i = d_i * dot_i * (1 - 2 * i) + dot_d_i * i * (1 - i)
    d_z_f = d_f * f * (1 - f)
    dot_d_z_f = d_f * dot_f * (1 - 2 * f) + dot_d_f * f * (1 - f)
    d_z_g = d_g * (1 - g * g)
    dot_d_z_g = dot_d_g * (1 - g * g) - 2 * d_g * dot_g * g
    d_z_o = d_o * o * (1 - o)
    dot_d_z_o = d_o * dot_o * (1 - 2 * o) + dot_d_o * o * (1 - o)

    return d_z_i, d_z_f, d_z_g, d_z_o, d_c_prev, dot_d_z_i, dot_d_z_f, dot_d_z_g, dot_d_z_o, dot_d_c_prev


def step_2(z_r):
    """Return r.  Cost: nothing."""

    # states
    r = z_r

    return (r,)


def step_2_vjp(d_r):
    """Pull d_r back to z_r; d_v means dL/dv.  Cost: nothing."""

    # r = z_r
    d_z_r = d_r

    return (d_z_r,)


def step_2_jvp(dot_z_r):
    """Push dot_z_r forward to dot_r.  Cost: nothing."""

    # r = z_r
    dot_r = dot_z_r

    return (dot_r,)


def step_2_vjp_jvp(dot_d_r, d_r):
    """step_2_vjp and its tangent; dot_d_v is the change of d_v along a direction.  Cost: nothing."""

    # r = z_r
    d_z_r = d_r
    dot_d_z_r = dot_d_r

    return d_z_r, dot_d_z_r


def project(
    begin, end, batch, first, held, top, rows, kept, slots_1_row, N, slots_2_row, H, P, seq_x, slots_1, slots_2,
    weights_1_x, bias_1,
):
    """Biases and input products of steps begin .. end - 1 at once: as many rows of one product as there are steps."""
    units_1 = units_of(slots_1, 4)
    units_2 = units_of(slots_2, 1)
    panels_1 = panels_of(H, units_1)
    panels_2 = panels_of(P, units_2)
    for row in range(rows):
        panel, panels = 0, panels_1
        biased_1_x(
            end - begin, panel, panels, N, seq_x, (begin * batch + first + row) * N, batch * N, weights_1_x, bias_1,
            slots_1, (begin % kept * held + top + row) * slots_1_row, held * slots_1_row,
        )


def forward(
    begin, end, batch, first, held, top, counts, depth, kept, hoisted, P_row, H_row, slots_1_row, N, P, slots_2_row,
    H, seq_x, slots_1, slots_2, weights_1_x, weights_1_r_prev, weights_2_h, bias_1, bias_2, all_r, all_c, kept_h,
    kept_tanh_c, start_r, start_c, out_r, resets,
):
    """Steps begin .. end - 1 of the batch rows from first on, held from row top on; counts[t] of them run at step t."""
    width = lanes(slots_1)
    units_1 = units_of(slots_1, 4)
    units_2 = units_of(slots_2, 1)
    panels_1 = panels_of(H, units_1)
    panels_2 = panels_of(P, units_2)
    for now in range(begin, end):
        rows = counts[now]
        if rows == 0:
            break
        before = now % depth * held + top
        after = (now + 1) % depth * held + top
        kept_at = now % kept * held + top
        given = now * batch + first
        if resets.size:
            restore(rows, resets, given, start_r, top, all_r, before, P_row)
            restore(rows, resets, given, start_c, top, all_c, before, H_row)

        # 1. affine
        #    z_i = W_i x + U_i r_prev + b_i
        #    z_f = W_f x + U_f r_prev + b_f
        #    z_g = W_g x + U_g r_prev + b_g
        #    z_o = W_o x + U_o r_prev + b_o
        at_once = together(rows, panels_1, 4 * units_1)
        for panel in range(0, panels_1, at_once):
            panels = min(at_once, panels_1 - panel)
            if not hoisted:
                biased_1_x(
                    rows, panel, panels, N, seq_x, given * N, N, weights_1_x, bias_1, slots_1, kept_at * slots_1_row,
                    slots_1_row,
                )
            multiply_1_r_prev(
                rows, panel, panels, 0, P, all_r, before * P_row, P_row, weights_1_r_prev, slots_1,
                kept_at * slots_1_row, slots_1_row,
            )

            # 1. pointwise
            for row in range(rows):
                for unit in range(panel * units_1, (panel + panels) * units_1, width):
                    slot_1 = (kept_at + row) * slots_1_row + unit // units_1 * 4 * units_1 + unit % units_1
                    z_i = load(slots_1, slot_1)
                    z_f = load(slots_1, slot_1 + units_1)
                    z_g = load(slots_1, slot_1 + 2 * units_1)
                    z_o = load(slots_1, slot_1 + 3 * units_1)
                    c_prev = load(all_c, (before + row) * H_row + unit)
                    c, h, i, f, g, o, tanh_c = step_1(z_i, z_f, z_g, z_o, c_prev)
                    store(all_c, (after + row) * H_row + unit, c)
                    store(kept_h, (kept_at + row) * H_row + unit, h)
                    store(slots_1, slot_1, i)
                    store(slots_1, slot_1 + units_1, f)
                    store(slots_1, slot_1 + 2 * units_1, g)
                    store(slots_1, slot_1 + 3 * units_1, o)
                    store(kept_tanh_c, (kept_at + row) * H_row + unit, tanh_c)

        # 2. affine
        #    z_r = W_hr h
        at_once = together(rows, panels_2, 1 * units_2)
        for panel in range(0, panels_2, at_once):
            panels = min(at_once, panels_2 - panel)
            biased_2_h(
                rows, panel, panels, H, kept_h, kept_at * H_row, H_row, weights_2_h, bias_2, slots_2,
                kept_at * slots_2_row, slots_2_row,
            )

            # 2. pointwise
            for row in range(rows):
                for unit in range(panel * units_2, (panel + panels) * units_2, width):
                    slot_2 = (kept_at + row) * slots_2_row + unit // units_2 * 1 * units_2 + unit % units_2
                    z_r = load(slots_2, slot_2)
                    r, = step_2(z_r)
                    store(all_r, (after + row) * P_row + unit, r)
                    store_first(out_r, (given + row) * P + unit, r, P - unit)


def backward(
    begin, end, batch, first, counts, depth, kept, slots_2_row, P_row, P, H, H_row, slots_1_row, slots_2, slots_1,
    back_2_h, back_1_r_prev, ends_2_h, ends_1_r_prev, all_c, kept_tanh_c, d_all_r, d_out_r, d_kept_h, d_all_c,
    d_start_r, d_start_c, resets,
):
    """Steps end - 1 .. begin: adjoints of slots, states, pointwise inputs and pointwise parameters."""
    width = lanes(slots_1)
    units_1 = units_of(slots_1, 4)
    units_2 = units_of(slots_2, 1)
    panels_1 = panels_of(H, units_1)
    panels_2 = panels_of(P, units_2)
    for now in range(end - 1, begin - 1, -1):
        rows = counts[now]
        before = now % depth * batch + first
        kept_at = now % kept * batch + first
        given = now * batch + first
        later = (now + 1) % 2 * batch + first
        earlier = now % 2 * batch + first

        # 2. pointwise, transposed
        panel, panels = 0, panels_2
        for row in range(rows):
            for unit in range(panel * units_2, (panel + panels) * units_2, width):
                slot_2 = (kept_at + row) * slots_2_row + unit // units_2 * 1 * units_2 + unit % units_2
                d_r = load(d_all_r, (later + row) * P_row + unit)
                d_r = d_r + load_first(d_out_r, (given + row) * P + unit, P - unit)
                d_z_r, = step_2_vjp(d_r)
                store(slots_2, slot_2, d_z_r)

        # 2. affine, transposed
        clear(rows, d_kept_h, first, H_row)
        transpose_2_h(
            rows, 0, panels_2, panels_2, ends_2_h, slots_2, kept_at * slots_2_row, slots_2_row, back_2_h, d_kept_h,
            first * H_row, H_row, H,
        )

        # 1. pointwise, transposed
        panel, panels = 0, panels_1
        for row in range(rows):
            for unit in range(panel * units_1, (panel + panels) * units_1, width):
                slot_1 = (kept_at + row) * slots_1_row + unit // units_1 * 4 * units_1 + unit % units_1
                d_c_next = load(d_all_c, (later + row) * H_row + unit)
                d_h = load(d_kept_h, (first + row) * H_row + unit)
                c_prev = load(all_c, (before + row) * H_row + unit)
                i = load(slots_1, slot_1)
                f = load(slots_1, slot_1 + units_1)
                g = load(slots_1, slot_1 + 2 * units_1)
                o = load(slots_1, slot_1 + 3 * units_1)
                tanh_c = load(kept_tanh_c, (kept_at + row) * H_row + unit)
                d_z_i, d_z_f, d_z_g, d_z_o, d_c_prev = step_1_vjp(d_c_next, d_h, c_prev, i, f, g, o, tanh_c)
                store(slots_1, slot_1, d_z_i)
                store(slots_1, slot_1 + units_1, d_z_f)
                store(slots_1, slot_1 + 2 * units_1, d_z_g)
                store(slots_1, slot_1 + 3 * units_1, d_z_o)
                store(d_all_c, (earlier + row) * H_row + unit, d_c_prev)

        # 1. affine, transposed
        clear(rows, d_all_r, earlier, P_row)
        transpose_1_r_prev(
            rows, 0, panels_1, panels_1, ends_1_r_prev, slots_1, kept_at * slots_1_row, slots_1_row, back_1_r_prev,
            d_all_r, earlier * P_row, P_row, P,
        )

        if resets.size:
            release(rows, resets, given, d_all_r, earlier, d_start_r, first, P_row)
            release(rows, resets, given, d_all_c, earlier, d_start_c, first, H_row)


def forward_tangent(
    begin, end, batch, first, held, top, counts, depth, kept, P_row, H_row, slots_1_row, N, P, slots_2_row, H,
    seq_x, dot_seq_x, slots_1, dot_slots_1, slots_2, dot_slots_2, weights_1_x, dot_weights_1_x, weights_1_r_prev,
    dot_weights_1_r_prev, weights_2_h, dot_weights_2_h, dot_bias_1, dot_bias_2, all_r, all_c, dot_all_r, dot_all_c,
    kept_tanh_c, kept_h, dot_kept_h, dot_kept_tanh_c, dot_start_r, dot_start_c, dot_out_r, resets,
):
    """Steps begin .. end - 1 of forward along a direction: dot_v is the change of v."""
    width = lanes(slots_1)
    units_1 = units_of(slots_1, 4)
    units_2 = units_of(slots_2, 1)
    panels_1 = panels_of(H, units_1)
    panels_2 = panels_of(P, units_2)
    for now in range(begin, end):
        rows = counts[now]
        if rows == 0:
            break
        before = now % depth * held + top
        after = (now + 1) % depth * held + top
        kept_at = now % kept * held + top
        given = now * batch + first
        if resets.size:
            restore(rows, resets, given, dot_start_r, top, dot_all_r, before, P_row)
            restore(rows, resets, given, dot_start_c, top, dot_all_c, before, H_row)

        # 1. affine
        #    dot_z_i = W_i dot_x + U_i dot_r_prev + dot_W_i x + dot_U_i r_prev + dot_b_i
        #    dot_z_f = W_f dot_x + U_f dot_r_prev + dot_W_f x + dot_U_f r_prev + dot_b_f
        #    dot_z_g = W_g dot_x + U_g dot_r_prev + dot_W_g x + dot_U_g r_prev + dot_b_g
        #    dot_z_o = W_o dot_x + U_o dot_r_prev + dot_W_o x + dot_U_o r_prev + dot_b_o
        at_once = together(rows, panels_1, 4 * units_1)
        for panel in range(0, panels_1, at_once):
            panels = min(at_once, panels_1 - panel)
            biased_1_x(
                rows, panel, panels, N, dot_seq_x, given * N, N, weights_1_x, dot_bias_1, dot_slots_1,
                kept_at * slots_1_row, slots_1_row,
            )
            multiply_1_x(
                rows, panel, panels, 0, N, seq_x, given * N, N, dot_weights_1_x, dot_slots_1, kept_at * slots_1_row,
                slots_1_row,
            )
            multiply_1_r_prev(
                rows, panel, panels, 0, P, dot_all_r, before * P_row, P_row, weights_1_r_prev, dot_slots_1,
                kept_at * slots_1_row, slots_1_row,
            )
            multiply_1_r_prev(
                rows, panel, panels, 0, P, all_r, before * P_row, P_row, dot_weights_1_r_prev, dot_slots_1,
                kept_at * slots_1_row, slots_1_row,
            )

            # 1. pointwise
            for row in range(rows):
                for unit in range(panel * units_1, (panel + panels) * units_1, width):
                    slot_1 = (kept_at + row) * slots_1_row + unit // units_1 * 4 * units_1 + unit % units_1
                    dot_z_i = load(dot_slots_1, slot_1)
                    dot_z_f = load(dot_slots_1, slot_1 + units_1)
                    dot_z_g = load(dot_slots_1, slot_1 + 2 * units_1)
                    dot_z_o = load(dot_slots_1, slot_1 + 3 * units_1)
                    dot_c_prev = load(dot_all_c, (before + row) * H_row + unit)
                    c_prev = load(all_c, (before + row) * H_row + unit)
                    i = load(slots_1, slot_1)
                    f = load(slots_1, slot_1 + units_1)
                    g = load(slots_1, slot_1 + 2 * units_1)
                    o = load(slots_1, slot_1 + 3 * units_1)
                    tanh_c = load(kept_tanh_c, (kept_at + row) * H_row + unit)
                    dot_c, dot_h, dot_i, dot_f, dot_g, dot_o, dot_tanh_c = step_1_jvp(
                        dot_z_i, dot_z_f, dot_z_g, dot_z_o, dot_c_prev, c_prev, i, f, g, o, tanh_c,
                    )
                    store(dot_all_c, (after + row) * H_row + unit, dot_c)
                    store(dot_kept_h, (kept_at + row) * H_row + unit, dot_h)
                    store(dot_slots_1, slot_1, dot_i)
                    store(dot_slots_1, slot_1 + units_1, dot_f)
                    store(dot_slots_1, slot_1 + 2 * units_1, dot_g)
                    store(dot_slots_1, slot_1 + 3 * units_1, dot_o)
                    store(dot_kept_tanh_c, (kept_at + row) * H_row + unit, dot_tanh_c)

        # 2. affine
        #    dot_z_r = W_hr dot_h + dot_W_hr h
        at_once = together(rows, panels_2, 1 * units_2)
        for panel in range(0, panels_2, at_once):
            panels = min(at_once, panels_2 - panel)
            biased_2_h(
                rows, panel, panels, H, dot_kept_h, kept_at * H_row, H_row, weights_2_h, dot_bias_2, dot_slots_2,
                kept_at * slots_2_row, slots_2_row,
            )
            multiply_2_h(
                rows, panel, panels, 0, H, kept_h, kept_at * H_row, H_row, dot_weights_2_h, dot_slots_2,
                kept_at * slots_2_row, slots_2_row,
            )

            # 2. pointwise
            for row in range(rows):
                for unit in range(panel * units_2, (panel + panels) * units_2, width):
                    slot_2 = (kept_at + row) * slots_2_row + unit // units_2 * 1 * units_2 + unit % units_2
                    dot_z_r = load(dot_slots_2, slot_2)
                    dot_r, = step_2_jvp(dot_z_r)
                    store(dot_all_r, (after + row) * P_row + unit, dot_r)
                    store_first(dot_out_r, (given + row) * P + unit, dot_r, P - unit)


def backward_tangent(
    begin, end, batch, first, counts, depth, kept, slots_2_row, P_row, P, H, H_row, slots_1_row, slots_2, slots_1,
    dot_slots_1, dot_slots_2, back_2_h, back_1_r_prev, dot_back_2_h, dot_back_1_r_prev, ends_2_h, ends_1_r_prev,
    all_c, dot_all_c, kept_tanh_c, dot_kept_tanh_c, d_all_r, d_out_r, d_kept_h, d_all_c, d_start_r, d_start_c,
    dot_d_all_r, dot_d_out_r, dot_d_kept_h, dot_d_all_c, dot_d_start_r, dot_d_start_c, resets,
):
    """Steps end - 1 .. begin of backward along a direction: adjoints d_v, and dot_d_v, the change of d_v."""
    width = lanes(slots_1)
    units_1 = units_of(slots_1, 4)
    units_2 = units_of(slots_2, 1)
    panels_1 = panels_of(H, units_1)
    panels_2 = panels_of(P, units_2)
    for now in range(end - 1, begin - 1, -1):
        rows = counts[now]
        before = now % depth * batch + first
        kept_at = now % kept * batch + first
        given = now * batch + first
        later = (now + 1) % 2 * batch + first
        earlier = now % 2 * batch + first

        # 2. pointwise, transposed
        panel, panels = 0, panels_2
        for row in range(rows):
            for unit in range(panel * units_2, (panel + panels) * units_2, width):
                slot_2 = (kept_at + row) * slots_2_row + unit // units_2 * 1 * units_2 + unit % units_2
                d_r = load(d_all_r, (later + row) * P_row + unit)
                dot_d_r = load(dot_d_all_r, (later + row) * P_row + unit)
                d_r = d_r + load_first(d_out_r, (given + row) * P + unit, P - unit)
                dot_d_r = dot_d_r + load_first(dot_d_out_r, (given + row) * P + unit, P - unit)
                d_z_r, dot_d_z_r = step_2_vjp_jvp(dot_d_r, d_r)
                store(slots_2, slot_2, d_z_r)
                store(dot_slots_2, slot_2, dot_d_z_r)

        # 2. affine, transposed
        clear(rows, d_kept_h, first, H_row)
        clear(rows, dot_d_kept_h, first, H_row)
        transpose_2_h(
            rows, 0, panels_2, panels_2, ends_2_h, slots_2, kept_at * slots_2_row, slots_2_row, back_2_h, d_kept_h,
            first * H_row, H_row, H,
        )
        transpose_2_h(
            rows, 0, panels_2, panels_2, ends_2_h, dot_slots_2, kept_at * slots_2_row, slots_2_row, back_2_h,
            dot_d_kept_h, first * H_row, H_row, H,
        )
        transpose_2_h(
            rows, 0, panels_2, panels_2, ends_2_h, slots_2, kept_at * slots_2_row, slots_2_row, dot_back_2_h,
            dot_d_kept_h, first * H_row, H_row, H,
        )

        # 1. pointwise, transposed
        panel, panels = 0, panels_1
        for row in range(rows):
            for unit in range(panel * units_1, (panel + panels) * units_1, width):
                slot_1 = (kept_at + row) * slots_1_row + unit // units_1 * 4 * units_1 + unit % units_1
                d_c_next = load(d_all_c, (later + row) * H_row + unit)
                dot_d_c_next = load(dot_d_all_c, (later + row) * H_row + unit)
                d_h = load(d_kept_h, (first + row) * H_row + unit)
                dot_d_h = load(dot_d_kept_h, (first + row) * H_row + unit)
                c_prev = load(all_c, (before + row) * H_row + unit)
                i = load(slots_1, slot_1)
                f = load(slots_1, slot_1 + units_1)
                g = load(slots_1, slot_1 + 2 * units_1)
                o = load(slots_1, slot_1 + 3 * units_1)
                tanh_c = load(kept_tanh_c, (kept_at + row) * H_row + unit)
                dot_c_prev = load(dot_all_c, (before + row) * H_row + unit)
                dot_i = load(dot_slots_1, slot_1)
                dot_f = load(dot_slots_1, slot_1 + units_1)
                dot_g = load(dot_slots_1, slot_1 + 2 * units_1)
                dot_o = load(dot_slots_1, slot_1 + 3 * units_1)
                dot_tanh_c = load(dot_kept_tanh_c, (kept_at + row) * H_row + unit)
                d_z_i, d_z_f, d_z_g, d_z_o, d_c_prev, dot_d_z_i, dot_d_z_f, dot_d_z_g, dot_d_z_o, dot_d_c_prev = step_1_vjp_jvp(
                    dot_d_c_next, dot_d_h, dot_c_prev, dot_i, dot_f, dot_g, dot_o, dot_tanh_c, d_c_next, d_h, c_prev, i,
                    f, g, o, tanh_c,
                )
                store(slots_1, slot_1, d_z_i)
                store(dot_slots_1, slot_1, dot_d_z_i)
                store(slots_1, slot_1 + units_1, d_z_f)
                store(dot_slots_1, slot_1 + units_1, dot_d_z_f)
                store(slots_1, slot_1 + 2 * units_1, d_z_g)
                store(dot_slots_1, slot_1 + 2 * units_1, dot_d_z_g)
                store(slots_1, slot_1 + 3 * units_1, d_z_o)
                store(dot_slots_1, slot_1 + 3 * units_1, dot_d_z_o)
                store(d_all_c, (earlier + row) * H_row + unit, d_c_prev)
                store(dot_d_all_c, (earlier + row) * H_row + unit, dot_d_c_prev)

        # 1. affine, transposed
        clear(rows, d_all_r, earlier, P_row)
        clear(rows, dot_d_all_r, earlier, P_row)
        transpose_1_r_prev(
            rows, 0, panels_1, panels_1, ends_1_r_prev, slots_1, kept_at * slots_1_row, slots_1_row, back_1_r_prev,
            d_all_r, earlier * P_row, P_row, P,
        )
        transpose_1_r_prev(
            rows, 0, panels_1, panels_1, ends_1_r_prev, dot_slots_1, kept_at * slots_1_row, slots_1_row, back_1_r_prev,
            dot_d_all_r, earlier * P_row, P_row, P,
        )
        transpose_1_r_prev(
            rows, 0, panels_1, panels_1, ends_1_r_prev, slots_1, kept_at * slots_1_row, slots_1_row, dot_back_1_r_prev,
            dot_d_all_r, earlier * P_row, P_row, P,
        )

        if resets.size:
            release(rows, resets, given, d_all_r, earlier, d_start_r, first, P_row)
            release(rows, resets, given, dot_d_all_r, earlier, dot_d_start_r, first, P_row)
            release(rows, resets, given, d_all_c, earlier, d_start_c, first, H_row)
            release(rows, resets, given, dot_d_all_c, earlier, dot_d_start_c, first, H_row)


# --- On a CUDA device: what one thread does for one unit of one row

def read_forward_1(row, unit, now, batch, marked, lengths, resets, H, slots_1, all_c):
    """What unit_forward_1 reads besides the products of its stage."""
    here = now * batch + row
    after = here + batch
    slot_1 = here * 4 * H + unit
    length = end_of(lengths, row)
    z_i = get(slots_1, slot_1)
    z_f = get(slots_1, slot_1 + H)
    z_g = get(slots_1, slot_1 + 2 * H)
    z_o = get(slots_1, slot_1 + 3 * H)
    c_prev = get(all_c, here * H + unit)
    again = starts_again(marked, resets, after, now + 1, length)
    return length, z_i, z_f, z_g, z_o, c_prev, again


def unit_forward_1(
    row, unit, now, read, batch, lengths, H, sums_1, sum_1, apart_1, low_h, slots_1, all_c, kept_h, kept_tanh_c,
    start_c,
):
    """1. pointwise, of one unit of one row at step `now`."""
    length, z_i, z_f, z_g, z_o, c_prev, again = read
    here = now * batch + row
    after = here + batch
    slot_1 = here * 4 * H + unit
    if now >= length:
        put(all_c, after * H + unit, get(all_c, here * H + unit))
        erase_both(kept_h, low_h, here * H + unit)
    else:
        z_i = summed(z_i, sums_1, sum_1)
        z_f = summed(z_f, sums_1, sum_1 + apart_1)
        z_g = summed(z_g, sums_1, sum_1 + 2 * apart_1)
        z_o = summed(z_o, sums_1, sum_1 + 3 * apart_1)
        c, h, i, f, g, o, tanh_c = step_1(z_i, z_f, z_g, z_o, c_prev)
        c = or_start(again, start_c, row * H + unit, c)
        put(all_c, after * H + unit, c)
        put_both(kept_h, low_h, here * H + unit, h)
        put(slots_1, slot_1, i)
        put(slots_1, slot_1 + H, f)
        put(slots_1, slot_1 + 2 * H, g)
        put(slots_1, slot_1 + 3 * H, o)
        put(kept_tanh_c, here * H + unit, tanh_c)


def read_forward_2(row, unit, now, batch, marked, lengths, resets, P, slots_2):
    """What unit_forward_2 reads besides the products of its stage."""
    here = now * batch + row
    after = here + batch
    slot_2 = here * P + unit
    length = end_of(lengths, row)
    z_r = get(slots_2, slot_2)
    again = starts_again(marked, resets, after, now + 1, length)
    return length, z_r, again


def unit_forward_2(row, unit, now, read, batch, lengths, P, sums_2, sum_2, low_r_prev, all_r, start_r, out_r):
    """2. pointwise, of one unit of one row at step `now`."""
    length, z_r, again = read
    here = now * batch + row
    after = here + batch
    if now >= length:
        put_both(all_r, low_r_prev, after * P + unit, get(all_r, here * P + unit))
    else:
        z_r = summed(z_r, sums_2, sum_2)
        r, = step_2(z_r)
        put_low(out_r, here * P + unit, r)
        r = or_start(again, start_r, row * P + unit, r)
        put_both(all_r, low_r_prev, after * P + unit, r)


def read_backward_2(row, unit, now, batch, marked, lengths, resets, P, d_all_r, d_out_r):
    """What unit_backward_2 reads besides the products of its stage."""
    here = now * batch + row
    after = here + batch
    later = (now + 1) % 2 * batch + row
    length = end_of(lengths, row)
    again = starts_again(marked, resets, after, now + 1, length)
    d_r = get(d_all_r, later * P + unit)
    d_r_out = get_low(d_out_r, here * P + unit)
    return length, again, d_r, d_r_out


def unit_backward_2(
    row, unit, now, read, batch, lengths, P, sums_r_prev, sum_r_prev, low_slots_2, slots_2, d_all_r, d_start_r,
):
    """2. pointwise, transposed, of one unit of one row at step `now`."""
    length, again, d_r, d_r_out = read
    here = now * batch + row
    later = (now + 1) % 2 * batch + row
    earlier = now % 2 * batch + row
    slot_2 = here * P + unit
    if now >= length:
        add(d_all_r, earlier * P + unit, take(d_all_r, later * P + unit))
        erase_adjoint(slots_2, slot_2, low_slots_2)
    else:
        erase(d_all_r, later * P + unit)
        d_r = summed(d_r, sums_r_prev, sum_r_prev)
        d_r = or_give(again, d_start_r, row * P + unit, d_r)
        d_r = d_r + d_r_out
        d_z_r, = step_2_vjp(d_r)
        put_adjoint(slots_2, slot_2, low_slots_2, d_z_r)


def read_backward_1(
    row, unit, now, batch, marked, lengths, resets, H, slots_1, all_c, kept_tanh_c, d_all_c, d_kept_h,
):
    """What unit_backward_1 reads besides the products of its stage."""
    here = now * batch + row
    after = here + batch
    later = (now + 1) % 2 * batch + row
    slot_1 = here * 4 * H + unit
    length = end_of(lengths, row)
    again = starts_again(marked, resets, after, now + 1, length)
    c_prev = get(all_c, here * H + unit)
    i = get(slots_1, slot_1)
    f = get(slots_1, slot_1 + H)
    g = get(slots_1, slot_1 + 2 * H)
    o = get(slots_1, slot_1 + 3 * H)
    tanh_c = get(kept_tanh_c, here * H + unit)
    d_c_next = get(d_all_c, later * H + unit)
    d_h = get(d_kept_h, row * H + unit)
    return length, again, c_prev, i, f, g, o, tanh_c, d_c_next, d_h


def unit_backward_1(
    row, unit, now, read, batch, lengths, H, sums_h, sum_h, low_slots_1, slots_1, d_all_c, d_start_c, d_kept_h,
):
    """1. pointwise, transposed, of one unit of one row at step `now`."""
    length, again, c_prev, i, f, g, o, tanh_c, d_c_next, d_h = read
    here = now * batch + row
    later = (now + 1) % 2 * batch + row
    earlier = now % 2 * batch + row
    slot_1 = here * 4 * H + unit
    if now >= length:
        add(d_all_c, earlier * H + unit, take(d_all_c, later * H + unit))
        erase_adjoint(slots_1, slot_1, low_slots_1)
        erase_adjoint(slots_1, slot_1 + H, low_slots_1)
        erase_adjoint(slots_1, slot_1 + 2 * H, low_slots_1)
        erase_adjoint(slots_1, slot_1 + 3 * H, low_slots_1)
    else:
        erase(d_all_c, later * H + unit)
        d_c_next = or_give(again, d_start_c, row * H + unit, d_c_next)
        erase(d_kept_h, row * H + unit)
        d_h = summed(d_h, sums_h, sum_h)
        d_z_i, d_z_f, d_z_g, d_z_o, d_c_prev = step_1_vjp(d_c_next, d_h, c_prev, i, f, g, o, tanh_c)
        put_adjoint(slots_1, slot_1, low_slots_1, d_z_i)
        put_adjoint(slots_1, slot_1 + H, low_slots_1, d_z_f)
        put_adjoint(slots_1, slot_1 + 2 * H, low_slots_1, d_z_g)
        put_adjoint(slots_1, slot_1 + 3 * H, low_slots_1, d_z_o)
        add(d_all_c, earlier * H + unit, d_c_prev)


def sweep_forward(
    steps, batch, marked, parts, tile, stage, span, scratch, lengths, resets, P, H, at_1, at_2, hold_1_r_prev,
    hold_2_h, operand_r_prev, operand_h, low_h, low_r_prev, slots_1, slots_2, weights_1_r_prev, weights_2_h, all_c,
    all_r, kept_h, kept_tanh_c, start_c, start_r, out_r,
):
    """All steps: this block's units of its rows."""
    first_H, units_H, low, high = share(parts, batch, H)
    first_P, units_P, low, high = share(parts, batch, P)
    line_H, lines_H, column_H, columns_H = places(units_H)
    line_P, lines_P, column_P, columns_P = places(units_P)
    stored, numbers = shared_memory()
    hold(stored, hold_1_r_prev, weights_1_r_prev, 4, 0, 4, H, P, first_H, units_H)
    hold(stored, hold_2_h, weights_2_h, 1, 0, 1, P, H, first_P, units_P)
    wait()
    for top in range(low, high, tile):
        rows = min(tile, high - top)
        part_1_r_prev = deal(hold_1_r_prev, 4 * units_H, P, P, rows, at_1, tile, stage, span, scratch)
        part_2_h = deal(hold_2_h, 1 * units_P, H, H, rows, at_2, tile, stage, span, scratch)
        for now in range(steps):

            # 1. affine and pointwise
            #    z_i = W_i x + U_i r_prev + b_i
            #    z_f = W_f x + U_f r_prev + b_f
            #    z_g = W_g x + U_g r_prev + b_g
            #    z_o = W_o x + U_o r_prev + b_o
            if line_H < rows and column_H < units_H:
                row, unit = top + line_H, first_H + column_H
                read_1 = read_forward_1(row, unit, now, batch, marked, lengths, resets, H, slots_1, all_c)
            multiply(stored, numbers, part_1_r_prev, operand_r_prev, (now * batch + top) * P, 0, now > 0)
            wait()
            for line in range(line_H, rows, lines_H):
                for column in range(column_H, units_H, columns_H):
                    row, unit = top + line, first_H + column
                    if line >= lines_H or column >= columns_H:
                        read_1 = read_forward_1(row, unit, now, batch, marked, lengths, resets, H, slots_1, all_c)
                    unit_forward_1(
                        row, unit, now, read_1, batch, lengths, H, numbers, at_1 + column * tile + line, units_H * tile,
                        low_h, slots_1, all_c, kept_h, kept_tanh_c, start_c,
                    )
            wait()

            # 2. affine and pointwise
            #    z_r = W_hr h
            if line_P < rows and column_P < units_P:
                row, unit = top + line_P, first_P + column_P
                read_2 = read_forward_2(row, unit, now, batch, marked, lengths, resets, P, slots_2)
            multiply(stored, numbers, part_2_h, operand_h, (now * batch + top) * H, 0, True)
            wait()
            for line in range(line_P, rows, lines_P):
                for column in range(column_P, units_P, columns_P):
                    row, unit = top + line, first_P + column
                    if line >= lines_P or column >= columns_P:
                        read_2 = read_forward_2(row, unit, now, batch, marked, lengths, resets, P, slots_2)
                    unit_forward_2(
                        row, unit, now, read_2, batch, lengths, P, numbers, at_2 + column * tile + line, low_r_prev,
                        all_r, start_r, out_r,
                    )
            wait()


def sweep_backward(
    steps, batch, marked, parts, tile, stage, span, scratch, lengths, resets, P, H, at_r_prev, at_h,
    turned_1_r_prev, turned_2_h, operand_slots_1, operand_slots_2, low_slots_2, low_slots_1, slots_2, slots_1,
    weights_1_r_prev, weights_2_h, all_c, kept_tanh_c, d_all_r, d_out_r, d_start_r, d_all_c, d_kept_h, d_start_c,
):
    """All steps, last to first, transposed: this block's units of its rows; without the first step's products."""
    first_H, units_H, low, high = share(parts, batch, H)
    first_P, units_P, low, high = share(parts, batch, P)
    line_H, lines_H, column_H, columns_H = places(units_H)
    line_P, lines_P, column_P, columns_P = places(units_P)
    stored, numbers = shared_memory()
    hold_turned(stored, turned_1_r_prev, weights_1_r_prev, 4 * H, P, first_P, units_P)
    hold_turned(stored, turned_2_h, weights_2_h, 1 * P, H, first_H, units_H)
    wait()
    for top in range(low, high, tile):
        rows = min(tile, high - top)
        part_2_h = deal(turned_2_h, units_H, 1 * P, 1 * P, rows, at_h, tile, stage, span, scratch)
        part_1_r_prev = deal(turned_1_r_prev, units_P, 4 * H, 4 * H, rows, at_r_prev, tile, stage, span, scratch)
        for now in range(steps - 1, -1, -1):

            # 2. affine and pointwise, transposed
            #    d_r_prev += U_i' d_z_i + U_f' d_z_f + U_g' d_z_g + U_o' d_z_o of step now + 1
            if line_P < rows and column_P < units_P:
                row, unit = top + line_P, first_P + column_P
                read_2 = read_backward_2(row, unit, now, batch, marked, lengths, resets, P, d_all_r, d_out_r)
            if now + 1 < steps:
                multiply(stored, numbers, part_1_r_prev, operand_slots_1, ((now + 1) * batch + top) * 4 * H, 0, True)
            else:
                for place in range(thread(), units_P * tile, threads()):
                    erase(numbers, at_r_prev + place)
            wait()
            for line in range(line_P, rows, lines_P):
                for column in range(column_P, units_P, columns_P):
                    row, unit = top + line, first_P + column
                    if line >= lines_P or column >= columns_P:
                        read_2 = read_backward_2(row, unit, now, batch, marked, lengths, resets, P, d_all_r, d_out_r)
                    unit_backward_2(
                        row, unit, now, read_2, batch, lengths, P, numbers, at_r_prev + column * tile + line,
                        low_slots_2, slots_2, d_all_r, d_start_r,
                    )
            wait()

            # 1. affine and pointwise, transposed
            #    d_h += W_hr' d_z_r
            if line_H < rows and column_H < units_H:
                row, unit = top + line_H, first_H + column_H
                read_1 = read_backward_1(
                    row, unit, now, batch, marked, lengths, resets, H, slots_1, all_c, kept_tanh_c, d_all_c, d_kept_h,
                )
            multiply(stored, numbers, part_2_h, operand_slots_2, (now * batch + top) * 1 * P, 0, True)
            wait()
            for line in range(line_H, rows, lines_H):
                for column in range(column_H, units_H, columns_H):
                    row, unit = top + line, first_H + column
                    if line >= lines_H or column >= columns_H:
                        read_1 = read_backward_1(
                            row, unit, now, batch, marked, lengths, resets, H, slots_1, all_c, kept_tanh_c, d_all_c,
                            d_kept_h,
                        )
                    unit_backward_1(
                        row, unit, now, read_1, batch, lengths, H, numbers, at_h + column * tile + line, low_slots_1,
                        slots_1, d_all_c, d_start_c, d_kept_h,
                    )
            wait()


def unit_forward_tangent_1(
    row, unit, now, batch, marked, lengths, resets, H, slots_1, all_c, kept_tanh_c, dot_slots_1, dot_all_c,
    dot_kept_h, dot_low_h, dot_start_c, dot_kept_tanh_c,
):
    """1. pointwise along a direction, of one unit of one row at step `now`."""
    length = end_of(lengths, row)
    here = now * batch + row
    after = here + batch
    slot_1 = here * 4 * H + unit
    if now >= length:
        put(dot_all_c, after * H + unit, get(dot_all_c, here * H + unit))
        erase_both(dot_kept_h, dot_low_h, here * H + unit)
    else:
        dot_z_i = get(dot_slots_1, slot_1)
        dot_z_f = get(dot_slots_1, slot_1 + H)
        dot_z_g = get(dot_slots_1, slot_1 + 2 * H)
        dot_z_o = get(dot_slots_1, slot_1 + 3 * H)
        dot_c_prev = get(dot_all_c, here * H + unit)
        c_prev = get(all_c, here * H + unit)
        i = get(slots_1, slot_1)
        f = get(slots_1, slot_1 + H)
        g = get(slots_1, slot_1 + 2 * H)
        o = get(slots_1, slot_1 + 3 * H)
        tanh_c = get(kept_tanh_c, here * H + unit)
        dot_c, dot_h, dot_i, dot_f, dot_g, dot_o, dot_tanh_c = step_1_jvp(
            dot_z_i, dot_z_f, dot_z_g, dot_z_o, dot_c_prev, c_prev, i, f, g, o, tanh_c,
        )
        again = starts_again(marked, resets, after, now + 1, length)
        dot_c = or_start(again, dot_start_c, row * H + unit, dot_c)
        put(dot_all_c, after * H + unit, dot_c)
        put_both(dot_kept_h, dot_low_h, here * H + unit, dot_h)
        put(dot_slots_1, slot_1, dot_i)
        put(dot_slots_1, slot_1 + H, dot_f)
        put(dot_slots_1, slot_1 + 2 * H, dot_g)
        put(dot_slots_1, slot_1 + 3 * H, dot_o)
        put(dot_kept_tanh_c, here * H + unit, dot_tanh_c)


def unit_forward_tangent_2(
    row, unit, now, batch, marked, lengths, resets, P, dot_slots_2, dot_all_r, dot_low_r_prev, dot_out_r,
    dot_start_r,
):
    """2. pointwise along a direction, of one unit of one row at step `now`."""
    length = end_of(lengths, row)
    here = now * batch + row
    after = here + batch
    slot_2 = here * P + unit
    if now >= length:
        put_both(dot_all_r, dot_low_r_prev, after * P + unit, get(dot_all_r, here * P + unit))
    else:
        dot_z_r = get(dot_slots_2, slot_2)
        dot_r, = step_2_jvp(dot_z_r)
        again = starts_again(marked, resets, after, now + 1, length)
        put_low(dot_out_r, here * P + unit, dot_r)
        dot_r = or_start(again, dot_start_r, row * P + unit, dot_r)
        put_both(dot_all_r, dot_low_r_prev, after * P + unit, dot_r)


def unit_backward_tangent_2(
    row, unit, now, batch, marked, lengths, resets, P, sums_r_prev, sum_r_prev, low_slots_2, slots_2, d_all_r,
    d_start_r, d_out_r, dot_d_all_r, dot_slots_2, dot_low_slots_2, dot_d_start_r, dot_d_out_r,
):
    """2. pointwise, transposed, along a direction, of one unit of one row at step `now`."""
    length = end_of(lengths, row)
    here = now * batch + row
    after = here + batch
    later = (now + 1) % 2 * batch + row
    earlier = now % 2 * batch + row
    slot_2 = here * P + unit
    if now >= length:
        add(d_all_r, earlier * P + unit, take(d_all_r, later * P + unit))
        add(dot_d_all_r, earlier * P + unit, take(dot_d_all_r, later * P + unit))
        erase_adjoint(slots_2, slot_2, low_slots_2)
        erase_adjoint(dot_slots_2, slot_2, dot_low_slots_2)
    else:
        again = starts_again(marked, resets, after, now + 1, length)
        d_r = get(d_all_r, later * P + unit)
        dot_d_r = get(dot_d_all_r, later * P + unit)
        erase(d_all_r, later * P + unit)
        erase(dot_d_all_r, later * P + unit)
        d_r = summed(d_r, sums_r_prev, sum_r_prev)
        dot_d_r = summed(dot_d_r, sums_r_prev, sum_r_prev)
        d_r = or_give(again, d_start_r, row * P + unit, d_r)
        dot_d_r = or_give(again, dot_d_start_r, row * P + unit, dot_d_r)
        d_r_out = get_low(d_out_r, here * P + unit)
        dot_d_r_out = get_low(dot_d_out_r, here * P + unit)
        d_r = d_r + d_r_out
        dot_d_r = dot_d_r + dot_d_r_out
        d_z_r, dot_d_z_r = step_2_vjp_jvp(dot_d_r, d_r)
        put_adjoint(slots_2, slot_2, low_slots_2, d_z_r)
        put_adjoint(dot_slots_2, slot_2, dot_low_slots_2, dot_d_z_r)


def unit_backward_tangent_1(
    row, unit, now, batch, marked, lengths, resets, H, sums_h, sum_h, low_slots_1, slots_1, all_c, kept_tanh_c,
    d_all_c, d_start_c, d_kept_h, dot_all_c, dot_slots_1, dot_kept_tanh_c, dot_d_all_c, dot_low_slots_1,
    dot_d_start_c, dot_d_kept_h,
):
    """1. pointwise, transposed, along a direction, of one unit of one row at step `now`."""
    length = end_of(lengths, row)
    here = now * batch + row
    after = here + batch
    later = (now + 1) % 2 * batch + row
    earlier = now % 2 * batch + row
    slot_1 = here * 4 * H + unit
    if now >= length:
        add(d_all_c, earlier * H + unit, take(d_all_c, later * H + unit))
        add(dot_d_all_c, earlier * H + unit, take(dot_d_all_c, later * H + unit))
        erase_adjoint(slots_1, slot_1, low_slots_1)
        erase_adjoint(dot_slots_1, slot_1, dot_low_slots_1)
        erase_adjoint(slots_1, slot_1 + H, low_slots_1)
        erase_adjoint(dot_slots_1, slot_1 + H, dot_low_slots_1)
        erase_adjoint(slots_1, slot_1 + 2 * H, low_slots_1)
        erase_adjoint(dot_slots_1, slot_1 + 2 * H, dot_low_slots_1)
        erase_adjoint(slots_1, slot_1 + 3 * H, low_slots_1)
        erase_adjoint(dot_slots_1, slot_1 + 3 * H, dot_low_slots_1)
    else:
        again = starts_again(marked, resets, after, now + 1, length)
        c_prev = get(all_c, here * H + unit)
        i = get(slots_1, slot_1)
        f = get(slots_1, slot_1 + H)
        g = get(slots_1, slot_1 + 2 * H)
        o = get(slots_1, slot_1 + 3 * H)
        tanh_c = get(kept_tanh_c, here * H + unit)
        d_c_next = get(d_all_c, later * H + unit)
        dot_d_c_next = get(dot_d_all_c, later * H + unit)
        erase(d_all_c, later * H + unit)
        erase(dot_d_all_c, later * H + unit)
        d_c_next = or_give(again, d_start_c, row * H + unit, d_c_next)
        dot_d_c_next = or_give(again, dot_d_start_c, row * H + unit, dot_d_c_next)
        d_h = get(d_kept_h, row * H + unit)
        dot_d_h = get(dot_d_kept_h, row * H + unit)
        erase(d_kept_h, row * H + unit)
        erase(dot_d_kept_h, row * H + unit)
        d_h = summed(d_h, sums_h, sum_h)
        dot_d_h = summed(dot_d_h, sums_h, sum_h)
        dot_c_prev = get(dot_all_c, here * H + unit)
        dot_i = get(dot_slots_1, slot_1)
        dot_f = get(dot_slots_1, slot_1 + H)
        dot_g = get(dot_slots_1, slot_1 + 2 * H)
        dot_o = get(dot_slots_1, slot_1 + 3 * H)
        dot_tanh_c = get(dot_kept_tanh_c, here * H + unit)
        d_z_i, d_z_f, d_z_g, d_z_o, d_c_prev, dot_d_z_i, dot_d_z_f, dot_d_z_g, dot_d_z_o, dot_d_c_prev = step_1_vjp_jvp(
            dot_d_c_next, dot_d_h, dot_c_prev, dot_i, dot_f, dot_g, dot_o, dot_tanh_c, d_c_next, d_h, c_prev, i, f, g,
            o, tanh_c,
        )
        put_adjoint(slots_1, slot_1, low_slots_1, d_z_i)
        put_adjoint(dot_slots_1, slot_1, dot_low_slots_1, dot_d_z_i)
        put_adjoint(slots_1, slot_1 + H, low_slots_1, d_z_f)
        put_adjoint(dot_slots_1, slot_1 + H, dot_low_slots_1, dot_d_z_f)
        put_adjoint(slots_1, slot_1 + 2 * H, low_slots_1, d_z_g)
        put_adjoint(dot_slots_1, slot_1 + 2 * H, dot_low_slots_1, dot_d_z_g)
        put_adjoint(slots_1, slot_1 + 3 * H, low_slots_1, d_z_o)
        put_adjoint(dot_slots_1, slot_1 + 3 * H, dot_low_slots_1, dot_d_z_o)
        add(d_all_c, earlier * H + unit, d_c_prev)
        add(dot_d_all_c, earlier * H + unit, dot_d_c_prev)
