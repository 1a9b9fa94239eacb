"""A layer that runs the generated text as it is, in plain Python on NumPy arrays: slow, and nothing is compiled.

The sequence kernels under test are then exactly the text on disk; planting a fault in the text plants it in the layer.
"""

from types import ModuleType
from typing import Any

from lstm_numba.layer import Layer


class PlainLayer(Layer):
    """As Layer, from a generated module."""

    def _kernels(self, module: ModuleType) -> Any:
        return module
