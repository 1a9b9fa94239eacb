"""Which generated cell an operator runs, and how the parameters lie in the tensors that it is handed.

Operators take plain values, so a plan travels as its key.  The key is made of nothing but content: the same in every
process, which is what torch's caches of compiled graphs need.
"""

from collections.abc import Sequence
from functools import lru_cache
from hashlib import sha256
from types import ModuleType
from typing import Any

import numpy as np
import torch

from lstm_numba import copies
from lstm_numba.bound import Layout
from lstm_numba.errors import ArgumentError, ShapeError, UnsupportedDerivativeError
from lstm_numba.torch.tensors import TensorLayer

PLANS: dict[str, "Plan"] = {}


class Plan:
    """One cell, one layout, one direction, at any size.

    Args:
        module: the generated module.
        layout: for each parameter tensor, what lies in it; see `Bound`.
        reverse: read each row from its last valid step to its first.
        periods: of the modules of units, for a cell with a clock.
    """

    def __init__(
        self, module: ModuleType, layout: Layout, reverse: bool = False, periods: tuple[int, ...] | None = None
    ) -> None:
        self.module, self.spec, self.layout = module, module.CELL, layout
        self.reverse, self.periods = reverse, periods
        content = repr((self.spec.module, self.spec.equations_hash, layout, reverse, periods))
        self.key = f"{self.spec.module}-{sha256(content.encode()).hexdigest()[:16]}"
        self.further = tuple(name for name in self.spec.inputs if name != self.spec.main)
        self.inputs = (self.spec.main, *self.further)
        self._readers = [self._reader(space) for space in self.spec.spaces]
        first, second = len(self.inputs), len(self.inputs) + len(self.spec.states)
        self._parts = slice(first), slice(first, second), slice(second, None)
        self.layer, self.wanted = lru_cache(maxsize=64)(self._layer), lru_cache(maxsize=64)(self._wanted)
        self._fitting = lru_cache(maxsize=64)(self._layer_for)

    @classmethod
    def of(cls, *content: Any) -> "Plan":
        """The plan of this content: one for all layers that have it, so that they share kernels and work arrays."""
        made = cls(*content)
        return PLANS.setdefault(made.key, made)

    def __reduce__(self) -> tuple[Any, ...]:
        return again, (*copies.reference(self.module), self.layout, self.reverse, self.periods)

    def _layer(self, spaces: tuple[int, ...], dtype: torch.dtype, threads: int) -> TensorLayer:
        sizes = dict(zip(self.spec.spaces, spaces, strict=True))
        settings: dict[str, Any] = {"threads": threads, "reverse": self.reverse, "periods": self.periods}
        kind = np.dtype(str(dtype).removeprefix("torch."))
        return TensorLayer(self.module, sizes, kind, self.layout, **settings)

    def fitting(self, primals: Sequence[torch.Tensor], threads: int) -> tuple[TensorLayer, bool]:
        """The kernels of these tensors; and whether the parameters have the shapes that the layout says.

        Raises:
            ShapeError: see `spaces`.
        """
        return self._fitting(tuple([tensor.shape for tensor in primals]), primals[0].dtype, threads)

    def _layer_for(
        self, shapes: tuple[torch.Size, ...], dtype: torch.dtype, threads: int
    ) -> tuple[TensorLayer, bool]:
        layer = self.layer(self._spaces(shapes), dtype, threads)
        return layer, self.split(shapes)[2] == layer.shapes

    def split(self, primals: Sequence[Any]) -> tuple[Sequence[Any], Sequence[Any], Sequence[Any]]:
        """Inputs, first states, parameters."""
        inputs, states, parameters = self._parts
        return primals[inputs], primals[states], primals[parameters]

    def _wanted(self, needed: tuple[bool, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The inputs and parameters that lie in primals which are needed."""
        inputs, _, theta = self.split(needed)
        named = dict(zip(self.inputs, inputs, strict=True))
        found = {name for names, is_needed in zip(self.layout, theta, strict=True) for name in names if is_needed}
        spec = self.spec
        return tuple(name for name in spec.inputs if named[name]), tuple(n for n in spec.parameters if n in found)

    def _reader(self, space: str) -> tuple[int, int]:
        """Where a space's size is read, in a parameter if possible: which primal, how many parts on its last axis.

        A space that nothing is in, as N where x has H numbers, may have any size.
        """
        spec, shapes = self.spec, {**self.spec.parameters, **self.spec.constants}
        others = [spec.inputs[name] for name in self.inputs] + list(spec.states.values())
        places = [(own, k, 1) for k, own in enumerate(others)]
        for k, names in enumerate(self.layout, start=len(others)):
            shape = shapes[names[0]] or ("",)
            places.append((shape[-1], k, len(names) if len(shape) == 1 else 1))
        return next((k, parts) for own, k, parts in [*reversed(places), (space, 0, 1)] if own == space)

    def spaces(self, primals: Sequence[Any]) -> tuple[int, ...]:
        """Size of every space, read from last axes.

        Raises:
            ShapeError: another number of tensors than the cell has, or one without axes.
        """
        return self._spaces([primal.shape for primal in primals])

    def _spaces(self, shapes: Sequence[torch.Size]) -> tuple[int, ...]:
        wanted = len(self.inputs) + len(self.spec.states) + len(self.layout)
        if len(shapes) != wanted:
            raise ShapeError(f"{self.spec.name} takes {wanted} tensors, got {len(shapes)}: {self.names}.")
        read = [(shapes[k], parts) for k, parts in self._readers]
        if any(not shape for shape, _ in read):
            raise ShapeError(f"{self.spec.name}: a tensor has no axes, where the cell has one with units.")
        return tuple(shape[-1] // parts for shape, parts in read)

    def require_symmetry(self) -> None:
        """Refuse a derivative that needs the transpose of the change of a backward along a direction.

        Raises:
            UnsupportedDerivativeError: the cell says stop(), so its gradient is not the gradient of anything.
        """
        if "dot_stop" in self.module.forward_tangent.__code__.co_varnames:
            raise UnsupportedDerivativeError(
                f"{self.spec.module} cuts its gradient with stop(), so what it computes is not the gradient of a "
                "function and cannot be differentiated backwards once more; forwards, with torch.func.jvp, it can."
            )

    @property
    def names(self) -> str:
        """Of all primals, for messages."""
        return ", ".join([*self.inputs, *self.spec.states, *map("+".join, self.layout)])


def find(key: str) -> Plan:
    """The plan of a key.

    Raises:
        ArgumentError: no layer of this process has made it.
    """
    if key not in PLANS:
        raise ArgumentError(f"no layer with the plan {key!r} was made in this process: make it, or load it, first.")
    return PLANS[key]


def again(name: str, text: str | None, *settings: Any) -> Plan:
    """The plan of a copied or unpickled layer."""
    return Plan.of(copies.module_of(name, text), *settings)
