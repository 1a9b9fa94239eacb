"""What is timed: a case, and the arrays that every candidate of the case shares."""

import math
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

import lstm_numba as ln

Arrays = dict[str, NDArray]


@dataclass(frozen=True)
class Case:
    """One cell at one size: (T, B, N, H), training step or inference."""

    cell: str
    size: tuple[int, int, int, int]
    mode: str = "train"
    dtype: str = "float32"
    threads: int = 1
    options: tuple[tuple[str, object], ...] = ()
    valid: float = 1.0  # share of steps that `lengths` leaves valid
    resets: bool = False

    @property
    def label(self) -> str:
        """What a row of the table is called."""
        extra = [f"{key}={value}" for key, value in self.options]
        extra += [self.dtype] * (self.dtype != "float32") + [f"{self.valid:.0%} valid"] * (self.valid < 1)
        extra += ["resets"] * self.resets
        return " ".join([self.cell, self.mode, "x".join(map(str, self.size)), *extra])


@dataclass(frozen=True)
class Data:
    """Random weights and inputs of a case.  Parameters carry the names of the equations."""

    case: Case
    layer: ln.Layer = field(init=False)

    def __post_init__(self) -> None:
        _, _, N, H = self.case.size
        layer = ln.Layer(
            self.case.cell,
            input_size=N,
            hidden_size=H,
            dtype=self.case.dtype,
            seed=0,
            threads=self.case.threads,
            **dict(self.case.options),
        )
        object.__setattr__(self, "layer", layer)
        for array in layer.parameters.values():  # no zeros and no ones, which hide a swapped gate
            array[...] = self.draw(array.shape) / np.sqrt(H)

    @cached_property
    def rng(self) -> np.random.Generator:
        return np.random.default_rng(0)

    def draw(self, shape: tuple[int, ...]) -> NDArray:
        return self.rng.uniform(-1, 1, shape).astype(self.case.dtype)

    @cached_property
    def x(self) -> NDArray:
        return self.draw(self.case.size[:3])

    @cached_property
    def state(self) -> Arrays:
        _, B, _, H = self.case.size
        return {name: self.draw((B, H)) for name in self.layer.spec.states}

    @cached_property
    def inputs(self) -> Arrays:
        """Input sequences besides x: the depth-gated cell's c_lower."""
        T, B, _, H = self.case.size
        return {name: self.draw((T, B, H)) for name in self.layer.spec.inputs if name != "x"}

    @cached_property
    def d_output(self) -> NDArray:
        T, B, _, H = self.case.size
        return self.draw((T, B, H))

    @cached_property
    def lengths(self) -> NDArray | None:
        """Evenly spread over the rows, so that their mean is the valid share."""
        T, B, *_ = self.case.size
        if self.case.valid == 1:
            return None
        return np.linspace(0, 2 * self.case.valid * T, B).round().astype(np.int64).clip(0, T)

    @cached_property
    def resets(self) -> NDArray | None:
        """One step in a hundred of every row begins anew."""
        return self.rng.random(self.case.size[:2]) < 0.01 if self.case.resets else None

    @property
    def flops(self) -> float:
        """Two for each weight and valid step of a row; a training step does it three times (forward, inputs, weights).

        Not a number for a cell with periods, which skips the silent units' share.
        """
        if self.layer.spec.clock:
            return math.nan
        T, B, *_ = self.case.size
        steps = T * B if self.lengths is None else int(self.lengths.sum())
        weights = sum(array.size for array in self.layer.parameters.values() if array.ndim == 2)
        return 2.0 * weights * steps * (3 if self.case.mode == "train" else 1)
