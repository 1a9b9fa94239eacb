"""Peephole LSTM: one step, its derivatives, and the kernels of a sequence.

GENERATED - edit derive/cells/peephole.py, then run

    derive generate peephole

Equations  sha256 85e9ebcbf7879f66d738fbddf9ee455abe4c2f3009f43e52107e2ba290dc548b   (SymPy 1.14.0)
Reference  F. A. Gers, J. Schmidhuber, "Recurrent nets that time and count", IJCNN 2000; F. A. Gers, N. N. Schraudolph,
           J. Schmidhuber, JMLR 3:115-143, 2002

    i = sigmoid(W_i @ x + U_i @ h_prev + b_i + p_i * c_prev)
    f = sigmoid(W_f @ x + U_f @ h_prev + b_f + p_f * c_prev)
    g = tanh(W_g @ x + U_g @ h_prev + b_g)
    c = f * c_prev + g * i
    o = sigmoid(W_o @ x + U_o @ h_prev + b_o)
    h = o * tanh(c)

In the step functions every argument is one element [b, j] of an array (B, H).  d_v means dL/dv, dot_v a tangent.
"""

from lstm_numba.gpu.words import (
    add,
    deal,
    end_of,
    erase,
    erase_adjoint,
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
    name="peephole",
    module="peephole_if",
    title="Peephole LSTM",
    year=2000,
    reference="F. A. Gers, J. Schmidhuber, \"Recurrent nets that time and count\", IJCNN 2000; F. A. Gers, N. N. Schraudolph, J. Schmidhuber, JMLR 3:115-143, 2002",
    equations_hash="85e9ebcbf7879f66d738fbddf9ee455abe4c2f3009f43e52107e2ba290dc548b",
    inputs={"x": "N"},
    outputs=("h",),
    states={"h": "H", "c": "H"},
    parameters={
        "W_i": ("H", "N"),
        "U_i": ("H", "H"),
        "b_i": ("H",),
        "p_i": ("H",),
        "W_f": ("H", "N"),
        "U_f": ("H", "H"),
        "b_f": ("H",),
        "p_f": ("H",),
        "W_g": ("H", "N"),
        "U_g": ("H", "H"),
        "b_g": ("H",),
        "W_o": ("H", "N"),
        "U_o": ("H", "H"),
        "b_o": ("H",),
    },
    initial={"b_f": 1},
    biases=("b_i", "b_f", "b_g", "b_o"),
    pointwise=("p_i", "p_f"),
    accumulated=("p_i", "p_f"),
    kept={"tanh_c": "H"},
    program=(("affine", 1, "H"), ("pointwise", 1, "H")),
    options={"peepholes": ("ifo", "i", "f", "o", "if", "io", "fo")},
    chosen={"peepholes": "if"},
    stages=(
        Stage(
            "H",
            (
                Slot("z_i", (("W_i", "x"), ("U_i", "h_prev")), "b_i"),
                Slot("z_f", (("W_f", "x"), ("U_f", "h_prev")), "b_f"),
                Slot("z_g", (("W_g", "x"), ("U_g", "h_prev")), "b_g"),
                Slot("z_o", (("W_o", "x"), ("U_o", "h_prev")), "b_o"),
            ),
        ),
    ),
)

multiply_1_x = Product(run=4, gates=4, low=0)
multiply_1_h_prev = Product(run=4, gates=4, low=0)
transpose_1_h_prev = Transposed(run=4, gates=4, low=0)
biased_1_x = Biased(gates=4)



def step(z_i, z_f, z_g, z_o, c_prev, p_i, p_f):
    """Return h, c, and for the derivatives i, f, g, o, tanh_c.  Cost: 3 add, 5 mul, 3 sigmoid, 2 tanh."""

    # i = sigmoid(z_i + p_i * c_prev)
    a_i = z_i + p_i * c_prev
    i = sigmoid(a_i)
    # f = sigmoid(z_f + p_f * c_prev)
    a_f = z_f + p_f * c_prev
    f = sigmoid(a_f)
    g = tanh(z_g)

    # states
    c = f * c_prev + g * i

    # gates
    o = sigmoid(z_o)

    # h = o * tanh(c)
    tanh_c = tanh(c)
    h = o * tanh_c

    return h, c, i, f, g, o, tanh_c


def step_vjp(d_h, d_c_next, c_prev, p_i, p_f, i, f, g, o, tanh_c):
    """Pull d_h, d_c_next back to z_i, z_f, z_g, z_o, c_prev, p_i, p_f; d_v means dL/dv.  Cost: 8 add, 20 mul."""

    # h = o * tanh(c),  c also feeds the next step
    d_o = d_h * tanh_c
    d_c = d_c_next + d_h * o * (1 - tanh_c * tanh_c)

    # c = f * c_prev + g * i
    d_i = d_c * g
    d_f = d_c * c_prev
    d_g = d_c * i

    # i = sigmoid(z_i + p_i * c_prev)
    d_a_i = d_i * i * (1 - i)
    d_z_i = d_a_i
    d_p_i = d_a_i * c_prev

    # f = sigmoid(z_f + p_f * c_prev)
    d_a_f = d_f * f * (1 - f)
    d_z_f = d_a_f
    d_c_prev = d_a_f * p_f + d_a_i * p_i + d_c * f
    d_p_f = d_a_f * c_prev

    # g = tanh(z_g),  o = sigmoid(z_o)
    d_z_g = d_g * (1 - g * g)
    d_z_o = d_o * o * (1 - o)

    return d_z_i, d_z_f, d_z_g, d_z_o, d_c_prev, d_p_i, d_p_f


