"""One layer's work on a CUDA device.

    1. pack       parameters -> one matrix for each product, in the type of storage         (packing.py)
    2. forward    input products of many steps at once, then the time loop: one kernel for all steps where the matrices
                  of the loop fit on the device, else step by step a product and a pointwise stage, in a graph
    3. backward   steps reversed: adjoints of slots and states
    4. after      gradients of matrices and of input sequences, over all steps at once
    5. unpack     sums -> gradients of the parameters                                       (packing.py)

Rows are not padded and not ordered: one whose end is passed keeps its state.  Every sum has a fixed order.
"""

from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from lstm_numba.gpu.operands import Operand
from lstm_numba.gpu.packing import Packing
from lstm_numba.gpu.plan import Plan
from lstm_numba.gpu.shapes import Arrays, Shapes
from lstm_numba.gpu.sweeps import Sweeps
from lstm_numba.parameters import Parameters
from lstm_numba.types import Types


@dataclass(frozen=True)
class Sequences:
    """What one forward reads, on the device.

    Attributes:
        inputs: name -> (T, B, space), contiguous, in the type of storage; past a row's end 0.
        start: state -> (B, space), in the type of the arithmetic, what a reset returns to; entering: the state before
            the first of these steps, which is the first state too where they are all.
        lengths: (B,) int64; running: the longest of them; is_full: all are alike, and nothing is reset.
        resets: (T B,) uint8, or empty.
    """

    steps: int
    batch: int
    inputs: Arrays
    start: Arrays
    entering: Arrays
    lengths: Any
    running: int
    is_full: bool
    resets: Any


@dataclass(frozen=True)
class Adjoints:
    """What a backward found.

    Attributes:
        inputs: (T, B, space), in the type of storage.
        entering: of the states before the first step; restarts: of the first states, where rows began anew.
        flat: of all parameters and constants.
    """

    inputs: Arrays
    entering: Arrays
    restarts: Arrays
    flat: Any


@dataclass
class Tape:
    """What a forward leaves for its backward: every array by the name that it has in the generated functions.

    Attributes:
        last: steps after which its states are the last ones; spent: whether a backward has worked in the arrays.
    """

    given: Sequences
    arrays: Arrays
    saved: bool
    last: int = 0
    spent: bool = False


