"""Echo state network: one step, its derivatives, and the kernels of a sequence.

GENERATED - edit derive/cells/esn.py, then run

    derive generate esn

Equations  sha256 4a9a5b4d43d33330c462adcdfdf3a1ba4677794beb06d16cefea84f795c5a9c4   (SymPy 1.14.0)
Reference  H. Jaeger, "The echo state approach to analysing and training recurrent neural networks", GMD Report 148,
           2001; leaky units: Jaeger, Lukosevicius, Popovici, Siewert, Neural Networks 20:335-352, 2007

    h = alpha * tanh(W_in @ x + W @ h_prev + b) + h_prev * (1 - alpha)

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
from lstm_numba.functions import tanh
from lstm_numba.spec import CellSpec, Slot, Stage
from lstm_numba.words import (
    Biased,
    Product,
    Transposed,
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
    name="esn",
    module="esn",
    title="Echo state network",
    year=2001,
    reference="H. Jaeger, \"The echo state approach to analysing and training recurrent neural networks\", GMD Report 148, 2001; leaky units: Jaeger, Lukosevicius, Popovici, Siewert, Neural Networks 20:335-352, 2007",
    equations_hash="4a9a5b4d43d33330c462adcdfdf3a1ba4677794beb06d16cefea84f795c5a9c4",
    inputs={"x": "N"},
    outputs=("h",),
    states={"h": "H"},
    parameters={},
    constants={"alpha": (), "W_in": ("H", "N"), "W": ("H", "H"), "b": ("H",)},
    initial={"alpha": 1},
    biases=("b",),
    pointwise=("alpha",),
    program=(("affine", 1, "H"), ("pointwise", 1, "H")),
    stages=(
        Stage(
            "H",
            (
                Slot("z_h", (("W_in", "x"), ("W", "h_prev")), "b"),
            ),
        ),
    ),
)

multiply_1_x = Product(run=1, gates=1, low=0)
multiply_1_h_prev = Product(run=1, gates=1, low=0)
transpose_1_h_prev = Transposed(run=1, gates=1, low=0)
biased_1_x = Biased(gates=1)



def step(z_h, h_prev, alpha):
    """Return h, and for the derivatives tanh_z_h.  Cost: 2 add, 2 mul, 1 tanh."""

    # h = alpha * tanh(z_h) + h_prev * (1 - alpha)
    tanh_z_h = tanh(z_h)
    h = alpha * tanh_z_h + h_prev * (1 - alpha)

    return h, tanh_z_h


def step_vjp(d_h, alpha, tanh_z_h):
    """Pull d_h back to z_h, h_prev; d_v means dL/dv.  Cost: 2 add, 4 mul."""

    # h = alpha * tanh(z_h) + h_prev * (1 - alpha)
    d_h_prev = d_h * (1 - alpha)
    d_z_h = d_h * alpha * (1 - tanh_z_h * tanh_z_h)

    return d_z_h, d_h_prev


def step_jvp(dot_z_h, dot_h_prev, alpha, tanh_z_h):
    """Push dot_z_h, dot_h_prev forward to dot_h, and for the second derivatives dot_tanh_z_h.  Cost: 3 add, 4 mul."""

    # h = alpha * tanh(z_h) + h_prev * (1 - alpha)
    dot_tanh_z_h = dot_z_h * (1 - tanh_z_h * tanh_z_h)
    dot_h = dot_h_prev * (1 - alpha) + dot_tanh_z_h * alpha

    return dot_h, dot_tanh_z_h


def step_vjp_jvp(dot_d_h, dot_tanh_z_h, d_h, alpha, tanh_z_h):
    """step_vjp and its tangent; dot_d_v is the change of d_v along a direction.  Cost: 5 add, 12 mul."""

    # h = alpha * tanh(z_h) + h_prev * (1 - alpha)
    d_h_prev = d_h * (1 - alpha)
    d_z_h = d_h * alpha * (1 - tanh_z_h * tanh_z_h)
    dot_d_h_prev = dot_d_h * (1 - alpha)
    dot_d_z_h = dot_d_h * alpha * (1 - tanh_z_h * tanh_z_h) - 2 * d_h * dot_tanh_z_h * alpha * tanh_z_h

    return d_z_h, d_h_prev, dot_d_z_h, dot_d_h_prev


def project(
    begin, end, batch, first, held, top, rows, kept, slots_1_row, N, H, seq_x, slots_1, weights_1_x, bias_1,
):
    """Biases and input products of steps begin .. end - 1 at once: as many rows of one product as there are steps."""
    units_1 = units_of(slots_1, 1)
    panels_1 = panels_of(H, units_1)
    for row in range(rows):
        panel, panels = 0, panels_1
        biased_1_x(
            end - begin, panel, panels, N, seq_x, (begin * batch + first + row) * N, batch * N, weights_1_x, bias_1,
            slots_1, (begin % kept * held + top + row) * slots_1_row, held * slots_1_row,
        )


def forward(
    begin, end, batch, first, held, top, counts, depth, kept, hoisted, H_row, slots_1_row, N, H, seq_x, slots_1,
    weights_1_x, weights_1_h_prev, bias_1, param_alpha, all_h, start_h, out_h, resets,
):
    """Steps begin .. end - 1 of the batch rows from first on, held from row top on; counts[t] of them run at step t."""
    width = lanes(slots_1)
    units_1 = units_of(slots_1, 1)
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

        # 1. affine
        #    z_h = W_in x + W h_prev + b
        at_once = together(rows, panels_1, 1 * units_1)
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
                    slot_1 = (kept_at + row) * slots_1_row + unit // units_1 * 1 * units_1 + unit % units_1
                    z_h = load(slots_1, slot_1)
                    h_prev = load(all_h, (before + row) * H_row + unit)
                    alpha = load(param_alpha, unit)
                    h, tanh_z_h = step(z_h, h_prev, alpha)
                    store(all_h, (after + row) * H_row + unit, h)
                    store_first(out_h, (given + row) * H + unit, h, H - unit)
                    store(slots_1, slot_1, tanh_z_h)


def backward(
    begin, end, batch, first, counts, depth, kept, slots_1_row, H_row, H, slots_1, back_1_h_prev, ends_1_h_prev,
    param_alpha, d_all_h, d_out_h, d_start_h, resets,
):
    """Steps end - 1 .. begin: adjoints of slots, states, pointwise inputs and pointwise parameters."""
    width = lanes(slots_1)
    units_1 = units_of(slots_1, 1)
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
                slot_1 = (kept_at + row) * slots_1_row + unit // units_1 * 1 * units_1 + unit % units_1
                d_h = load(d_all_h, (later + row) * H_row + unit)
                d_h = d_h + load_first(d_out_h, (given + row) * H + unit, H - unit)
                alpha = load(param_alpha, unit)
                tanh_z_h = load(slots_1, slot_1)
                d_z_h, d_h_prev = step_vjp(d_h, alpha, tanh_z_h)
                store(slots_1, slot_1, d_z_h)
                store(d_all_h, (earlier + row) * H_row + unit, d_h_prev)

        # 1. affine, transposed
        transpose_1_h_prev(
            rows, 0, panels_1, panels_1, ends_1_h_prev, slots_1, kept_at * slots_1_row, slots_1_row, back_1_h_prev,
            d_all_h, earlier * H_row, H_row, H,
        )

        if resets.size:
            release(rows, resets, given, d_all_h, earlier, d_start_h, first, H_row)


def forward_tangent(
    begin, end, batch, first, held, top, counts, depth, kept, H_row, slots_1_row, N, H, dot_seq_x, slots_1,
    dot_slots_1, weights_1_x, weights_1_h_prev, dot_bias_1, param_alpha, dot_all_h, dot_start_h, dot_out_h, resets,
):
    """Steps begin .. end - 1 of forward along a direction: dot_v is the change of v."""
    width = lanes(slots_1)
    units_1 = units_of(slots_1, 1)
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

        # 1. affine
        #    dot_z_h = W_in dot_x + W dot_h_prev
        at_once = together(rows, panels_1, 1 * units_1)
        for panel in range(0, panels_1, at_once):
            panels = min(at_once, panels_1 - panel)
            biased_1_x(
                rows, panel, panels, N, dot_seq_x, given * N, N, weights_1_x, dot_bias_1, dot_slots_1,
                kept_at * slots_1_row, slots_1_row,
            )
            multiply_1_h_prev(
                rows, panel, panels, 0, H, dot_all_h, before * H_row, H_row, weights_1_h_prev, dot_slots_1,
                kept_at * slots_1_row, slots_1_row,
            )

            # 1. pointwise
            for row in range(rows):
                for unit in range(panel * units_1, (panel + panels) * units_1, width):
                    slot_1 = (kept_at + row) * slots_1_row + unit // units_1 * 1 * units_1 + unit % units_1
                    dot_z_h = load(dot_slots_1, slot_1)
                    dot_h_prev = load(dot_all_h, (before + row) * H_row + unit)
                    alpha = load(param_alpha, unit)
                    tanh_z_h = load(slots_1, slot_1)
                    dot_h, dot_tanh_z_h = step_jvp(dot_z_h, dot_h_prev, alpha, tanh_z_h)
                    store(dot_all_h, (after + row) * H_row + unit, dot_h)
                    store_first(dot_out_h, (given + row) * H + unit, dot_h, H - unit)
                    store(dot_slots_1, slot_1, dot_tanh_z_h)


def backward_tangent(
    begin, end, batch, first, counts, depth, kept, slots_1_row, H_row, H, slots_1, dot_slots_1, back_1_h_prev,
    ends_1_h_prev, param_alpha, d_all_h, d_out_h, d_start_h, dot_d_all_h, dot_d_out_h, dot_d_start_h, resets,
):
    """Steps end - 1 .. begin of backward along a direction: adjoints d_v, and dot_d_v, the change of d_v."""
    width = lanes(slots_1)
    units_1 = units_of(slots_1, 1)
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
                slot_1 = (kept_at + row) * slots_1_row + unit // units_1 * 1 * units_1 + unit % units_1
                d_h = load(d_all_h, (later + row) * H_row + unit)
                dot_d_h = load(dot_d_all_h, (later + row) * H_row + unit)
                d_h = d_h + load_first(d_out_h, (given + row) * H + unit, H - unit)
                dot_d_h = dot_d_h + load_first(dot_d_out_h, (given + row) * H + unit, H - unit)
                alpha = load(param_alpha, unit)
                tanh_z_h = load(slots_1, slot_1)
                dot_tanh_z_h = load(dot_slots_1, slot_1)
                d_z_h, d_h_prev, dot_d_z_h, dot_d_h_prev = step_vjp_jvp(dot_d_h, dot_tanh_z_h, d_h, alpha, tanh_z_h)
                store(slots_1, slot_1, d_z_h)
                store(dot_slots_1, slot_1, dot_d_z_h)
                store(d_all_h, (earlier + row) * H_row + unit, d_h_prev)
                store(dot_d_all_h, (earlier + row) * H_row + unit, dot_d_h_prev)

        # 1. affine, transposed
        transpose_1_h_prev(
            rows, 0, panels_1, panels_1, ends_1_h_prev, slots_1, kept_at * slots_1_row, slots_1_row, back_1_h_prev,
            d_all_h, earlier * H_row, H_row, H,
        )
        transpose_1_h_prev(
            rows, 0, panels_1, panels_1, ends_1_h_prev, dot_slots_1, kept_at * slots_1_row, slots_1_row, back_1_h_prev,
            dot_d_all_h, earlier * H_row, H_row, H,
        )

        if resets.size:
            release(rows, resets, given, d_all_h, earlier, d_start_h, first, H_row)
            release(rows, resets, given, dot_d_all_h, earlier, dot_d_start_h, first, H_row)


# --- On a CUDA device: what one thread does for one unit of one row

def read_forward_1(row, unit, now, batch, marked, lengths, resets, H, slots_1, param_alpha, all_h):
    """What unit_forward_1 reads besides the products of its stage."""
    here = now * batch + row
    after = here + batch
    slot_1 = here * H + unit
    length = end_of(lengths, row)
    z_h = get(slots_1, slot_1)
    h_prev = get(all_h, here * H + unit)
    alpha = get(param_alpha, 0)
    again = starts_again(marked, resets, after, now + 1, length)
    return length, z_h, h_prev, alpha, again


def unit_forward_1(
    row, unit, now, read, batch, lengths, H, sums_1, sum_1, low_h_prev, slots_1, all_h, start_h, out_h,
):
    """1. pointwise, of one unit of one row at step `now`."""
    length, z_h, h_prev, alpha, again = read
    here = now * batch + row
    after = here + batch
    slot_1 = here * H + unit
    if now >= length:
        put_both(all_h, low_h_prev, after * H + unit, get(all_h, here * H + unit))
    else:
        z_h = summed(z_h, sums_1, sum_1)
        h, tanh_z_h = step(z_h, h_prev, alpha)
        put_low(out_h, here * H + unit, h)
        h = or_start(again, start_h, row * H + unit, h)
        put_both(all_h, low_h_prev, after * H + unit, h)
        put(slots_1, slot_1, tanh_z_h)


def read_backward_1(row, unit, now, batch, marked, lengths, resets, H, slots_1, param_alpha, d_all_h, d_out_h):
    """What unit_backward_1 reads besides the products of its stage."""
    here = now * batch + row
    after = here + batch
    later = (now + 1) % 2 * batch + row
    slot_1 = here * H + unit
    length = end_of(lengths, row)
    again = starts_again(marked, resets, after, now + 1, length)
    alpha = get(param_alpha, 0)
    tanh_z_h = get(slots_1, slot_1)
    d_h = get(d_all_h, later * H + unit)
    d_h_out = get_low(d_out_h, here * H + unit)
    return length, again, alpha, tanh_z_h, d_h, d_h_out


def unit_backward_1(
    row, unit, now, read, batch, lengths, H, sums_h_prev, sum_h_prev, low_slots_1, slots_1, d_all_h, d_start_h,
):
    """1. pointwise, transposed, of one unit of one row at step `now`."""
    length, again, alpha, tanh_z_h, d_h, d_h_out = read
    here = now * batch + row
    later = (now + 1) % 2 * batch + row
    earlier = now % 2 * batch + row
    slot_1 = here * H + unit
    if now >= length:
        add(d_all_h, earlier * H + unit, take(d_all_h, later * H + unit))
        erase_adjoint(slots_1, slot_1, low_slots_1)
    else:
        erase(d_all_h, later * H + unit)
        d_h = summed(d_h, sums_h_prev, sum_h_prev)
        d_h = or_give(again, d_start_h, row * H + unit, d_h)
        d_h = d_h + d_h_out
        d_z_h, d_h_prev = step_vjp(d_h, alpha, tanh_z_h)
        put_adjoint(slots_1, slot_1, low_slots_1, d_z_h)
        add(d_all_h, earlier * H + unit, d_h_prev)


def sweep_forward(
    steps, batch, marked, parts, tile, stage, span, scratch, lengths, resets, H, at_1, hold_1_h_prev,
    operand_h_prev, low_h_prev, slots_1, weights_1_h_prev, param_alpha, all_h, start_h, out_h,
):
    """All steps: this block's units of its rows."""
    first_H, units_H, low, high = share(parts, batch, H)
    line_H, lines_H, column_H, columns_H = places(units_H)
    stored, numbers = shared_memory()
    hold(stored, hold_1_h_prev, weights_1_h_prev, 1, 0, 1, H, H, first_H, units_H)
    wait()
    for top in range(low, high, tile):
        rows = min(tile, high - top)
        part_1_h_prev = deal(hold_1_h_prev, 1 * units_H, H, H, rows, at_1, tile, stage, span, scratch)
        for now in range(steps):

            # 1. affine and pointwise
            #    z_h = W_in x + W h_prev + b
            if line_H < rows and column_H < units_H:
                row, unit = top + line_H, first_H + column_H
                read_1 = read_forward_1(row, unit, now, batch, marked, lengths, resets, H, slots_1, param_alpha, all_h)
            multiply(stored, numbers, part_1_h_prev, operand_h_prev, (now * batch + top) * H, 0, now > 0)
            wait()
            for line in range(line_H, rows, lines_H):
                for column in range(column_H, units_H, columns_H):
                    row, unit = top + line, first_H + column
                    if line >= lines_H or column >= columns_H:
                        read_1 = read_forward_1(
                            row, unit, now, batch, marked, lengths, resets, H, slots_1, param_alpha, all_h,
                        )
                    unit_forward_1(
                        row, unit, now, read_1, batch, lengths, H, numbers, at_1 + column * tile + line, low_h_prev,
                        slots_1, all_h, start_h, out_h,
                    )
            wait()


