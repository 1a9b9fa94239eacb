"""A cell written by hand in JAX: lax.scan over time, compiled by XLA, differentiated by jax.vjp."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from scripts.benchmarks.candidate import Candidate
from scripts.benchmarks.cases import Arrays, Data
from tests.oracles.fused_steps import CELLS, fuse, unfuse
from tests.oracles.jax_cells import OPS

jax.config.update("jax_enable_x64", True)  # or float64 cases would be float32 in silence


def build(data: Data) -> Candidate | None:
    """The scan with our weights laid side by side ahead of time."""
    cell, options = data.case.cell, dict(data.case.options)
    if cell not in CELLS:
        return None
    fused = {key: jnp.array(value) for key, value in fuse(OPS, cell, data.layer.parameters).items()}
    x, state, d_output = jnp.array(data.x), {k: jnp.array(v) for k, v in data.state.items()}, jnp.array(data.d_output)

    extra = next((jnp.array(array) for array in data.inputs.values()), None)

    def forward(x: Any, fused: Any, extra: Any) -> Any:
        def step(state: Any, here: Any) -> Any:
            a, extra = here
            state = CELLS[cell].step(OPS, fused, a, state, extra, **options)
            return state, state["h"]

        return jax.lax.scan(step, state, (x @ fused["W"] + fused["b"], extra))[1]

    @jax.jit  # all arrays are arguments: XLA would fold a constant away at compile time
    def infer(*given: Any) -> Any:
        return forward(*given), None

    @jax.jit
    def train(*given: Any) -> Any:
        output, pull = jax.vjp(forward, *given)
        return output, pull(d_output)

    def values(result: Any) -> Arrays:
        output, gradients = result
        found = {"output": np.asarray(output)}
        if gradients:
            d_x, d_fused, _ = gradients
            found |= {"x": np.asarray(d_x)} | unfuse(cell, {key: np.asarray(value) for key, value in d_fused.items()})
        return found

    call = train if data.case.mode == "train" else infer
    return Candidate("JAX scan", lambda: jax.block_until_ready(call(x, fused, extra)), values)
