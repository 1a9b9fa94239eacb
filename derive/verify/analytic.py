"""The functions of a cell, on real and complex NumPy arrays: the second opinion the oracle works with.

A complex step puts the derivative into the imaginary part, so each function is the analytic continuation of its real
form; where there is a kink (relu, maximum, a comparison) the branch is chosen by the real part alone, and on the kink
itself the slope is the language's: relu'(0) = |0|' = 0, a tie goes to the first argument.
"""

from collections.abc import Callable

import numpy as np

Array = np.ndarray

__all__ = ["FUNCTIONS", "KINKS", "Array"]


def sigmoid(a: Array) -> Array:
    # 1 / (1 + exp(-a)), written for either sign so that exp never overflows
    small = np.exp(np.where(a.real < 0, a, -a))
    return np.where(a.real < 0, small, 1) / (1 + small)


def softplus(a: Array) -> Array:
    # log(1 + exp(a)) = max(a, 0) + log(1 + exp(-|a|))
    return np.where(a.real < 0, 0, a) + np.log(1 + np.exp(np.where(a.real < 0, a, -a)))


def where(condition: Array, a: Array, b: Array) -> Array:
    return np.where(np.real(condition) != 0, a, b)


def relu(a: Array) -> Array:
    return np.where(a.real > 0, a, 0)


def absolute(a: Array) -> Array:
    return np.where(a.real > 0, a, np.where(a.real < 0, -a, a.real))


def positive(a: Array) -> Array:
    return np.where(a.real > 0, 1, 0)


def maximum(a: Array, b: Array) -> Array:
    return np.where(np.real(a) >= np.real(b), a, b)


def minimum(a: Array, b: Array) -> Array:
    return np.where(np.real(a) <= np.real(b), a, b)


FUNCTIONS: dict[str, Callable[..., Array]] = {
    "sigmoid": sigmoid,
    "tanh": np.tanh,
    "relu": relu,
    "exp": np.exp,
    "log": np.log,
    "sqrt": np.sqrt,
    "sin": np.sin,
    "cos": np.cos,
    "softplus": softplus,
    "absolute": absolute,
    "maximum": maximum,
    "minimum": minimum,
    "positive": positive,
    "where": where,
    "stop": np.real,  # a constant has no imaginary part
}

# How far the arguments are from the point where the derivative jumps.
KINKS: dict[str, Callable[..., Array]] = {
    "relu": np.abs,
    "absolute": np.abs,
    "positive": np.abs,
    "maximum": lambda a, b: np.abs(a - b),
    "minimum": lambda a, b: np.abs(a - b),
}
