"""What runs inside the callbacks: NumPy arrays in and out.  Nothing here calls JAX, which would wait for itself."""

from collections.abc import Mapping
from functools import lru_cache
from threading import Lock
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lstm_numba.layer import Layer
from lstm_numba.run import Run

Arrays = dict[str, NDArray[Any]]
Groups = Mapping[str, Mapping[str, Any]]
Marks = Mapping[str, Any]


class Host:
    """A layer, whose parameters are those of one call."""

    def __init__(self, module: ModuleType, sizes: Mapping[str, int], dtype: str, settings: Mapping[str, Any]) -> None:
        # a cell may have no product with x, and so no N
        further: dict[str, Any] = {space: size for space, size in sizes.items() if space in module.CELL.spaces[2:]}
        self.layer = Layer(module, sizes.get("N", 1), sizes["H"], dtype=dtype, **settings, **further)
        self._lock = Lock()  # JAX calls from threads of its own

    def forward(self, groups: Groups, marks: Marks) -> tuple[Arrays, Arrays]:
        """Output sequences (T, B, space) and final states (B, space) by name."""
        with self._lock:
            run, valid = self._run(groups, marks, save=False)
        return _unless(valid, run.outputs), _unless(valid, run.state)

    def backward(self, groups: Groups, marks: Marks, d_outputs: Mapping[str, Any], d_state: Mapping[str, Any]) -> Any:
        """The gradients, in the shape of `groups`; constants have 0."""
        with self._lock:
            run, valid = self._run(groups, marks, save=True)
            found = run.backward(None, _arrays(d_state), d_outputs=_arrays(d_outputs))
        fixed = {name: np.zeros_like(array) for name, array in self.layer.constants.items()}
        parameters = {**dict(found.parameters), **fixed}
        given = {"parameters": parameters, "inputs": found.inputs, "state": found.state}
        return {group: _unless(valid, arrays) for group, arrays in given.items()}

    def _run(self, groups: Groups, marks: Marks, save: bool) -> tuple[Run, bool]:
        """The run, and whether its lengths were lengths."""
        for name, array in groups["parameters"].items():
            self.layer._theta[name] = np.asarray(array)
        inputs = _arrays(groups["inputs"])
        x = inputs.pop(self.layer.spec.main)
        given, resets = (None if marks[key] is None else np.asarray(marks[key]) for key in ("lengths", "resets"))
        lengths = None if given is None else np.clip(given, 0, len(x))
        run = self.layer.forward(x, _arrays(groups["state"]), lengths, resets, save=save, **inputs)
        return run, given is None or bool(np.all(given == lengths))


@lru_cache(maxsize=64)
def host(
    module: ModuleType, sizes: tuple[tuple[str, int], ...], dtype: str, settings: tuple[tuple[str, Any], ...]
) -> Host:
    """The same one for the same arguments."""
    return Host(module, dict(sizes), dtype, dict(settings))


def _arrays(given: Mapping[str, Any]) -> Arrays:
    return {name: np.asarray(array) for name, array in given.items()}


def _unless(valid: bool, arrays: Mapping[str, NDArray[Any]]) -> Arrays:
    """The arrays, or NaN in their place: a callback has no other way to say that it was asked for nonsense."""
    return {name: array if valid else np.full_like(array, np.nan) for name, array in arrays.items()}
