"""The work arrays of one layer on a device: how long each is, for so many steps and rows."""

from math import prod
from types import ModuleType
from typing import Any

from lstm_numba.gpu.compiler import of_unit, signature
from lstm_numba.gpu.operands import operands_of
from lstm_numba.spec import CellSpec
from lstm_numba.types import Types

Arrays = dict[str, Any]

# Bytes of the input products that are computed at once where nothing is kept for a backward.
AHEAD = 2**28


class Shapes:
    """Sizes of a generated module's arrays; `xp` makes them.

    Attributes:
        operands: the products; names: function of the module -> its arguments; sent: the arrays of adjoints that
            stages send to each other, or to parameters.
        parameters: how many numbers they are, constants too.
    """

    def __init__(self, module: ModuleType, spaces: dict[str, int], types: Types, xp: Any) -> None:
        self.spec: CellSpec = module.CELL
        self.spaces, self.types, self.xp = spaces, types, xp
        self.operands = operands_of(module, spaces)
        shapes = [*self.spec.parameters.values(), *self.spec.constants.values()]
        self.parameters = sum(prod(spaces[space] for space in shape) for shape in shapes)
        self.names = {
            name: tuple(dict.fromkeys(n for f in of_unit(module, name) for n in signature(module, f) if n != "read"))
            for name in vars(module)
            if name.startswith(("unit_", "sweep_"))
        }
        taken = [name for names in self.names.values() for name in names] + [o.target for o in self.operands]
        self.sent = tuple(dict.fromkeys(name for name in taken if name.startswith(("d_kept_", "d_param_"))))

    def empty(self, length: int, dtype: Any = None) -> Any:
        return self.xp.empty(length, dtype or self.types.arithmetic)

    def zeros(self, length: int, dtype: Any = None) -> Any:
        return self.xp.zeros(length, dtype or self.types.arithmetic)

    def low(self, length: int) -> Any:
        """A copy in the type of storage; none where that is the arithmetic's."""
        return self.empty(length if self.types.is_half else 0, self.types.stored)

    @property
    def stages(self) -> range:
        """Numbers of the affine stages."""
        return range(1, len(self.spec.stages) + 1)

    def columns(self, k: int) -> int:
        """Numbers in one row of a stage's slots."""
        stage = self.spec.stages[k - 1]
        return len(stage.slots) * self.spaces[stage.space]

    def at_once(self, steps: int, batch: int, save: bool) -> int:
        """Steps that have a place: all, or as many as run before others take theirs."""
        each = batch * sum(self.columns(k) for k in self.stages) * self.types.arithmetic.itemsize
        return max(1, steps if save else min(steps, AHEAD // max(1, each)))

    def work(self, steps: int, batch: int, save: bool) -> Arrays:
        """What a forward fills, any contents, and the outputs: past a row's end they are 0."""
        spec, spaces = self.spec, self.spaces
        kept = self.at_once(steps, batch, save) * batch
        depth = kept + batch  # the states before the first of them too
        arrays: Arrays = {f"slots_{k}": self.empty(kept * self.columns(k)) for k in self.stages}
        arrays |= {f"kept_{name}": self.empty(kept * spaces[space]) for name, space in spec.kept.items()}
        arrays |= {f"all_{state}": self.empty(depth * spaces[space]) for state, space in spec.states.items()}
        for operand in self.operands:
            if not operand.is_input:
                arrays[f"low_{operand.name}"] = self.low((depth if operand.state else kept) * operand.depth)
        return arrays | self.outputs(steps, batch)

    def outputs(self, steps: int, batch: int) -> Arrays:
        sizes = {name: self.spaces[self.spec.states[name]] for name in self.spec.outputs}
        return {f"out_{name}": self.zeros(steps * batch * size, self.types.stored) for name, size in sizes.items()}

    def adjoints(self, steps: int, batch: int) -> Arrays:
        """Zeros for what a backward finds."""
        spec, spaces = self.spec, self.spaces
        stored = self.types.stored
        arrays: Arrays = {f"low_slots_{k}": self.empty(steps * batch * self.columns(k), stored) for k in self.stages}
        for name in spec.pointwise_inputs:
            arrays[f"d_seq_{name}"] = self.zeros(steps * batch * spaces[spec.inputs[name]])
        small = {f"d_start_{state}": batch * spaces[space] for state, space in spec.states.items()}
        small |= {f"d_all_{state}": 2 * batch * spaces[space] for state, space in spec.states.items()}
        return arrays | self.beside(small | dict.fromkeys(self.sent, batch * max(spaces.values())))

    def beside(self, lengths: dict[str, int]) -> Arrays:
        """Zeros in one piece of memory: to take and to clear many takes longer."""
        flat, first, found = self.zeros(sum(lengths.values())), 0, {}
        for name, length in lengths.items():
            found[name] = flat[first : first + length]
            first += length
        return found
