"""The types of numbers on the device: how sequences are stored, how the arithmetic runs, how products multiply."""

from dataclasses import dataclass

import numpy as np

from lstm_numba.errors import DtypeError, OptionError

STORAGE = ("float32", "float64", "bfloat16", "float16")
PRODUCTS = ("exact", "tf32")


@dataclass(frozen=True)
class Types:
    """What one layer computes with.

    Attributes:
        storage: of x, the outputs, their gradients, and what products multiply.
        products: "exact" is the arithmetic's own precision; "tf32" rounds float32 factors to 10 bits, sums in float32.
    """

    storage: str
    products: str = "exact"

    def __post_init__(self) -> None:
        if self.storage not in STORAGE:
            raise DtypeError(f"on a CUDA device dtype must be one of {', '.join(STORAGE)}; got {self.storage!r}.")
        if self.products not in PRODUCTS:
            raise OptionError(f"products must be one of {', '.join(PRODUCTS)}; got {self.products!r}.")
        if self.products == "tf32" and self.storage != "float32":
            raise OptionError(f"products='tf32' rounds float32, and dtype is {self.storage}: leave products='exact'.")

    @property
    def is_half(self) -> bool:
        """Whether storage is narrower than the arithmetic."""
        return self.storage in ("bfloat16", "float16")

    @property
    def arithmetic(self) -> np.dtype:
        return np.dtype("float64" if self.storage == "float64" else "float32")

    @property
    def stored(self) -> np.dtype:
        """What arrays in device memory are called in NumPy, which has no bfloat16: its bits are kept in uint16."""
        return np.dtype({"bfloat16": "uint16"}.get(self.storage, self.storage))
