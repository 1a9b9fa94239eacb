"""The upper end of a model: hidden state -> output."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lstm_numba.checks import dtype_of, positive
from lstm_numba.train import arguments


@dataclass(frozen=True)
class Readout:
    """y_t = W h_t + b, with W (O, H) and b (O,)."""

    weights: NDArray
    bias: NDArray

    @classmethod
    def random(cls, outputs: int, hidden_size: int, rng: np.random.Generator, dtype: str = "float32") -> "Readout":
        """Draw W uniformly from +-1 / sqrt(H); the bias starts at 0."""
        outputs, hidden_size = positive("outputs", outputs), positive("hidden_size", hidden_size)
        bound = 1 / np.sqrt(hidden_size)
        return cls(rng.uniform(-bound, bound, (outputs, hidden_size)).astype(dtype_of(dtype)), np.zeros(outputs, dtype))

    def forward(self, hidden: NDArray) -> NDArray:
        """y = h W' + b: (..., H) -> (..., O)."""
        hidden = self._checked(hidden)
        output = _rows(hidden) @ self.weights.T  # one product over all steps, not one a step
        output += self.bias
        return output.reshape(*hidden.shape[:-1], len(self.bias))

    def backward(self, hidden: NDArray, d_output: NDArray) -> tuple[NDArray, NDArray, NDArray]:
        """Return d_h = d_y W, d_W = d_y' h, d_b = sum d_y."""
        hidden = self._checked(hidden)
        shape = (*hidden.shape[:-1], len(self.bias))
        d_rows = _rows(arguments.floats("d_output", d_output, shape, "the shape that forward gave"))
        d_hidden = (d_rows @ self.weights).reshape(hidden.shape)
        return d_hidden, d_rows.T @ _rows(hidden), d_rows.sum(0)

    def _checked(self, hidden: NDArray) -> NDArray:
        shape = (*np.shape(hidden)[:-1], self.weights.shape[1])
        return arguments.floats("hidden", hidden, shape, "its last axis is that of the weights (O, H)")


def _rows(array: NDArray) -> NDArray:
    return array.reshape(-1, array.shape[-1])