def sweep_backward(
    steps, batch, marked, parts, tile, stage, span, scratch, lengths, resets, H, at_h_prev, turned_1_h_prev,
    operand_slots_1, low_slots_1, slots_1, weights_1_h_prev, param_alpha, d_all_h, d_out_h, d_start_h,
):
    """All steps, last to first, transposed: this block's units of its rows; without the first step's products."""
    first_H, units_H, low, high = share(parts, batch, H)
    line_H, lines_H, column_H, columns_H = places(units_H)
    stored, numbers = shared_memory()
    hold_turned(stored, turned_1_h_prev, weights_1_h_prev, 1 * H, H, first_H, units_H)
    wait()
    for top in range(low, high, tile):
        rows = min(tile, high - top)
        part_1_h_prev = deal(turned_1_h_prev, units_H, 1 * H, 1 * H, rows, at_h_prev, tile, stage, span, scratch)
        for now in range(steps - 1, -1, -1):

            # 1. affine and pointwise, transposed
            #    d_h_prev += W' d_z_h of step now + 1
            if line_H < rows and column_H < units_H:
                row, unit = top + line_H, first_H + column_H
                read_1 = read_backward_1(
                    row, unit, now, batch, marked, lengths, resets, H, slots_1, param_alpha, d_all_h, d_out_h,
                )
            if now + 1 < steps:
                multiply(stored, numbers, part_1_h_prev, operand_slots_1, ((now + 1) * batch + top) * 1 * H, 0, True)
            else:
                for place in range(thread(), units_H * tile, threads()):
                    erase(numbers, at_h_prev + place)
            wait()
            for line in range(line_H, rows, lines_H):
                for column in range(column_H, units_H, columns_H):
                    row, unit = top + line, first_H + column
                    if line >= lines_H or column >= columns_H:
                        read_1 = read_backward_1(
                            row, unit, now, batch, marked, lengths, resets, H, slots_1, param_alpha, d_all_h, d_out_h,
                        )
                    unit_backward_1(
                        row, unit, now, read_1, batch, lengths, H, numbers, at_h_prev + column * tile + line,
                        low_slots_1, slots_1, d_all_h, d_start_h,
                    )
            wait()


