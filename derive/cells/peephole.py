"""Peephole LSTM: gates also see the cell state, through one weight a unit.

Here o looks at the *new* c; some codes let it look at c_prev, others use full matrices. `peepholes` says which gates
look. The papers pass no error back through the peepholes; here the gradient is the full one.
"""

from derive.language import Cell, Eq, H, N, family, matrices, sigmoid, state, tanh, values, vectors, x

h, h_prev = state("h")
c, c_prev = state("c")
i, f, g, o = values("i f g o")
W_i, W_f, W_g, W_o = matrices("W_i W_f W_g W_o", H, N)
U_i, U_f, U_g, U_o = matrices("U_i U_f U_g U_o", H, H)
b_i, b_f, b_g, b_o = vectors("b_i b_f b_g b_o")
p_i, p_f, p_o = vectors("p_i p_f p_o")


@family(peepholes=("ifo", "i", "f", "o", "if", "io", "fo"))
def cell(peepholes):
    sees_i, sees_f, sees_o = (int(gate in peepholes) for gate in "ifo")
    return Cell(
        name="peephole",
        title="Peephole LSTM",
        year=2000,
        reference=(
            'F. A. Gers, J. Schmidhuber, "Recurrent nets that time and count", IJCNN 2000; '
            "F. A. Gers, N. N. Schraudolph, J. Schmidhuber, JMLR 3:115-143, 2002"
        ),
        equations=[
            Eq(i, sigmoid(W_i @ x + U_i @ h_prev + sees_i * p_i * c_prev + b_i)),
            Eq(f, sigmoid(W_f @ x + U_f @ h_prev + sees_f * p_f * c_prev + b_f)),
            Eq(g, tanh(W_g @ x + U_g @ h_prev + b_g)),
            Eq(c, f * c_prev + i * g),
            Eq(o, sigmoid(W_o @ x + U_o @ h_prev + sees_o * p_o * c + b_o)),
            Eq(h, o * tanh(c)),
        ],
        initial={"b_f": 1},
    )