class CudaEngine:
    """The functions of a generated module at one size.

    Args:
        device: runs them: `lstm_numba.gpu.device.Device`, or `lstm_numba.gpu.interpreted.Interpreter` in plain Python.
        places: where parameters and constants lie in a flat vector of them all.
        periods: (H,) of the units, for a cell with a clock.
    """

    def __init__(
        self, module: ModuleType, device: Any, spaces: dict[str, int], types: Types, places: Parameters, periods: Any
    ) -> None:
        self.module, self.device, self.types, self.periods = module, device, types, periods
        self.shapes, self.graphs = Shapes(module, spaces, types, device.xp), OrderedDict[Any, Any]()
        self.packing, self.sweeps = Packing(self.shapes, places, device), Sweeps(module, self.shapes, device)
        self.bytes: dict[Any, tuple[int, int]] = {}
        self.spec, self.spaces, self.operands = self.shapes.spec, spaces, self.shapes.operands

    def counted(self, count: Callable[..., tuple[int, int]], *sizes: Any) -> tuple[int, int]:
        """What a run of these sizes takes, counted once."""
        key = count, sizes
        if key not in self.bytes:
            self.bytes[key] = count(self, *sizes)
        return self.bytes[key]

    # --- 2. forward

    def forward(self, packed: Arrays, given: Sequences, save: bool) -> Tape:
        """Run all steps; with `save`, keep what a backward needs."""
        arrays = {**self.spaces, **packed, **self.shapes.work(given.steps, given.batch, save)}
        arrays |= {"batch": given.batch, "marked": int(given.resets.size > 0), "since": 0}
        arrays |= {"resets": given.resets, "lengths": given.lengths[: 0 if given.is_full else None]}
        arrays |= {"periods": 0 if self.periods is None else self.periods}
        arrays |= {f"seq_{name}": array.reshape(-1) for name, array in given.inputs.items()}
        arrays |= {f"start_{name}": array.reshape(-1) for name, array in given.start.items()}
        tape = Tape(given, arrays, save)
        self.replay(tape)
        return tape

    def replay(self, tape: Tape) -> None:
        """Fill the tape by running all steps."""
        arrays, given, running = tape.arrays, tape.given, tape.given.running
        at_once = self.shapes.at_once(given.steps, given.batch, tape.saved)
        self.enter(arrays, given.entering)
        for begin in range(0, running, at_once):
            count, some = min(at_once, running - begin), self._since(arrays, begin) if begin else arrays
            self._project(some, count)
            self._run("forward", some, count)
            tape.last = count
            if begin + count < running:
                self._go_on(arrays, count)
        tape.spent = False

    def _since(self, arrays: Arrays, begin: int) -> Arrays:
        """Where the steps from one on find what is as long as the sequence; the other arrays begin anew with them."""
        rows, states, found = begin * arrays["batch"], self.spec.states, {"since": begin}
        for name, space in self.spec.inputs.items():
            found[f"seq_{name}"] = arrays[f"seq_{name}"][rows * self.spaces[space] :]
        for name in self.spec.outputs:
            found[f"out_{name}"] = arrays[f"out_{name}"][rows * self.spaces[states[name]] :]
        return {**arrays, **found, "resets": arrays["resets"][rows:], "lengths": arrays["lengths"] - begin}

    def _go_on(self, arrays: Arrays, count: int) -> None:
        """The states after so many steps are those before the next ones."""
        rows = count * arrays["batch"]
        places = {f"all_{state}": self.spaces[space] for state, space in self.spec.states.items()}
        places |= {f"low_{o.name}": o.depth for o in self.operands if o.state}
        for name, width in places.items():
            array = arrays[name]
            array[: arrays["batch"] * width] = array[rows * width : (rows + arrays["batch"]) * width]

    def renew(self, tape: Tape) -> None:
        """Run all steps again if a backward has worked in the tape's arrays."""
        if tape.spent:
            tape.arrays |= self.shapes.outputs(tape.given.steps, tape.given.batch)  # those of the first time are given
            self.replay(tape)

    def enter(self, arrays: Arrays, states: Arrays) -> None:
        """The states (B, space) before the first step, as the steps and their products find them."""
        for state, array in states.items():
            arrays[f"all_{state}"][: array.size] = array.reshape(-1)
        for operand in self.operands:
            if operand.state and self.types.is_half:
                low = self.device.to_low(states[operand.state].reshape(-1), self.types)
                arrays[f"low_{operand.name}"][: low.size] = low

    def _project(self, arrays: Arrays, steps: int) -> None:
        """Biases and input products of so many steps."""
        rows = steps * arrays["batch"]
        for k in self.shapes.stages:
            self.slots(arrays, k, 0, rows)[...] = arrays[f"bias_{k}"]
        for operand in self.operands:
            if operand.is_input:
                self.affine(arrays, operand, 0, rows)

    def affine(
        self,
        arrays: Arrays,
        operand: Operand,
        first: int,
        rows: int,
        slots: str = "",
        matrix: str = "",
        vector: str = "",
    ) -> None:
        """z += W v, each of which may be `dot_`, a change."""
        target = self.slots(arrays, operand.stage, first, rows, slots)[:, operand.slots]
        weights = arrays[f"{matrix}weights_{operand.key}"]
        self._multiply(target, self._operand(arrays, operand, first, rows, vector), weights.T)

    def _forward_steps(self, arrays: Arrays, steps: int) -> None:
        self.walk("forward", arrays, range(steps), self._recurrent)

    def _recurrent(self, arrays: Arrays, operand: Operand, now: int) -> None:
        """z += W v at one step."""
        self.affine(arrays, operand, now * arrays["batch"], arrays["batch"])

    def last_states(self, tape: Tape, changes: Arrays | None = None) -> Arrays:
        """Each row's state after its last valid step, or its change: (B, space)."""
        batch, arrays = tape.given.batch, tape.arrays if changes is None else changes
        first = tape.last * batch
        return {
            state: self._rows(arrays[f"all_{state}"], self.spaces[space], first, batch).copy()
            for state, space in self.spec.states.items()
        }

    def output(self, tape: Tape, name: str, changes: Arrays | None = None) -> Any:
        """(T, B, space), or its change."""
        arrays = tape.arrays if changes is None else changes
        return self.shaped(arrays[f"out_{name}"], tape.given, self.spec.states[name])

    def shaped(self, flat: Any, given: Sequences, space: str) -> Any:
        """A sequence as (T, B, space)."""
        return flat.reshape(given.steps, given.batch, self.spaces[space])

    # --- both ways

    def _run(self, direction: str, arrays: Arrays, count: int) -> None:
        """All steps in one kernel where a block can keep its share of the matrices, else step by step."""
        if not count:
            return
        found = self.plan(direction, arrays["batch"])
        if found is None:
            steps = self._forward_steps if direction == "forward" else self._backward_steps
            self.device.steps(self.graphs, steps, arrays, count)
            return
        self.sweeps.run(direction, arrays, count, found)
        for operand in self.operands if direction == "backward" else ():
            if operand.state and operand.target:  # no step of a sweep stands before the first one
                self.affine_transposed(arrays, operand, 0)

    def plan(self, direction: str, batch: int) -> Plan | None:
        """How a sweep runs for so many rows; None where there is none for this cell, or it does not fit."""
        return self.sweeps.plan(direction, batch)

    def walk(self, way: str, arrays: Arrays, steps: range, product: Callable[[Arrays, Operand, int], None]) -> None:
        """A time loop, step by step: its units of this way, and the product of every operand that it multiplies."""
        back = way.startswith("backward")
        program = self.spec.program[::-1] if back else self.spec.program
        for now in steps:
            for kind, number, space in program:
                if kind == "pointwise":
                    self.unit(way, arrays, now, number, space)
                    continue
                for operand in self.operands:
                    if operand.stage == number and (operand.target if back else not operand.is_input):
                        product(arrays, operand, now)

    def unit(self, direction: str, arrays: Arrays, now: int, number: int, space: str) -> None:
        name = f"unit_{direction}_{number}"
        arguments = {n: arrays.get(n, 0) for n in self.shapes.names[name]} | {"now": now, space: self.spaces[space]}
        self.device.launch(self.module, self.types, name, arguments, space)

    def _multiply(self, target: Any, left: Any, right: Any) -> None:
        """target += left right."""
        self.device.multiply(target, left, right, self.types)

    # --- places

    def _rows(self, array: Any, width: int, first: int, count: int) -> Any:
        return array[first * width : (first + count) * width].reshape(count, width)

    def slots(self, arrays: Arrays, k: int, first: int, count: int, kind: str = "") -> Any:
        return self._rows(arrays[f"{kind}slots_{k}"], self.shapes.columns(k), first, count)

    def _d_slots(self, arrays: Arrays, operand: Operand, first: int, count: int, kind: str = "") -> Any:
        """The adjoints of the slots that an operand reaches, as products take them."""
        array = arrays[f"{kind}low_slots_{operand.stage}"]
        return self._rows(array, self.shapes.columns(operand.stage), first, count)[:, operand.slots]

    def _operand(self, arrays: Arrays, operand: Operand, first: int, count: int, kind: str = "") -> Any:
        """Rows of what a product multiplies."""
        is_low = self.types.is_half and not operand.is_input
        name = f"{kind}low_{operand.name}" if is_low else f"{kind}{operand.source}"
        return self._rows(arrays[name], operand.depth, first, count)

    # --- 3. backward

    def backward(
        self, tape: Tape, d_outputs: Arrays, d_state: Arrays, names: Iterable[str], parameters: Collection[str]
    ) -> Adjoints:
        """Pull adjoints of outputs (T, B, space) and last states (B, space) back through all steps, to the inputs of
        these names and to these parameters.
        """
        given = tape.given
        self.renew(tape)
        tape.spent = True
        arrays = {**tape.arrays, **self.arriving(given, d_outputs, d_state)}
        self.silence(arrays, given)
        self._run("backward", arrays, given.running)
        inputs = {name: self._input_gradient(arrays, given, name) for name in names}
        flat = self.shapes.zeros(self.shapes.parameters)
        self.add_matrices(arrays, given, flat, parameters)
        self.add_others(arrays, given, flat, parameters)
        return self.found(arrays, given, inputs, flat)

    def arriving(self, given: Sequences, d_outputs: Arrays, d_state: Arrays) -> Arrays:
        """The adjoints that come in, and zeros for those that are to be found."""
        arrays = self.shapes.adjoints(given.steps, given.batch)
        arrays |= {f"d_out_{name}": array.reshape(-1) for name, array in d_outputs.items()}
        for state, array in d_state.items():
            later = given.running % 2 * array.size
            arrays[f"d_all_{state}"][later : later + array.size] = array.reshape(-1)
        return arrays

    def silence(self, arrays: Arrays, given: Sequences) -> None:
        """The adjoints of the slots at steps that no row reaches are 0."""
        for k in self.shapes.stages:
            beyond = given.running * given.batch * self.shapes.columns(k)
            arrays[f"slots_{k}"][beyond:] = arrays[f"low_slots_{k}"][beyond:] = 0

    def found(self, arrays: Arrays, given: Sequences, inputs: Arrays, flat: Any) -> Adjoints:
        """What a backward found."""
        size, spaces = given.batch, self.spec.states.items()
        entering = {s: self._rows(arrays[f"d_all_{s}"], self.spaces[space], 0, size).copy() for s, space in spaces}
        restarts = {s: arrays[f"d_start_{s}"].reshape(size, self.spaces[space]) for s, space in spaces}
        return Adjoints(inputs, entering, restarts, flat)

    def _backward_steps(self, arrays: Arrays, steps: int) -> None:
        self.walk("backward", arrays, range(steps - 1, -1, -1), self.affine_transposed)

    def affine_transposed(
        self, arrays: Arrays, operand: Operand, now: int, target: str = "", matrix: str = "", slots: str = ""
    ) -> None:
        """d_v += W' d_z, each of which may be `dot_`, a change."""
        batch, array = arrays["batch"], arrays[f"{target}{operand.target}"]
        d_vector = self._rows(array, operand.depth, now % 2 * batch if operand.state else 0, batch)
        d_slots = self._d_slots(arrays, operand, now * batch, batch, slots)
        self._multiply(d_vector, d_slots, arrays[f"{matrix}weights_{operand.key}"])

    # --- 4. after

    def _input_gradient(self, arrays: Arrays, given: Sequences, name: str) -> Any:
        """(T, B, space): through products, and through scalar mathematics."""
        found = self.scalar_input_gradient(arrays, given, name)
        self.add_input_gradient(arrays, given, name, found)
        return self.shaped(self.device.to_low(found, self.types), given, self.spec.inputs[name])

    def scalar_input_gradient(self, arrays: Arrays, given: Sequences, name: str) -> Any:
        """(T B, space): what scalar mathematics gives."""
        size, rows = self.spaces[self.spec.inputs[name]], given.steps * given.batch
        found = arrays.get(f"d_seq_{name}")
        return (self.shapes.zeros(rows * size) if found is None else found).reshape(rows, size)

    def add_input_gradient(self, arrays: Arrays, given: Sequences, name: str, found: Any) -> None:
        """d_x += W' d_z."""
        for operand in self.operands:
            if operand.is_input and operand.name == name:
                d_slots = self._d_slots(arrays, operand, 0, given.steps * given.batch)
                self._multiply(found, d_slots, arrays[f"weights_{operand.key}"])

    def add_matrices(self, arrays: Arrays, given: Sequences, flat: Any, parameters: Collection[str]) -> None:
        """To the gradient of the flat vector of parameters: d_W = sum over steps and rows of d_z v'."""
        rows = given.running * given.batch
        for operand in self.operands:
            if not self.packing.serves(operand, parameters):
                continue
            sums = self.shapes.zeros(len(operand.matrices) * operand.units * operand.depth).reshape(-1, operand.depth)
            self._multiply(sums, self._d_slots(arrays, operand, 0, rows).T, self._operand(arrays, operand, 0, rows))
            self.packing.add_matrices(operand, sums, flat, parameters)

    def add_others(self, arrays: Arrays, given: Sequences, flat: Any, parameters: Collection[str]) -> None:
        """The same of biases, d_b = sum of d_z, and of what scalar mathematics reads."""
        rows = given.running * given.batch
        for k in self.shapes.stages:
            if biases := self.packing.biases(k, parameters):
                self.packing.add_biases(k, biases, self._summed(self.slots(arrays, k, 0, rows)), flat)
        self.packing.add_pointwise(arrays, given.batch, flat, parameters)

    def _summed(self, array: Any) -> Any:
        """The sum of all rows, as a product with a row of ones: that is a quarter of the time that a sum takes."""
        sums, ones = self.shapes.zeros(array.shape[1]), self.shapes.empty(array.shape[0])
        ones.fill(1)
        self.device.multiply(sums.reshape(1, -1), ones.reshape(1, -1), array, Types(self.types.arithmetic.name))
        return sums
