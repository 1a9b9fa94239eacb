"""The cells as users of array libraries write them: one product for all gates, the input's ahead of the time loop.

Truth of a foreign origin, and a fair opponent: the same steps run under torch (torch_cells.py, an eager loop) and under
JAX (scripts/benchmarks/peers/jax_scan.py, a compiled scan).  Nothing here knows derive or lstm_numba.

    step(ops, p, a, s, extra) -> new state       a = x W + b of all gates (B, G H),  s = state {"h": (B, H), ...}
    p["W"] (N, G H), p["U"] (H, G H), p["b"] (G H) lay the gates side by side; other parameters keep their names
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

Named = Mapping[str, Any]


class Ops(NamedTuple):
    """What the steps need of an array library beyond + - * @ and slices."""

    sigmoid: Callable
    tanh: Callable
    relu: Callable
    concatenate: Callable
    split: Callable  # (array, number of equal parts along the last axis)
    constant: Callable  # (array) -> the same values without a gradient


class Foreign(NamedTuple):
    """One cell: its step, and the parameters that one product serves."""

    step: Callable
    W: tuple[str, ...] = ("W",)
    U: tuple[str, ...] = ("U",)
    b: tuple[str, ...] = ("b",)

    @property
    def fused(self) -> dict[str, tuple[str, ...]]:
        return {letter: getattr(self, letter) for letter in "WUb"}


def gated(step: Callable, gates: str, recurrent: str | None = None) -> Foreign:
    """A cell whose parameters carry the letters of its gates."""
    named = {letter: tuple(f"{letter}_{gate}" for gate in gates) for letter in "WUb"}
    return Foreign(step, **named | {"U": tuple(f"U_{gate}" for gate in recurrent or gates)})


def rnn(ops, p, a, s, extra, activation="tanh"):
    return {"h": getattr(ops, activation)(a + s["h"] @ p["U"])}


def lstm1997(ops, p, a, s, extra, truncated=False):
    h = ops.constant(s["h"]) if truncated else s["h"]
    i, g, o = ops.split(a + h @ p["U"], 3)
    c = s["c"] + ops.sigmoid(i) * 2 * ops.tanh(g / 2)
    return {"h": ops.sigmoid(o) * ops.tanh(c / 2), "c": c}


def lstm(ops, p, a, s, extra, peepholes=""):
    def look(gate, cell):
        return p[f"p_{gate}"] * cell if gate in peepholes else 0

    i, f, g, o = ops.split(a + s["h"] @ p["U"], 4)
    c = ops.sigmoid(f + look("f", s["c"])) * s["c"] + ops.sigmoid(i + look("i", s["c"])) * ops.tanh(g)
    return {"h": ops.sigmoid(o + look("o", c)) * ops.tanh(c), "c": c}


def peephole(ops, p, a, s, extra, peepholes="ifo"):
    return lstm(ops, p, a, s, extra, peepholes)


def coupled(ops, p, a, s, extra):
    i, g, o = ops.split(a + s["h"] @ p["U"], 3)
    i = ops.sigmoid(i)
    c = (1 - i) * s["c"] + i * ops.tanh(g)
    return {"h": ops.sigmoid(o) * ops.tanh(c), "c": c}


def gru(ops, p, a, s, extra):
    size = s["h"].shape[-1]
    z, r = ops.split(ops.sigmoid(a[:, : 2 * size] + s["h"] @ p["U"][:, : 2 * size]), 2)
    n = ops.tanh(a[:, 2 * size :] + (r * s["h"]) @ p["U"][:, 2 * size :])
    return {"h": n + z * (s["h"] - n)}


def gru_reset_after(ops, p, a, s, extra):
    a_z, a_r, a_n = ops.split(a, 3)
    u_z, u_r, u_n = ops.split(s["h"] @ p["U"], 3)
    n = ops.tanh(a_n + ops.sigmoid(a_r + u_r) * (u_n + p["b_hn"]))
    return {"h": n + ops.sigmoid(a_z + u_z) * (s["h"] - n)}


def depth_gated(ops, p, a, s, extra):
    """extra = the lower layer's cell of this step."""
    size = s["h"].shape[-1]
    i, f, g, o = ops.split(a[:, : 4 * size] + s["h"] @ p["U"], 4)
    d = ops.sigmoid(a[:, 4 * size :] + p["p_d"] * s["c"] + p["l_d"] * extra)
    kept = ops.sigmoid(f + p["p_f"] * s["c"]) * s["c"]
    c = d * extra + kept + ops.sigmoid(i + p["p_i"] * s["c"]) * ops.tanh(g)
    return {"h": ops.sigmoid(o + p["p_o"] * c) * ops.tanh(c), "c": c}


def clockwork(ops, p, a, s, extra):
    """extra = 1 for the units that are active in this step, 0 for the others; p["mask"] is 1 where U may act."""
    new = ops.tanh(a + s["h"] @ (p["U"] * p["mask"].T))
    return {"h": s["h"] + extra * (new - s["h"])}


def esn(ops, p, a, s, extra):
    return {"h": (1 - p["alpha"]) * s["h"] + p["alpha"] * ops.tanh(a + s["h"] @ p["U"])}


CELLS = {
    "rnn": Foreign(rnn),
    "lstm1997": gated(lstm1997, "igo"),
    "lstm": gated(lstm, "ifgo"),
    "peephole": gated(peephole, "ifgo"),
    "esn": Foreign(esn, W=("W_in",), U=("W",)),
    "clockwork": Foreign(clockwork),
    "gru": gated(gru, "zrn"),
    "gru_reset_after": gated(gru_reset_after, "zrn"),
    "coupled": gated(coupled, "igo"),
    "depth_gated": gated(depth_gated, "ifgod", recurrent="ifgo"),
}


def fuse(ops: Ops, name: str, parameters: Named) -> dict[str, Any]:
    """Lay the gates' parameters side by side, transposed for row vectors; the others stay as they are."""
    fused = CELLS[name].fused
    taken = {one for names in fused.values() for one in names}
    rows = {letter: ops.concatenate([parameters[one] for one in names]) for letter, names in fused.items()}
    return {"W": rows["W"].T, "U": rows["U"].T, "b": rows["b"]} | {
        key: value for key, value in parameters.items() if key not in taken
    }


def unfuse(name: str, fused: Named) -> dict[str, Any]:
    """The way back, for NumPy arrays: gradients of the fused parameters under the names of the equations."""
    rest = {key: value for key, value in fused.items() if key not in "WUb"}
    for letter, names in CELLS[name].fused.items():
        size = fused[letter].shape[-1] // len(names)
        rest |= {one: fused[letter].T[k * size : (k + 1) * size] for k, one in enumerate(names)}
    return rest


def modules(hidden_size: int, periods: tuple[int, ...], steps: int) -> tuple[np.ndarray, np.ndarray]:
    """The clockwork's schedule: which units are active (T, H), and the mask of U (H, H), both of 0 and 1."""
    sizes = [len(part) for part in np.array_split(np.arange(hidden_size), len(periods))]
    module, period = np.repeat(np.arange(len(periods)), sizes), np.repeat(periods, sizes)
    active = np.arange(steps)[:, None] % period == 0
    return active.astype(float), (module[:, None] <= module).astype(float)
