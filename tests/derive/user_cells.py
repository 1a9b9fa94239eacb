"""Cells that are not in the package, as a user would write them: each stands for a structure the engine must take."""

from derive.language import (
    Cell,
    Eq,
    H,
    N,
    Rational,
    absolute,
    exp,
    input,  # noqa: A004 (a word of the language)
    log,
    matrices,
    matrix,
    maximum,
    minimum,
    relu,
    scalars,
    sigmoid,
    softplus,
    sqrt,
    state,
    stop,
    tanh,
    value,
    values,
    vector,
    vectors,
    where,
    x,
)

h, h_prev = state("h")
c, c_prev = state("c")
i, f, g, o, r, z, n, m = values("i f g o r z n m")
W_i, W_f, W_g, W_o, W_r, W_z, W_n, W_m = matrices("W_i W_f W_g W_o W_r W_z W_n W_m", H, N)
U_i, U_f, U_g, U_o, U_r, U_z, U_n, U_m = matrices("U_i U_f U_g U_o U_r U_z U_n U_m", H, H)
b_i, b_f, b_g, b_o, b_r, b_z, b_n = vectors("b_i b_f b_g b_o b_r b_z b_n")


def make(name, equations, **rest):
    return Cell(name=name, title=name, year=2024, reference="test", equations=equations, **rest)


# products that do not see the state: the recurrence is diagonal, and an exactly affine value is a slot itself
min_gru = make(
    "min_gru",
    [
        Eq(z, sigmoid(W_z @ x)),
        Eq(n, W_n @ x),
        Eq(h, (1 - z) * h_prev + z * n),
    ],
)

# a diagonal recurrent weight
W, u, b = matrix("W", H, N), vector("u"), vector("b")
ind_rnn = make("ind_rnn", [Eq(h, relu(W @ x + u * h_prev + b))])

# one product in two gates, trained scalars
U, a = matrix("U", H, H), value("a")
zeta, nu = scalars("zeta nu")
fast_grnn = make(
    "fast_grnn",
    [
        Eq(a, W @ x + U @ h_prev),
        Eq(z, sigmoid(a + b_z)),
        Eq(n, tanh(a + b_n)),
        Eq(h, (sigmoid(zeta) * (1 - z) + sigmoid(nu)) * n + z * h_prev),
    ],
    initial={"zeta": 1, "nu": -4, "b_z": 1, "b_n": 1},
)

# a third space: the state is projected to P, and is exactly affine
P = "P"
q, q_prev = state("q", P)
V_i, V_f, V_g, V_o = matrices("V_i V_f V_g V_o", H, P)
W_qm = matrix("W_qm", P, H)
projected = make(
    "projected",
    [
        Eq(i, sigmoid(W_i @ x + V_i @ q_prev + b_i)),
        Eq(f, sigmoid(W_f @ x + V_f @ q_prev + b_f)),
        Eq(g, tanh(W_g @ x + V_g @ q_prev + b_g)),
        Eq(o, sigmoid(W_o @ x + V_o @ q_prev + b_o)),
        Eq(c, f * c_prev + i * g),
        Eq(m, o * tanh(c)),
        Eq(q, W_qm @ m),
    ],
)

# a new state is multiplied in the same step; a constant scalar
y, y_prev = state("y")
s, s_prev = state("s")
D_1, D_2 = values("D_1 D_2")
W_1, W_2, W_s, W_y = matrices("W_1 W_2 W_s W_y", H, N)
U_1, U_2, U_s, U_y = matrices("U_1 U_2 U_s U_y", H, H)
b_1, b_2, b_s, b_y = vectors("b_1 b_2 b_s b_y")
(dt,) = scalars("dt", role="constant")
lem = make(
    "lem",
    [
        Eq(D_1, dt * sigmoid(W_1 @ x + U_1 @ y_prev + b_1)),
        Eq(D_2, dt * sigmoid(W_2 @ x + U_2 @ y_prev + b_2)),
        Eq(s, (1 - D_2) * s_prev + D_2 * tanh(W_s @ x + U_s @ y_prev + b_s)),
        Eq(y, (1 - D_1) * y_prev + D_1 * tanh(W_y @ x + U_y @ s + b_y)),
    ],
    initial={"dt": 0.5},
)

