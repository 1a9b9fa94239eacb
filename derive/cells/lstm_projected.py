"""LSTM with a recurrent projection: what goes on to the next step and out is r, smaller than the cell.

torch's proj_size and ONNX call r the hidden state; the paper's second, non-recurrent projection and its peepholes are
not here. P is the size of r.
"""

from derive.language import Cell, Eq, H, N, matrices, matrix, sigmoid, state, tanh, values, vectors, x

P = "P"

r, r_prev = state("r", P)
c, c_prev = state("c")
i, f, g, o, h = values("i f g o h")
W_i, W_f, W_g, W_o = matrices("W_i W_f W_g W_o", H, N)
U_i, U_f, U_g, U_o = matrices("U_i U_f U_g U_o", H, P)
b_i, b_f, b_g, b_o = vectors("b_i b_f b_g b_o")
W_hr = matrix("W_hr", P, H)

cell = Cell(
    name="lstm_projected",
    title="LSTM with projection",
    year=2014,
    reference=(
        'H. Sak, A. Senior, F. Beaufays, "Long short-term memory based recurrent neural network architectures for '
        'large vocabulary speech recognition", 2014, arXiv 1402.1128'
    ),
    equations=[
        Eq(i, sigmoid(W_i @ x + U_i @ r_prev + b_i)),
        Eq(f, sigmoid(W_f @ x + U_f @ r_prev + b_f)),
        Eq(g, tanh(W_g @ x + U_g @ r_prev + b_g)),
        Eq(o, sigmoid(W_o @ x + U_o @ r_prev + b_o)),
        Eq(c, f * c_prev + i * g),
        Eq(h, o * tanh(c)),
        Eq(r, W_hr @ h),
    ],
    initial={"b_f": 1},
)
