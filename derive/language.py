"""The words of a cell file: spaces, symbols, functions, `@`.

    h, h_prev = state("h")
    z, r = values("z r")
    W_z, W_r = matrices("W_z W_r", H, N)
    Eq(z, sigmoid(W_z @ x + U_z @ h_prev + b_z))

Functions are those of `derive.functions` and `derive.abbreviations`; `surrogate(positive(v), v, slope)` is a step that
learns all the same.  `U.T @ v` multiplies by U transposed, which is no parameter of its own: its gradient is added to
that of U.  `(2 * U - U.T) @ v` is multiplied out; an expression under a product, `U @ (r * h_prev)`, gets a name in the
kernels and keeps its place on the pages.
A plural (`values`, `matrices`, `vectors`, `scalars`) gives a tuple, a singular one symbol.
"""

from sympy import Rational

from derive.abbreviations import (
    clip,
    elu,
    hard_sigmoid,
    hard_tanh,
    leaky_relu,
    mish,
    rsqrt,
    scaled_tanh,
    sign,
    silu,
    softsign,
    surrogate,
    thresholded_relu,
)
from derive.cell import Cell, family
from derive.functions import (
    absolute,
    cos,
    exp,
    log,
    maximum,
    minimum,
    positive,
    relu,
    sigmoid,
    sin,
    softplus,
    sqrt,
    stop,
    tanh,
    where,
)
from derive.symbols import (
    ONE,
    Eq,
    H,
    Matrix,
    N,
    Product,
    Vector,
    clock,
    input,  # noqa: A004 (a word of the language)
    matrices,
    matrix,
    scalar,
    scalars,
    state,
    value,
    values,
    vector,
    vectors,
)

__all__ = [  # noqa: RUF022 (as a reader needs them)
    "Cell", "Eq", "family", "Rational", "N", "H", "ONE", "x",
    "input", "state", "value", "values", "matrix", "matrices", "vector", "vectors", "scalar", "scalars", "clock",
    "absolute", "cos", "exp", "log", "maximum", "minimum", "positive", "relu", "sigmoid", "sin", "softplus", "sqrt",
    "stop", "tanh", "where",
    "clip", "elu", "hard_sigmoid", "hard_tanh", "leaky_relu", "mish", "rsqrt", "scaled_tanh", "sign", "silu",
    "softsign", "surrogate", "thresholded_relu",
    "Vector", "Matrix", "Product",
]  # fmt: skip

x = input("x", N)
