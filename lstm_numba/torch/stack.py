"""Layers on top of each other as a torch module: `lstm_numba.Stack`, with its names."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.fx import Proxy

from lstm_numba import checks
from lstm_numba.errors import OptionError
from lstm_numba.stack import second_direction
from lstm_numba.torch import call
from lstm_numba.torch.plan import Plan
from lstm_numba.torch.recurrent import Recurrent

LOWER = "_lower"


class Stack(torch.nn.Module):
    """Several layers of one cell; with both directions, the outputs of a layer's two are joined along the units.

    Args:
        cell, input_size, hidden_size, batch_first, settings: as for `Recurrent`.
        num_layers: how many.
        bidirectional: read every sequence in both directions.
        reverse_options: what the second direction changes of the settings.
        dropout: probability that an entry between two layers is dropped, drawn anew at every step.

    Parameters and states are named "0.W_i", "1.h", and those of the second direction "0.reverse.W_i".  A cell that
    reads a lower layer's sequence (`depth_gated`: c_lower) is given it by the layer below; the lowest reads zeros.

    Raises:
        UnknownCellError, OptionError, ArgumentError, DtypeError: for what cannot be made.
    """

    def __init__(
        self,
        cell: Any,
        input_size: int,
        hidden_size: int,
        *,
        num_layers: int = 1,
        bidirectional: bool = False,
        reverse_options: Mapping[str, Any] | None = None,
        dropout: float = 0.0,
        batch_first: bool = False,
        **settings: Any,
    ) -> None:
        super().__init__()
        if "reverse" in settings:
            raise OptionError("a Stack has no option 'reverse': bidirectional=True reads in both directions.")
        self.batch_first, self.count = batch_first, checks.depth("num_layers", num_layers)
        self.bidirectional = checks.flag("bidirectional", bidirectional)
        backwards = {**settings, **second_direction(reverse_options, self.bidirectional)}
        self.between = torch.nn.Dropout(dropout)
        width = input_size
        for k in range(self.count):
            layer = Recurrent(cell, width, hidden_size, **settings)
            self.add_module(str(k), layer)
            if bidirectional:
                layer.add_module("reverse", Recurrent(cell, width, hidden_size, reverse=True, **backwards))
            width = layer.output_size * (1 + bidirectional)

    def _level(self, k: int) -> Iterator[tuple[str, Recurrent]]:
        """The layers of a level, by the prefix of their names."""
        layer: Any = getattr(self, str(k))
        yield str(k), layer
        if self.bidirectional:
            yield f"{k}.reverse", layer.reverse

    @property
    def plans(self) -> tuple[tuple[Plan, tuple[Tensor, ...]], ...]:
        """The plan of each layer and direction, with the tensors that it lays out."""
        return tuple(pair for k in range(self.count) for _, layer in self._level(k) for pair in layer.plans)

    def forward(
        self, x: Tensor, state: Mapping[str, Tensor] | None = None, lengths: Any = None, resets: Tensor | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """As `Recurrent.forward`; states by their prefixed names, e.g. {"0.h": (B, H), "1.reverse.c": (B, H)}."""
        if isinstance(x, Proxy):
            return call.recorded(self, x, state, lengths, resets)
        names = [f"{prefix}.{name}" for k in range(self.count) for prefix, own in self._level(k) for name in own.states]
        given: Mapping[str, Tensor] = checks.only("state", state, tuple(names))
        last: dict[str, Tensor] = {}
        if self.batch_first:
            x, resets = x.transpose(0, 1), None if resets is None else resets.transpose(0, 1)
        below: dict[str, dict[str, Tensor]] = {}
        for k in range(self.count):
            outputs = {}
            for prefix, layer in self._level(k):
                own = {name: given[f"{prefix}.{name}"] for name in layer.states if f"{prefix}.{name}" in given}
                lower = _lower(layer, below.get(prefix.removeprefix(str(k)), {}))
                outputs[prefix.removeprefix(str(k))], states = layer.run(x, own, lengths, resets, **lower)
                last |= {f"{prefix}.{name}": value for name, value in states.items()}
            below = outputs
            x = torch.cat([next(iter(found.values())) for found in outputs.values()], dim=2)
            if k < self.count - 1:
                x = self.between(x)
        return x.transpose(0, 1) if self.batch_first else x, last


def _lower(layer: Recurrent, below: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What a cell reads of the layer below besides its output: c_lower is the output c there."""
    names = [name for name in layer.inputs if name.endswith(LOWER)]
    return {name: below[name.removesuffix(LOWER)] for name in names if below}
