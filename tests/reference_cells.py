"""The cells once more, typed from the papers as slow column-vector NumPy loops.

Truth of a second origin: nothing here knows `derive` or `lstm_numba`.  One function is one step of one row of the
batch, `step(p, s, x, t, **options) -> new state`, with p the parameters by name, s the previous state by name, and the
letters of the papers: A_k is the gate affine W_k x + U_k h + b_k; further input sequences arrive by their own names.
Sources stand above each step.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

Array = np.ndarray
Named = Mapping[str, Any]
Step = Callable[..., dict[str, Array]]


def logistic(a: Array) -> Array:
    return 1 / (1 + np.exp(-a))


def squash_g(a: Array) -> Array:
    """g of the 1997 paper, onto (-2, 2)."""
    return 4 / (1 + np.exp(-a)) - 2


def squash_h(a: Array) -> Array:
    """h of the 1997 paper, onto (-1, 1)."""
    return 2 / (1 + np.exp(-a)) - 1


def affine(p: Named, gate: str, x: Array, h: Array) -> Array:
    return p[f"W_{gate}"] @ x + p[f"U_{gate}"] @ h + p[f"b_{gate}"]


# Elman 1990, Cognitive Science 14(2)
def rnn(p: Named, s: Named, x: Array, t: int, activation: Callable[[Array], Array] = np.tanh) -> dict[str, Array]:
    return {"h": activation(p["W"] @ x + p["U"] @ s["h"] + p["b"])}


# Jaeger 2001, GMD Report 148; leaky units Jaeger et al. 2007, Neural Networks 20
def esn(p: Named, s: Named, x: Array, t: int) -> dict[str, Array]:
    fresh = np.tanh(p["W_in"] @ x + p["W"] @ s["h"] + p["b"])
    return {"h": (1 - p["alpha"]) * s["h"] + p["alpha"] * fresh}


# Hochreiter & Schmidhuber 1997, Neural Computation 9(8): no forget gate, the carousel's self weight is 1
def lstm1997(p: Named, s: Named, x: Array, t: int) -> dict[str, Array]:
    i = logistic(affine(p, "i", x, s["h"]))
    o = logistic(affine(p, "o", x, s["h"]))
    g = squash_g(affine(p, "g", x, s["h"]))
    c = s["c"] + i * g
    return {"h": o * squash_h(c), "c": c}


# Gers, Schmidhuber & Cummins 2000, Neural Computation 12(10)
def lstm(p: Named, s: Named, x: Array, t: int) -> dict[str, Array]:
    i = logistic(affine(p, "i", x, s["h"]))
    f = logistic(affine(p, "f", x, s["h"]))
    g = np.tanh(affine(p, "g", x, s["h"]))
    o = logistic(affine(p, "o", x, s["h"]))
    c = f * s["c"] + i * g
    return {"h": o * np.tanh(c), "c": c}


# Sak, Senior & Beaufays 2014, arXiv 1402.1128, without peepholes: what recurs is r, a projection of the output
def lstm_projected(p: Named, s: Named, x: Array, t: int) -> dict[str, Array]:
    i = logistic(affine(p, "i", x, s["r"]))
    f = logistic(affine(p, "f", x, s["r"]))
    g = np.tanh(affine(p, "g", x, s["r"]))
    o = logistic(affine(p, "o", x, s["r"]))
    c = f * s["c"] + i * g
    return {"r": p["W_hr"] @ (o * np.tanh(c)), "c": c}


# Gers & Schmidhuber 2000, IJCNN: i and f look at the old c, o at the new one
def peephole(p: Named, s: Named, x: Array, t: int, peepholes: str = "ifo") -> dict[str, Array]:
    def look(gate: str, cell: Array) -> Array:
        return p[f"p_{gate}"] * cell if gate in peepholes else np.zeros_like(cell)

    i = logistic(affine(p, "i", x, s["h"]) + look("i", s["c"]))
    f = logistic(affine(p, "f", x, s["h"]) + look("f", s["c"]))
    g = np.tanh(affine(p, "g", x, s["h"]))
    c = f * s["c"] + i * g
    o = logistic(affine(p, "o", x, s["h"]) + look("o", c))
    return {"h": o * np.tanh(c), "c": c}


# Greff et al. 2017, IEEE TNNLS 28(10), variant CIFG without peepholes: f = 1 - i
def coupled(p: Named, s: Named, x: Array, t: int) -> dict[str, Array]:
    i = logistic(affine(p, "i", x, s["h"]))
    g = np.tanh(affine(p, "g", x, s["h"]))
    o = logistic(affine(p, "o", x, s["h"]))
    c = (1 - i) * s["c"] + i * g
    return {"h": o * np.tanh(c), "c": c}


# Cho et al. 2014, arXiv 1406.1078v3: reset before the product, z keeps
def gru(p: Named, s: Named, x: Array, t: int) -> dict[str, Array]:
    z = logistic(affine(p, "z", x, s["h"]))
    r = logistic(affine(p, "r", x, s["h"]))
    n = np.tanh(p["W_n"] @ x + p["U_n"] @ (r * s["h"]) + p["b_n"])
    return {"h": z * s["h"] + (1 - z) * n}


# Cho et al. 2014, arXiv 1406.1078v1, as cuDNN and torch have it: reset after the product, a bias inside
def gru_reset_after(p: Named, s: Named, x: Array, t: int) -> dict[str, Array]:
    z = logistic(affine(p, "z", x, s["h"]))
    r = logistic(affine(p, "r", x, s["h"]))
    n = np.tanh(p["W_n"] @ x + p["b_n"] + r * (p["U_n"] @ s["h"] + p["b_hn"]))
    return {"h": z * s["h"] + (1 - z) * n}


# Koutnik et al. 2014, arXiv 1402.3511: module k of g acts where t mod T_k = 0, and reads itself and slower modules
def clockwork(p: Named, s: Named, x: Array, t: int, periods: tuple[int, ...] = (1, 2, 4, 8)) -> dict[str, Array]:
    h, modules = s["h"], np.array_split(np.arange(len(s["h"])), len(periods))
    new = h.copy()
    for k, period in enumerate(periods):
        if t % period == 0:
            slower = np.concatenate(modules[k:])
            for unit in modules[k]:
                new[unit] = np.tanh(p["W"][unit] @ x + p["U"][unit, slower] @ h[slower] + p["b"][unit])
    return {"h": new}


# Yao et al. 2015, arXiv 1508.03790: a gate d for the lower layer's cell of the same step
def depth_gated(p: Named, s: Named, x: Array, t: int, c_lower: Array) -> dict[str, Array]:
    i = logistic(affine(p, "i", x, s["h"]) + p["p_i"] * s["c"])
    f = logistic(affine(p, "f", x, s["h"]) + p["p_f"] * s["c"])
    g = np.tanh(affine(p, "g", x, s["h"]))
    d = logistic(p["W_d"] @ x + p["p_d"] * s["c"] + p["l_d"] * c_lower + p["b_d"])
    c = d * c_lower + f * s["c"] + i * g
    o = logistic(affine(p, "o", x, s["h"]) + p["p_o"] * c)
    return {"h": o * np.tanh(c), "c": c}


def unroll(step: Step, p: Named, state: Named, inputs: Named) -> dict[str, Array]:
    """Every state at every step: name -> (T, B, H), from x (T, B, N) and what else the step takes by name."""
    steps, batch = inputs["x"].shape[:2]
    history: dict[str, Array] = {name: np.zeros((steps, *value.shape)) for name, value in state.items()}
    for row in range(batch):
        s = {name: value[row] for name, value in state.items()}
        for t in range(steps):
            s = step(p, s, t=t, **{name: values[t, row] for name, values in inputs.items()})
            for name, value in s.items():
                history[name][t, row] = value
    return history
