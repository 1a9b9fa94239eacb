"""The types of a layer's numbers: how sequences are stored, how the arithmetic runs, how products multiply."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from lstm_numba import checks
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

    @classmethod
    def of(cls, dtype: Any, products: Any, device: str) -> Self:
        """What a caller asks for, checked."""
        checks.among("products", products, PRODUCTS)
        storage = checks.dtype_of(dtype).name if device == "cpu" else _stored_as(dtype)
        if products == "tf32" and (device, storage) != ("cuda", "float32"):
            raise OptionError(
                f"products='tf32' is for float32 on a CUDA device; this layer is {storage} on {device!r}: leave it out."
            )
        return cls(storage, products)

    @property
    def is_half(self) -> bool:
        """Whether storage is narrower than the arithmetic."""
        return self.storage in ("bfloat16", "float16")

    @property
    def arithmetic(self) -> np.dtype:
        return np.dtype("float64" if self.storage == "float64" else "float32")

    @property
    def stored(self) -> np.dtype:
        """What arrays in memory are called in NumPy, which has no bfloat16: its bits are kept in uint16."""
        return np.dtype({"bfloat16": "uint16"}.get(self.storage, self.storage))


def _stored_as(dtype: Any) -> str:
    """The name of a type: "bfloat16", torch.bfloat16, np.float32 ..."""
    name = dtype if isinstance(dtype, str) else str(getattr(dtype, "__name__", dtype)).removeprefix("torch.")
    if name not in STORAGE:
        raise DtypeError(f"on a CUDA device dtype must be one of {', '.join(map(repr, STORAGE))}; got {dtype!r}.")
    return name
