"""A layer's parameters and engine on a CUDA device."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from lstm_numba import checks, clock
from lstm_numba.gpu import device as devices
from lstm_numba.gpu.engine import CudaEngine
from lstm_numba.gpu.exchange import Host, kind_of, taken
from lstm_numba.gpu.run import CudaRun
from lstm_numba.gpu.unavailable import require
from lstm_numba.parameters import Parameters

if TYPE_CHECKING:
    from lstm_numba.layer import Layer

Arrays = dict[str, Any]


class DeviceParameters(Parameters):
    """As Parameters, of arrays on the device; `p["W_i"] = w` takes any array."""

    def __setitem__(self, name: str, value: Any) -> None:
        view = self[name]
        xp = np if isinstance(self.flat, np.ndarray) else require("cupy")
        array, _ = kind_of(value, xp).take(f"parameter {name}", value)
        checks.fitting(f"parameter {name}", array.shape, view.shape, "its shape in the layer")
        view[...] = array


class Placed:
    """A layer on the current device: its parameters are moved there, and its runs are made here.

    Attributes:
        masks: matrix -> where it is zero by its structure.
    """

    def __init__(self, layer: "Layer") -> None:
        self.layer, self.device = layer, devices.current()
        xp, spec = self.device.xp, layer.spec
        flat, size = xp.asarray(layer._theta.flat), layer.parameters.flat.size
        layer._theta = DeviceParameters(layer._theta.shapes, layer.dtype, flat)
        layer.parameters = DeviceParameters(layer.parameters.shapes, layer.dtype, flat[:size])
        layer.constants = DeviceParameters(layer.constants.shapes, layer.dtype, flat[size:])
        modules, units = len(layer._periods or (1,)), layer.hidden_size
        periods = None if layer._periods is None else np.repeat(np.array(layer._periods, np.int64), units // modules)
        self.masks = {name: xp.asarray(mask) for name, mask in clock.masks(spec.structures, modules, units).items()}
        on_device = None if periods is None else xp.asarray(periods)
        self.engine = CudaEngine(layer._module, self.device, layer.spaces, layer.types, layer._theta, on_device)

    def packed(self) -> Arrays:
        """The parameters as the products take them, structure applied."""
        theta = self.layer._theta.copy() if self.masks else self.layer._theta
        self.layer._clear_masked(theta)
        return self.engine.packing.pack(theta.flat)

    # --- arguments

    def _taken(self, name: str, value: Any, wanted: str, shape: tuple[int | None, ...], read_from: str) -> Any:
        return taken(name, value, wanted, shape, read_from, self.device.xp, self.device.number)

    def forward(
        self, x: Any, state: Any, lengths: Any, resets: Any, save: bool | str, inputs: Mapping[str, Any]
    ) -> CudaRun:
        """As `Layer.forward`."""
        layer, exchange = self.layer, kind_of(x, self.device.xp)
        with exchange.stream():
            spec, spaces, stored = layer.spec, layer.spaces, layer.types.storage
            source = f"it is (T, B, {spec.inputs[spec.main]}), the last one a size of the layer"
            found = {spec.main: self._taken(spec.main, x, stored, (None, None, spaces[spec.inputs[spec.main]]), source)}
            steps, size = found[spec.main].shape[:2]
            further = tuple(name for name in spec.inputs if name != spec.main)
            checks.only("the layer's inputs", inputs, further)
            for name in further:
                shape = (steps, size, spaces[spec.inputs[name]])
                found[name] = self._optional(name, inputs.get(name), stored, shape, f"(T, B) was read from {spec.main}")
            first = self.states("state", state, size)
            ends = checks.lengths(self._on_host(lengths), steps, size)
            return CudaRun(self, exchange, found, first, ends, self._resets(resets, steps, size), save)

    def _optional(self, name: str, value: Any, wanted: str, shape: tuple[int, ...], read_from: str) -> Any:
        """As `_taken`; zeros where None is given."""
        if value is None:
            return self.device.xp.zeros(
                shape, self.layer.types.stored if wanted == self.layer.types.storage else wanted
            )
        return self._taken(name, value, wanted, shape, read_from)

    def states(self, what: str, given: Any, size: int) -> Arrays:
        """One array (B, space) for each state, in the type of the arithmetic; zeros where none is given."""
        spec, spaces = self.layer.spec, self.layer.spaces
        known = checks.only(what, given, tuple(spec.states))
        wanted, source = self.layer.dtype.name, "B was read from x, the size from the layer"
        return {
            name: self._optional(f"{what}[{name!r}]", known.get(name), wanted, (size, spaces[space]), source)
            for name, space in spec.states.items()
        }

    def output(self, what: str, value: Any, name: str, run: CudaRun) -> Any:
        """The derivative of an output."""
        shape = (run.steps, run.size, self.layer.spaces[self.layer.spec.states[name]])
        return self._optional(what, value, self.layer.types.storage, shape, "the shape of the output")

    def _resets(self, resets: Any, steps: int, size: int) -> Any:
        if resets is None:
            return None
        shape, source = (steps, size), "it is (T, B), read from x"
        return self._taken("resets", resets, "bool", shape, source).view(np.uint8)

    def _on_host(self, lengths: Any) -> Any:
        """Lengths decide what is launched, so that a device's are waited for."""
        exchange = kind_of(lengths, self.device.xp)
        if type(exchange) is Host:
            return lengths
        array = exchange.take("lengths", lengths)[0]
        return array.get()

    def host(self) -> Any:
        """All parameters and constants as a NumPy array."""
        xp, flat = self.device.xp, self.layer._theta.flat
        return flat if xp is np else xp.asnumpy(flat)