# a product of two products, multiplied again
multiplicative = make(
    "multiplicative",
    [
        Eq(m, (W_m @ x) * (U_m @ h_prev)),
        Eq(i, sigmoid(W_i @ x + U_i @ m + b_i)),
        Eq(f, sigmoid(W_f @ x + U_f @ m + b_f)),
        Eq(g, tanh(W_g @ x + U_g @ m + b_g)),
        Eq(o, sigmoid(W_o @ x + U_o @ m + b_o)),
        Eq(c, f * c_prev + i * g),
        Eq(h, o * tanh(c)),
    ],
)

# four states, exponential gates, a maximum, a quotient
k, k_prev = state("k")
w, w_prev = state("w")
a_i, a_f, v = values("a_i a_f v")
slstm = make(
    "slstm",
    [
        Eq(a_i, W_i @ x + U_i @ h_prev + b_i),
        Eq(a_f, -softplus(-(W_f @ x + U_f @ h_prev + b_f))),
        Eq(v, tanh(W_g @ x + U_g @ h_prev + b_g)),
        Eq(o, sigmoid(W_o @ x + U_o @ h_prev + b_o)),
        Eq(w, maximum(a_f + w_prev, a_i)),
        Eq(i, exp(a_i - w)),
        Eq(f, exp(a_f + w_prev - w)),
        Eq(c, f * c_prev + i * v),
        Eq(k, f * k_prev + i),
        Eq(h, o * c / k),
    ],
)

# scalar mathematics before the first product, and under products without names
mut3 = make(
    "mut3",
    [
        Eq(z, sigmoid(W_z @ x + U_z @ tanh(h_prev) + b_z)),
        Eq(r, sigmoid(W_r @ x + U_r @ h_prev + b_r)),
        Eq(h, tanh(W_n @ x + U_n @ (r * h_prev) + b_n) * z + h_prev * (1 - z)),
    ],
)

# products in a row with nothing between, and one without input or bias
deep = make("deep", [Eq(g, U_g @ h_prev + b_g), Eq(h, tanh(U_n @ g + W_n @ x) - U_m @ g)])

# the rest of the table of functions, rationals, powers, a mask that comes from outside, a gradient that is stopped
mask = input("mask", H)
e, l, p = values("e l p")
odd = make(
    "odd",
    [
        Eq(e, absolute(W_i @ x + b_i) + Rational(1, 10)),
        Eq(l, log(e) + sqrt(e) * Rational(2, 3)),
        Eq(p, minimum(l, Rational(1, 2)) * stop(h_prev) - c_prev**2 / 4 + c_prev**5),
        Eq(c, where(l > p, tanh(U_i @ stop(h_prev) + b_f), sigmoid(c_prev))),
        Eq(h, where(mask, c * p / e, h_prev) + sigmoid(W_i @ x + b_i)),
    ],
)

# one vector multiplied as it is and under stop, in one stage
(rh,) = values("rh")
half_held = make(
    "half_held",
    [
        Eq(z, sigmoid(W_z @ x + U_z @ stop(h_prev) + b_z)),
        Eq(g, W_n @ x + U_n @ h_prev + U_r @ stop(h_prev) + b_n),
        Eq(rh, z * h_prev),
        Eq(h, rh + (1 - z) * tanh(U_m @ rh) * g),
    ],
)

# transposed matrices: beside the matrix itself, with an input, with a value, square and not; u keeps the gradient of
# h_prev from being nothing but rounding where U is one number
y_N, _ = state("y", N)
tied = make(
    "tied",
    [
        Eq(m, tanh(W @ x + (U - U.T) @ h_prev + u * h_prev + b)),
        Eq(h, U.T @ m + W_i.T.T @ x),
        Eq(y_N, tanh(W.T @ h + W.T @ m)),
    ],
)

# no product at all
plain = make("plain", [Eq(h, tanh(u * h_prev + b))])

CELLS = {
    cell.name: cell
    for cell in (
        min_gru, ind_rnn, fast_grnn, projected, lem, multiplicative, slstm, mut3, deep, odd, half_held, tied,
        plain,
    )
}  # fmt: skip
