"""GRU, reset gate after the recurrent product: n looks at r * (U_n h_prev + b_hn).

The form of torch, cuDNN, Keras (reset_after=True) and ONNX (linear_before_reset=1), and of the paper's first version.
b_hn stays inside r * (...) and so cannot be merged with b_n. No choice of weights makes it equal to `gru` in general.
"""

from derive.language import Cell, Eq, H, N, matrices, sigmoid, state, tanh, values, vectors, x

h, h_prev = state("h")
r, z, n = values("r z n")
W_r, W_z, W_n = matrices("W_r W_z W_n", H, N)
U_r, U_z, U_n = matrices("U_r U_z U_n", H, H)
b_r, b_z, b_n, b_hn = vectors("b_r b_z b_n b_hn")

cell = Cell(
    name="gru_reset_after",
    title="GRU, reset after the product",
    year=2014,
    reference="K. Cho et al., EMNLP 2014, arXiv 1406.1078v1; the form that cuDNN computes",
    equations=[
        Eq(r, sigmoid(W_r @ x + U_r @ h_prev + b_r)),
        Eq(z, sigmoid(W_z @ x + U_z @ h_prev + b_z)),
        Eq(n, tanh(W_n @ x + r * (U_n @ h_prev + b_hn) + b_n)),
        Eq(h, z * h_prev + (1 - z) * n),
    ],
)
