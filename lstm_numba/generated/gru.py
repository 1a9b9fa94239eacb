"""GRU: one step, its derivatives, and the kernels of a sequence.

GENERATED - edit derive/cells/gru.py, then run

    derive generate gru

Equations  sha256 4907204b385d8c2593ea96edd3003839565680e7af90521587327a0413237389   (SymPy 1.14.0)
Reference  K. Cho et al., "Learning phrase representations using RNN encoder-decoder for statistical machine
           translation", EMNLP 2014, arXiv 1406.1078v3

    r = sigmoid(W_r @ x + U_r @ h_prev + b_r)
    z = sigmoid(W_z @ x + U_z @ h_prev + b_z)
    rh = r * h_prev
    n = tanh(W_n @ x + U_n @ rh + b_n)
    h = n * (1 - z) + z * h_prev

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
    name="gru",
    module="gru",
    title="GRU",
    year=2014,
    reference="K. Cho et al., \"Learning phrase representations using RNN encoder-decoder for statistical machine translation\", EMNLP 2014, arXiv 1406.1078v3",
    equations_hash="4907204b385d8c2593ea96edd3003839565680e7af90521587327a0413237389",
    inputs={"x": "N"},
    outputs=("h",),
    states={"h": "H"},
    parameters={
        "W_r": ("H", "N"),
        "U_r": ("H", "H"),
        "b_r": ("H",),
        "W_z": ("H", "N"),
        "U_z": ("H", "H"),
        "b_z": ("H",),
        "W_n": ("H", "N"),
        "U_n": ("H", "H"),
        "b_n": ("H",),
    },
    biases=("b_r", "b_z", "b_n"),
    kept={"rh": "H"},
    program=(("affine", 1, "H"), ("pointwise", 1, "H"), ("affine", 2, "H"), ("pointwise", 2, "H")),
    stages=(
        Stage(
            "H",
            (
                Slot("z_r", (("W_r", "x"), ("U_r", "h_prev")), "b_r"),
                Slot("z_z", (("W_z", "x"), ("U_z", "h_prev")), "b_z"),
            ),
        ),
        Stage(
            "H",
            (
                Slot("z_n", (("W_n", "x"), ("U_n", "rh")), "b_n"),
            ),
        ),
    ),
)

multiply_1_x = Product(run=2, gates=2, low=0)
multiply_1_h_prev = Product(run=2, gates=2, low=0)
multiply_2_x = Product(run=1, gates=1, low=0)
multiply_2_rh = Product(run=1, gates=1, low=0)
transpose_1_h_prev = Transposed(run=2, gates=2, low=0)
transpose_2_rh = Transposed(run=1, gates=1, low=0)
biased_1_x = Biased(gates=2)
biased_2_x = Biased(gates=1)



def step_1(z_r, z_z, h_prev):
    """Return z, rh, and for the derivatives r.  Cost: 1 mul, 2 sigmoid."""

    # gates
    r = sigmoid(z_r)
    z = sigmoid(z_z)
    rh = r * h_prev

    return z, rh, r


def step_1_vjp(d_z, d_rh, h_prev, r, z):
    """Pull d_z, d_rh back to z_r, z_z, h_prev; d_v means dL/dv.  Cost: 2 add, 6 mul."""

    # rh = r * h_prev
    d_r = d_rh * h_prev
    d_h_prev = d_rh * r

    # r = sigmoid(z_r),  z = sigmoid(z_z)
    d_z_r = d_r * r * (1 - r)
    d_z_z = d_z * z * (1 - z)

    return d_z_r, d_z_z, d_h_prev


def step_1_jvp(dot_z_r, dot_z_z, dot_h_prev, h_prev, r, z):
    """Push dot_z_r, dot_z_z, dot_h_prev forward to dot_z, dot_rh, and for the second derivatives dot_r.

    Cost: 3 add, 6 mul.
    """

    # r = sigmoid(z_r),  z = sigmoid(z_z)
    dot_r = dot_z_r * r * (1 - r)
    dot_z = dot_z_z * z * (1 - z)

    # rh = r * h_prev
    dot_rh = dot_h_prev * r + dot_r * h_prev

    return dot_z, dot_rh, dot_r


def step_1_vjp_jvp(dot_d_z, dot_d_rh, dot_h_prev, dot_r, dot_z, d_z, d_rh, h_prev, r, z):
    """step_1_vjp and its tangent; dot_d_v is the change of d_v along a direction.  Cost: 10 add, 20 mul."""

    # rh = r * h_prev
    d_r = d_rh * h_prev
    d_h_prev = d_rh * r
    dot_d_r = d_rh * dot_h_prev + dot_d_rh * h_prev
    dot_d_h_prev = d_rh * dot_r + dot_d_rh * r

    # r = sigmoid(z_r),  z = sigmoid(z_z)
    d_z_r = d_r * r * (1 - r)
    dot_d_z_r = d_r * dot_r * (1 - 2 * r) + dot_d_r * r * (1 - r)
    d_z_z = d_z * z * (1 - z)
    dot_d_z_z = d_z * dot_z * (1 - 2 * z) + dot_d_z * z * (1 - z)

    return d_z_r, d_z_z, d_h_prev, dot_d_z_r, dot_d_z_z, dot_d_h_prev


def step_2(z_n, h_prev, z):
    """Return h, and for the derivatives n.  Cost: 2 add, 2 mul, 1 tanh."""

    # gates
    n = tanh(z_n)

    # states
    h = n * (1 - z) + z * h_prev

    return h, n


def step_2_vjp(d_h, h_prev, z, n):
    """Pull d_h back to z_n, h_prev, z; d_v means dL/dv.  Cost: 3 add, 5 mul."""

    # h = n * (1 - z) + z * h_prev
    d_n = d_h * (1 - z)
    d_h_prev = d_h * z
    d_z = d_h * (h_prev - n)

    # n = tanh(z_n)
    d_z_n = d_n * (1 - n * n)

    return d_z_n, d_h_prev, d_z


def step_2_jvp(dot_z_n, dot_h_prev, dot_z, h_prev, z, n):
    """Push dot_z_n, dot_h_prev, dot_z forward to dot_h, and for the second derivatives dot_n.  Cost: 5 add, 5 mul."""

    # n = tanh(z_n)
    dot_n = dot_z_n * (1 - n * n)

    # h = n * (1 - z) + z * h_prev
    dot_h = dot_h_prev * z + dot_n * (1 - z) + dot_z * (h_prev - n)

    return dot_h, dot_n


def step_2_vjp_jvp(dot_d_h, dot_h_prev, dot_z, dot_n, d_h, h_prev, z, n):
    """step_2_vjp and its tangent; dot_d_v is the change of d_v along a direction.  Cost: 11 add, 17 mul."""

    # h = n * (1 - z) + z * h_prev
    d_n = d_h * (1 - z)
    d_h_prev = d_h * z
    d_z = d_h * (h_prev - n)
    dot_d_n = dot_d_h * (1 - z) - d_h * dot_z
    dot_d_h_prev = d_h * dot_z + dot_d_h * z
    dot_d_z = d_h * dot_h_prev + dot_d_h * (h_prev - n) - d_h * dot_n

    # n = tanh(z_n)
    d_z_n = d_n * (1 - n * n)
    dot_d_z_n = dot_d_n * (1 - n * n) - 2 * d_n * dot_n * n

    return d_z_n, d_h_prev, d_z, dot_d_z_n, dot_d_h_prev, dot_d_z


def project(
    begin, end, batch, first, held, top, rows, kept, slots_1_row, N, slots_2_row, H, seq_x, slots_1, slots_2,
    weights_1_x, weights_2_x, bias_1, bias_2,
):
    """Biases and input products of steps begin .. end - 1 at once: as many rows of one product as there are steps."""
    units_1 = units_of(slots_1, 2)
    units_2 = units_of(slots_2, 1)
    panels_1 = panels_of(H, units_1, units_2)
    panels_2 = panels_of(H, units_2, units_1)
    for row in range(rows):
        panel, panels = 0, panels_1
        biased_1_x(
            end - begin, panel, panels, N, seq_x, (begin * batch + first + row) * N, batch * N, weights_1_x, bias_1,
            slots_1, (begin % kept * held + top + row) * slots_1_row, held * slots_1_row,
        )
        panel, panels = 0, panels_2
        biased_2_x(
            end - begin, panel, panels, N, seq_x, (begin * batch + first + row) * N, batch * N, weights_2_x, bias_2,
            slots_2, (begin % kept * held + top + row) * slots_2_row, held * slots_2_row,
        )


def forward(
    begin, end, batch, first, held, top, counts, depth, kept, hoisted, H_row, slots_1_row, N, H, slots_2_row, seq_x,
    slots_1, slots_2, weights_1_x, weights_1_h_prev, weights_2_x, weights_2_rh, bias_1, bias_2, all_h, kept_rh,
    start_h, out_h, resets,
):
    """Steps begin .. end - 1 of the batch rows from first on, held from row top on; counts[t] of them run at step t."""
    width = lanes(slots_1)
    units_1 = units_of(slots_1, 2)
    units_2 = units_of(slots_2, 1)
    panels_1 = panels_of(H, units_1, units_2)
    panels_2 = panels_of(H, units_2, units_1)
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

        # 1. affine
        #    z_r = W_r x + U_r h_prev + b_r
        #    z_z = W_z x + U_z h_prev + b_z
        at_once = together(rows, panels_1, 2 * units_1)
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
                    slot_1 = (kept_at + row) * slots_1_row + unit // units_1 * 2 * units_1 + unit % units_1
                    z_r = load(slots_1, slot_1)
                    z_z = load(slots_1, slot_1 + units_1)
                    h_prev = load(all_h, (before + row) * H_row + unit)
                    z, rh, r = step_1(z_r, z_z, h_prev)
                    store(slots_1, slot_1, z)
                    store(kept_rh, (kept_at + row) * H_row + unit, rh)
                    store(slots_1, slot_1 + units_1, r)

        # 2. affine
        #    z_n = W_n x + U_n rh + b_n
        at_once = together(rows, panels_2, 1 * units_2)
        for panel in range(0, panels_2, at_once):
            panels = min(at_once, panels_2 - panel)
            if not hoisted:
                biased_2_x(
                    rows, panel, panels, N, seq_x, given * N, N, weights_2_x, bias_2, slots_2, kept_at * slots_2_row,
                    slots_2_row,
                )
            multiply_2_rh(
                rows, panel, panels, 0, H, kept_rh, kept_at * H_row, H_row, weights_2_rh, slots_2,
                kept_at * slots_2_row, slots_2_row,
            )

            # 2. pointwise
            for row in range(rows):
                for unit in range(panel * units_2, (panel + panels) * units_2, width):
                    slot_1 = (kept_at + row) * slots_1_row + unit // units_1 * 2 * units_1 + unit % units_1
                    slot_2 = (kept_at + row) * slots_2_row + unit // units_2 * 1 * units_2 + unit % units_2
                    z_n = load(slots_2, slot_2)
                    h_prev = load(all_h, (before + row) * H_row + unit)
                    z = load(slots_1, slot_1)
                    h, n = step_2(z_n, h_prev, z)
                    store(all_h, (after + row) * H_row + unit, h)
                    store_first(out_h, (given + row) * H + unit, h, H - unit)
                    store(slots_2, slot_2, n)


def backward(
    begin, end, batch, first, counts, depth, kept, slots_1_row, slots_2_row, H_row, H, slots_1, slots_2, back_2_rh,
    back_1_h_prev, ends_2_rh, ends_1_h_prev, all_h, d_all_h, d_out_h, d_kept_z, d_kept_rh, d_start_h, resets,
):
    """Steps end - 1 .. begin: adjoints of slots, states, pointwise inputs and pointwise parameters."""
    width = lanes(slots_1)
    units_1 = units_of(slots_1, 2)
    units_2 = units_of(slots_2, 1)
    panels_1 = panels_of(H, units_1, units_2)
    panels_2 = panels_of(H, units_2, units_1)
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
                slot_1 = (kept_at + row) * slots_1_row + unit // units_1 * 2 * units_1 + unit % units_1
                slot_2 = (kept_at + row) * slots_2_row + unit // units_2 * 1 * units_2 + unit % units_2
                d_h = load(d_all_h, (later + row) * H_row + unit)
                d_h = d_h + load_first(d_out_h, (given + row) * H + unit, H - unit)
                h_prev = load(all_h, (before + row) * H_row + unit)
                z = load(slots_1, slot_1)
                n = load(slots_2, slot_2)
                d_z_n, d_h_prev, d_z = step_2_vjp(d_h, h_prev, z, n)
                store(slots_2, slot_2, d_z_n)
                store(d_all_h, (earlier + row) * H_row + unit, d_h_prev)
                store(d_kept_z, (first + row) * H_row + unit, d_z)

        # 2. affine, transposed
        clear(rows, d_kept_rh, first, H_row)
        transpose_2_rh(
            rows, 0, panels_2, panels_2, ends_2_rh, slots_2, kept_at * slots_2_row, slots_2_row, back_2_rh, d_kept_rh,
            first * H_row, H_row, H,
        )

        # 1. pointwise, transposed
        panel, panels = 0, panels_1
        for row in range(rows):
            for unit in range(panel * units_1, (panel + panels) * units_1, width):
                slot_1 = (kept_at + row) * slots_1_row + unit // units_1 * 2 * units_1 + unit % units_1
                d_z = load(d_kept_z, (first + row) * H_row + unit)
                d_rh = load(d_kept_rh, (first + row) * H_row + unit)
                h_prev = load(all_h, (before + row) * H_row + unit)
                r = load(slots_1, slot_1 + units_1)
                z = load(slots_1, slot_1)
                d_z_r, d_z_z, d_h_prev = step_1_vjp(d_z, d_rh, h_prev, r, z)
                store(slots_1, slot_1, d_z_r)
                store(slots_1, slot_1 + units_1, d_z_z)
                store(d_all_h, (earlier + row) * H_row + unit, load(d_all_h, (earlier + row) * H_row + unit) + d_h_prev)

        # 1. affine, transposed
        transpose_1_h_prev(
            rows, 0, panels_1, panels_1, ends_1_h_prev, slots_1, kept_at * slots_1_row, slots_1_row, back_1_h_prev,
            d_all_h, earlier * H_row, H_row, H,
        )

        if resets.size:
            release(rows, resets, given, d_all_h, earlier, d_start_h, first, H_row)


def forward_tangent(
    begin, end, batch, first, held, top, counts, depth, kept, H_row, slots_1_row, N, H, slots_2_row, seq_x,
    dot_seq_x, slots_1, dot_slots_1, slots_2, dot_slots_2, weights_1_x, dot_weights_1_x, weights_1_h_prev,
    dot_weights_1_h_prev, weights_2_x, dot_weights_2_x, weights_2_rh, dot_weights_2_rh, dot_bias_1, dot_bias_2,
    all_h, dot_all_h, kept_rh, dot_kept_rh, dot_start_h, dot_out_h, resets,
):
    """Steps begin .. end - 1 of forward along a direction: dot_v is the change of v."""
    width = lanes(slots_1)
    units_1 = units_of(slots_1, 2)
    units_2 = units_of(slots_2, 1)
    panels_1 = panels_of(H, units_1, units_2)
    panels_2 = panels_of(H, units_2, units_1)
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

        # 1. affine
        #    dot_z_r = W_r dot_x + U_r dot_h_prev + dot_W_r x + dot_U_r h_prev + dot_b_r
        #    dot_z_z = W_z dot_x + U_z dot_h_prev + dot_W_z x + dot_U_z h_prev + dot_b_z
        at_once = together(rows, panels_1, 2 * units_1)
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
                    slot_1 = (kept_at + row) * slots_1_row + unit // units_1 * 2 * units_1 + unit % units_1
                    dot_z_r = load(dot_slots_1, slot_1)
                    dot_z_z = load(dot_slots_1, slot_1 + units_1)
                    dot_h_prev = load(dot_all_h, (before + row) * H_row + unit)
                    h_prev = load(all_h, (before + row) * H_row + unit)
                    r = load(slots_1, slot_1 + units_1)
                    z = load(slots_1, slot_1)
                    dot_z, dot_rh, dot_r = step_1_jvp(dot_z_r, dot_z_z, dot_h_prev, h_prev, r, z)
                    store(dot_slots_1, slot_1, dot_z)
                    store(dot_kept_rh, (kept_at + row) * H_row + unit, dot_rh)
                    store(dot_slots_1, slot_1 + units_1, dot_r)

        # 2. affine
        #    dot_z_n = W_n dot_x + U_n dot_rh + dot_W_n x + dot_U_n rh + dot_b_n
        at_once = together(rows, panels_2, 1 * units_2)
        for panel in range(0, panels_2, at_once):
            panels = min(at_once, panels_2 - panel)
            biased_2_x(
                rows, panel, panels, N, dot_seq_x, given * N, N, weights_2_x, dot_bias_2, dot_slots_2,
                kept_at * slots_2_row, slots_2_row,
            )
            multiply_2_x(
                rows, panel, panels, 0, N, seq_x, given * N, N, dot_weights_2_x, dot_slots_2, kept_at * slots_2_row,
                slots_2_row,
            )
            multiply_2_rh(
                rows, panel, panels, 0, H, dot_kept_rh, kept_at * H_row, H_row, weights_2_rh, dot_slots_2,
                kept_at * slots_2_row, slots_2_row,
            )
            multiply_2_rh(
                rows, panel, panels, 0, H, kept_rh, kept_at * H_row, H_row, dot_weights_2_rh, dot_slots_2,
                kept_at * slots_2_row, slots_2_row,
            )

            # 2. pointwise
            for row in range(rows):
                for unit in range(panel * units_2, (panel + panels) * units_2, width):
                    slot_1 = (kept_at + row) * slots_1_row + unit // units_1 * 2 * units_1 + unit % units_1
                    slot_2 = (kept_at + row) * slots_2_row + unit // units_2 * 1 * units_2 + unit % units_2
                    dot_z_n = load(dot_slots_2, slot_2)
                    dot_h_prev = load(dot_all_h, (before + row) * H_row + unit)
                    dot_z = load(dot_slots_1, slot_1)
                    h_prev = load(all_h, (before + row) * H_row + unit)
                    z = load(slots_1, slot_1)
                    n = load(slots_2, slot_2)
                    dot_h, dot_n = step_2_jvp(dot_z_n, dot_h_prev, dot_z, h_prev, z, n)
                    store(dot_all_h, (after + row) * H_row + unit, dot_h)
                    store_first(dot_out_h, (given + row) * H + unit, dot_h, H - unit)
                    store(dot_slots_2, slot_2, dot_n)


def backward_tangent(
    begin, end, batch, first, counts, depth, kept, slots_1_row, slots_2_row, H_row, H, slots_1, slots_2,
    dot_slots_1, dot_slots_2, back_2_rh, back_1_h_prev, dot_back_2_rh, dot_back_1_h_prev, ends_2_rh, ends_1_h_prev,
    all_h, dot_all_h, d_all_h, d_out_h, d_kept_z, d_kept_rh, d_start_h, dot_d_all_h, dot_d_out_h, dot_d_kept_z,
    dot_d_kept_rh, dot_d_start_h, resets,
):
    """Steps end - 1 .. begin of backward along a direction: adjoints d_v, and dot_d_v, the change of d_v."""
    width = lanes(slots_1)
    units_1 = units_of(slots_1, 2)
    units_2 = units_of(slots_2, 1)
    panels_1 = panels_of(H, units_1, units_2)
    panels_2 = panels_of(H, units_2, units_1)
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
                slot_1 = (kept_at + row) * slots_1_row + unit // units_1 * 2 * units_1 + unit % units_1
                slot_2 = (kept_at + row) * slots_2_row + unit // units_2 * 1 * units_2 + unit % units_2
                d_h = load(d_all_h, (later + row) * H_row + unit)
                dot_d_h = load(dot_d_all_h, (later + row) * H_row + unit)
                d_h = d_h + load_first(d_out_h, (given + row) * H + unit, H - unit)
                dot_d_h = dot_d_h + load_first(dot_d_out_h, (given + row) * H + unit, H - unit)
                h_prev = load(all_h, (before + row) * H_row + unit)
                z = load(slots_1, slot_1)
                n = load(slots_2, slot_2)
                dot_h_prev = load(dot_all_h, (before + row) * H_row + unit)
                dot_z = load(dot_slots_1, slot_1)
                dot_n = load(dot_slots_2, slot_2)
                d_z_n, d_h_prev, d_z, dot_d_z_n, dot_d_h_prev, dot_d_z = step_2_vjp_jvp(
                    dot_d_h, dot_h_prev, dot_z, dot_n, d_h, h_prev, z, n,
                )
                store(slots_2, slot_2, d_z_n)
                store(dot_slots_2, slot_2, dot_d_z_n)
                store(d_all_h, (earlier + row) * H_row + unit, d_h_prev)
                store(dot_d_all_h, (earlier + row) * H_row + unit, dot_d_h_prev)
                store(d_kept_z, (first + row) * H_row + unit, d_z)
                store(dot_d_kept_z, (first + row) * H_row + unit, dot_d_z)

        # 2. affine, transposed
        clear(rows, d_kept_rh, first, H_row)
        clear(rows, dot_d_kept_rh, first, H_row)
        transpose_2_rh(
            rows, 0, panels_2, panels_2, ends_2_rh, slots_2, kept_at * slots_2_row, slots_2_row, back_2_rh, d_kept_rh,
            first * H_row, H_row, H,
        )
        transpose_2_rh(
            rows, 0, panels_2, panels_2, ends_2_rh, dot_slots_2, kept_at * slots_2_row, slots_2_row, back_2_rh,
            dot_d_kept_rh, first * H_row, H_row, H,
        )
        transpose_2_rh(
            rows, 0, panels_2, panels_2, ends_2_rh, slots_2, kept_at * slots_2_row, slots_2_row, dot_back_2_rh,
            dot_d_kept_rh, first * H_row, H_row, H,
        )

        # 1. pointwise, transposed
        panel, panels = 0, panels_1
        for row in range(rows):
            for unit in range(panel * units_1, (panel + panels) * units_1, width):
                slot_1 = (kept_at + row) * slots_1_row + unit // units_1 * 2 * units_1 + unit % units_1
                d_z = load(d_kept_z, (first + row) * H_row + unit)
                dot_d_z = load(dot_d_kept_z, (first + row) * H_row + unit)
                d_rh = load(d_kept_rh, (first + row) * H_row + unit)
                dot_d_rh = load(dot_d_kept_rh, (first + row) * H_row + unit)
                h_prev = load(all_h, (before + row) * H_row + unit)
                r = load(slots_1, slot_1 + units_1)
                z = load(slots_1, slot_1)
                dot_h_prev = load(dot_all_h, (before + row) * H_row + unit)
                dot_r = load(dot_slots_1, slot_1 + units_1)
                dot_z = load(dot_slots_1, slot_1)
                d_z_r, d_z_z, d_h_prev, dot_d_z_r, dot_d_z_z, dot_d_h_prev = step_1_vjp_jvp(
                    dot_d_z, dot_d_rh, dot_h_prev, dot_r, dot_z, d_z, d_rh, h_prev, r, z,
                )
                store(slots_1, slot_1, d_z_r)
                store(dot_slots_1, slot_1, dot_d_z_r)
                store(slots_1, slot_1 + units_1, d_z_z)
                store(dot_slots_1, slot_1 + units_1, dot_d_z_z)
                store(d_all_h, (earlier + row) * H_row + unit, load(d_all_h, (earlier + row) * H_row + unit) + d_h_prev)
                store(
                    dot_d_all_h, (earlier + row) * H_row + unit,
                    load(dot_d_all_h, (earlier + row) * H_row + unit) + dot_d_h_prev,
                )

        # 1. affine, transposed
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


# --- On a CUDA device: what one thread does for one unit of one row

def read_forward_1(row, unit, now, batch, lengths, H, slots_1, all_h):
    """What unit_forward_1 reads besides the products of its stage."""
    here = now * batch + row
    slot_1 = here * 2 * H + unit
    length = end_of(lengths, row)
    z_r = get(slots_1, slot_1)
    z_z = get(slots_1, slot_1 + H)
    h_prev = get(all_h, here * H + unit)
    return length, z_r, z_z, h_prev


def unit_forward_1(row, unit, now, read, batch, lengths, H, sums_1, sum_1, apart_1, low_rh, slots_1, kept_rh):
    """1. pointwise, of one unit of one row at step `now`."""
    length, z_r, z_z, h_prev = read
    here = now * batch + row
    slot_1 = here * 2 * H + unit
    if now >= length:
        erase_both(kept_rh, low_rh, here * H + unit)
    else:
        z_r = summed(z_r, sums_1, sum_1)
        z_z = summed(z_z, sums_1, sum_1 + apart_1)
        z, rh, r = step_1(z_r, z_z, h_prev)
        put(slots_1, slot_1, z)
        put_both(kept_rh, low_rh, here * H + unit, rh)
        put(slots_1, slot_1 + H, r)


def read_forward_2(row, unit, now, batch, marked, lengths, resets, H, slots_2, slots_1, all_h):
    """What unit_forward_2 reads besides the products of its stage."""
    here = now * batch + row
    after = here + batch
    slot_1 = here * 2 * H + unit
    slot_2 = here * H + unit
    length = end_of(lengths, row)
    z_n = get(slots_2, slot_2)
    h_prev = get(all_h, here * H + unit)
    z = get(slots_1, slot_1)
    again = starts_again(marked, resets, after, now + 1, length)
    return length, z_n, h_prev, z, again


def unit_forward_2(
    row, unit, now, read, batch, lengths, H, sums_2, sum_2, low_h_prev, slots_2, all_h, start_h, out_h,
):
    """2. pointwise, of one unit of one row at step `now`."""
    length, z_n, h_prev, z, again = read
    here = now * batch + row
    after = here + batch
    slot_2 = here * H + unit
    if now >= length:
        put_both(all_h, low_h_prev, after * H + unit, get(all_h, here * H + unit))
    else:
        z_n = summed(z_n, sums_2, sum_2)
        h, n = step_2(z_n, h_prev, z)
        put_low(out_h, here * H + unit, h)
        h = or_start(again, start_h, row * H + unit, h)
        put_both(all_h, low_h_prev, after * H + unit, h)
        put(slots_2, slot_2, n)


def read_backward_2(row, unit, now, batch, marked, lengths, resets, H, slots_1, slots_2, all_h, d_all_h, d_out_h):
    """What unit_backward_2 reads besides the products of its stage."""
    here = now * batch + row
    after = here + batch
    later = (now + 1) % 2 * batch + row
    slot_1 = here * 2 * H + unit
    slot_2 = here * H + unit
    length = end_of(lengths, row)
    again = starts_again(marked, resets, after, now + 1, length)
    h_prev = get(all_h, here * H + unit)
    z = get(slots_1, slot_1)
    n = get(slots_2, slot_2)
    d_h = get(d_all_h, later * H + unit)
    d_h_out = get_low(d_out_h, here * H + unit)
    return length, again, h_prev, z, n, d_h, d_h_out


def unit_backward_2(
    row, unit, now, read, batch, lengths, H, sums_h_prev, sum_h_prev, low_slots_2, slots_2, d_all_h, d_start_h,
    d_kept_z,
):
    """2. pointwise, transposed, of one unit of one row at step `now`."""
    length, again, h_prev, z, n, d_h, d_h_out = read
    here = now * batch + row
    later = (now + 1) % 2 * batch + row
    earlier = now % 2 * batch + row
    slot_2 = here * H + unit
    if now >= length:
        add(d_all_h, earlier * H + unit, take(d_all_h, later * H + unit))
        erase_adjoint(slots_2, slot_2, low_slots_2)
    else:
        erase(d_all_h, later * H + unit)
        d_h = summed(d_h, sums_h_prev, sum_h_prev)
        d_h = or_give(again, d_start_h, row * H + unit, d_h)
        d_h = d_h + d_h_out
        d_z_n, d_h_prev, d_z = step_2_vjp(d_h, h_prev, z, n)
        put_adjoint(slots_2, slot_2, low_slots_2, d_z_n)
        add(d_all_h, earlier * H + unit, d_h_prev)
        add(d_kept_z, row * H + unit, d_z)


def read_backward_1(row, unit, now, batch, lengths, H, slots_1, all_h, d_kept_z, d_kept_rh):
    """What unit_backward_1 reads besides the products of its stage."""
    here = now * batch + row
    slot_1 = here * 2 * H + unit
    length = end_of(lengths, row)
    h_prev = get(all_h, here * H + unit)
    r = get(slots_1, slot_1 + H)
    z = get(slots_1, slot_1)
    d_z = get(d_kept_z, row * H + unit)
    d_rh = get(d_kept_rh, row * H + unit)
    return length, h_prev, r, z, d_z, d_rh


def unit_backward_1(
    row, unit, now, read, batch, lengths, H, sums_rh, sum_rh, low_slots_1, slots_1, d_kept_z, d_kept_rh, d_all_h,
):
    """1. pointwise, transposed, of one unit of one row at step `now`."""
    length, h_prev, r, z, d_z, d_rh = read
    here = now * batch + row
    earlier = now % 2 * batch + row
    slot_1 = here * 2 * H + unit
    if now >= length:
        erase_adjoint(slots_1, slot_1, low_slots_1)
        erase_adjoint(slots_1, slot_1 + H, low_slots_1)
    else:
        erase(d_kept_z, row * H + unit)
        erase(d_kept_rh, row * H + unit)
        d_rh = summed(d_rh, sums_rh, sum_rh)
        d_z_r, d_z_z, d_h_prev = step_1_vjp(d_z, d_rh, h_prev, r, z)
        put_adjoint(slots_1, slot_1, low_slots_1, d_z_r)
        put_adjoint(slots_1, slot_1 + H, low_slots_1, d_z_z)
        add(d_all_h, earlier * H + unit, d_h_prev)


def sweep_forward(
    steps, batch, marked, parts, tile, stage, span, scratch, lengths, resets, H, at_1, at_2, hold_1_h_prev,
    hold_2_rh, operand_h_prev, operand_rh, low_rh, low_h_prev, slots_1, slots_2, weights_1_h_prev, weights_2_rh,
    all_h, kept_rh, start_h, out_h,
):
    """All steps: this block's units of its rows."""
    first_H, units_H, low, high = share(parts, batch, H)
    line_H, lines_H, column_H, columns_H = places(units_H)
    stored, numbers = shared_memory()
    hold(stored, hold_1_h_prev, weights_1_h_prev, 2, 0, 2, H, H, first_H, units_H)
    hold(stored, hold_2_rh, weights_2_rh, 1, 0, 1, H, H, first_H, units_H)
    wait()
    for top in range(low, high, tile):
        rows = min(tile, high - top)
        part_1_h_prev = deal(hold_1_h_prev, 2 * units_H, H, H, rows, at_1, tile, stage, span, scratch)
        part_2_rh = deal(hold_2_rh, 1 * units_H, H, H, rows, at_2, tile, stage, span, scratch)
        for now in range(steps):

            # 1. affine and pointwise
            #    z_r = W_r x + U_r h_prev + b_r
            #    z_z = W_z x + U_z h_prev + b_z
            if line_H < rows and column_H < units_H:
                row, unit = top + line_H, first_H + column_H
                read_1 = read_forward_1(row, unit, now, batch, lengths, H, slots_1, all_h)
            multiply(stored, numbers, part_1_h_prev, operand_h_prev, (now * batch + top) * H, 0, now > 0)
            wait()
            for line in range(line_H, rows, lines_H):
                for column in range(column_H, units_H, columns_H):
                    row, unit = top + line, first_H + column
                    if line >= lines_H or column >= columns_H:
                        read_1 = read_forward_1(row, unit, now, batch, lengths, H, slots_1, all_h)
                    unit_forward_1(
                        row, unit, now, read_1, batch, lengths, H, numbers, at_1 + column * tile + line, units_H * tile,
                        low_rh, slots_1, kept_rh,
                    )
            wait()

            # 2. affine and pointwise
            #    z_n = W_n x + U_n rh + b_n
            if line_H < rows and column_H < units_H:
                row, unit = top + line_H, first_H + column_H
                read_2 = read_forward_2(row, unit, now, batch, marked, lengths, resets, H, slots_2, slots_1, all_h)
            multiply(stored, numbers, part_2_rh, operand_rh, (now * batch + top) * H, 0, True)
            wait()
            for line in range(line_H, rows, lines_H):
                for column in range(column_H, units_H, columns_H):
                    row, unit = top + line, first_H + column
                    if line >= lines_H or column >= columns_H:
                        read_2 = read_forward_2(
                            row, unit, now, batch, marked, lengths, resets, H, slots_2, slots_1, all_h,
                        )
                    unit_forward_2(
                        row, unit, now, read_2, batch, lengths, H, numbers, at_2 + column * tile + line, low_h_prev,
                        slots_2, all_h, start_h, out_h,
                    )
            wait()


