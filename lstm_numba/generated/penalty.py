"""Penalty against vanishing gradients: its value, and its derivative by the recurrent matrix.

GENERATED - edit derive/penalty.py, then run

    derive generate

Reference  R. Pascanu, T. Mikolov, Y. Bengio, "On the difficulty of training recurrent neural networks",
           ICML 2013, arXiv 1211.5063

    w = diag(phi'(a)) v,   u = U' w,   v = dE/dh of the step
    paper  omega = (|u| / |v| - 1)**2
    code   omega = (|u|**2 / |v|**2 - 1)**2

A row is one step of one sequence.  A row where v or u is 0 has no ratio to differentiate: leave it out.
"""

from lstm_numba.functions import sqrt


def paper(square_u, square_v, d_omega=1):
    """Return omega and d_square_u, of |u|**2 and |v|**2; d_omega is the weight of omega in the loss."""
    # omega = (|u| / |v| - 1)**2
    norm_u = sqrt(square_u)
    norm_v = sqrt(square_v)
    ratio = norm_u / norm_v
    omega = (ratio - 1) * (ratio - 1)

    # omega = (ratio - 1) * (ratio - 1)
    d_ratio = d_omega * (2 * ratio - 2)
    # ratio = norm_u / norm_v
    d_norm_u = d_ratio / norm_v
    # norm_u = sqrt(square_u)
    d_square_u = d_norm_u / (2 * norm_u)

    return omega, d_square_u


def code(square_u, square_v, d_omega=1):
    """Return omega and d_square_u, of |u|**2 and |v|**2; d_omega is the weight of omega in the loss."""
    # omega = (|u|**2 / |v|**2 - 1)**2
    ratio = square_u / square_v
    omega = (ratio - 1) * (ratio - 1)

    # omega = (ratio - 1) * (ratio - 1)
    d_ratio = d_omega * (2 * ratio - 2)
    # ratio = square_u / square_v
    d_square_u = d_ratio / square_v

    return omega, d_square_u


def penalty(form, v, w, U, d_omega=1):
    """Return omega (R, 1) of each row and d_U (H, H), summed over rows.

    form is `paper` or `code`; v and w are (R, H), U is (H, H), d_omega a number or (R, 1).
    """
    # u = U' w, a row of u at a time
    u = w @ U
    square_u = (u * u).sum(axis=-1, keepdims=True)
    square_v = (v * v).sum(axis=-1, keepdims=True)

    omega, d_square_u = form(square_u, square_v, d_omega)

    # square_u = u * u
    d_u = 2 * d_square_u * u

    # u = U' w
    d_U = w.T @ d_u

    return omega, d_U
