"""Echo state network: a fixed random recurrent layer; only a linear readout of its states is trained.

W_in, W, b and the leak alpha are constants, so there is no gradient for them, but there is one for the input. The
literature writes u for the input and x for the state; alpha = 1 is the network without leak.
"""

from derive.language import Cell, Eq, H, N, matrix, scalar, state, tanh, vector, x

h, h_prev = state("h")
W_in = matrix("W_in", H, N, role="constant")
W = matrix("W", H, H, role="constant")
b = vector("b", role="constant")
alpha = scalar("alpha", role="constant")

cell = Cell(
    name="esn",
    title="Echo state network",
    year=2001,
    reference=(
        'H. Jaeger, "The echo state approach to analysing and training recurrent neural networks", GMD Report 148, '
        "2001; leaky units: Jaeger, Lukosevicius, Popovici, Siewert, Neural Networks 20:335-352, 2007"
    ),
    equations=[Eq(h, (1 - alpha) * h_prev + alpha * tanh(W_in @ x + W @ h_prev + b))],
    initial={"alpha": 1},
)
