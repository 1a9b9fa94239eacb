"""GRU, reset gate before the recurrent product: n looks at U_n (r * h_prev).

z keeps the old state, as in the paper and in torch, Keras and cuDNN; other texts write (1 - z) * h_prev + z * n. Not
the GRU of torch and cuDNN, which resets after the product: `gru_reset_after`.
"""

from derive.language import Cell, Eq, H, N, matrices, sigmoid, state, tanh, values, vectors, x

h, h_prev = state("h")
r, z, n, rh = values("r z n rh")
W_r, W_z, W_n = matrices("W_r W_z W_n", H, N)
U_r, U_z, U_n = matrices("U_r U_z U_n", H, H)
b_r, b_z, b_n = vectors("b_r b_z b_n")

cell = Cell(
    name="gru",
    title="GRU",
    year=2014,
    reference=(
        'K. Cho et al., "Learning phrase representations using RNN encoder-decoder for statistical machine '
        'translation", EMNLP 2014, arXiv 1406.1078v3'
    ),
    equations=[
        Eq(r, sigmoid(W_r @ x + U_r @ h_prev + b_r)),
        Eq(z, sigmoid(W_z @ x + U_z @ h_prev + b_z)),
        Eq(rh, r * h_prev),
        Eq(n, tanh(W_n @ x + U_n @ rh + b_n)),
        Eq(h, z * h_prev + (1 - z) * n),
    ],
)
