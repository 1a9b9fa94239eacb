"""The functions that generated text may call, on Python numbers and NumPy arrays, real or complex.

The same names on SIMD registers: `lstm_numba.cpu.elementary`. At a kink the derivative is that of the branch that the
function itself takes, decided by the real part, so that complex steps see what the kernels do.
"""

import numpy as np


def sigmoid(a):
    """1 / (1 + exp(-a)), without overflow."""
    sign = np.where(np.real(a) >= 0, 1, -1)
    decay = np.exp(-sign * a)  # exp(-|a|) <= 1
    return np.where(sign > 0, 1, decay) / (1 + decay)


def tanh(a):
    return np.tanh(a)


def relu(a):
    return np.where(np.real(a) < 0, 0, a)


def exp(a):
    return np.exp(a)


def log(a):
    return np.log(a)


def sqrt(a):
    return np.sqrt(a)


def sin(a):
    return np.sin(a)


def cos(a):
    return np.cos(a)


def softplus(a):
    """log(1 + exp(a)), without overflow."""
    above = np.real(a) > 0
    return np.where(above, a, 0) + np.log1p(np.exp(np.where(above, -a, a)))


def absolute(a):
    return a * np.sign(np.real(a))


def maximum(a, b):
    """The larger one, a where they are equal; a NaN is never lost."""
    return np.where((np.real(b) > np.real(a)) | np.isnan(b), b, a)


def minimum(a, b):
    """The smaller one, a where they are equal; a NaN is never lost."""
    return np.where((np.real(b) < np.real(a)) | np.isnan(b), b, a)


def positive(a):
    """1 where a > 0, else 0: the derivative of relu."""
    return np.where(np.real(a) > 0, 1, 0)


def where(condition, then, otherwise):
    """then where the condition is not 0, else otherwise."""
    return np.where(np.real(condition) != 0, then, otherwise)


def stop(a):
    """a, as a constant: the real part, so that a complex step sees no derivative either."""
    return np.real(a)
