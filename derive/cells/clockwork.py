"""Clockwork RNN: groups of units, each updated only at the multiples of its own period.

Units are sorted from fast to slow, and U is zero below its diagonal blocks: slow groups drive fast ones, never the
reverse. Between its ticks a unit keeps its state, and passes the gradient on unchanged. Steps count from 0, so that
every unit is active at the first one. The paper has no bias.
"""

from derive.language import Cell, Eq, H, N, clock, matrix, state, tanh, vector, where, x

h, h_prev = state("h")
tick = clock("tick")
W, U, b = matrix("W", H, N), matrix("U", H, H, structure="block_upper"), vector("b")

cell = Cell(
    name="clockwork",
    title="Clockwork RNN",
    year=2014,
    reference='J. Koutnik, K. Greff, F. Gomez, J. Schmidhuber, "A clockwork RNN", ICML 2014, arXiv 1402.3511',
    equations=[Eq(h, where(tick, tanh(W @ x + U @ h_prev + b), h_prev))],
)
