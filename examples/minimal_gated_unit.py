"""Minimal gated unit: a GRU whose one gate both forgets and lets in.  A cell of your own is a file like this one.

derive show examples/minimal_gated_unit.py --what gradients
derive verify examples/minimal_gated_unit.py
"""

from derive.language import Cell, Eq, H, N, matrices, sigmoid, state, tanh, values, vectors, x

h, h_prev = state("h")
f, kept, n = values("f kept n")
W_f, W_n = matrices("W_f W_n", H, N)
U_f, U_n = matrices("U_f U_n", H, H)
b_f, b_n = vectors("b_f b_n")

cell = Cell(
    name="minimal_gated_unit",
    title="Minimal gated unit",
    year=2016,
    reference="G.-B. Zhou, J. Wu, C.-L. Zhang, Z.-H. Zhou, Int. J. Automation and Computing 13(3):226-234, 2016",
    equations=[
        Eq(f, sigmoid(W_f @ x + U_f @ h_prev + b_f)),
        Eq(kept, f * h_prev),
        Eq(n, tanh(W_n @ x + U_n @ kept + b_n)),
        Eq(h, (1 - f) * h_prev + f * n),
    ],
    initial={"b_f": -2},
)
