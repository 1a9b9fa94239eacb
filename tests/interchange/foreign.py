"""Layers with random weights for exchange: asymmetric, N != H, first states that are not 0, T >= 3.

Constant weights would not see a swapped gate or a transposed matrix.
"""

import numpy as np

import lstm_numba as ln
from tests.layers import FURTHER

T, B, N, H = 5, 3, 4, 6


def draw(*shape, seed=0):
    return np.random.default_rng((seed, *shape)).normal(0, 0.6, shape)


def filled(made):
    """Every array random, constants too."""
    layers = made.layers if isinstance(made, ln.Stack) else (made,)
    for k, layer in enumerate(layers):
        layer._theta.flat[...] = draw(layer._theta.flat.size, seed=k + 1)
        layer._clear_masked(layer._theta)
    return made


def layer(cell, dtype="float64", hidden_size=H, **options):
    return filled(ln.Layer(cell, N, hidden_size, dtype=dtype, **{**FURTHER.get(cell, {}), **options}))


def stack(cell, dtype="float64", layers=2, bidirectional=True, **options):
    options = {**FURTHER.get(cell, {}), **options}
    return filled(ln.Stack(cell, N, H, dtype=dtype, layers=layers, bidirectional=bidirectional, **options))


def same(one, other):
    """The same cell, options and parameters to the bit."""
    mine, theirs = (made.layers if isinstance(made, ln.Stack) else (made,) for made in (one, other))
    assert [repr(layer) for layer in mine] == [repr(layer) for layer in theirs]
    assert [layer.reverse for layer in mine] == [layer.reverse for layer in theirs]
    return all(np.array_equal(a._theta.flat, b._theta.flat) for a, b in zip(mine, theirs, strict=True))


def close(ours, theirs, tolerance):
    """Norm-wise."""
    return np.linalg.norm(ours - theirs) <= tolerance * max(np.linalg.norm(theirs), 1)