def unit_forward_tangent_1(
    row, unit, now, batch, marked, lengths, resets, H, slots_1, param_alpha, dot_slots_1, dot_all_h, dot_low_h_prev,
    dot_out_h, dot_start_h,
):
    """1. pointwise along a direction, of one unit of one row at step `now`."""
    length = end_of(lengths, row)
    here = now * batch + row
    after = here + batch
    slot_1 = here * H + unit
    if now >= length:
        put_both(dot_all_h, dot_low_h_prev, after * H + unit, get(dot_all_h, here * H + unit))
    else:
        dot_z_h = get(dot_slots_1, slot_1)
        dot_h_prev = get(dot_all_h, here * H + unit)
        alpha = get(param_alpha, 0)
        tanh_z_h = get(slots_1, slot_1)
        dot_h, dot_tanh_z_h = step_jvp(dot_z_h, dot_h_prev, alpha, tanh_z_h)
        again = starts_again(marked, resets, after, now + 1, length)
        put_low(dot_out_h, here * H + unit, dot_h)
        dot_h = or_start(again, dot_start_h, row * H + unit, dot_h)
        put_both(dot_all_h, dot_low_h_prev, after * H + unit, dot_h)
        put(dot_slots_1, slot_1, dot_tanh_z_h)


def unit_backward_tangent_1(
    row, unit, now, batch, marked, lengths, resets, H, sums_h_prev, sum_h_prev, low_slots_1, slots_1, param_alpha,
    d_all_h, d_start_h, d_out_h, dot_slots_1, dot_d_all_h, dot_low_slots_1, dot_d_start_h, dot_d_out_h,
):
    """1. pointwise, transposed, along a direction, of one unit of one row at step `now`."""
    length = end_of(lengths, row)
    here = now * batch + row
    after = here + batch
    later = (now + 1) % 2 * batch + row
    earlier = now % 2 * batch + row
    slot_1 = here * H + unit
    if now >= length:
        add(d_all_h, earlier * H + unit, take(d_all_h, later * H + unit))
        add(dot_d_all_h, earlier * H + unit, take(dot_d_all_h, later * H + unit))
        erase_adjoint(slots_1, slot_1, low_slots_1)
        erase_adjoint(dot_slots_1, slot_1, dot_low_slots_1)
    else:
        again = starts_again(marked, resets, after, now + 1, length)
        alpha = get(param_alpha, 0)
        tanh_z_h = get(slots_1, slot_1)
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
        dot_tanh_z_h = get(dot_slots_1, slot_1)
        d_z_h, d_h_prev, dot_d_z_h, dot_d_h_prev = step_vjp_jvp(dot_d_h, dot_tanh_z_h, d_h, alpha, tanh_z_h)
        put_adjoint(slots_1, slot_1, low_slots_1, d_z_h)
        put_adjoint(dot_slots_1, slot_1, dot_low_slots_1, dot_d_z_h)
        add(d_all_h, earlier * H + unit, d_h_prev)
        add(dot_d_all_h, earlier * H + unit, dot_d_h_prev)
