"""The LSTM of 1997: input and output gate around a cell that nothing makes forget (its self-weight is 1).

`truncated=True` is the original learning rule: error that reaches the gates' sums is not passed back to h_prev, so only
the cell carries it through time; the forward pass is the same. Not `lstm`, which has a forget gate. The squashers
4 s(a) - 2 and 2 s(a) - 1 are the paper's; each memory cell block has one cell.
"""

from derive.language import Cell, Eq, H, N, family, matrices, sigmoid, state, stop, values, vectors, x

h, h_prev = state("h")
c, c_prev = state("c")
i, g, o = values("i g o")
W_i, W_g, W_o = matrices("W_i W_g W_o", H, N)
U_i, U_g, U_o = matrices("U_i U_g U_o", H, H)
b_i, b_g, b_o = vectors("b_i b_g b_o")


@family(truncated=(False, True))
def cell(truncated):
    back = stop(h_prev) if truncated else h_prev
    return Cell(
        name="lstm1997",
        title="LSTM of 1997",
        year=1997,
        reference=(
            'S. Hochreiter, J. Schmidhuber, "Long short-term memory", Neural Computation 9(8):1735-1780, 1997; '
            "untruncated gradient: A. Graves, J. Schmidhuber, Neural Networks 18:602-610, 2005"
        ),
        equations=[
            Eq(i, sigmoid(W_i @ x + U_i @ back + b_i)),
            Eq(g, 4 * sigmoid(W_g @ x + U_g @ back + b_g) - 2),
            Eq(o, sigmoid(W_o @ x + U_o @ back + b_o)),
            Eq(c, c_prev + i * g),
            Eq(h, o * (2 * sigmoid(c) - 1)),
        ],
        initial={"b_o": -1},
    )
