"""A cell as a function: a `jax.pure_callback` with a `custom_vjp`.

What the backward needs is computed again from the arguments, which are all that is kept between the two.  The values
that the kernels save have a layout of their own and are several times the size of the output; a handle to them would
not survive `vmap`, a loop, or a callback that JAX repeats or leaves out.
"""

from collections.abc import Mapping
from types import ModuleType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lstm_numba import checks
from lstm_numba.jax import arguments
from lstm_numba.jax.host import Host, host
from lstm_numba.layer import Layer, _module
from lstm_numba.spec import CellSpec

Arrays = dict[str, Any]
# "parameters", "inputs", "state", each name -> array: what a call can be differentiated in.
Groups = dict[str, Arrays]


class Result(NamedTuple):
    """What one call gives.

    Attributes:
        output: (T, B, H), the cell's first output at every step; 0 past a row's end.
        state: name -> (B, H), each row's state after its last valid step.
        outputs: every output of the cell by its state's name.
    """

    output: Any
    state: Arrays
    outputs: Arrays


class Recurrent:
    """A recurrent cell as a function of its parameters and a batch of sequences.

    Args:
        name: a cell, one of `lstm_numba.cells()`; or, for a cell of one's own, its generated module, or a Layer of it,
            whose options and direction are taken too.
        threads, reverse, options: as for `lstm_numba.Layer`.

    Raises: UnknownCellError, OptionError, ArgumentError: for what cannot be made.
    """

    def __init__(
        self, name: str | ModuleType | Layer, *, threads: int = 1, reverse: bool = False, **options: Any
    ) -> None:
        if isinstance(name, Layer):
            name, reverse, options = name._module, name.reverse, {**name.options, **options}
        self._module = _module(name, options)
        self.spec: CellSpec = self._module.CELL
        # what the module was generated for is said by it
        self._options = {option: value for option, value in options.items() if option not in self.spec.chosen}
        settings = {
            "threads": checks.positive("threads", threads),
            "reverse": checks.flag("reverse", reverse),
            **self._options,
        }
        self._settings = tuple(
            (key, tuple(v) if isinstance(v, (list, np.ndarray)) else v) for key, v in settings.items()
        )
        self._run = jax.custom_vjp(self._forward, nondiff_argnums=(0,))
        self._run.defvjp(self._forward_keeping, self._backward)

    def __repr__(self) -> str:
        return f"Recurrent({self.spec.name!r})"

    def initial(
        self, input_size: int, hidden_size: int, *, dtype: Any = "float32", seed: int = 0, **sizes: Any
    ) -> Arrays:
        """Parameters, and constants of a cell that has some, as a new Layer has them: name -> array.

        Args: as for `lstm_numba.Layer`; float64 needs JAX's x64 mode.
        """
        layer = Layer(self._module, input_size, hidden_size, dtype=dtype, seed=seed, **self._options, **sizes)
        return {name: jnp.asarray(array) for name, array in layer._theta.items()}

    def __call__(
        self,
        parameters: Mapping[str, Any],
        x: Any,
        state: Mapping[str, Any] | None = None,
        lengths: Any = None,
        resets: Any = None,
        **inputs: Any,
    ) -> Result:
        """Run over a batch; differentiable in the parameters, x, the first states and the further inputs.

        Args:
            parameters: as `initial` gives them, e.g. "W_i" (H, N); constants get a gradient of 0.
            x: (T, B, N), time-major.
            state: first states, e.g. {"h": (B, H), "c": (B, H)}; what is left out is 0.
            lengths: (B,) integers in [0, T]; past a row's end its state is held and its outputs are 0.
            resets: (T, B) bool; before a step where it is true the row's state returns to its first value.
            inputs: the cell's further sequences, e.g. c_lower (T, B, H); what is left out is 0.

        All are float32, or all float64 in x64 mode, set for the process. Shapes and types are checked here, before
        anything runs. So are lengths, but inside `jit` they have no values yet: there, lengths outside [0, T] give NaN.
        `vmap` runs one call after the other. Forward mode and second derivatives are refused by JAX.

        Raises: ShapeError, DtypeError, ArgumentError, OptionError.
        """
        groups, sizes = arguments.checked(self.spec, parameters, x, state, inputs)
        steps, size = sizes.pop("T"), sizes.pop("B")
        marks = {"lengths": arguments.lengths(lengths, steps, size), "resets": arguments.resets(resets, steps, size)}
        # made here, not in the callback: what a layer refuses is refused while an error can still be raised
        layer = host(self._module, tuple(sizes.items()), groups["inputs"][self.spec.main].dtype.name, self._settings)
        fixed = {name: jax.lax.stop_gradient(groups["parameters"][name]) for name in self.spec.constants}
        groups["parameters"] |= fixed
        outputs, last = self._run(layer, groups, marks)
        return Result(outputs[self.spec.outputs[0]], last, outputs)

    # --- what JAX transforms

    def _forward(self, layer: Host, groups: Groups, marks: Arrays) -> tuple[Arrays, Arrays]:
        steps = groups["inputs"][self.spec.main].shape[0]
        states = {name: _like(array) for name, array in groups["state"].items()}
        outputs = {name: _like(states[name], steps) for name in self.spec.outputs}
        return _called(layer.forward, (outputs, states), groups, marks)

    def _forward_keeping(self, layer: Host, groups: Groups, marks: Arrays) -> tuple[Any, Any]:
        return self._forward(layer, groups, marks), (groups, marks)

    def _backward(
        self, layer: Host, kept: tuple[Groups, Arrays], arriving: tuple[Arrays, Arrays]
    ) -> tuple[Groups, None]:
        return _called(layer.backward, jax.tree.map(_like, kept[0]), *kept, *arriving), None


def _like(array: Any, *first: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct((*first, *array.shape), array.dtype)


def _called(function: Any, shapes: Any, *values: Any) -> Any:
    return jax.pure_callback(function, shapes, *values, vmap_method="sequential")