def step_jvp(
    dot_z_i, dot_z_f, dot_z_g, dot_z_o, dot_c_prev, dot_p_i, dot_p_f, c_prev, p_i, p_f, i, f, g, o, tanh_c,
):
    """Push dot_z_i, dot_z_f, dot_z_g, dot_z_o, dot_c_prev, dot_p_i, dot_p_f forward to dot_h, dot_c, and for the second
    derivatives dot_i, dot_f, dot_g, dot_o, dot_tanh_c.

    Cost: 13 add, 20 mul.
    """

    # i = sigmoid(z_i + p_i * c_prev)
    dot_a_i = dot_z_i + dot_c_prev * p_i + dot_p_i * c_prev
    dot_i = dot_a_i * i * (1 - i)

    # f = sigmoid(z_f + p_f * c_prev)
    dot_a_f = dot_z_f + dot_c_prev * p_f + dot_p_f * c_prev
    dot_f = dot_a_f * f * (1 - f)

    # g = tanh(z_g)
    dot_g = dot_z_g * (1 - g * g)

    # c = f * c_prev + g * i
    dot_c = dot_c_prev * f + dot_f * c_prev + dot_g * i + dot_i * g

    # o = sigmoid(z_o)
    dot_o = dot_z_o * o * (1 - o)

    # h = o * tanh(c)
    dot_tanh_c = dot_c * (1 - tanh_c * tanh_c)
    dot_h = dot_o * tanh_c + dot_tanh_c * o

    return dot_h, dot_c, dot_i, dot_f, dot_g, dot_o, dot_tanh_c


def step_vjp_jvp(
    dot_d_h, dot_d_c_next, dot_c_prev, dot_p_i, dot_p_f, dot_i, dot_f, dot_g, dot_o, dot_tanh_c, d_h, d_c_next,
    c_prev, p_i, p_f, i, f, g, o, tanh_c,
):
    """step_vjp and its tangent; dot_d_v is the change of d_v along a direction.  Cost: 35 add, 68 mul."""

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
    dot_d_i = d_c * dot_g + dot_d_c * g
    dot_d_f = d_c * dot_c_prev + dot_d_c * c_prev
    dot_d_g = d_c * dot_i + dot_d_c * i

    # i = sigmoid(z_i + p_i * c_prev)
    d_a_i = d_i * i * (1 - i)
    d_z_i = d_a_i
    d_p_i = d_a_i * c_prev
    dot_d_a_i = d_i * dot_i * (1 - 2 * i) + dot_d_i * i * (1 - i)
    dot_d_z_i = dot_d_a_i
    dot_d_p_i = d_a_i * dot_c_prev + dot_d_a_i * c_prev

    # f = sigmoid(z_f + p_f * c_prev)
    d_a_f = d_f * f * (1 - f)
    d_z_f = d_a_f
    d_c_prev = d_a_f * p_f + d_a_i * p_i + d_c * f
    d_p_f = d_a_f * c_prev
    dot_d_a_f = d_f * dot_f * (1 - 2 * f) + dot_d_f * f * (1 - f)
    dot_d_z_f = dot_d_a_f
    dot_d_c_prev = d_a_f * dot_p_f + d_a_i * dot_p_i + d_c * dot_f + dot_d_a_f * p_f + dot_d_a_i * p_i + dot_d_c * f
    dot_d_p_f = d_a_f * dot_c_prev + dot_d_a_f * c_prev

    # g = tanh(z_g),  o = sigmoid(z_o)
    d_z_g = d_g * (1 - g * g)
    dot_d_z_g = dot_d_g * (1 - g * g) - 2 * d_g * dot_g * g
    d_z_o = d_o * o * (1 - o)
    dot_d_z_o = d_o * dot_o * (1 - 2 * o) + dot_d_o * o * (1 - o)

    return (
        d_z_i, d_z_f, d_z_g, d_z_o, d_c_prev, d_p_i, d_p_f, dot_d_z_i, dot_d_z_f, dot_d_z_g, dot_d_z_o, dot_d_c_prev,
        dot_d_p_i, dot_d_p_f,
    )


def project(
    begin, end, batch, first, held, top, rows, kept, slots_1_row, N, H, seq_x, slots_1, weights_1_x, bias_1,
):
    """Biases and input products of steps begin .. end - 1 at once: as many rows of one product as there are steps."""
    units_1 = units_of(slots_1, 4)
    panels_1 = panels_of(H, units_1)
    for row in range(rows):
        panel, panels = 0, panels_1
        biased_1_x(
            end - begin, panel, panels, N, seq_x, (begin * batch + first + row) * N, batch * N, weights_1_x, bias_1,
            slots_1, (begin % kept * held + top + row) * slots_1_row, held * slots_1_row,
        )


