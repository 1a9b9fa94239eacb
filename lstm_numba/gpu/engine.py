"""One layer's work on a CUDA device.

    1. pack       parameters -> one matrix for each product, in the type of storage
    2. forward    input products of many steps at once, then the time loop: one kernel for all steps where the matrices
                  of the loop fit on the device, else step by step a product and a pointwise stage, in a graph
    3. backward   steps reversed: adjoints of slots and states
    4. after      gradients of matrices and of input sequences, over all steps at once
    5. unpack     sums -> gradients of the parameters

Rows are not padded and not ordered: one whose end is passed keeps its state.  Every sum has a fixed order.
"""

import inspect
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from lstm_numba.gpu.operands import Operand, operands_of
from lstm_numba.gpu.plan import Plan, held_backward, held_forward, plan
from lstm_numba.types import Types
from lstm_numba.parameters import Parameters
from lstm_numba.spec import CellSpec

Arrays = dict[str, Any]

# Steps whose input products are computed at once where nothing is kept for a backward.
AHEAD = 64


@dataclass(frozen=True)
class Sequences:
    """What one forward reads, on the device.

    Attributes:
        inputs: name -> (T, B, space), contiguous, in the type of storage; past a row's end 0.
        start: state -> (B, space), in the type of the arithmetic.
        lengths: (B,) int64; running: the longest of them.
        resets: (T, B) uint8, or empty.
    """

    steps: int
    batch: int
    inputs: Arrays
    start: Arrays
    lengths: Any
    running: int
    resets: Any


@dataclass
class Tape:
    """What a forward leaves for its backward: every array by the name that it has in the generated functions."""

    sequences: Sequences
    arrays: Arrays
    saved: bool
    spent: bool = False


