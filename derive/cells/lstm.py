"""LSTM with a forget gate: what most people call LSTM today.

Not the network of 1997, which cannot forget (`lstm1997`), and not the one whose gates see the cell (`peephole`). The
paper of 2000 squashes with 4 s(a) - 2 and 2 s(a) - 1; tanh is today's custom, and so is full backpropagation.
"""

from derive.language import Cell, Eq, H, N, matrices, sigmoid, state, tanh, values, vectors, x

h, h_prev = state("h")
c, c_prev = state("c")
i, f, g, o = values("i f g o")
W_i, W_f, W_g, W_o = matrices("W_i W_f W_g W_o", H, N)
U_i, U_f, U_g, U_o = matrices("U_i U_f U_g U_o", H, H)
b_i, b_f, b_g, b_o = vectors("b_i b_f b_g b_o")

cell = Cell(
    name="lstm",
    title="LSTM with forget gate",
    year=2000,
    reference=(
        'F. A. Gers, J. Schmidhuber, F. Cummins, "Learning to forget: continual prediction with LSTM", '
        "Neural Computation 12(10):2451-2471, 2000"
    ),
    equations=[
        Eq(i, sigmoid(W_i @ x + U_i @ h_prev + b_i)),
        Eq(f, sigmoid(W_f @ x + U_f @ h_prev + b_f)),
        Eq(g, tanh(W_g @ x + U_g @ h_prev + b_g)),
        Eq(o, sigmoid(W_o @ x + U_o @ h_prev + b_o)),
        Eq(c, f * c_prev + i * g),
        Eq(h, o * tanh(c)),
    ],
    initial={"b_f": 1},
)
