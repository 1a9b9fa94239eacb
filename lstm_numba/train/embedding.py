"""The lower end of a model over symbols: symbol -> vector."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lstm_numba.checks import dtype_of, positive
from lstm_numba.train import arguments


@dataclass(frozen=True)
class Embedding:
    """x_t = E[s_t]: row s_t of a table (V, N)."""

    table: NDArray

    @classmethod
    def random(cls, symbols: int, width: int, rng: np.random.Generator, dtype: str = "float32") -> "Embedding":
        """Draw a table whose elements have mean 0 and variance 1."""
        symbols, width = positive("symbols", symbols), positive("width", width)
        return cls(rng.standard_normal((symbols, width)).astype(dtype_of(dtype)))

    def forward(self, symbols: NDArray[np.integer]) -> NDArray:
        """Look up: symbols (T, B) -> vectors (T, B, N), C-contiguous."""
        return self.table[self._checked(symbols)]

    def backward(self, symbols: NDArray[np.integer], d_vectors: NDArray) -> NDArray:
        """d_E[s] = sum of d_x_t over the places where s_t = s, always summed in the order of the places."""
        symbols = self._checked(symbols)
        d_vectors = arguments.floats(
            "d_vectors", d_vectors, (*symbols.shape, self.table.shape[1]), "the shape that forward gave"
        )
        order = np.argsort(symbols, axis=None, kind="stable")
        present, start = np.unique(symbols.ravel()[order], return_index=True)
        d_table = np.zeros_like(self.table)
        if present.size:
            d_table[present] = np.add.reduceat(d_vectors.reshape(-1, self.table.shape[1])[order], start)
        return d_table

    def _checked(self, symbols: NDArray[np.integer]) -> NDArray[np.integer]:
        return arguments.symbols("symbols", symbols, len(self.table), "the rows of the table")