def sweep_backward(
    steps, batch, marked, parts, tile, stage, span, scratch, lengths, resets, H, at_h_prev, at_rh, turned_1_h_prev,
    turned_2_rh, operand_slots_1, operand_slots_2, low_slots_2, low_slots_1, slots_1, slots_2, weights_1_h_prev,
    weights_2_rh, all_h, d_all_h, d_out_h, d_start_h, d_kept_z, d_kept_rh,
):
    """All steps, last to first, transposed: this block's units of its rows; without the first step's products."""
    first_H, units_H, low, high = share(parts, batch, H)
    line_H, lines_H, column_H, columns_H = places(units_H)
    stored, numbers = shared_memory()
    hold_turned(stored, turned_1_h_prev, weights_1_h_prev, 2 * H, H, first_H, units_H)
    hold_turned(stored, turned_2_rh, weights_2_rh, 1 * H, H, first_H, units_H)
    wait()
    for top in range(low, high, tile):
        rows = min(tile, high - top)
        part_2_rh = deal(turned_2_rh, units_H, 1 * H, 1 * H, rows, at_rh, tile, stage, span, scratch)
        part_1_h_prev = deal(turned_1_h_prev, units_H, 2 * H, 2 * H, rows, at_h_prev, tile, stage, span, scratch)
        for now in range(steps - 1, -1, -1):

            # 2. affine and pointwise, transposed
            #    d_h_prev += U_r' d_z_r + U_z' d_z_z of step now + 1
            if line_H < rows and column_H < units_H:
                row, unit = top + line_H, first_H + column_H
                read_2 = read_backward_2(
                    row, unit, now, batch, marked, lengths, resets, H, slots_1, slots_2, all_h, d_all_h, d_out_h,
                )
            if now + 1 < steps:
                multiply(stored, numbers, part_1_h_prev, operand_slots_1, ((now + 1) * batch + top) * 2 * H, 0, True)
            else:
                for place in range(thread(), units_H * tile, threads()):
                    erase(numbers, at_h_prev + place)
            wait()
            for line in range(line_H, rows, lines_H):
                for column in range(column_H, units_H, columns_H):
                    row, unit = top + line, first_H + column
                    if line >= lines_H or column >= columns_H:
                        read_2 = read_backward_2(
                            row, unit, now, batch, marked, lengths, resets, H, slots_1, slots_2, all_h, d_all_h,
                            d_out_h,
                        )
                    unit_backward_2(
                        row, unit, now, read_2, batch, lengths, H, numbers, at_h_prev + column * tile + line,
                        low_slots_2, slots_2, d_all_h, d_start_h, d_kept_z,
                    )
            wait()

            # 1. affine and pointwise, transposed
            #    d_rh += U_n' d_z_n
            if line_H < rows and column_H < units_H:
                row, unit = top + line_H, first_H + column_H
                read_1 = read_backward_1(row, unit, now, batch, lengths, H, slots_1, all_h, d_kept_z, d_kept_rh)
            multiply(stored, numbers, part_2_rh, operand_slots_2, (now * batch + top) * 1 * H, 0, True)
            wait()
            for line in range(line_H, rows, lines_H):
                for column in range(column_H, units_H, columns_H):
                    row, unit = top + line, first_H + column
                    if line >= lines_H or column >= columns_H:
                        read_1 = read_backward_1(row, unit, now, batch, lengths, H, slots_1, all_h, d_kept_z, d_kept_rh)
                    unit_backward_1(
                        row, unit, now, read_1, batch, lengths, H, numbers, at_rh + column * tile + line, low_slots_1,
                        slots_1, d_kept_z, d_kept_rh, d_all_h,
                    )
            wait()