def forward(
    begin, end, batch, first, held, top, counts, depth, kept, hoisted, H_row, slots_1_row, N, H, seq_x, slots_1,
    weights_1_x, weights_1_h_prev, bias_1, param_p_i, param_p_f, all_h, all_c, kept_tanh_c, start_h, start_c, out_h,
    resets,
):
    """Steps begin .. end - 1 of the batch rows from first on, held from row top on; counts[t] of them run at step t."""
    width = lanes(slots_1)
    units_1 = units_of(slots_1, 4)
    panels_1 = panels_of(H, units_1)
    for now in range(begin, end):
        rows = counts[now]
        if rows == 0:
            break
        before = now % depth * held + top
        after = (now + 1) % depth * held + top
        kept_at = now % kept * held + top
        given = now * batch + first
        if resets.size:
            restore(rows, resets, given, start_h, top, all_h, before, H_row)
            restore(rows, resets, given, start_c, top, all_c, before, H_row)

        # 1. affine
        #    z_i = W_i x + U_i h_prev + b_i
        #    z_f = W_f x + U_f h_prev + b_f
        #    z_g = W_g x + U_g h_prev + b_g
        #    z_o = W_o x + U_o h_prev + b_o
        at_once = together(rows, panels_1, 4 * units_1)
        for panel in range(0, panels_1, at_once):
            panels = min(at_once, panels_1 - panel)
            if not hoisted:
                biased_1_x(
                    rows, panel, panels, N, seq_x, given * N, N, weights_1_x, bias_1, slots_1, kept_at * slots_1_row,
                    slots_1_row,
                )
            multiply_1_h_prev(
                rows, panel, panels, 0, H, all_h, before * H_row, H_row, weights_1_h_prev, slots_1,
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
                    p_i = load(param_p_i, unit)
                    p_f = load(param_p_f, unit)
                    h, c, i, f, g, o, tanh_c = step(z_i, z_f, z_g, z_o, c_prev, p_i, p_f)
                    store(all_h, (after + row) * H_row + unit, h)
                    store_first(out_h, (given + row) * H + unit, h, H - unit)
                    store(all_c, (after + row) * H_row + unit, c)
                    store(slots_1, slot_1, i)
                    store(slots_1, slot_1 + units_1, f)
                    store(slots_1, slot_1 + 2 * units_1, g)
                    store(slots_1, slot_1 + 3 * units_1, o)
                    store(kept_tanh_c, (kept_at + row) * H_row + unit, tanh_c)


def backward(
    begin, end, batch, first, counts, depth, kept, slots_1_row, H_row, H, slots_1, back_1_h_prev, ends_1_h_prev,
    param_p_i, param_p_f, all_c, kept_tanh_c, d_all_h, d_out_h, d_all_c, d_param_p_i, d_param_p_f, d_start_h,
    d_start_c, resets,
):
    """Steps end - 1 .. begin: adjoints of slots, states, pointwise inputs and pointwise parameters."""
    width = lanes(slots_1)
    units_1 = units_of(slots_1, 4)
    panels_1 = panels_of(H, units_1)
    for now in range(end - 1, begin - 1, -1):
        rows = counts[now]
        before = now % depth * batch + first
        kept_at = now % kept * batch + first
        given = now * batch + first
        later = (now + 1) % 2 * batch + first
        earlier = now % 2 * batch + first

        # 1. pointwise, transposed
        panel, panels = 0, panels_1
        for row in range(rows):
            for unit in range(panel * units_1, (panel + panels) * units_1, width):
                slot_1 = (kept_at + row) * slots_1_row + unit // units_1 * 4 * units_1 + unit % units_1
                d_h = load(d_all_h, (later + row) * H_row + unit)
                d_h = d_h + load_first(d_out_h, (given + row) * H + unit, H - unit)
                d_c_next = load(d_all_c, (later + row) * H_row + unit)
                c_prev = load(all_c, (before + row) * H_row + unit)
                p_i = load(param_p_i, unit)
                p_f = load(param_p_f, unit)
                i = load(slots_1, slot_1)
                f = load(slots_1, slot_1 + units_1)
                g = load(slots_1, slot_1 + 2 * units_1)
                o = load(slots_1, slot_1 + 3 * units_1)
                tanh_c = load(kept_tanh_c, (kept_at + row) * H_row + unit)
                d_z_i, d_z_f, d_z_g, d_z_o, d_c_prev, d_p_i, d_p_f = step_vjp(
                    d_h, d_c_next, c_prev, p_i, p_f, i, f, g, o, tanh_c,
                )
                store(slots_1, slot_1, d_z_i)
                store(slots_1, slot_1 + units_1, d_z_f)
                store(slots_1, slot_1 + 2 * units_1, d_z_g)
                store(slots_1, slot_1 + 3 * units_1, d_z_o)
                store(d_all_c, (earlier + row) * H_row + unit, d_c_prev)
                store(
                    d_param_p_i, (first + row) * H_row + unit, load(d_param_p_i, (first + row) * H_row + unit) + d_p_i,
                )
                store(
                    d_param_p_f, (first + row) * H_row + unit, load(d_param_p_f, (first + row) * H_row + unit) + d_p_f,
                )

        # 1. affine, transposed
        clear(rows, d_all_h, earlier, H_row)
        transpose_1_h_prev(
            rows, 0, panels_1, panels_1, ends_1_h_prev, slots_1, kept_at * slots_1_row, slots_1_row, back_1_h_prev,
            d_all_h, earlier * H_row, H_row, H,
        )

        if resets.size:
            release(rows, resets, given, d_all_h, earlier, d_start_h, first, H_row)
            release(rows, resets, given, d_all_c, earlier, d_start_c, first, H_row)


def forward_tangent(
    begin, end, batch, first, held, top, counts, depth, kept, H_row, slots_1_row, N, H, seq_x, dot_seq_x, slots_1,
    dot_slots_1, weights_1_x, dot_weights_1_x, weights_1_h_prev, dot_weights_1_h_prev, dot_bias_1, param_p_i,
    dot_param_p_i, param_p_f, dot_param_p_f, all_h, all_c, dot_all_h, dot_all_c, kept_tanh_c, dot_kept_tanh_c,
    dot_start_h, dot_start_c, dot_out_h, resets,
):
    """Steps begin .. end - 1 of forward along a direction: dot_v is the change of v."""
    width = lanes(slots_1)
    units_1 = units_of(slots_1, 4)
    panels_1 = panels_of(H, units_1)
    for now in range(begin, end):
        rows = counts[now]
        if rows == 0:
            break
        before = now % depth * held + top
        after = (now + 1) % depth * held + top
        kept_at = now % kept * held + top
        given = now * batch + first
        if resets.size:
            restore(rows, resets, given, dot_start_h, top, dot_all_h, before, H_row)
            restore(rows, resets, given, dot_start_c, top, dot_all_c, before, H_row)

        # 1. affine
        #    dot_z_i = W_i dot_x + U_i dot_h_prev + dot_W_i x + dot_U_i h_prev + dot_b_i
        #    dot_z_f = W_f dot_x + U_f dot_h_prev + dot_W_f x + dot_U_f h_prev + dot_b_f
        #    dot_z_g = W_g dot_x + U_g dot_h_prev + dot_W_g x + dot_U_g h_prev + dot_b_g
        #    dot_z_o = W_o dot_x + U_o dot_h_prev + dot_W_o x + dot_U_o h_prev + dot_b_o
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
            multiply_1_h_prev(
                rows, panel, panels, 0, H, dot_all_h, before * H_row, H_row, weights_1_h_prev, dot_slots_1,
                kept_at * slots_1_row, slots_1_row,
            )
            multiply_1_h_prev(
                rows, panel, panels, 0, H, all_h, before * H_row, H_row, dot_weights_1_h_prev, dot_slots_1,
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
                    dot_p_i = load(dot_param_p_i, unit)
                    dot_p_f = load(dot_param_p_f, unit)
                    c_prev = load(all_c, (before + row) * H_row + unit)
                    p_i = load(param_p_i, unit)
                    p_f = load(param_p_f, unit)
                    i = load(slots_1, slot_1)
                    f = load(slots_1, slot_1 + units_1)
                    g = load(slots_1, slot_1 + 2 * units_1)
                    o = load(slots_1, slot_1 + 3 * units_1)
                    tanh_c = load(kept_tanh_c, (kept_at + row) * H_row + unit)
                    dot_h, dot_c, dot_i, dot_f, dot_g, dot_o, dot_tanh_c = step_jvp(
                        dot_z_i, dot_z_f, dot_z_g, dot_z_o, dot_c_prev, dot_p_i, dot_p_f, c_prev, p_i, p_f, i, f, g, o,
                        tanh_c,
                    )
                    store(dot_all_h, (after + row) * H_row + unit, dot_h)
                    store_first(dot_out_h, (given + row) * H + unit, dot_h, H - unit)
                    store(dot_all_c, (after + row) * H_row + unit, dot_c)
                    store(dot_slots_1, slot_1, dot_i)
                    store(dot_slots_1, slot_1 + units_1, dot_f)
                    store(dot_slots_1, slot_1 + 2 * units_1, dot_g)
                    store(dot_slots_1, slot_1 + 3 * units_1, dot_o)
                    store(dot_kept_tanh_c, (kept_at + row) * H_row + unit, dot_tanh_c)


def backward_tangent(
    begin, end, batch, first, counts, depth, kept, slots_1_row, H_row, H, slots_1, dot_slots_1, back_1_h_prev,
    dot_back_1_h_prev, ends_1_h_prev, param_p_i, param_p_f, dot_param_p_i, dot_param_p_f, all_c, dot_all_c,
    kept_tanh_c, dot_kept_tanh_c, d_all_h, d_out_h, d_all_c, d_start_h, d_start_c, dot_d_all_h, dot_d_out_h,
    dot_d_all_c, dot_d_param_p_i, dot_d_param_p_f, dot_d_start_h, dot_d_start_c, resets,
):
    """Steps end - 1 .. begin of backward along a direction: adjoints d_v, and dot_d_v, the change of d_v."""
    width = lanes(slots_1)
    units_1 = units_of(slots_1, 4)
    panels_1 = panels_of(H, units_1)
    for now in range(end - 1, begin - 1, -1):
        rows = counts[now]
        before = now % depth * batch + first
        kept_at = now % kept * batch + first
        given = now * batch + first
        later = (now + 1) % 2 * batch + first
        earlier = now % 2 * batch + first

        # 1. pointwise, transposed
        panel, panels = 0, panels_1
        for row in range(rows):
            for unit in range(panel * units_1, (panel + panels) * units_1, width):
                slot_1 = (kept_at + row) * slots_1_row + unit // units_1 * 4 * units_1 + unit % units_1
                d_h = load(d_all_h, (later + row) * H_row + unit)
                dot_d_h = load(dot_d_all_h, (later + row) * H_row + unit)
                d_h = d_h + load_first(d_out_h, (given + row) * H + unit, H - unit)
                dot_d_h = dot_d_h + load_first(dot_d_out_h, (given + row) * H + unit, H - unit)
                d_c_next = load(d_all_c, (later + row) * H_row + unit)
                dot_d_c_next = load(dot_d_all_c, (later + row) * H_row + unit)
                c_prev = load(all_c, (before + row) * H_row + unit)
                p_i = load(param_p_i, unit)
                p_f = load(param_p_f, unit)
                i = load(slots_1, slot_1)
                f = load(slots_1, slot_1 + units_1)
                g = load(slots_1, slot_1 + 2 * units_1)
                o = load(slots_1, slot_1 + 3 * units_1)
                tanh_c = load(kept_tanh_c, (kept_at + row) * H_row + unit)
                dot_c_prev = load(dot_all_c, (before + row) * H_row + unit)
                dot_p_i = load(dot_param_p_i, unit)
                dot_p_f = load(dot_param_p_f, unit)
                dot_i = load(dot_slots_1, slot_1)
                dot_f = load(dot_slots_1, slot_1 + units_1)
                dot_g = load(dot_slots_1, slot_1 + 2 * units_1)
                dot_o = load(dot_slots_1, slot_1 + 3 * units_1)
                dot_tanh_c = load(dot_kept_tanh_c, (kept_at + row) * H_row + unit)
                d_z_i, d_z_f, d_z_g, d_z_o, d_c_prev, _, _, dot_d_z_i, dot_d_z_f, dot_d_z_g, dot_d_z_o, dot_d_c_prev, dot_d_p_i, dot_d_p_f = step_vjp_jvp(
                    dot_d_h, dot_d_c_next, dot_c_prev, dot_p_i, dot_p_f, dot_i, dot_f, dot_g, dot_o, dot_tanh_c, d_h,
                    d_c_next, c_prev, p_i, p_f, i, f, g, o, tanh_c,
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
                store(
                    dot_d_param_p_i, (first + row) * H_row + unit,
                    load(dot_d_param_p_i, (first + row) * H_row + unit) + dot_d_p_i,
                )
                store(
                    dot_d_param_p_f, (first + row) * H_row + unit,
                    load(dot_d_param_p_f, (first + row) * H_row + unit) + dot_d_p_f,
                )

        # 1. affine, transposed
        clear(rows, d_all_h, earlier, H_row)
        clear(rows, dot_d_all_h, earlier, H_row)
        transpose_1_h_prev(
            rows, 0, panels_1, panels_1, ends_1_h_prev, slots_1, kept_at * slots_1_row, slots_1_row, back_1_h_prev,
            d_all_h, earlier * H_row, H_row, H,
        )
        transpose_1_h_prev(
            rows, 0, panels_1, panels_1, ends_1_h_prev, dot_slots_1, kept_at * slots_1_row, slots_1_row, back_1_h_prev,
            dot_d_all_h, earlier * H_row, H_row, H,
        )
        transpose_1_h_prev(
            rows, 0, panels_1, panels_1, ends_1_h_prev, slots_1, kept_at * slots_1_row, slots_1_row, dot_back_1_h_prev,
            dot_d_all_h, earlier * H_row, H_row, H,
        )

        if resets.size:
            release(rows, resets, given, d_all_h, earlier, d_start_h, first, H_row)
            release(rows, resets, given, dot_d_all_h, earlier, dot_d_start_h, first, H_row)
            release(rows, resets, given, d_all_c, earlier, d_start_c, first, H_row)
            release(rows, resets, given, dot_d_all_c, earlier, dot_d_start_c, first, H_row)


# --- On a CUDA device: what one thread does for one unit of one row

def read_forward_1(row, unit, now, batch, marked, lengths, resets, H, slots_1, param_p_i, param_p_f, all_c):
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
    p_i = get(param_p_i, unit)
    p_f = get(param_p_f, unit)
    again = starts_again(marked, resets, after, now + 1, length)
    return length, z_i, z_f, z_g, z_o, c_prev, p_i, p_f, again


def unit_forward_1(
    row, unit, now, read, batch, lengths, H, sums_1, sum_1, apart_1, low_h_prev, slots_1, all_c, all_h, kept_tanh_c,
    start_h, start_c, out_h,
):
    """1. pointwise, of one unit of one row at step `now`."""
    length, z_i, z_f, z_g, z_o, c_prev, p_i, p_f, again = read
    here = now * batch + row
    after = here + batch
    slot_1 = here * 4 * H + unit
    if now >= length:
        put_both(all_h, low_h_prev, after * H + unit, get(all_h, here * H + unit))
        put(all_c, after * H + unit, get(all_c, here * H + unit))
    else:
        z_i = summed(z_i, sums_1, sum_1)
        z_f = summed(z_f, sums_1, sum_1 + apart_1)
        z_g = summed(z_g, sums_1, sum_1 + 2 * apart_1)
        z_o = summed(z_o, sums_1, sum_1 + 3 * apart_1)
        h, c, i, f, g, o, tanh_c = step(z_i, z_f, z_g, z_o, c_prev, p_i, p_f)
        put_low(out_h, here * H + unit, h)
        h = or_start(again, start_h, row * H + unit, h)
        put_both(all_h, low_h_prev, after * H + unit, h)
        c = or_start(again, start_c, row * H + unit, c)
        put(all_c, after * H + unit, c)
        put(slots_1, slot_1, i)
        put(slots_1, slot_1 + H, f)
        put(slots_1, slot_1 + 2 * H, g)
        put(slots_1, slot_1 + 3 * H, o)
        put(kept_tanh_c, here * H + unit, tanh_c)


def read_backward_1(
    row, unit, now, batch, marked, lengths, resets, H, slots_1, param_p_i, param_p_f, all_c, kept_tanh_c, d_all_h,
    d_out_h, d_all_c,
):
    """What unit_backward_1 reads besides the products of its stage."""
    here = now * batch + row
    after = here + batch
    later = (now + 1) % 2 * batch + row
    slot_1 = here * 4 * H + unit
    length = end_of(lengths, row)
    again = starts_again(marked, resets, after, now + 1, length)
    c_prev = get(all_c, here * H + unit)
    p_i = get(param_p_i, unit)
    p_f = get(param_p_f, unit)
    i = get(slots_1, slot_1)
    f = get(slots_1, slot_1 + H)
    g = get(slots_1, slot_1 + 2 * H)
    o = get(slots_1, slot_1 + 3 * H)
    tanh_c = get(kept_tanh_c, here * H + unit)
    d_h = get(d_all_h, later * H + unit)
    d_h_out = get_low(d_out_h, here * H + unit)
    d_c_next = get(d_all_c, later * H + unit)
    return length, again, c_prev, p_i, p_f, i, f, g, o, tanh_c, d_h, d_h_out, d_c_next


def unit_backward_1(
    row, unit, now, read, batch, lengths, H, sums_h_prev, sum_h_prev, low_slots_1, slots_1, d_all_h, d_start_h,
    d_all_c, d_start_c, d_param_p_i, d_param_p_f,
):
    """1. pointwise, transposed, of one unit of one row at step `now`."""
    length, again, c_prev, p_i, p_f, i, f, g, o, tanh_c, d_h, d_h_out, d_c_next = read
    here = now * batch + row
    later = (now + 1) % 2 * batch + row
    earlier = now % 2 * batch + row
    slot_1 = here * 4 * H + unit
    if now >= length:
        add(d_all_h, earlier * H + unit, take(d_all_h, later * H + unit))
        add(d_all_c, earlier * H + unit, take(d_all_c, later * H + unit))
        erase_adjoint(slots_1, slot_1, low_slots_1)
        erase_adjoint(slots_1, slot_1 + H, low_slots_1)
        erase_adjoint(slots_1, slot_1 + 2 * H, low_slots_1)
        erase_adjoint(slots_1, slot_1 + 3 * H, low_slots_1)
    else:
        erase(d_all_h, later * H + unit)
        d_h = summed(d_h, sums_h_prev, sum_h_prev)
        d_h = or_give(again, d_start_h, row * H + unit, d_h)
        d_h = d_h + d_h_out
        erase(d_all_c, later * H + unit)
        d_c_next = or_give(again, d_start_c, row * H + unit, d_c_next)
        d_z_i, d_z_f, d_z_g, d_z_o, d_c_prev, d_p_i, d_p_f = step_vjp(
            d_h, d_c_next, c_prev, p_i, p_f, i, f, g, o, tanh_c,
        )
        put_adjoint(slots_1, slot_1, low_slots_1, d_z_i)
        put_adjoint(slots_1, slot_1 + H, low_slots_1, d_z_f)
        put_adjoint(slots_1, slot_1 + 2 * H, low_slots_1, d_z_g)
        put_adjoint(slots_1, slot_1 + 3 * H, low_slots_1, d_z_o)
        add(d_all_c, earlier * H + unit, d_c_prev)
        add(d_param_p_i, row * H + unit, d_p_i)
        add(d_param_p_f, row * H + unit, d_p_f)


def sweep_forward(
    steps, batch, marked, parts, tile, stage, span, scratch, lengths, resets, H, at_1, hold_1_h_prev,
    operand_h_prev, low_h_prev, slots_1, weights_1_h_prev, param_p_i, param_p_f, all_c, all_h, kept_tanh_c, start_h,
    start_c, out_h,
):
    """All steps: this block's units of its rows."""
    first_H, units_H, low, high = share(parts, batch, H)
    line_H, lines_H, column_H, columns_H = places(units_H)
    stored, numbers = shared_memory()
    hold(stored, hold_1_h_prev, weights_1_h_prev, 4, 0, 4, H, H, first_H, units_H)
    wait()
    for top in range(low, high, tile):
        rows = min(tile, high - top)
        part_1_h_prev = deal(hold_1_h_prev, 4 * units_H, H, H, rows, at_1, tile, stage, span, scratch)
        for now in range(steps):

            # 1. affine and pointwise
            #    z_i = W_i x + U_i h_prev + b_i
            #    z_f = W_f x + U_f h_prev + b_f
            #    z_g = W_g x + U_g h_prev + b_g
            #    z_o = W_o x + U_o h_prev + b_o
            if line_H < rows and column_H < units_H:
                row, unit = top + line_H, first_H + column_H
                read_1 = read_forward_1(
                    row, unit, now, batch, marked, lengths, resets, H, slots_1, param_p_i, param_p_f, all_c,
                )
            multiply(stored, numbers, part_1_h_prev, operand_h_prev, (now * batch + top) * H, 0, now > 0)
            wait()
            for line in range(line_H, rows, lines_H):
                for column in range(column_H, units_H, columns_H):
                    row, unit = top + line, first_H + column
                    if line >= lines_H or column >= columns_H:
                        read_1 = read_forward_1(
                            row, unit, now, batch, marked, lengths, resets, H, slots_1, param_p_i, param_p_f, all_c,
                        )
                    unit_forward_1(
                        row, unit, now, read_1, batch, lengths, H, numbers, at_1 + column * tile + line, units_H * tile,
                        low_h_prev, slots_1, all_c, all_h, kept_tanh_c, start_h, start_c, out_h,
                    )
            wait()


def sweep_backward(
    steps, batch, marked, parts, tile, stage, span, scratch, lengths, resets, H, at_h_prev, turned_1_h_prev,
    operand_slots_1, low_slots_1, slots_1, weights_1_h_prev, param_p_i, param_p_f, all_c, kept_tanh_c, d_all_h,
    d_out_h, d_all_c, d_start_h, d_start_c, d_param_p_i, d_param_p_f,
):
    """All steps, last to first, transposed: this block's units of its rows; without the first step's products."""
    first_H, units_H, low, high = share(parts, batch, H)
    line_H, lines_H, column_H, columns_H = places(units_H)
    stored, numbers = shared_memory()
    hold_turned(stored, turned_1_h_prev, weights_1_h_prev, 4 * H, H, first_H, units_H)
    wait()
    for top in range(low, high, tile):
        rows = min(tile, high - top)
        part_1_h_prev = deal(turned_1_h_prev, units_H, 4 * H, 4 * H, rows, at_h_prev, tile, stage, span, scratch)
        for now in range(steps - 1, -1, -1):

            # 1. affine and pointwise, transposed
            #    d_h_prev += U_i' d_z_i + U_f' d_z_f + U_g' d_z_g + U_o' d_z_o of step now + 1
            if line_H < rows and column_H < units_H:
                row, unit = top + line_H, first_H + column_H
                read_1 = read_backward_1(
                    row, unit, now, batch, marked, lengths, resets, H, slots_1, param_p_i, param_p_f, all_c,
                    kept_tanh_c, d_all_h, d_out_h, d_all_c,
                )
            if now + 1 < steps:
                multiply(stored, numbers, part_1_h_prev, operand_slots_1, ((now + 1) * batch + top) * 4 * H, 0, True)
            else:
                for place in range(thread(), units_H * tile, threads()):
                    erase(numbers, at_h_prev + place)
            wait()
            for line in range(line_H, rows, lines_H):
                for column in range(column_H, units_H, columns_H):
                    row, unit = top + line, first_H + column
                    if line >= lines_H or column >= columns_H:
                        read_1 = read_backward_1(
                            row, unit, now, batch, marked, lengths, resets, H, slots_1, param_p_i, param_p_f, all_c,
                            kept_tanh_c, d_all_h, d_out_h, d_all_c,
                        )
                    unit_backward_1(
                        row, unit, now, read_1, batch, lengths, H, numbers, at_h_prev + column * tile + line,
                        low_slots_1, slots_1, d_all_h, d_start_h, d_all_c, d_start_c, d_param_p_i, d_param_p_f,
                    )
            wait()


def unit_forward_tangent_1(
    row, unit, now, batch, marked, lengths, resets, H, slots_1, param_p_i, param_p_f, all_c, kept_tanh_c,
    dot_slots_1, dot_all_c, dot_param_p_i, dot_param_p_f, dot_all_h, dot_low_h_prev, dot_out_h, dot_start_h,
    dot_start_c, dot_kept_tanh_c,
):
    """1. pointwise along a direction, of one unit of one row at step `now`."""
    length = end_of(lengths, row)
    here = now * batch + row
    after = here + batch
    slot_1 = here * 4 * H + unit
    if now >= length:
        put_both(dot_all_h, dot_low_h_prev, after * H + unit, get(dot_all_h, here * H + unit))
        put(dot_all_c, after * H + unit, get(dot_all_c, here * H + unit))
    else:
        dot_z_i = get(dot_slots_1, slot_1)
        dot_z_f = get(dot_slots_1, slot_1 + H)
        dot_z_g = get(dot_slots_1, slot_1 + 2 * H)
        dot_z_o = get(dot_slots_1, slot_1 + 3 * H)
        dot_c_prev = get(dot_all_c, here * H + unit)
        dot_p_i = get(dot_param_p_i, unit)
        dot_p_f = get(dot_param_p_f, unit)
        c_prev = get(all_c, here * H + unit)
        p_i = get(param_p_i, unit)
        p_f = get(param_p_f, unit)
        i = get(slots_1, slot_1)
        f = get(slots_1, slot_1 + H)
        g = get(slots_1, slot_1 + 2 * H)
        o = get(slots_1, slot_1 + 3 * H)
        tanh_c = get(kept_tanh_c, here * H + unit)
        dot_h, dot_c, dot_i, dot_f, dot_g, dot_o, dot_tanh_c = step_jvp(
            dot_z_i, dot_z_f, dot_z_g, dot_z_o, dot_c_prev, dot_p_i, dot_p_f, c_prev, p_i, p_f, i, f, g, o, tanh_c,
        )
        again = starts_again(marked, resets, after, now + 1, length)
        put_low(dot_out_h, here * H + unit, dot_h)
        dot_h = or_start(again, dot_start_h, row * H + unit, dot_h)
        put_both(dot_all_h, dot_low_h_prev, after * H + unit, dot_h)
        dot_c = or_start(again, dot_start_c, row * H + unit, dot_c)
        put(dot_all_c, after * H + unit, dot_c)
        put(dot_slots_1, slot_1, dot_i)
        put(dot_slots_1, slot_1 + H, dot_f)
        put(dot_slots_1, slot_1 + 2 * H, dot_g)
        put(dot_slots_1, slot_1 + 3 * H, dot_o)
        put(dot_kept_tanh_c, here * H + unit, dot_tanh_c)


def unit_backward_tangent_1(
    row, unit, now, batch, marked, lengths, resets, H, sums_h_prev, sum_h_prev, low_slots_1, slots_1, param_p_i,
    param_p_f, all_c, kept_tanh_c, d_all_h, d_start_h, d_out_h, d_all_c, d_start_c, dot_all_c, dot_param_p_i,
    dot_param_p_f, dot_slots_1, dot_kept_tanh_c, dot_d_all_h, dot_d_all_c, dot_low_slots_1, dot_d_start_h,
    dot_d_out_h, dot_d_start_c, dot_d_param_p_i, dot_d_param_p_f,
):
    """1. pointwise, transposed, along a direction, of one unit of one row at step `now`."""
    length = end_of(lengths, row)
    here = now * batch + row
    after = here + batch
    later = (now + 1) % 2 * batch + row
    earlier = now % 2 * batch + row
    slot_1 = here * 4 * H + unit
    if now >= length:
        add(d_all_h, earlier * H + unit, take(d_all_h, later * H + unit))
        add(dot_d_all_h, earlier * H + unit, take(dot_d_all_h, later * H + unit))
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
        p_i = get(param_p_i, unit)
        p_f = get(param_p_f, unit)
        i = get(slots_1, slot_1)
        f = get(slots_1, slot_1 + H)
        g = get(slots_1, slot_1 + 2 * H)
        o = get(slots_1, slot_1 + 3 * H)
        tanh_c = get(kept_tanh_c, here * H + unit)
        d_h = get(d_all_h, later * H + unit)
        dot_d_h = get(dot_d_all_h, later * H + unit)
        erase(d_all_h, later * H + unit)
        erase(dot_d_all_h, later * H + unit)
        d_h = summed(d_h, sums_h_prev, sum_h_prev)
        dot_d_h = summed(dot_d_h, sums_h_prev, sum_h_prev)
        d_h = or_give(again, d_start_h, row * H + unit, d_h)
        dot_d_h = or_give(again, dot_d_start_h, row * H + unit, dot_d_h)
        d_h_out = get_low(d_out_h, here * H + unit)
        dot_d_h_out = get_low(dot_d_out_h, here * H + unit)
        d_h = d_h + d_h_out
        dot_d_h = dot_d_h + dot_d_h_out
        d_c_next = get(d_all_c, later * H + unit)
        dot_d_c_next = get(dot_d_all_c, later * H + unit)
        erase(d_all_c, later * H + unit)
        erase(dot_d_all_c, later * H + unit)
        d_c_next = or_give(again, d_start_c, row * H + unit, d_c_next)
        dot_d_c_next = or_give(again, dot_d_start_c, row * H + unit, dot_d_c_next)
        dot_c_prev = get(dot_all_c, here * H + unit)
        dot_p_i = get(dot_param_p_i, unit)
        dot_p_f = get(dot_param_p_f, unit)
        dot_i = get(dot_slots_1, slot_1)
        dot_f = get(dot_slots_1, slot_1 + H)
        dot_g = get(dot_slots_1, slot_1 + 2 * H)
        dot_o = get(dot_slots_1, slot_1 + 3 * H)
        dot_tanh_c = get(dot_kept_tanh_c, here * H + unit)
        d_z_i, d_z_f, d_z_g, d_z_o, d_c_prev, _, _, dot_d_z_i, dot_d_z_f, dot_d_z_g, dot_d_z_o, dot_d_c_prev, dot_d_p_i, dot_d_p_f = step_vjp_jvp(
            dot_d_h, dot_d_c_next, dot_c_prev, dot_p_i, dot_p_f, dot_i, dot_f, dot_g, dot_o, dot_tanh_c, d_h, d_c_next,
            c_prev, p_i, p_f, i, f, g, o, tanh_c,
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
        add(dot_d_param_p_i, row * H + unit, dot_d_p_i)
        add(dot_d_param_p_f, row * H + unit, dot_d_p_f)
