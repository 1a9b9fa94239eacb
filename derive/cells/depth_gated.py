"""Depth-gated LSTM: a gate d lets the lower layer's cell flow straight into this one.

For the layers above the first; c_lower is the lower layer's cell of the *same* step, and both layers have H units. The
authors' code couples f = 1 - i and uses full peephole matrices; the paper's equations, here, do neither.
"""

from derive.language import Cell, Eq, H, N, input, matrices, sigmoid, state, tanh, values, vectors, x  # noqa: A004

c_lower = input("c_lower", H)
h, h_prev = state("h")
c, c_prev = state("c")
i, f, g, o, d = values("i f g o d")
W_i, W_f, W_g, W_o, W_d = matrices("W_i W_f W_g W_o W_d", H, N)
U_i, U_f, U_g, U_o = matrices("U_i U_f U_g U_o", H, H)
b_i, b_f, b_g, b_o, b_d = vectors("b_i b_f b_g b_o b_d")
p_i, p_f, p_o, p_d, l_d = vectors("p_i p_f p_o p_d l_d")

cell = Cell(
    name="depth_gated",
    title="Depth-gated LSTM",
    year=2015,
    reference='K. Yao, T. Cohn, K. Vylomova, K. Duh, C. Dyer, "Depth-gated LSTM", 2015, arXiv 1508.03790',
    equations=[
        Eq(i, sigmoid(W_i @ x + U_i @ h_prev + p_i * c_prev + b_i)),
        Eq(f, sigmoid(W_f @ x + U_f @ h_prev + p_f * c_prev + b_f)),
        Eq(g, tanh(W_g @ x + U_g @ h_prev + b_g)),
        Eq(d, sigmoid(W_d @ x + p_d * c_prev + l_d * c_lower + b_d)),
        Eq(c, d * c_lower + f * c_prev + i * g),
        Eq(o, sigmoid(W_o @ x + U_o @ h_prev + p_o * c + b_o)),
        Eq(h, o * tanh(c)),
    ],
    outputs=("h", "c"),
    initial={"b_f": 1},
)