def unit_forward_tangent_1(
    row, unit, now, batch, lengths, H, slots_1, all_h, dot_slots_1, dot_all_h, dot_kept_rh, dot_low_rh,
):
    """1. pointwise along a direction, of one unit of one row at step `now`."""
    length = end_of(lengths, row)
    here = now * batch + row
    slot_1 = here * 2 * H + unit
    if now >= length:
        erase_both(dot_kept_rh, dot_low_rh, here * H + unit)
    else:
        dot_z_r = get(dot_slots_1, slot_1)
        dot_z_z = get(dot_slots_1, slot_1 + H)
        dot_h_prev = get(dot_all_h, here * H + unit)
        h_prev = get(all_h, here * H + unit)
        r = get(slots_1, slot_1 + H)
        z = get(slots_1, slot_1)
        dot_z, dot_rh, dot_r = step_1_jvp(dot_z_r, dot_z_z, dot_h_prev, h_prev, r, z)
        put(dot_slots_1, slot_1, dot_z)
        put_both(dot_kept_rh, dot_low_rh, here * H + unit, dot_rh)
        put(dot_slots_1, slot_1 + H, dot_r)


def unit_forward_tangent_2(
    row, unit, now, batch, marked, lengths, resets, H, slots_2, slots_1, all_h, dot_slots_2, dot_all_h, dot_slots_1,
    dot_low_h_prev, dot_out_h, dot_start_h,
):
    """2. pointwise along a direction, of one unit of one row at step `now`."""
    length = end_of(lengths, row)
    here = now * batch + row
    after = here + batch
    slot_1 = here * 2 * H + unit
    slot_2 = here * H + unit
    if now >= length:
        put_both(dot_all_h, dot_low_h_prev, after * H + unit, get(dot_all_h, here * H + unit))
    else:
        dot_z_n = get(dot_slots_2, slot_2)
        dot_h_prev = get(dot_all_h, here * H + unit)
        dot_z = get(dot_slots_1, slot_1)
        h_prev = get(all_h, here * H + unit)
        z = get(slots_1, slot_1)
        n = get(slots_2, slot_2)
        dot_h, dot_n = step_2_jvp(dot_z_n, dot_h_prev, dot_z, h_prev, z, n)
        again = starts_again(marked, resets, after, now + 1, length)
        put_low(dot_out_h, here * H + unit, dot_h)
        dot_h = or_start(again, dot_start_h, row * H + unit, dot_h)
        put_both(dot_all_h, dot_low_h_prev, after * H + unit, dot_h)
        put(dot_slots_2, slot_2, dot_n)


