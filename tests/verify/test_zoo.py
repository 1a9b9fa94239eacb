"""Published cells as their readers would type them: every page, the text, the kernels, and steps typed once more.

Truth: the equations in complex numbers; for some, one step in NumPy from the paper.  Kernels run as text, uncompiled.
"""

from functools import cache, partial
from pathlib import Path

import numpy as np
import pytest

from derive.build import module_of
from derive.parse import parse
from derive.show import FORMS, show
from derive.verify.curvature import Along
from derive.verify.derivative import gradient
from derive.verify.driver import Driver
from derive.verify.kernel import Kernel
from derive.verify.problem import make
from derive.verify.rungs import numeric, second, symbolic
from lstm_numba.cpu.interpreted import PlainLayer

TEXTS = Path(__file__).with_name("zoo.cells").read_text(encoding="utf-8").split("\n\n")[1:]
CELLS = {cell.name: cell for cell in map(parse, TEXTS)}
ALLOWED = 2e-13


@cache
def kernel(name):
    return Kernel(CELLS[name], partial(PlainLayer, module_of(CELLS[name])))


@pytest.mark.parametrize("name", CELLS)
def test_a_published_cell_is_derived_and_run(name):
    cell, driver = CELLS[name], Driver.of(CELLS[name])
    along = Along.random(make(cell, steps=3, batch=2, inputs=2, hidden=3, lengths=True, resets=True))
    truth = along.hvp(driver)
    measured = [
        *symbolic.text_is_the_derivation(driver.program),
        *symbolic.derivation_is_the_derivative(driver.program),
        *numeric.forward(kernel(name), along.problem, ALLOWED),
        *numeric.full(kernel(name), along.problem, gradient(along.problem), ALLOWED),
        *second.jvp(kernel(name), along, ALLOWED),
        *second.hvp(kernel(name), along, truth, along.allowed(driver, truth, ALLOWED)),
    ]
    assert [measurement for measurement in measured if not measurement.ok] == []


@pytest.mark.parametrize("name", ["phased_gate", "slstm", "rhn4", "lstmp_both"])
def test_every_page_of_a_published_cell_has_every_form(name):
    for form in FORMS:
        assert show(CELLS[name], "all", form)


# --- Steps typed from the papers: (p)arameters, inputs and previous states by name -> new states


def sigma(a):
    return 1 / (1 + np.exp(-a))


def slstm(p, x, h, c, n, m):
    i, f, z, o = (x @ p[f"W_{k}"].T + h @ p[f"R_{k}"].T + p[f"b_{k}"] for k in "ifzo")
    log_f = np.log(sigma(f))
    new = np.maximum(log_f + m, i)
    c, n = np.exp(log_f + m - new) * c + np.exp(i - new) * np.tanh(z), np.exp(log_f + m - new) * n + np.exp(i - new)
    return {"h": sigma(o) * c / np.maximum(n, 1e-6), "c": c, "n": n, "m": new}


def rhn4(p, x, s):
    for depth in "1234":
        from_x = (x @ p["W_q"].T, x @ p["W_t"].T) if depth == "1" else (0, 0)
        q = np.tanh(from_x[0] + s @ p[f"R{depth}"].T + p[f"b{depth}"])
        t = sigma(from_x[1] + s @ p[f"T{depth}"].T + p[f"d{depth}"])
        s = q * t + s * (1 - t)
    return {"s": s}


def lstmp_both(p, x, r, q, c):
    def total(k):
        return x @ p[f"W_{k}"].T + r @ p[f"U_{k}"].T + p[f"b_{k}"]

    i, f, g = sigma(total("i") + p["p_i"] * c), sigma(total("f") + p["p_f"] * c), np.tanh(total("g"))
    c = f * c + i * g
    m = sigma(total("o") + p["p_o"] * c) * np.tanh(c)
    return {"r": m @ p["W_r"].T, "q": m @ p["W_q"].T, "c": c}


def cornn(p, x, y, z):
    force = np.tanh(y @ p["W"].T + z @ p["Wz"].T + x @ p["V"].T + p["b"]) - p["gam"] * y
    z = (z + p["dt"] * force) / (1 + p["dt"] * p["eps"])
    return {"y": y + p["dt"] * z, "z": z}


def ltc(p, x, t, h):
    f, dt = sigma(x @ p["M"].T + h @ p["U"].T), t @ p["ones"].T
    return {"h": (h + dt * f * p["A"]) / (1 + dt * (1 / np.log1p(np.exp(p["tau"])) + f))}


def intersection(p, x, y, h):
    y_in, h_in = (
        np.maximum(x @ p["W_a"].T + h @ p["U_a"].T + p["b_a"], 0),
        np.tanh(x @ p["W_b"].T + h @ p["U_b"].T + p["b_b"]),
    )
    g_y, g_h = (sigma(x @ p[f"W_{k}"].T + h @ p[f"U_{k}"].T + p[f"b_{k}"]) for k in "cd")
    return {"y": g_y * x + (1 - g_y) * y_in, "h": g_h * h + (1 - g_h) * h_in}


def rwkv4(p, x, y, a, b, m, s):
    """The sums of the paper as they are, without a stabiliser: sums = e^m (a, b)."""
    r, k, v = ((p[f"mu_{n}"] * x + (1 - p[f"mu_{n}"]) * s) @ p[f"W_{n}"].T for n in "rkv")
    above, below = np.exp(m) * a, np.exp(m) * b
    now, decay = np.exp(p["u"] + k), np.exp(-np.exp(p["w"]))
    y = (sigma(r) * (above + now * v) / (below + now)) @ p["W_o"].T
    above, below, m = decay * above + np.exp(k) * v, decay * below + np.exp(k), np.maximum(m - np.exp(p["w"]), k)
    return {"y": y, "a": above / np.exp(m), "b": below / np.exp(m), "m": m, "s": x}


STEPS = [slstm, rhn4, lstmp_both, cornn, ltc, intersection, rwkv4]


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.__name__)
def test_a_published_cell_is_what_its_paper_says(step):
    problem = make(CELLS[step.__name__], steps=4, batch=3).mapped(np.abs)  # a normaliser begins above zero
    found, state = kernel(step.__name__).forward(problem), dict(problem.state)
    numbers = {**problem.parameters, **problem.constants}
    for t in range(problem.steps):
        state = step(numbers, **{name: values[t] for name, values in problem.inputs.items()}, **state)
        for name, values in found.outputs.items():
            assert values[t] == pytest.approx(state[name], rel=1e-13, abs=1e-14)
    for name, values in found.state.items():
        assert values == pytest.approx(state[name], rel=1e-13, abs=1e-14)
