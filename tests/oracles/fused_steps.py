"""The cells as users of array libraries write them: one product for all gates, the input's ahead of the time loop.

Truth of a foreign origin, and a fair opponent: the same steps run under torch (torch_cells.py, an eager loop) and under
JAX (scripts/benchmarks/peers/jax_scan.py, a compiled scan).  Nothing here knows derive or lstm_numba.

    step(ops, p, a, s, extra) -> new state       a = x W + b of all gates (B, G H),  s = state {"h": (B, H), ...}
    p["W"] (N, G H), p["U"] (H, G H), p["b"] (G H) lay the gates side by side; other parameters keep their names
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

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
    """One cell: its step, and the gates that one product serves ("" where the parameters carry no gate letter)."""

    step: Callable
    gates: str = ""

    def names(self, letter: str) -> list[str]:
        return [f"{letter}_{gate}" for gate in self.gates] or [letter]


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


CELLS = {
    "rnn": Foreign(rnn),
    "lstm1997": Foreign(lstm1997, "igo"),
    "lstm": Foreign(lstm, "ifgo"),
    "peephole": Foreign(peephole, "ifgo"),
    "coupled": Foreign(coupled, "igo"),
    "gru": Foreign(gru, "zrn"),
    "gru_reset_after": Foreign(gru_reset_after, "zrn"),
}


def fuse(ops: Ops, name: str, parameters: Named) -> dict[str, Any]:
    """Lay the gates' parameters side by side, transposed for row vectors."""
    cell = CELLS[name]
    side_by_side = {letter: [parameters[one] for one in cell.names(letter)] for letter in "WUb"}
    taken = {one for letter in "WUb" for one in cell.names(letter)}
    fused = {letter: ops.concatenate(arrays) for letter, arrays in side_by_side.items()}
    return {
        "W": fused["W"].T,
        "U": fused["U"].T,
        "b": fused["b"],
        **{key: value for key, value in parameters.items() if key not in taken},
    }


def unfuse(name: str, fused: Named) -> dict[str, Any]:
    """The way back, for NumPy arrays: gradients of the fused parameters under the names of the equations."""
    cell, rest = CELLS[name], {key: value for key, value in fused.items() if key not in ("W", "U", "b")}
    for letter in "WUb":
        names = cell.names(letter)
        size = fused["b"].shape[0] // len(names)
        rest |= {one: fused[letter].T[k * size : (k + 1) * size] for k, one in enumerate(names)}
    return rest