def unit_backward_tangent_2(
    row, unit, now, batch, marked, lengths, resets, H, sums_h_prev, sum_h_prev, low_slots_2, slots_1, slots_2,
    all_h, d_all_h, d_start_h, d_out_h, d_kept_z, dot_all_h, dot_slots_1, dot_slots_2, dot_d_all_h, dot_low_slots_2,
    dot_d_start_h, dot_d_out_h, dot_d_kept_z,
):
    """2. pointwise, transposed, along a direction, of one unit of one row at step `now`."""
    length = end_of(lengths, row)
    here = now * batch + row
    after = here + batch
    later = (now + 1) % 2 * batch + row
    earlier = now % 2 * batch + row
    slot_1 = here * 2 * H + unit
    slot_2 = here * H + unit
    if now >= length:
        add(d_all_h, earlier * H + unit, take(d_all_h, later * H + unit))
        add(dot_d_all_h, earlier * H + unit, take(dot_d_all_h, later * H + unit))
        erase_adjoint(slots_2, slot_2, low_slots_2)
        erase_adjoint(dot_slots_2, slot_2, dot_low_slots_2)
    else:
        again = starts_again(marked, resets, after, now + 1, length)
        h_prev = get(all_h, here * H + unit)
        z = get(slots_1, slot_1)
        n = get(slots_2, slot_2)
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
        dot_h_prev = get(dot_all_h, here * H + unit)
        dot_z = get(dot_slots_1, slot_1)
        dot_n = get(dot_slots_2, slot_2)
        d_z_n, d_h_prev, d_z, dot_d_z_n, dot_d_h_prev, dot_d_z = step_2_vjp_jvp(
            dot_d_h, dot_h_prev, dot_z, dot_n, d_h, h_prev, z, n,
        )
        put_adjoint(slots_2, slot_2, low_slots_2, d_z_n)
        put_adjoint(dot_slots_2, slot_2, dot_low_slots_2, dot_d_z_n)
        add(d_all_h, earlier * H + unit, d_h_prev)
        add(dot_d_all_h, earlier * H + unit, dot_d_h_prev)
        add(d_kept_z, row * H + unit, d_z)
        add(dot_d_kept_z, row * H + unit, dot_d_z)


