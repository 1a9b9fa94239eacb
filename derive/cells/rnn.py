"""Simple recurrent network: the whole state is one squashed sum.

Elman (1990) used logistic units and cut the gradient after one step; here the gradient runs through all of them.
"""

from derive.language import Cell, Eq, H, N, family, matrix, relu, state, tanh, vector, x

ACTIVATIONS = {"tanh": tanh, "relu": relu}

h, h_prev = state("h")
W, U, b = matrix("W", H, N), matrix("U", H, H), vector("b")


@family(activation=tuple(ACTIVATIONS))
def cell(activation):
    squash = ACTIVATIONS[activation]
    return Cell(
        name="rnn",
        title="Simple recurrent network",
        year=1990,
        reference='J. L. Elman, "Finding structure in time", Cognitive Science 14(2):179-211, 1990',
        equations=[Eq(h, squash(W @ x + U @ h_prev + b))],
    )
