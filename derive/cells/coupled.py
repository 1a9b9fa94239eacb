"""Coupled input-forget gate LSTM: what is written is what is forgotten, f = 1 - i.

i has the weights (as Greff et al., onnxruntime); where f has them instead, negate W_i, U_i and b_i. c is a convex
combination of c_prev and g, so it never leaves [-1, 1] if it starts there.
"""

from derive.language import Cell, Eq, H, N, matrices, sigmoid, state, tanh, values, vectors, x

h, h_prev = state("h")
c, c_prev = state("c")
i, f, g, o = values("i f g o")
W_i, W_g, W_o = matrices("W_i W_g W_o", H, N)
U_i, U_g, U_o = matrices("U_i U_g U_o", H, H)
b_i, b_g, b_o = vectors("b_i b_g b_o")

cell = Cell(
    name="coupled",
    title="LSTM with coupled input and forget gate",
    year=2015,
    reference=(
        'K. Greff, R. K. Srivastava, J. Koutnik, B. R. Steunebrink, J. Schmidhuber, "LSTM: a search space odyssey", '
        "2015, arXiv 1503.04069"
    ),
    equations=[
        Eq(i, sigmoid(W_i @ x + U_i @ h_prev + b_i)),
        Eq(f, 1 - i),
        Eq(g, tanh(W_g @ x + U_g @ h_prev + b_g)),
        Eq(o, sigmoid(W_o @ x + U_o @ h_prev + b_o)),
        Eq(c, f * c_prev + i * g),
        Eq(h, o * tanh(c)),
    ],
    initial={"b_i": -1},
)