def unit_backward_tangent_1(
    row, unit, now, batch, lengths, H, sums_rh, sum_rh, low_slots_1, slots_1, all_h, d_kept_z, d_kept_rh, d_all_h,
    dot_all_h, dot_slots_1, dot_low_slots_1, dot_d_kept_z, dot_d_kept_rh, dot_d_all_h,
):
    """1. pointwise, transposed, along a direction, of one unit of one row at step `now`."""
    length = end_of(lengths, row)
    here = now * batch + row
    earlier = now % 2 * batch + row
    slot_1 = here * 2 * H + unit
    if now >= length:
        erase_adjoint(slots_1, slot_1, low_slots_1)
        erase_adjoint(dot_slots_1, slot_1, dot_low_slots_1)
        erase_adjoint(slots_1, slot_1 + H, low_slots_1)
        erase_adjoint(dot_slots_1, slot_1 + H, dot_low_slots_1)
    else:
        h_prev = get(all_h, here * H + unit)
        r = get(slots_1, slot_1 + H)
        z = get(slots_1, slot_1)
        d_z = get(d_kept_z, row * H + unit)
        dot_d_z = get(dot_d_kept_z, row * H + unit)
        erase(d_kept_z, row * H + unit)
        erase(dot_d_kept_z, row * H + unit)
        d_rh = get(d_kept_rh, row * H + unit)
        dot_d_rh = get(dot_d_kept_rh, row * H + unit)
        erase(d_kept_rh, row * H + unit)
        erase(dot_d_kept_rh, row * H + unit)
        d_rh = summed(d_rh, sums_rh, sum_rh)
        dot_d_rh = summed(dot_d_rh, sums_rh, sum_rh)
        dot_h_prev = get(dot_all_h, here * H + unit)
        dot_r = get(dot_slots_1, slot_1 + H)
        dot_z = get(dot_slots_1, slot_1)
        d_z_r, d_z_z, d_h_prev, dot_d_z_r, dot_d_z_z, dot_d_h_prev = step_1_vjp_jvp(
            dot_d_z, dot_d_rh, dot_h_prev, dot_r, dot_z, d_z, d_rh, h_prev, r, z,
        )
        put_adjoint(slots_1, slot_1, low_slots_1, d_z_r)
        put_adjoint(dot_slots_1, slot_1, dot_low_slots_1, dot_d_z_r)
        put_adjoint(slots_1, slot_1 + H, low_slots_1, d_z_z)
        put_adjoint(dot_slots_1, slot_1 + H, dot_low_slots_1, dot_d_z_z)
        add(d_all_h, earlier * H + unit, d_h_prev)
        add(dot_d_all_h, earlier * H + unit, dot_d_h_prev)
