"""The engine's work along a direction, step by step, on the tape that a forward left.

    1. pack       the direction of the parameters as the parameters are             (packing.py)
    2. forward    dot_z = W dot_v + dot_W v, and the pointwise stages' tangents
    3. backward   adjoints and their changes, side by side
    4. after      d_W = sum of d_z v', so its change is the sum of d_z dot_v' + dot_d_z v'
    5. unpack     as the gradients are                                              (packing.py)

An array's change has the array's name with `dot_` before it.
"""

from dataclasses import dataclass
from typing import Any

from lstm_numba.gpu.engine import Adjoints, CudaEngine, Tape
from lstm_numba.gpu.operands import Operand
from lstm_numba.gpu.shapes import Arrays

OPERANDS = ("seq_", "all_", "kept_", "low_")
SLOTS = ("slots_", "low_slots_")


@dataclass(frozen=True)
class Tangent:
    """Pushes one direction through the steps of a tape.

    Args:
        packed: the direction of the parameters, from `packing.pack`.
        inputs, start: directions of the sequences (T, B, space) and of the first states (B, space).
    """

    engine: CudaEngine
    tape: Tape
    packed: Arrays
    inputs: Arrays
    start: Arrays

    # --- 2. forward

    def forward(self, dot_stop: int) -> Arrays:
        """The changes, by the names of what changes.

        Args:
            dot_stop: 1 where what stop() holds back moves too, as the values of the tape do; else 0.
        """
        engine, given = self.engine, self.tape.given
        engine.renew(self.tape)
        made = {**engine.shapes.work(given.steps, given.batch, save=True), **self.packed}
        made |= {f"seq_{name}": array.reshape(-1) for name, array in self.inputs.items()}
        made |= {f"start_{name}": array.reshape(-1) for name, array in self.start.items()}
        engine.enter(made, self.start)
        arrays = {**self.tape.arrays, **_dotted(made), "dot_stop": engine.types.arithmetic.type(dot_stop)}
        self._project(arrays)
        engine.device.steps(engine.graphs, self._forward_steps, arrays, given.running)
        return made

    def _project(self, arrays: Arrays) -> None:
        """Biases and input products of all steps."""
        engine, rows = self.engine, self.tape.given.running * self.tape.given.batch
        for k in engine.shapes.stages:
            engine.slots(arrays, k, 0, rows, "dot_")[...] = arrays[f"dot_bias_{k}"]
        for operand in engine.operands:
            if operand.is_input:
                self._products(arrays, operand, 0, rows)

    def _products(self, arrays: Arrays, operand: Operand, first: int, rows: int) -> None:
        """dot_z += W dot_v + dot_W v."""
        engine = self.engine
        if arrays["dot_stop"] or not operand.is_stopped:
            engine.affine(arrays, operand, first, rows, slots="dot_", vector="dot_")
        engine.affine(arrays, operand, first, rows, slots="dot_", matrix="dot_")

    def _forward_steps(self, arrays: Arrays, steps: int) -> None:
        self.engine.walk("forward_tangent", arrays, range(steps), self._recurrent)

    def _recurrent(self, arrays: Arrays, operand: Operand, now: int) -> None:
        batch = self.tape.given.batch
        self._products(arrays, operand, now * batch, batch)

    # --- 3. backward

    def backward(self, d_outputs: Arrays, d_state: Arrays, dot_d_outputs: Arrays, dot_d_state: Arrays) -> Adjoints:
        """The changes of all that a backward finds, from adjoints of outputs and last states and their changes."""
        engine, given = self.engine, self.tape.given
        changes = self.forward(dot_stop=1)
        self.tape.spent = True
        arrays = {**self.tape.arrays, **engine.arriving(given, d_outputs, d_state)}
        changes |= engine.arriving(given, dot_d_outputs, dot_d_state)
        engine.silence(arrays, given)
        engine.silence(changes, given)
        engine.device.steps(engine.graphs, self._backward_steps, {**arrays, **_dotted(changes)}, given.running)
        inputs = {name: self._input_gradient(arrays, changes, name) for name in engine.spec.inputs}
        return engine.found(changes, given, inputs, self._gradients(arrays, changes))

    def _backward_steps(self, arrays: Arrays, steps: int) -> None:
        self.engine.walk("backward_tangent", arrays, range(steps - 1, -1, -1), self._transposed)

    def _transposed(self, arrays: Arrays, operand: Operand, now: int) -> None:
        """d_v += W' d_z, and dot_d_v += W' dot_d_z + dot_W' d_z."""
        pull = self.engine.affine_transposed
        pull(arrays, operand, now)
        pull(arrays, operand, now, target="dot_", slots="dot_")
        pull(arrays, operand, now, target="dot_", matrix="dot_")

    # --- 4. after

    def _gradients(self, arrays: Arrays, changes: Arrays) -> Any:
        """Of the flat vector of parameters: the sums of d_z dot_v', then those of dot_d_z v' and of dot_d_z."""
        engine, given = self.engine, self.tape.given
        moved = {name: a for name, a in changes.items() if name.startswith(OPERANDS) and not name.startswith(SLOTS)}
        flat, parameters = engine.shapes.zeros(engine.shapes.parameters), engine.spec.parameters
        engine.add_matrices({**arrays, **moved}, given, flat, parameters)
        arriving = {name: a for name, a in changes.items() if name.startswith((*SLOTS, "d_param_"))}
        engine.add_matrices({**arrays, **arriving}, given, flat, parameters)
        engine.add_others({**arrays, **arriving}, given, flat, parameters)
        return flat

    def _input_gradient(self, arrays: Arrays, changes: Arrays, name: str) -> Any:
        """dot_d_x = W' dot_d_z + dot_W' d_z, and what scalar mathematics gives."""
        engine, given = self.engine, self.tape.given
        found = engine.scalar_input_gradient(changes, given, name)
        weights = {key: array for key, array in arrays.items() if key.startswith("weights_")}
        engine.add_input_gradient({**changes, **weights}, given, name, found)
        turned = {key: array for key, array in changes.items() if key.startswith("weights_")}
        engine.add_input_gradient({**arrays, **turned}, given, name, found)
        return engine.shaped(engine.device.to_low(found, engine.types), given, engine.spec.inputs[name])


def _dotted(arrays: Arrays) -> Arrays:
    return {f"dot_{name}": array for name, array in arrays.items()}
