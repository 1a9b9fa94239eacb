"""The cells as a lax.scan, differentiated by JAX: a foreign oracle, with lengths and resets."""

import jax
import jax.numpy as jnp

from tests.oracles.fused_steps import CELLS, Ops, fuse

OPS = Ops(
    sigmoid=jax.nn.sigmoid,
    tanh=jnp.tanh,
    relu=jax.nn.relu,
    concatenate=jnp.concatenate,
    split=lambda array, parts: jnp.split(array, parts, -1),
    constant=jax.lax.stop_gradient,
)


def cell(name, parameters, x, state, lengths=None, resets=None, extra=None, **options):
    """h at every step (T, B, H) and the final state, from parameters under the names of the equations."""
    p = fuse(OPS, name, parameters)
    steps, batch = x.shape[:2]
    ends = jnp.full(batch, steps) if lengths is None else lengths
    marks = jnp.zeros((steps, batch), bool) if resets is None else resets

    def step(held, now):
        t, a, mark, other = now
        before = {key: jnp.where(mark[:, None], state[key], value) for key, value in held.items()}
        new, runs = CELLS[name].step(OPS, p, a, before, other, **options), (t < ends)[:, None]
        kept = {key: jnp.where(runs, new[key], value) for key, value in held.items()}
        return kept, jnp.where(runs, new["h"], 0)

    last, output = jax.lax.scan(step, state, (jnp.arange(steps), x @ p["W"] + p["b"], marks, extra))
    return output, last