class CudaEngine:
    """The functions of a generated module at one size.

    Args:
        device: runs them: `lstm_numba.gpu.device.Device`, or `lstm_numba.gpu.interpreted.Interpreter` in plain Python.
        theta: parameters and constants, for their places only.
        periods: (H,) of the units, for a cell with a clock.
    """

    def __init__(
        self, module: ModuleType, device: Any, spaces: dict[str, int], types: Types, theta: Parameters, periods: Any
    ) -> None:
        self.spec: CellSpec = module.CELL
        self.module, self.device, self.spaces, self.types, self.theta = module, device, spaces, types, theta
        self.operands = operands_of(module, spaces)
        self.periods = periods
        self._names = {
            name: tuple(inspect.signature(unit).parameters)
            for name, unit in vars(module).items()
            if name.startswith(("unit_", "sweep_"))
        }

    # --- 1. pack

    def pack(self, flat: Any) -> Arrays:
        """Matrices, biases and pointwise parameters from the flat vector, by the names of the functions' arguments."""
        found: Arrays = {}
        for operand in self.operands:
            blocks = [self._matrix(flat, name, operand) for name in operand.matrices]
            found[f"weights_{operand.key}"] = self.device.to_low(self._stacked(blocks), self.types)
        for k, stage in enumerate(self.spec.stages, start=1):
            size = self.spaces[stage.space]
            biases = [self._zeros(size) if s.bias is None else self._part(flat, s.bias) for s in stage.slots]
            found[f"bias_{k}"] = self._stacked(biases)
        return {**found, **{f"param_{name}": self._part(flat, name) for name in self.spec.pointwise}}

    def _matrix(self, flat: Any, name: str | None, operand: Operand) -> Any:
        if name is None:
            return self._zeros(operand.units * operand.depth).reshape(operand.units, operand.depth)
        return self._part(flat, name).reshape(operand.units, operand.depth)

    def _stacked(self, parts: list[Any]) -> Any:
        return self.device.xp.concatenate(parts, axis=0)

    def _part(self, flat: Any, name: str) -> Any:
        offset = self.theta.offsets[name]
        return flat[offset : offset + self.theta.sizes[name]]

    # --- memory

    def _empty(self, length: int, dtype: Any = None) -> Any:
        return self.device.xp.empty(length, dtype or self.types.arithmetic)

    def _zeros(self, length: int, dtype: Any = None) -> Any:
        return self.device.xp.zeros(length, dtype or self.types.arithmetic)

    def _low(self, length: int) -> Any:
        """A copy in the type of storage; none where that is the arithmetic's."""
        return self._empty(length if self.types.is_half else 0, self.types.stored)

    def columns(self, k: int) -> int:
        """Numbers in one row of a stage's slots."""
        stage = self.spec.stages[k - 1]
        return len(stage.slots) * self.spaces[stage.space]

    # --- 2. forward

    def forward(self, packed: Arrays, given: Sequences, save: bool) -> Tape:
        """Run all steps; with `save`, keep what a backward needs."""
        depth, kept = self._lengths(given.steps, save)
        sizes = {"batch": given.batch, "depth": depth, "kept": kept}
        arrays = {**self.spaces, **sizes, **packed, **self.work(given.steps, given.batch, save)}
        arrays |= {"marked": int(given.resets.size > 0), "resets": given.resets, "lengths": given.lengths}
        arrays["periods"] = 0 if self.periods is None else self.periods
        arrays |= {f"seq_{name}": array.reshape(-1) for name, array in given.inputs.items()}
        arrays |= {f"start_{name}": array.reshape(-1) for name, array in given.start.items()}
        tape = Tape(given, arrays, save)
        self.replay(tape)
        return tape

    def _lengths(self, steps: int, save: bool) -> tuple[int, int]:
        """Steps whose states, and whose slots, have a place."""
        return (steps + 1, max(1, steps)) if save else (2, max(1, min(steps, AHEAD)))

    def work(self, steps: int, batch: int, save: bool) -> Arrays:
        """Work arrays, any contents, and the outputs: past a row's end they are 0."""
        spec = self.spec
        depth, kept = self._lengths(steps, save)
        rows = kept * batch
        arrays: Arrays = {f"slots_{k}": self._empty(rows * self.columns(k)) for k in range(1, len(spec.stages) + 1)}
        for name, space in spec.kept.items():
            arrays[f"kept_{name}"] = self._empty(rows * self.spaces[space])
        for state, space in spec.states.items():
            arrays[f"all_{state}"] = self._empty(depth * batch * self.spaces[space])
        for operand in self.operands:
            if not operand.is_input:
                arrays[f"low_{operand.name}"] = self._low((depth if operand.state else kept) * batch * operand.depth)
        for name in spec.outputs:
            arrays[f"out_{name}"] = self._zeros(steps * batch * self.spaces[spec.states[name]], self.types.stored)
        return arrays

    def replay(self, tape: Tape) -> None:
        """Fill the tape by running all steps."""
        given, arrays = tape.sequences, tape.arrays
        for state in self.spec.states:
            size = arrays[f"start_{state}"].size
            arrays[f"all_{state}"][:size] = arrays[f"start_{state}"]
        for operand in self.operands:
            if operand.state and self.types.is_half:
                start = self.device.to_low(arrays[f"start_{operand.state}"], self.types)
                arrays[f"low_{operand.name}"][: start.size] = start
        for begin in range(0, given.running, arrays["kept"]):
            end = min(begin + arrays["kept"], given.running)
            self._project(arrays, begin, end)
            self._run("forward", arrays, begin, end)
        tape.spent = False

    def _project(self, arrays: Arrays, begin: int, end: int) -> None:
        """Biases and input products of steps begin .. end - 1."""
        rows = (end - begin) * arrays["batch"]
        for k in range(1, len(self.spec.stages) + 1):
            slots = self._rows(arrays[f"slots_{k}"], self.columns(k), 0, rows)
            slots[...] = arrays[f"bias_{k}"]
            for operand in self.operands:
                if operand.stage == k and operand.is_input:
                    sequence = self._operand(arrays, operand, begin * arrays["batch"], rows)
                    self._multiply(slots[:, operand.slots], sequence, self._weights(arrays, operand).T)

    def _run(self, direction: str, arrays: Arrays, begin: int, end: int) -> None:
        """All steps in one kernel where a block can keep its share of the matrices, else step by step."""
        found = self._plan(direction, arrays["batch"])
        if found is None:
            run = self._forward_steps if direction == "forward" else self._backward_steps
            self.device.steps(run, arrays, begin, end)
            return
        known = {**arrays, **self._multiplied(arrays), **found.places}
        known |= {"begin": begin, "end": end, "parts": found.parts, "tile": found.tile}
        name = f"sweep_{direction}"
        arguments = {n: known[n] for n in self._names[name] if n != "barrier"}
        self.device.sweep(self.module, self.types, name, arguments, found)

    def _plan(self, direction: str, batch: int) -> Plan | None:
        """How a sweep runs for so many rows; None where there is none for this cell, or it does not fit."""
        if f"sweep_{direction}" not in self._names or self.device.limits is None:
            return None
        held = held_forward(self.operands) if direction == "forward" else held_backward(self.operands)
        size = self.spaces[self.spec.stages[0].space]
        return plan(held, size, batch, self.device.limits, self.types)

    def _multiplied(self, arrays: Arrays) -> Arrays:
        """What the products of a sweep read, in the type of storage."""
        half = self.types.is_half
        weights = {f"weights_{o.key}": self._weights(arrays, o).reshape(-1) for o in self.operands}
        slots = {f"operand_slots_{k}": f"{'low_' * half}slots_{k}" for k in range(1, len(self.spec.stages) + 1)}
        names = {f"operand_{o.name}": f"low_{o.name}" if half else o.source for o in self.operands if not o.is_input}
        found = {operand: arrays[name] for operand, name in (names | slots).items() if name in arrays}
        return found | weights

    def _forward_steps(self, arrays: Arrays, begin: int, end: int) -> None:
        for now in range(begin, end):
            for kind, number, space in self.spec.program:
                if kind == "affine":
                    self._affine(arrays, now, number)
                else:
                    self._unit("forward", arrays, now, number, space)

    def _affine(self, arrays: Arrays, now: int, k: int) -> None:
        """z += W v for what a stage multiplies at this step."""
        batch = arrays["batch"]
        slots = self._rows(arrays[f"slots_{k}"], self.columns(k), now % arrays["kept"] * batch, batch)
        for operand in self.operands:
            if operand.stage == k and not operand.is_input:
                first = now % arrays["depth" if operand.state else "kept"] * batch
                vectors = self._operand(arrays, operand, first, batch)
                self._multiply(slots[:, operand.slots], vectors, self._weights(arrays, operand).T)

    def _unit(self, direction: str, arrays: Arrays, now: int, number: int, space: str) -> None:
        name = f"unit_{direction}_{number}"
        arguments = {n: arrays.get(n, 0) for n in self._names[name]} | {"now": now, space: self.spaces[space]}
        self.device.launch(self.module, self.types, name, arguments, space)

    def _multiply(self, target: Any, left: Any, right: Any) -> None:
        """target += left right."""
        self.device.multiply(target, left, right, self.types)

    # --- places

    def _rows(self, array: Any, width: int, first: int, count: int) -> Any:
        return array[first * width : (first + count) * width].reshape(count, width)

    def _weights(self, arrays: Arrays, operand: Operand) -> Any:
        return arrays[f"weights_{operand.key}"]

    def _operand(self, arrays: Arrays, operand: Operand, first: int, count: int) -> Any:
        """Rows of what a product multiplies."""
        low = f"low_{operand.name}"
        name = low if self.types.is_half and not operand.is_input else operand.source
        return self._rows(arrays[name], operand.depth, first, count)

    def last_states(self, tape: Tape) -> Arrays:
        """Each row's state after its last valid step: (B, space)."""
        first = tape.sequences.running % tape.arrays["depth"] * tape.sequences.batch
        return {
            state: self._rows(tape.arrays[f"all_{state}"], self.spaces[space], first, tape.sequences.batch).copy()
            for state, space in self.spec.states.items()
        }

    def output(self, tape: Tape, name: str) -> Any:
        given = tape.sequences
        return tape.arrays[f"out_{name}"].reshape(given.steps, given.batch, self.spaces[self.spec.states[name]])

    # --- 3. backward

    def backward(self, tape: Tape, d_outputs: Arrays, d_state: Arrays) -> tuple[Arrays, Arrays, Any]:
        """Pull adjoints of outputs (T, B, space) and last states (B, space) back through all steps.

        Returns:
            gradients of the input sequences, of the first states, and of all parameters in one flat vector.
        """
        if tape.spent:
            outputs = {name: array for name, array in tape.arrays.items() if name.startswith("out_")}
            tape.arrays |= {name: self._zeros(array.size, array.dtype) for name, array in outputs.items()}
            self.replay(tape)
        tape.spent = True
        given = tape.sequences
        arrays = {**tape.arrays, **self.adjoints(given.steps, given.batch)}
        arrays |= {f"d_out_{name}": array.reshape(-1) for name, array in d_outputs.items()}
        for state, array in d_state.items():
            later = given.running % 2 * array.size
            arrays[f"d_all_{state}"][later : later + array.size] = array.reshape(-1)
        for k in range(1, len(self.spec.stages) + 1):  # steps that no row reaches
            arrays[f"slots_{k}"][given.running * given.batch * self.columns(k) :] = 0
            arrays[f"low_slots_{k}"][given.running * given.batch * self.columns(k) :] = 0
        self._run("backward", arrays, 0, given.running)
        inputs = {name: self._input_gradient(arrays, given, name) for name in self.spec.inputs}
        return inputs, self._first_states(arrays), self._gradients(arrays, given)

    def adjoints(self, steps: int, batch: int) -> Arrays:
        """Zeros for what is to be found."""
        spec, widest = self.spec, batch * max(self.spaces.values())
        arrays: Arrays = {}
        for state, space in spec.states.items():
            length = batch * self.spaces[space]
            arrays[f"d_start_{state}"], arrays[f"d_all_{state}"] = self._zeros(length), self._zeros(2 * length)
        for k in range(1, len(spec.stages) + 1):
            arrays[f"low_slots_{k}"] = self._low(steps * batch * self.columns(k))
        for name in spec.pointwise_inputs:
            arrays[f"d_seq_{name}"] = self._zeros(steps * batch * self.spaces[spec.inputs[name]])
        taken = [name for names in self._names.values() for name in names] + [o.target for o in self.operands]
        for name in dict.fromkeys(taken):
            if name.startswith(("d_kept_", "d_param_")):
                arrays[name] = self._zeros(widest)
        return arrays

    def _backward_steps(self, arrays: Arrays, begin: int, end: int) -> None:
        for now in range(end - 1, begin - 1, -1):
            for kind, number, space in reversed(self.spec.program):
                if kind == "affine":
                    self._affine_transposed(arrays, now, number)
                else:
                    self._unit("backward", arrays, now, number, space)

    def _affine_transposed(self, arrays: Arrays, now: int, k: int) -> None:
        """d_v += W' d_z."""
        batch = arrays["batch"]
        d_slots = self._d_slots(arrays, k, now * batch, batch)
        for operand in self.operands:
            if operand.stage == k and operand.target:
                first = now % 2 * batch if operand.state else 0
                target = self._rows(arrays[operand.target], operand.depth, first, batch)
                self._multiply(target, d_slots[:, operand.slots], self._weights(arrays, operand))

    def _d_slots(self, arrays: Arrays, k: int, first: int, count: int) -> Any:
        name = f"low_slots_{k}" if self.types.is_half else f"slots_{k}"
        return self._rows(arrays[name], self.columns(k), first, count)

    # --- 4. after

    def _input_gradient(self, arrays: Arrays, given: Sequences, name: str) -> Any:
        """(T, B, space): through products, and through scalar mathematics."""
        size, rows = self.spaces[self.spec.inputs[name]], given.steps * given.batch
        found = arrays.get(f"d_seq_{name}")
        found = self._zeros(rows * size) if found is None else found
        for operand in self.operands:
            if operand.is_input and operand.name == name:
                d_slots = self._d_slots(arrays, operand.stage, 0, rows)
                target = found.reshape(rows, size)
                self._multiply(target, d_slots[:, operand.slots], self._weights(arrays, operand))
        return self.device.to_low(found, self.types).reshape(given.steps, given.batch, size)

    def _first_states(self, arrays: Arrays) -> Arrays:
        batch = arrays["batch"]
        return {
            state: (
                self._rows(arrays[f"d_all_{state}"], self.spaces[space], 0, batch)
                + arrays[f"d_start_{state}"].reshape(batch, self.spaces[space])
            )
            for state, space in self.spec.states.items()
        }

    # --- 5. unpack

    def _gradients(self, arrays: Arrays, given: Sequences) -> Any:
        """The gradient of the flat vector of parameters."""
        flat = self._zeros(self.theta.flat.size)
        for operand in self.operands:
            self._matrix_gradients(arrays, operand, given.running * given.batch, flat)
        for k, stage in enumerate(self.spec.stages, start=1):
            slots = self._rows(arrays[f"slots_{k}"], self.columns(k), 0, given.running * given.batch)
            self._bias_gradients(stage, slots, flat)
        for name in self.spec.accumulated:
            rows = arrays[f"d_param_{name}"]
            shape = self.spec.parameters[name]
            if shape:
                size = self.spaces[shape[0]]
                self._part(flat, name)[...] = rows[: given.batch * size].reshape(given.batch, size).sum(axis=0)
            else:
                self._part(flat, name)[...] = rows.sum()
        return flat

    def _matrix_gradients(self, arrays: Arrays, operand: Operand, rows: int, flat: Any) -> None:
        """d_W = sum over steps and rows of d_z v'."""
        sums = self._zeros(len(operand.matrices) * operand.units * operand.depth).reshape(-1, operand.depth)
        d_slots = self._d_slots(arrays, operand.stage, 0, rows)[:, operand.slots]
        self._multiply(sums, d_slots.T, self._operand(arrays, operand, 0, rows))
        for place, name in enumerate(operand.matrices):
            if name in self.spec.parameters:
                block = sums[place * operand.units : (place + 1) * operand.units]
                self._part(flat, name)[...] += block.reshape(-1)

    def _bias_gradients(self, stage: Any, d_slots: Any, flat: Any) -> None:
        sums, size = d_slots.sum(axis=0), self.spaces[stage.space]
        for place, slot in enumerate(stage.slots):
            if slot.bias in self.spec.parameters:
                self._part(flat, slot.bias)[...] += sums[place * size : (place + 1) * size]
