"""Layer-normalised LSTM: a mean over units is a product with a constant matrix, so it is an equation like any other.

    derive show examples/layer_norm_lstm.py --what gradients
    derive verify examples/layer_norm_lstm.py --quick

`mean` is 1 x H and filled with 1/H, `ones` is H x 1 and filled with 1: the space S is made with size 1,

    LayerNormLSTM = derive.build(derive.load("examples/layer_norm_lstm.py"))
    layer = LayerNormLSTM(input_size=8, hidden_size=64, S=1)

Each gate is normalised on its own, after its products are summed; the paper normalises the two products apart.
"""

from typing import Any

from derive.language import (
    Cell,
    Eq,
    H,
    N,
    Vector,
    matrices,
    matrix,
    scalar,
    sigmoid,
    sqrt,
    state,
    tanh,
    values,
    vectors,
    x,
)

S = "S"  # one number in each row

h, h_prev = state("h")
c, c_prev = state("c")
i, f, g, o, n = values("i f g o n")
W_i, W_f, W_g, W_o = matrices("W_i W_f W_g W_o", H, N)
U_i, U_f, U_g, U_o = matrices("U_i U_f U_g U_o", H, H)
b_i, b_f, b_g, b_o, b_n = vectors("b_i b_f b_g b_o b_n")
k_i, k_f, k_g, k_o, k_n = vectors("k_i k_f k_g k_o k_n")
mean = matrix("mean", S, H, role="constant")
ones = matrix("ones", H, S, role="constant")
eps = scalar("eps", role="constant")


def normalised(name: Vector, total: Any, gain: Vector, bias: Vector, squash: Any) -> list[Any]:
    """name = squash(gain * (total - mean of total) / deviation of total + bias)."""
    a, e, square = values(f"a_{name} e_{name} square_{name}")
    m, v = values(f"m_{name} v_{name}", S)
    return [
        Eq(a, total),
        Eq(m, mean @ a),
        Eq(e, a - ones @ m),
        Eq(square, e**2),
        Eq(v, mean @ square),
        Eq(name, squash(gain * e / sqrt(ones @ v + eps) + bias)),
    ]


cell = Cell(
    name="layer_norm_lstm",
    title="Layer-normalised LSTM",
    year=2016,
    reference='J. L. Ba, J. R. Kiros, G. E. Hinton, "Layer normalization", 2016, arXiv 1607.06450',
    equations=[
        *normalised(i, W_i @ x + U_i @ h_prev, k_i, b_i, sigmoid),
        *normalised(f, W_f @ x + U_f @ h_prev, k_f, b_f, sigmoid),
        *normalised(g, W_g @ x + U_g @ h_prev, k_g, b_g, tanh),
        *normalised(o, W_o @ x + U_o @ h_prev, k_o, b_o, sigmoid),
        Eq(c, f * c_prev + i * g),
        *normalised(n, c, k_n, b_n, tanh),
        Eq(h, o * n),
    ],
    initial={
        "mean": "1/H",
        "ones": 1,
        "eps": 1e-5,
        "b_f": 1,
        **dict.fromkeys(("k_i", "k_f", "k_g", "k_o", "k_n"), 1),
        **dict.fromkeys(("b_i", "b_g", "b_o", "b_n"), 0),
    },
)
