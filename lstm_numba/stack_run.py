"""One forward of a stack, and its backward: what each layer does, passed on upwards and pulled back downwards."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lstm_numba import checks
from lstm_numba.parameters import Parameters
from lstm_numba.prefixed import Key, Named, own, prefix, prefixed
from lstm_numba.run import Gradients, Run, Tangents

if TYPE_CHECKING:
    from lstm_numba.stack import Stack

Arrays = dict[str, NDArray[Any]]


class StackRun:
    """What one forward of a stack gave: `output`, and `state` by prefixed names."""

    def __init__(
        self, stack: Stack, x: ArrayLike, state: Mapping[str, Any], lengths: Any, resets: Any, save: bool | str
    ) -> None:
        self._stack = stack

        def run(key: Key, x: Any, lower: Arrays) -> Run:
            layer = stack._layers[key]
            first = own(state, key, layer.spec.states)
            return layer.forward(x, first, lengths, resets, save=save, **lower)

        self._runs: dict[Key, Run] = {}
        self.output = self._climbed(run, x, self._runs)
        self.state = prefixed({key: run.state for key, run in self._runs.items()})

    def _climbed(self, pass_on: Callable[[Key, Any, Arrays], Any], x: Any, found: dict[Key, Any]) -> Any:
        """From the lowest layer up: what each makes of the outputs below and of c_lower, the output c below.

        Args:
            pass_on: what a layer does; of its result `outputs` goes upwards.
            found: where the results are put.
        """
        for k in range(self._stack.count):
            for direction in self._stack.directions:
                below = found[k - 1, direction].outputs if k else {}
                lower = {name: below[name.removesuffix("_lower")] for name in self._lower if k}
                found[k, direction] = pass_on((k, direction), x, lower)
            outputs = [found[k, direction].output for direction in self._stack.directions]
            x = outputs[0] if len(outputs) == 1 else np.concatenate(outputs, axis=2)
        return x

    def _descended(self, pull: Callable[[Key, Any, Arrays], Gradients[Parameters]], above: Any) -> Gradients[Named]:
        """From the highest layer down: what each makes of the adjoints of its outputs, that of c by name."""
        stack, found = self._stack, {}
        lower: dict[str, Arrays] = {direction: {} for direction in stack.directions}
        for k in reversed(range(stack.count)):
            passed = []
            for direction, share in zip(stack.directions, np.split(above, len(stack.directions), axis=2), strict=True):
                gradients = pull((k, direction), np.ascontiguousarray(share), lower[direction])
                lower[direction] = {name.removesuffix("_lower"): gradients.inputs[name] for name in self._lower if k}
                found[k, direction] = gradients
                passed.append(gradients.x)
            above = None if passed[0] is None else sum(passed[1:], passed[0])
        parameters = Named({prefix(key): found[key].parameters for key in stack._layers})
        state = prefixed({key: found[key].state for key in stack._layers})
        return Gradients(above, {} if above is None else {stack.spec.main: above}, parameters, state)

    @property
    def _lower(self) -> tuple[str, ...]:
        """The sequences of the layer below that a cell reads besides its output."""
        return tuple(name for name in self._stack.spec.inputs if name.endswith("_lower"))

    def _adjoint(self, name: str, given: ArrayLike | None) -> NDArray[Any]:
        return checks.optional(name, given, self.output.dtype, self.output.shape, "the shape of the output")

    def backward(
        self,
        d_output: ArrayLike | None = None,
        d_state: Mapping[str, ArrayLike] | None = None,
        *,
        inputs: Collection[str] | None = None,
        parameters: Collection[str] | None = None,
    ) -> Gradients[Named]:
        """As `Run.backward`, through all layers; inputs=() leaves out dL/dx, `parameters` has prefixed names."""
        stack, arriving = self._stack, self._arriving("d_", d_state)
        wanted = checks.some("inputs", inputs, (stack.spec.main,))
        trained = dict.fromkeys(checks.some("parameters", parameters, tuple(stack.parameters)))

        def pull(key: Key, d_output: Any, d_outputs: Arrays) -> Gradients[Parameters]:
            some = {"inputs": None if key[0] else wanted, "parameters": own(trained, key, stack.spec.parameters)}
            return self._runs[key].backward(d_output, arriving[key], d_outputs=d_outputs, **some)

        return self._descended(pull, self._adjoint("d_output", d_output))

    def _arriving(self, kind: str, state: Mapping[str, ArrayLike] | None) -> dict[Key, dict[str, Any]]:
        """The adjoints of each layer's final states, or their changes."""
        stack = self._stack
        given = checks.only(f"{kind}state", state, stack._states)
        return {key: own(given, key, stack.spec.states) for key in stack._layers}

    # --- along a direction

    def jvp(self, direction: Mapping[str, Any]) -> Tangents:
        """As `Run.jvp`, through all layers.

        Args:
            direction: "x" (T, B, N), and two mappings by prefixed names, "parameters", e.g. {"1.W_i": (H, H)}, and
                "state", e.g. {"0.c": (B, H)}.  What is left out is 0.
        """
        return self._pushed(direction)[1]

    def _pushed(self, given: Mapping[str, Any]) -> tuple[dict[Key, dict[str, Any]], Tangents]:
        """The direction of everything that each layer reads, and the tangents of what the stack gave."""
        stack, main = self._stack, self._stack.spec.main
        known = checks.only("direction", given, (main, "parameters", "state"))
        theta = checks.only("direction['parameters']", known.get("parameters"), tuple(stack.parameters))
        state = checks.only("direction['state']", known.get("state"), stack._states)
        along: dict[Key, dict[str, Any]] = {}

        def push(key: Key, x: Any, lower: Arrays) -> Tangents:
            layer = stack._layers[key]
            parameters, first = own(theta, key, layer.parameters), own(state, key, layer.spec.states)
            along[key] = {main: x, **lower, "parameters": parameters, "state": first}
            return self._runs[key].jvp(along[key])

        found: dict[Key, Tangents] = {}
        output = self._climbed(push, known.get(main), found)
        last = prefixed({key: tangents.state for key, tangents in found.items()})
        return along, Tangents(output, {stack.spec.outputs[0]: output}, last)

    def hvp(
        self,
        direction: Mapping[str, Any],
        d_output: ArrayLike | None = None,
        d_state: Mapping[str, ArrayLike] | None = None,
        *,
        dot_d_output: ArrayLike | None = None,
        dot_d_state: Mapping[str, ArrayLike] | None = None,
    ) -> Gradients[Named]:
        """As `Run.hvp`, through all layers; `direction` as of `jvp`."""
        above, dot_above = self._adjoint("d_output", d_output), self._adjoint("dot_d_output", dot_d_output)
        states, dot_states = self._arriving("d_", d_state), self._arriving("dot_d_", dot_d_state)
        along, _ = self._pushed(direction)
        arrived: dict[Key, tuple[Any, Arrays]] = {}

        def pull(key: Key, d_output: Any, d_outputs: Arrays) -> Gradients[Parameters]:
            arrived[key] = d_output, d_outputs
            return self._runs[key].backward(d_output, states[key], d_outputs=d_outputs)

        def pull_changes(key: Key, dot_d_output: Any, dot_d_outputs: Arrays) -> Gradients[Parameters]:
            d_output, d_outputs = arrived[key]
            changes = {"dot_d_output": dot_d_output, "dot_d_outputs": dot_d_outputs, "dot_d_state": dot_states[key]}
            return self._runs[key].hvp(along[key], d_output, states[key], d_outputs=d_outputs, **changes)

        self._descended(pull, above)
        return self._descended(pull_changes, dot_above)
