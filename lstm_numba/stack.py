"""Layers on top of each other, in one direction or both."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

from numpy.typing import ArrayLike

from lstm_numba import checks
from lstm_numba.errors import ArgumentError, OptionError
from lstm_numba.layer import Layer
from lstm_numba.prefixed import Key, Named, prefix
from lstm_numba.run import Gradients, Tangents
from lstm_numba.spec import CellSpec
from lstm_numba.stack_run import StackRun


class Stack:
    """Several layers of one cell; with both directions, the outputs of a layer's two are joined along the units.

    Args:
        name, input_size, hidden_size, dtype, seed, threads, options: as for `Layer`.
        layers: how many.
        bidirectional: read every sequence in both directions.
        reverse_options: what the second direction changes of the options, e.g. {"activations": {"g": "relu"}}.

    A cell that reads a lower layer's sequence (`depth_gated`: c_lower) is given it by the layer below; the lowest layer
    reads zeros. Parameters and states are named "0.W_i", "1.h", and those of the second direction "0.reverse.W_i".
    """

    def __init__(
        self,
        name: str,
        input_size: int,
        hidden_size: int,
        *,
        layers: int = 1,
        bidirectional: bool = False,
        reverse_options: Mapping[str, Any] | None = None,
        seed: int = 0,
        **settings: Any,
    ) -> None:
        count, seed = checks.depth("layers", layers), checks.positive("seed", seed, least=0)
        if "reverse" in settings:
            raise OptionError("a Stack has no option 'reverse': bidirectional=True reads in both directions.")
        self.directions = ("", "reverse") if checks.flag("bidirectional", bidirectional) else ("",)
        self.reverse_options = second_direction(reverse_options, self.directions != ("",))
        each = {"": settings, "reverse": {**settings, **self.reverse_options}}
        self._layers: dict[Key, Layer] = {}
        width = input_size
        for k in range(count):
            for d, direction in enumerate(self.directions):
                own_seed = seed + k * len(self.directions) + d
                layer = Layer(name, width, hidden_size, seed=own_seed, reverse=bool(direction), **each[direction])
                self._layers[k, direction] = layer
            _check_alike(self._level(k))
            width = sum(layer.spaces[layer.spec.states[layer.spec.outputs[0]]] for layer in self._level(k))
        self.count = count

    @property
    def parameters(self) -> Named:
        """Of all layers: "0.W_i" and so on."""
        return Named({prefix(key): layer.parameters for key, layer in self._layers.items()})

    @contextmanager
    def fixed(self) -> Iterator[None]:
        """As of `Layer`, for all of them."""
        with ExitStack() as all_of_them:
            for layer in self.layers:
                all_of_them.enter_context(layer.fixed())
            yield

    def _level(self, k: int) -> list[Layer]:
        return [self._layers[k, direction] for direction in self.directions]

    @property
    def layers(self) -> tuple[Layer, ...]:
        return tuple(self._layers.values())

    @property
    def spec(self) -> CellSpec:
        return self.layers[0].spec

    def forward(
        self,
        x: ArrayLike,
        state: Mapping[str, ArrayLike] | None = None,
        lengths: Any = None,
        resets: Any = None,
        *,
        save: bool | str = True,
    ) -> StackRun:
        """As `Layer.forward`; states by their prefixed names, e.g. {"0.h": (B, H), "1.reverse.c": (B, H)}."""
        return StackRun(self, x, checks.only("state", state, self._states), lengths, resets, save)

    def jvp(
        self,
        x: ArrayLike,
        direction: Mapping[str, Any],
        state: Mapping[str, ArrayLike] | None = None,
        lengths: Any = None,
        resets: Any = None,
    ) -> tuple[StackRun, Tangents]:
        """Run the stack, and push a direction through the run: arguments as of `forward` and of `StackRun.jvp`."""
        run = self.forward(x, state, lengths, resets)
        return run, run.jvp(direction)

    def hvp(
        self,
        x: ArrayLike,
        direction: Mapping[str, Any],
        d_output: ArrayLike | None = None,
        d_state: Mapping[str, ArrayLike] | None = None,
        *,
        dot_d_output: ArrayLike | None = None,
        dot_d_state: Mapping[str, ArrayLike] | None = None,
        state: Mapping[str, ArrayLike] | None = None,
        lengths: Any = None,
        resets: Any = None,
    ) -> tuple[StackRun, Gradients[Named]]:
        """Run the stack, and differentiate its backward along a direction: as `forward` and `StackRun.hvp`."""
        run = self.forward(x, state, lengths, resets)
        return run, run.hvp(direction, d_output, d_state, dot_d_output=dot_d_output, dot_d_state=dot_d_state)

    @property
    def _states(self) -> tuple[str, ...]:
        """The prefixed names of all states."""
        return tuple(f"{prefix(key)}.{name}" for key in self._layers for name in self.spec.states)


def second_direction(reverse_options: Mapping[str, Any] | None, bidirectional: bool) -> dict[str, Any]:
    """Options of the second direction, which are the cell's only."""
    if reverse_options is None:
        return {}
    if not isinstance(reverse_options, Mapping):
        raise ArgumentError(f"reverse_options must be a dict of a cell's options, got {reverse_options!r:.60}.")
    common = sorted(reverse_options.keys() & inspect.signature(Layer).parameters.keys())
    if common:
        raise OptionError(f"reverse_options: {common[0]} is of both directions: say it of the Stack.")
    if reverse_options and not bidirectional:
        raise OptionError("reverse_options are of the second direction: they need bidirectional=True.")
    return dict(reverse_options)


def _check_alike(level: list[Layer]) -> None:
    """Two directions have everything in common but their equations: a run names and joins what both have."""
    first, last = level[0], level[-1]
    for what in ("inputs", "outputs", "states", "parameters"):
        ours, theirs = (getattr(layer.spec, what) for layer in (first, last))
        if ours != theirs:
            raise OptionError(
                f"reverse_options: both directions must have the same {what}; the first has {', '.join(ours)}, the "
                f"second {', '.join(theirs)}."
            )
    if first.spaces != last.spaces:
        raise OptionError(f"reverse_options: both directions must have one size, got {first.spaces} and {last.spaces}.")
