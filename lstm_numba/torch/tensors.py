"""A layer whose parameters are tensors: from them to the one flat array that is packed, and gradients back."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lstm_numba.bound import Bound
from lstm_numba.cpu.memory import Memory
from lstm_numba.layer import States
from lstm_numba.parameters import Parameters
from lstm_numba.run import Run

Tensors = Sequence[Tensor]


class TensorLayer(Bound):
    """The kernels of one plan at one size; arguments as of `Bound`."""

    def _make_engine(self) -> None:
        super()._make_engine()
        self._flats, self._kinds = Memory(self._flat), {torch.from_numpy(self._arrays.flat).dtype}
        begins, sizes = self._arrays.offsets.values(), self._arrays.sizes.values()
        pieces = [slice(begin, begin + size) for begin, size in zip(begins, sizes, strict=True)]
        self._pieces = [(p, s if len(s) > 1 else None) for p, s in zip(pieces, self.shapes, strict=True)]

    def _flat(self) -> tuple[Parameters, list[Tensor]]:
        """An array for all parameters, and tensors that view it."""
        theta = self._arrays.of(np.empty(self.length, self.dtype))
        with torch.inference_mode(mode=False):  # else they could be written to in that mode only
            return theta, list(map(torch.from_numpy, theta.values()))

    def run_with(
        self, tensors: Tensors, fit: bool, x: Any, inputs: Any, state: States, lengths: Any, resets: Any, save: bool
    ) -> Run:
        """As `run`, with the parameters in tensors, copied in one call where their shapes fit the layout.

        Raises:
            ShapeError, DtypeError: they are not what the layout says.
        """
        if not fit or {tensor.dtype for tensor in tensors} != self._kinds:
            theta = self.joined("parameters", list(map(array, tensors)))
            return self.run(theta, x, inputs, state, lengths, resets, save)
        lent = self._flats.lend()
        theta, views = lent.work
        torch._foreach_copy_(views, tensors)
        return self.run(theta, x, inputs, state, lengths, resets, save)

    def split(self, gradients: Parameters) -> list[Tensor]:
        """A tensor for each of those that `run_with` took."""
        flat, tensor = gradients.flat, torch.from_numpy
        return [tensor(flat[p] if shape is None else flat[p].reshape(shape)) for p, shape in self._pieces]


def array(tensor: Tensor) -> np.ndarray:
    """The tensor's memory."""
    return tensor.numpy(force=True)


def values(module: torch.nn.Module, names: Sequence[str]) -> list[Tensor]:
    """A module's attributes; parameters are found without torch's search, which takes a microsecond for each."""
    own: dict[str, Any] = module._parameters
    return [own[name] if name in own else getattr(module, name) for name in names]
