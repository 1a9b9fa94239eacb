"""A generated module -> compiled kernels: the words bound to SIMD registers, the step functions inlined."""

import inspect
from functools import cache
from types import FunctionType, ModuleType, SimpleNamespace
from typing import Any
from weakref import WeakKeyDictionary

from numba.extending import register_jitable

from lstm_numba import words
from lstm_numba.cpu import elementary, outer, packing, product, rows, simd  # noqa: F401  (elementary registers itself)
from lstm_numba.cpu.linked import compiled, linked

ON_REGISTERS = ("lanes", "load", "store", "load_first", "store_first")
ON_ROWS = ("units_of", "panels_of", "together", "spread", "clear", "restore", "release", "ring")
WORDS = {name: getattr(simd, name) for name in ON_REGISTERS} | {name: getattr(rows, name) for name in ON_ROWS}


def bound(function: FunctionType, meanings: dict[str, Any]) -> FunctionType:
    """The same function with other meanings of its global names."""
    names = {**function.__globals__, **meanings}
    return FunctionType(function.__code__, names, function.__name__, function.__defaults__)


@cache
def _multiply(run: int, gates: int, low: int):
    return product.make_multiply(run, gates, low)


@cache
def _biased(gates: int):
    return product.make_biased(gates)


@cache
def outer_of(run: int, gates: int, low: int):
    """The compiled gradient of a packed product."""
    return compiled(outer.make_outer(run, gates, low), f"outer {run} {gates} {low}")


def _meanings(module: ModuleType) -> dict[str, Any]:
    meanings = dict(WORDS)
    for name, value in vars(module).items():
        if isinstance(value, words.Product):
            meanings[name] = _multiply(value.run, value.gates, value.low)
        elif isinstance(value, words.Biased):
            meanings[name] = _biased(value.gates)
        elif isinstance(value, words.Transposed):
            meanings[name] = linked(product.make_transpose, value.run, value.gates, value.low)
        elif name == "step" or name.startswith("step_"):
            meanings[name] = register_jitable(forceinline=True)(value)
    return meanings


KERNELS = ("project", "forward", "backward", "forward_tangent", "backward_tangent")
# Layers of one cell share their kernels: where no folder is writable each would compile its own.
LOADED: WeakKeyDictionary[ModuleType, SimpleNamespace] = WeakKeyDictionary()


def kernels_of(module: ModuleType) -> SimpleNamespace:
    """The kernels of a generated module, each compiled when it first runs."""
    if module not in LOADED:
        text, meanings = inspect.getsource(module), _meanings(module)
        functions = {name: bound(getattr(module, name), meanings) for name in KERNELS}
        LOADED[module] = SimpleNamespace(**{name: compiled(function, text) for name, function in functions.items()})
    return LOADED[module]


PACKING = ("clear", "pack_forward", "pack_backward", "unpack_matrices", "unpack_sums", "sum_rows", "same_bits")
pack = SimpleNamespace(**{name: compiled(getattr(packing, name), name) for name in PACKING})


@cache
def transposed_of(run: int, gates: int, low: int):
    """The compiled transposed product, for input gradients."""
    inner = linked(product.make_transpose, run, gates, low)

    def input_gradient(segments, panels, ends, slots, slots_row, w, c, c_row, size):
        for s in range(len(segments)):
            first, count, low, high = segments[s, 0], segments[s, 1], segments[s, 2], segments[s, 3]
            inner(count, low, high, panels, ends, slots, first * slots_row, slots_row, w, c, first * c_row, c_row, size)

    return compiled(input_gradient, f"input gradient {run} {gates} {low}")
