"""Layers on top of each other, in one direction or both."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lstm_numba import checks
from lstm_numba.errors import OptionError
from lstm_numba.layer import Layer
from lstm_numba.parameters import Parameters
from lstm_numba.run import Gradients, Run
from lstm_numba.spec import CellSpec

Arrays = dict[str, NDArray[Any]]


class Named(Mapping[str, NDArray[Any]]):
    """The parameters of several layers under the layers' prefixes: "0.W_i", "1.reverse.U_f"."""

    def __init__(self, parts: Mapping[str, Parameters]) -> None:
        self.parts = parts
        self._where = {f"{prefix}.{name}": (part, name) for prefix, part in parts.items() for name in part}

    def __getitem__(self, key: str) -> NDArray[Any]:
        part, name = self._find(key)
        return part[name]

    def __setitem__(self, key: str, value: ArrayLike) -> None:
        part, name = self._find(key)
        part[name] = value

    def _find(self, key: str) -> tuple[Parameters, str]:
        if key not in self._where:
            raise checks.unknown(key, self._where)
        return self._where[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._where)

    def __len__(self) -> int:
        return len(self._where)

    @property
    def flats(self) -> tuple[NDArray[Any], ...]:
        """The flat vectors of all layers, in order."""
        return tuple(part.flat for part in self.parts.values())


class Stack:
    """Several layers of one cell; with both directions, the outputs of a layer's two are joined along the units.

    Args:
        name, input_size, hidden_size, dtype, seed, threads, options: as for `Layer`.
        layers: how many.
        bidirectional: read every sequence in both directions.

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
        seed: int = 0,
        **settings: Any,
    ) -> None:
        count, seed = checks.positive("layers", layers), checks.positive("seed", seed, least=0)
        if "reverse" in settings:
            raise OptionError("a Stack has no option 'reverse': bidirectional=True reads in both directions.")
        self.directions = ("", "reverse") if checks.flag("bidirectional", bidirectional) else ("",)
        self._layers: dict[tuple[int, str], Layer] = {}
        width = input_size
        for k in range(count):
            for d, direction in enumerate(self.directions):
                own_seed = seed + k * len(self.directions) + d
                layer = Layer(name, width, hidden_size, seed=own_seed, reverse=bool(direction), **settings)
                self._layers[k, direction] = layer
            width = sum(layer.spaces[layer.spec.states[layer.spec.outputs[0]]] for layer in self._level(k))
        self.count = count

    @property
    def parameters(self) -> Named:
        """Of all layers: "0.W_i" and so on."""
        return Named({_prefix(*key): layer.parameters for key, layer in self._layers.items()})

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
    ) -> "StackRun":
        """As `Layer.forward`; states by their prefixed names, e.g. {"0.h": (B, H), "1.reverse.c": (B, H)}."""
        known = tuple(f"{_prefix(*key)}.{name}" for key in self._layers for name in self.spec.states)
        given = checks.only("state", state, known)
        return StackRun(self, x, given, lengths, resets, save)


def _prefix(k: int, direction: str) -> str:
    return f"{k}.{direction}" if direction else str(k)


def _prefixed(parts: Mapping[str, Arrays]) -> Arrays:
    return {f"{prefix}.{name}": rows for prefix, part in parts.items() for name, rows in part.items()}


def _own(given: Mapping[str, Any], prefix: str, names: Mapping[str, str]) -> dict[str, Any]:
    """A layer's share of prefixed entries."""
    return {name: given[f"{prefix}.{name}"] for name in names if f"{prefix}.{name}" in given}


class StackRun:
    """What one forward of a stack gave: `output`, and `state` by prefixed names."""

    def __init__(
        self, stack: Stack, x: ArrayLike, state: Mapping[str, Any], lengths: Any, resets: Any, save: bool | str
    ) -> None:
        self._stack, self._runs = stack, {}
        for k in range(stack.count):
            for direction in stack.directions:
                layer, prefix = stack._layers[k, direction], _prefix(k, direction)
                own = _own(state, prefix, layer.spec.states)
                lower = self._lower(layer, k, direction)
                self._runs[k, direction] = layer.forward(x, own, lengths, resets, save=save, **lower)
            self.output = x = self._joined([self._runs[k, direction].output for direction in stack.directions])
        self.state = _prefixed({_prefix(*key): run.state for key, run in self._runs.items()})

    def _lower(self, layer: Layer, k: int, direction: str) -> Arrays:
        """The sequences of the layer below that a cell reads besides its output: c_lower is the output c below."""
        if k == 0:
            return {}
        below: Run = self._runs[k - 1, direction]
        return {name: below.outputs[name.removesuffix("_lower")] for name in _lower_inputs(layer)}

    @staticmethod
    def _joined(outputs: list[NDArray[Any]]) -> NDArray[Any]:
        return outputs[0] if len(outputs) == 1 else np.concatenate(outputs, axis=2)

    def backward(
        self, d_output: ArrayLike | None = None, d_state: Mapping[str, ArrayLike] | None = None
    ) -> Gradients[Named]:
        """As `Run.backward`, through all layers."""
        stack, found, states = self._stack, {}, {}
        known = tuple(f"{_prefix(*key)}.{name}" for key in stack._layers for name in stack.spec.states)
        given = checks.only("d_state", d_state, known)
        output = self.output
        above = checks.optional("d_output", d_output, output.dtype, output.shape, "the shape of the output")
        lower: dict[str, Arrays] = {direction: {} for direction in stack.directions}
        for k in reversed(range(stack.count)):
            shares = np.split(above, len(stack.directions), axis=2)
            passed = []
            for direction, share in zip(stack.directions, shares, strict=True):
                layer, prefix = stack._layers[k, direction], _prefix(k, direction)
                own = _own(given, prefix, layer.spec.states)
                arriving, run = np.ascontiguousarray(share), self._runs[k, direction]
                gradients = run.backward(arriving, own, d_outputs=lower[direction])
                found[prefix], states[prefix] = gradients.parameters, gradients.state
                read = _lower_inputs(layer)
                lower[direction] = {name.removesuffix("_lower"): gradients.inputs[name] for name in read}
                passed.append(gradients.x)
            above = sum(passed[1:], passed[0])
        ordered = {_prefix(*key): found[_prefix(*key)] for key in stack._layers}
        return Gradients(above, {"x": above}, Named(ordered), _prefixed(states))


def _lower_inputs(layer: Layer) -> tuple[str, ...]:
    return tuple(name for name in layer.spec.inputs if name.endswith("_lower"))
