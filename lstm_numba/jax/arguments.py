"""What a call hands in, checked before anything is traced further: inside a callback an error would be undefined.

Arrays may be tracers, which have a shape and a type but no values.
"""

from collections.abc import Mapping
from threading import Thread
from typing import Any

import jax
import jax.numpy as jnp

from lstm_numba import checks
from lstm_numba.errors import ArgumentError, DtypeError, ShapeError
from lstm_numba.spec import CellSpec

Arrays = dict[str, Any]


def checked(
    spec: CellSpec, parameters: Any, x: Any, state: Any, inputs: Mapping[str, Any]
) -> tuple[dict[str, Arrays], dict[str, int]]:
    """All arrays that a call can be differentiated in, by group, zeros for what is left out; and every size."""
    main, shapes = spec.main, {**spec.parameters, **spec.constants}
    checks.further(inputs, tuple(name for name in spec.inputs if name != main))
    weights = checks.only("parameters", _given("parameters", parameters), tuple(shapes))
    missing = [name for name in shapes if name not in weights]
    if missing:
        raise ArgumentError(f"parameters lacks {missing[0]!r}: {spec.name} has {', '.join(shapes)}; see `initial`.")
    sizes = _Sizes()
    sequence = sizes.array(main, x, ("T", "B", spec.inputs[main]))
    if sequence.dtype == "float64":
        _check_threads()
    found = {name: sizes.array(f"parameters[{name!r}]", weights[name], axes) for name, axes in shapes.items()}
    first = sizes.group("state", checks.only("state", state, tuple(spec.states)), spec.states, ("B",))
    further = sizes.group("inputs", {**inputs, main: sequence}, spec.inputs, ("T", "B"))
    return {"parameters": found, "inputs": further, "state": first}, dict(sizes)


def _given(what: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ArgumentError(f"{what} must be a dict of arrays, got {type(value).__name__}: see `initial`.")
    return value


def _check_threads() -> None:
    """Callbacks run in JAX's own threads; where these do not have x64 mode, they are given float32."""
    found: list[bool] = []
    other = Thread(target=lambda: found.append(bool(jax.config.jax_enable_x64)))
    other.start()
    other.join()
    if found != [True]:
        raise DtypeError(
            "float64 needs x64 mode in every thread, and jax.enable_x64 sets it in one: set it with "
            "jax.config.update('jax_enable_x64', True), at the start of the program."
        )


class _Sizes(dict[str, int]):
    """Axis -> size, each with the array that it was read from first; all arrays have the type of the first."""

    def __init__(self) -> None:
        super().__init__()
        self.read_from: dict[str, str] = {}
        self.dtype: Any = None

    def array(self, name: str, value: Any, axes: tuple[str, ...]) -> Any:
        array = value if isinstance(value, jax.Array) else jnp.asarray(checks.as_array(name, value))
        self._check_type(name, array.dtype)
        if array.ndim != len(axes) or any(self.get(a, n) != n for a, n in zip(axes, array.shape, strict=True)):
            known = [f"{a} = {self[a]} was read from {self.read_from[a]}" for a in axes if a in self]
            raise ShapeError(f"{name} has shape {array.shape}, expected ({', '.join(axes)}): {', '.join(known)}.")
        for axis, size in zip(axes, array.shape, strict=True):
            self.setdefault(axis, size)
            self.read_from.setdefault(axis, name)
        return array

    def _check_type(self, name: str, dtype: Any) -> None:
        self.dtype = self.dtype or dtype
        if dtype.name not in checks.DTYPES or dtype != self.dtype:
            raise DtypeError(
                f"{name} must be float32, or float64 in JAX's x64 mode, as the sequences and all parameters are "
                f"({self.dtype} was read from the first), got {dtype}."
            )

    def group(self, what: str, given: Mapping[str, Any], spaces: Mapping[str, str], before: tuple[str, ...]) -> Arrays:
        """Arrays (*before, space) by name, zeros for what is left out."""
        found = {}
        for name, space in spaces.items():
            axes = (*before, space)
            if given.get(name) is not None:
                found[name] = self.array(f"{what}[{name!r}]", given[name], axes)
            elif space not in self:
                raise ArgumentError(f"{what} must have {name!r}: nothing else says what the size {space} is.")
            else:
                found[name] = jnp.zeros([self[axis] for axis in axes], self.dtype)
        return found


def lengths(value: Any, steps: int, batch: int) -> Any:
    """(B,), values checked where there are some."""
    if value is None or not isinstance(value, jax.core.Tracer):
        found = checks.lengths(value, steps, batch)
        return None if found is None else jnp.asarray(found)
    if value.dtype.kind not in "iu":
        raise DtypeError(f"lengths must be integers, got {value.dtype}.")
    if value.shape != (batch,):
        raise ShapeError(f"lengths has shape {value.shape}, expected ({batch},): one for each row of x.")
    return value


def resets(value: Any, steps: int, batch: int) -> Any:
    """(T, B)."""
    if value is None or not isinstance(value, jax.core.Tracer):
        found = checks.resets(value, steps, batch)
        return None if found is None else jnp.asarray(found.view(bool))
    if value.dtype != bool:
        raise DtypeError(f"resets must be bool, got {value.dtype}.")
    if value.shape != (steps, batch):
        raise ShapeError(f"resets has shape {value.shape}, expected (T, B) = ({steps}, {batch}), read from x.")
    return value
