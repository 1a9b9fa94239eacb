"""How far our own functions of float32 are from the right values, on the device."""

import numpy as np

from lstm_numba.gpu import compiler
from lstm_numba.gpu.device import address, current
from lstm_numba.gpu.scalars import ARITHMETIC, functions
from lstm_numba.gpu.unavailable import require
from lstm_numba.types import Types

KINDS, COUNT = Types("float32"), 2**20
RIGHT = {"sigmoid": lambda a: 1 / (1 + np.exp(-a)), "tanh": np.tanh}
MOST = {"sigmoid": 2e-7, "tanh": 6}  # of 1; units of the last place

APPLY = """
def apply(count, source, target):
    place = grid(1)
    if place < count:
        target[place] = function(source[place])
"""


def applied(name: str, given: np.ndarray) -> np.ndarray:
    """A function of every number, by the device."""
    device, cuda = current(), require("numba.cuda")
    kernel = compiler.from_text(APPLY, "apply", grid=cuda.grid, function=functions(ARITHMETIC["float32"])[name])
    ptx = compiler.to_ptx(kernel, tuple(compiler.argument_type(n, KINDS) for n in ("count", "source", "target")))
    function = device.function(
        ("apply", name), lambda: compiler.linked(ptx, device.limits.architecture, compiler.THREADS)
    )
    source = device.xp.asarray(given)
    target = device.xp.empty_like(source)
    blocks = -(-given.size // compiler.THREADS)
    function((blocks,), (compiler.THREADS,), [given.size, address(source), address(target)])
    return device.xp.asnumpy(target)


def farthest(name: str, given: np.ndarray, found: np.ndarray) -> float:
    """The largest error, as `MOST` counts it."""
    right = RIGHT[name](given.astype("float64"))
    unit = 1.0 if name == "sigmoid" else np.spacing(np.abs(right).astype("float32"))
    return float((np.abs(found - right) / unit).max())


def last_places() -> list[str]:
    """What is farther away than float32.py says, of a million numbers; and what is not kept of those that are none."""
    random = np.random.default_rng(0)
    given = np.concatenate([random.normal(size=COUNT // 2) * 4, random.normal(size=COUNT // 2) * 0.2]).astype("float32")
    wrong = []
    for name, right in RIGHT.items():
        if (off := farthest(name, given, applied(name, given))) > MOST[name]:
            wrong.append(f"{name} is wrong by {off:.3g}")
        ends = applied(name, np.array([np.nan, np.inf, -np.inf, 0.0], "float32"))
        if not np.array_equal(ends, right(np.array([np.nan, np.inf, -np.inf, 0.0])).astype("float32"), equal_nan=True):
            wrong.append(f"{name} of NaN, infinity, -infinity, 0: {ends}")
    return wrong
