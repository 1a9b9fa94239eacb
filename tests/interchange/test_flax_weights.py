"""Parameters of Flax cells in and out.  Truth: Flax's formulas in NumPy, and Flax itself where it is installed."""

import itertools

import numpy as np
import pytest

from lstm_numba import interchange
from lstm_numba.interchange.layouts import FLAX as LAYOUTS
from tests.interchange.foreign import B, H, N, T, close, draw, layer, same
from tests.interchange.formulas import FLAX, unroll


def made(kind):
    """A layer that this Flax cell can hold."""
    ours = layer(LAYOUTS[kind].cell)
    if kind == "nnx.GRUCell":
        ours.parameters["b_hn"] = np.zeros(H)
    return ours


def outputs(ours, x, first):
    return ours.forward(x, dict(zip(ours.spec.states, first, strict=True)), save=False).output


@pytest.mark.parametrize("kind", FLAX)
def test_the_same_numbers_by_flaxs_formulas_and_back_without_a_changed_bit(kind):
    ours, x = made(kind), draw(T, B, N)
    first = [draw(B, H, seed=7 + k) for k in range(len(ours.spec.states))]
    parameters = interchange.to_flax(ours, kind)
    assert close(outputs(ours, x, first), unroll(FLAX[kind], parameters, x, first)[0], 1e-14)
    assert same(interchange.from_flax(parameters), ours)


def test_the_outer_dict_of_linen_may_stay():
    ours = made("linen.LSTMCell")
    assert same(interchange.from_flax({"params": interchange.to_flax(ours)}), ours)


@pytest.mark.parametrize("kind", ["LSTMCell", "OptimizedLSTMCell", "GRUCell", "SimpleCell"])
@pytest.mark.parametrize("api", ["linen", "nnx"])
def test_flax_itself_agrees(kind, api):
    pytest.importorskip("flax")
    x, h, c = (draw(*shape).astype("float32") for shape in ((T, B, N), (B, H), (B, H)))
    ours, expected = {"linen": linen, "nnx": nnx}[api](kind, x, h, c)
    assert ours.dtype == np.float32
    assert close(outputs(ours, x, [h, c] if "LSTM" in kind else [h]), expected, 5e-6)


def linen(kind, x, h, c):
    """Our layer of a linen cell, and the cell's outputs."""
    import flax.linen as nn
    import jax

    cell = getattr(nn, kind)(features=H)
    state = (c, h) if "LSTM" in kind else h
    shapes = cell.init(jax.random.key(0), state, x[0])
    parameters = random_like(shapes)
    return interchange.from_flax(parameters), steps(lambda s, now: cell.apply(parameters, s, now), state, x)


def nnx(kind, x, h, c):
    from flax import nnx

    cell = getattr(nnx, kind)(N, H, rngs=nnx.Rngs(0))
    state = (c, h) if "LSTM" in kind else h
    parameters = random_like(nnx.to_pure_dict(nnx.state(cell, nnx.Param)))
    found = nnx.state(cell, nnx.Param)
    nnx.replace_by_pure_dict(found, parameters)
    nnx.update(cell, found)
    return interchange.from_flax(parameters), steps(cell, state, x)


def random_like(tree):
    """Other numbers in every array: two gates alike would hide their order."""
    import jax

    seeds = itertools.count()
    return jax.tree.map(lambda a: draw(*a.shape, seed=next(seeds)).astype("float32"), tree)


def steps(cell, state, x):
    found = []
    for now in x:
        state, output = cell(state, now)
        found.append(np.asarray(output))
    return np.stack(found)


def test_bfloat16_is_read_as_float32():
    jnp = pytest.importorskip("jax.numpy")
    given = interchange.to_flax(layer("lstm"))
    low = {
        part: {leaf: jnp.asarray(array, "bfloat16") for leaf, array in leaves.items()} for part, leaves in given.items()
    }
    ours = interchange.from_flax(low)
    assert ours.dtype == np.float32
    assert np.array_equal(ours.parameters["W_i"], np.asarray(low["ii"]["kernel"].astype("float32")).T)
