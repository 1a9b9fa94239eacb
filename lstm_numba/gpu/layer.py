"""A layer on a CUDA device: one cell at one size, with parameters of its own or handed to every forward."""

from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from lstm_numba import checks, clock
from lstm_numba.errors import ArgumentError, SizeError
from lstm_numba.gpu import device as devices
from lstm_numba.gpu.engine import CudaEngine
from lstm_numba.gpu.exchange import Host, kind_of, on_device, on_host, taken
from lstm_numba.gpu.packing import joined
from lstm_numba.gpu.run import CudaRun
from lstm_numba.parameters import Parameters
from lstm_numba.types import Types

if TYPE_CHECKING:
    from lstm_numba.layer import Layer

Arrays = dict[str, Any]
LARGEST = 2**31 - 1  # rows that a product of cuBLAS can count


class DeviceLayer:
    """One generated cell at one size: what a forward reads is checked here, and its runs are made here.

    Args:
        places: where each parameter and constant lies in a flat vector of them all.

    Attributes:
        masks: matrix -> where it is zero by its structure.
    """

    def __init__(
        self,
        module: ModuleType,
        device: Any,
        spaces: dict[str, int],
        types: Types,
        places: Parameters,
        reverse: bool = False,
        periods: tuple[int, ...] | None = None,
    ) -> None:
        self.spec, self.device, self.spaces, self.types = module.CELL, device, spaces, types
        self.places, self.reverse, self.periods = places, reverse, periods or (1,)
        with device.active():
            modules, units, xp = len(self.periods), spaces["H"], device.xp
            known = clock.masks(self.spec.structures, modules, units)
            self.masks = {name: on_device(mask, xp) for name, mask in known.items()}
            each = None if periods is None else on_device(np.repeat(np.array(periods, np.int64), units // modules), xp)
            self.engine = CudaEngine(module, device, spaces, types, places, each)

    # --- parameters: name -> array, in the type of the arithmetic

    def theta(self, given: Any) -> Mapping[str, Any]:
        """What a forward computes with."""
        raise TypeError(type(self))

    def packed(self, theta: Mapping[str, Any]) -> Arrays:
        """The parameters, or a direction of them, as the products take them, structure applied."""
        xp, zero = self.device.xp, self.types.arithmetic.type(0)
        cleared = {name: xp.where(mask, zero, theta[name]) for name, mask in self.masks.items()}
        return self.engine.packing.pack({**theta, **cleared})

    def unpacked(self, flat: Any, give: Any) -> Any:
        """The gradients of the parameters for the user."""
        raise TypeError(type(self))

    def cleared(self, flat: Any) -> Parameters:
        """A flat vector by name, 0 where the structure says so."""
        found = self.places.of(flat)
        for name, mask in self.masks.items():
            found[name][mask] = 0
        return found

    def direction(self, given: Any) -> Mapping[str, Any]:
        """A direction of the parameters, checked; 0 for what is not given."""
        raise TypeError(type(self))

    # --- arguments

    def _taken(self, name: str, value: Any, wanted: str, shape: tuple[int | None, ...], read_from: str) -> Any:
        return taken(name, value, wanted, shape, read_from, self.device.xp, self.device.number)

    def optional(self, name: str, value: Any, wanted: str, shape: tuple[int, ...], read_from: str) -> Any:
        """As `taken`; zeros where None is given."""
        if value is None:
            kind = self.types.stored if wanted == self.types.storage else wanted
            return self.device.xp.zeros(shape, kind)
        return self._taken(name, value, wanted, shape, read_from)

    def run(
        self,
        theta: Any,
        x: Any,
        state: Any,
        lengths: Any,
        resets: Any,
        save: bool | str,
        inputs: Mapping[str, Any],
    ) -> CudaRun:
        """As `Layer.forward`, with these parameters."""
        exchange = kind_of(x, self.device.xp)
        with exchange.working(self.device):
            spec, spaces, stored = self.spec, self.spaces, self.types.storage
            source = f"it is (T, B, {spec.inputs[spec.main]}), the last one a size of the layer"
            found = {spec.main: self._taken(spec.main, x, stored, (None, None, spaces[spec.inputs[spec.main]]), source)}
            steps, size = found[spec.main].shape[:2]
            _require_countable(steps, size)
            further = tuple(name for name in spec.inputs if name != spec.main)
            checks.further(inputs, further)
            for name in further:
                shape, source = (steps, size, spaces[spec.inputs[name]]), f"(T, B) was read from {spec.main}"
                found[name] = self.optional(name, inputs.get(name), stored, shape, source)
            first = self.states("state", state, size)
            ends = self._ends(lengths, steps, size)
            marks = self._resets(resets, steps, size)
            return CudaRun(self, self.packed(self.theta(theta)), exchange, found, first, ends, marks, save)

    def states(self, what: str, given: Any, size: int) -> Arrays:
        """One array (B, space) for each state, in the type of the arithmetic; zeros where none is given."""
        spec, spaces = self.spec, self.spaces
        known = checks.only(what, given, tuple(spec.states))
        wanted, source = self.types.arithmetic.name, "B was read from x, the size from the layer"
        absent = {name: size * spaces[space] for name, space in spec.states.items() if known.get(name) is None}
        zeros = self.engine.shapes.beside(absent)
        shapes = {name: (size, spaces[space]) for name, space in spec.states.items()}
        return {
            name: zeros[name].reshape(shape)
            if name in zeros
            else self._taken(f"{what}[{name!r}]", known[name], wanted, shape, source)
            for name, shape in shapes.items()
        }

    def output(self, what: str, value: Any, name: str, run: CudaRun) -> Any:
        """The derivative of an output."""
        shape = (run.steps, run.size, self.spaces[self.spec.states[name]])
        return self.optional(what, value, self.types.storage, shape, "the shape of the output")

    def _resets(self, resets: Any, steps: int, size: int) -> Any:
        if resets is None:
            return None
        shape, source = (steps, size), "it is (T, B), read from x"
        return self._taken("resets", resets, "bool", shape, source).view(np.uint8)

    def _ends(self, lengths: Any, steps: int, size: int) -> Any:
        """Lengths decide what is launched, so that a device's are waited for."""
        if lengths is None:
            return None
        if self.device.is_capturing():
            raise ArgumentError(
                "lengths decide what is launched, and a CUDA graph that is being recorded launches the same every "
                "time: leave lengths out, or call the layer outside of the graph."
            )
        exchange, xp = kind_of(lengths, self.device.xp), self.device.xp
        if type(exchange) is not Host:
            lengths = on_host(exchange.take("lengths", lengths)[0], xp)
        return checks.lengths(lengths, steps, size)


def _require_countable(steps: int, size: int) -> None:
    if steps * size > LARGEST:
        raise SizeError(
            f"T x B = {steps} x {size} is more rows than a product on a CUDA device can count ({LARGEST}): take fewer "
            "steps or rows at once."
        )


class DeviceParameters(Parameters):
    """As Parameters, of arrays on the device; `p["W_i"] = w` takes any array."""

    device: Any

    @classmethod
    def on(cls, device: Any, like: Parameters, flat: Any) -> Self:
        """The names and places of other parameters in a vector on the device."""
        found = cls(like.shapes, flat.dtype, flat)
        found.device = device
        return found

    def of(self, flat: Any) -> Self:
        return self.on(self.device, self, flat)

    def __setitem__(self, name: str, value: Any) -> None:
        view, exchange = self[name], kind_of(value, self.device.xp)
        with exchange.working(self.device):
            array, _ = exchange.take(f"parameter {name}", value)
            checks.fitting(f"parameter {name}", array.shape, view.shape, "its shape in the layer")
            view[...] = array
            exchange.settle(self.device)


class Placed(DeviceLayer):
    """A layer's own parameters moved to the current device."""

    def __init__(self, layer: "Layer") -> None:
        self.layer, device = layer, devices.current()
        flat, size = on_device(layer._theta.flat, device.xp), layer.parameters.flat.size
        layer._theta = DeviceParameters.on(device, layer._theta, flat)
        layer._parameters = DeviceParameters.on(device, layer.parameters, flat[:size])
        layer._constants = DeviceParameters.on(device, layer.constants, flat[size:])
        super().__init__(
            layer._module, device, layer.spaces, layer.types, layer._theta, layer.reverse, layer._periods
        )

    def forward(
        self, x: Any, state: Any, lengths: Any, resets: Any, save: bool | str, inputs: Mapping[str, Any]
    ) -> CudaRun:
        """As `Layer.forward`."""
        return self.run(None, x, state, lengths, resets, save, inputs)

    def theta(self, given: None) -> Parameters:
        """Its own."""
        return self.layer._theta

    def unpacked(self, flat: Any, give: Any) -> Parameters:
        found = self.cleared(flat).flat[: self.layer.parameters.flat.size]
        return Parameters(self.layer.parameters.shapes, self.layer.dtype, give(found))

    def direction(self, given: Any) -> Mapping[str, Any]:
        """Name -> array."""
        known = checks.only("direction['parameters']", given, tuple(self.layer.parameters))
        wanted = self.types.arithmetic.name
        return {
            name: self.optional(f"direction['parameters'][{name!r}]", known.get(name), wanted, shape, "its parameter's")
            for name, shape in self.places.shapes.items()
        }

    def host(self) -> Any:
        """All parameters and constants as a NumPy array."""
        return on_host(self.layer._theta.flat, self.device.xp)


class Bound(DeviceLayer):
    """As `lstm_numba.bound.Bound`: a layer whose every forward is handed its parameters.

    Args:
        layout: for each array that it is handed, the parameters that lie in it.  One that lies in two is their sum,
            one that lies in none is 0.
    """

    def __init__(
        self,
        module: ModuleType,
        device: Any,
        spaces: dict[str, int],
        types: Types,
        layout: Sequence[tuple[str, ...]],
        reverse: bool = False,
        periods: tuple[int, ...] | None = None,
    ) -> None:
        spec, nothing = module.CELL, np.empty(0, types.arithmetic)
        named = {**spec.parameters, **spec.constants}
        shapes = {name: tuple(spaces[space] for space in shape) for name, shape in named.items()}
        self.layout = layout
        super().__init__(module, device, spaces, types, Parameters(shapes, types.arithmetic, nothing), reverse, periods)

    def named(self, arrays: Sequence[Any]) -> Arrays:
        """The parameters by name, from the arrays that they lie in."""
        xp, shapes = self.device.xp, self.places.shapes
        found: Arrays = {}
        for names, array in zip(self.layout, arrays, strict=True):
            part = Parameters({name: shapes[name] for name in names}, self.types.arithmetic, array.reshape(-1))
            for name, piece in part.items():
                found[name] = found[name] + piece if name in found else piece
        return {n: found[n] if n in found else xp.zeros(s, self.types.arithmetic) for n, s in shapes.items()}

    def theta(self, given: Sequence[Any]) -> Arrays:
        """One array for each part of the layout."""
        return self.named(self._checked("parameters", given))

    def direction(self, given: Sequence[Any]) -> Arrays:
        """As `theta`."""
        return self.named(self._checked("direction['parameters']", given))

    def _checked(self, what: str, given: Sequence[Any]) -> list[Any]:
        wanted = self.types.arithmetic.name
        return [
            self._taken(f"{what}[{k}]", array, wanted, self._joined(names), f"{', '.join(names)} lie in it")
            for k, (array, names) in enumerate(zip(given, self.layout, strict=True))
        ]

    def _joined(self, names: tuple[str, ...]) -> tuple[int, ...]:
        shapes = [self.places.shapes[name] for name in names]
        return (sum(shape[0] for shape in shapes), *shapes[0][1:]) if shapes[0] else ()

    def unpacked(self, flat: Any, give: Any) -> list[Any]:
        """One gradient for each array."""
        found, xp = self.cleared(flat), self.device.xp
        parts = [joined([found[name].reshape(-1) for name in names], xp) for names in self.layout]
        return [give(part.reshape(self._joined(names))) for part, names in zip(parts, self.layout, strict=True)]
