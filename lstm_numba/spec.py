"""What a generated module says of its cell: names, spaces and products.  Data only; the equations are in `derive`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


def declared(matrix: str) -> str:
    """The parameter or constant that a slot's matrix is: of "U.T", U."""
    return matrix.removesuffix(".T")  # no name of a cell has a dot in it


@dataclass(frozen=True)
class Slot:
    """One pre-activation: the sum of matrix times vector over its terms, plus a bias; "U.T" is U transposed."""

    name: str
    terms: tuple[tuple[str, str], ...]
    bias: str | None


@dataclass(frozen=True)
class Stage:
    """The products of one level into one space."""

    space: str
    slots: tuple[Slot, ...]


@dataclass(frozen=True, kw_only=True)
class CellSpec:
    """One generated cell.

    Attributes:
        inputs, states: name -> space.
        outputs: states that leave the layer at every step.
        parameters, constants: name -> spaces of its axes; () is one number.
        initial: parameter or constant -> the number that it begins with; "1/H" is one over the size of H.
        biases: parameters that are only added to a product; they start at 0 unless `initial` says otherwise.
        pointwise: parameters and constants that scalar mathematics reads.
        accumulated: those of them that receive a gradient.
        numbers: those of them that are one number and are read elsewhere than in H -> the spaces of what reads them.
        kept: values with an array of their own -> space.
        structures: matrix -> "block_upper".
        clock: whether units follow periods; sleeping: whether the work of silent units is left out.
        program: the stages in the order in which they run: ("affine" or "pointwise", its number from 1, its space).
        chosen: the options that this module was generated for; options: all that the cell offers, the default first.
    """

    name: str
    module: str
    title: str
    year: int
    reference: str
    equations_hash: str
    inputs: Mapping[str, str]
    outputs: tuple[str, ...]
    states: Mapping[str, str]
    parameters: Mapping[str, tuple[str, ...]]
    stages: tuple[Stage, ...]
    constants: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    initial: Mapping[str, float | str] = field(default_factory=dict)
    biases: tuple[str, ...] = ()
    pointwise: tuple[str, ...] = ()
    accumulated: tuple[str, ...] = ()
    numbers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    pointwise_inputs: tuple[str, ...] = ()
    kept: Mapping[str, str] = field(default_factory=dict)
    structures: Mapping[str, str] = field(default_factory=dict)
    clock: bool = False
    sleeping: bool = False
    program: tuple[tuple[str, int, str], ...] = ()
    options: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    chosen: Mapping[str, Any] = field(default_factory=dict)

    @property
    def main(self) -> str:
        """The input sequence that `forward` takes first: x, or else the first that the equations read."""
        return "x" if "x" in self.inputs else next(iter(self.inputs))

    def state_of(self, operand: str) -> str:
        """The state whose previous value a product multiplies; "" where it is an input or a kept value."""
        state = operand.removesuffix("_prev")
        known = operand == state or operand in self.inputs or operand in self.kept
        return state if state in self.states and not known else ""

    def adjoint_rows(self, parameter: str) -> dict[str, str]:
        """The arrays in which a parameter's gradient is added up -> their spaces; a number may have several."""
        spaces = self.parameters[parameter] or self.numbers.get(parameter, ("H",))
        one = len(spaces) == 1
        return {f"d_param_{parameter}" if one else f"d_param_{parameter}_over_{space}": space for space in spaces}

    @property
    def spaces(self) -> tuple[str, ...]:
        """Every space, N and H first."""
        shapes = (*self.parameters.values(), *self.constants.values())
        found = [*self.inputs.values(), *self.states.values(), *(space for shape in shapes for space in shape)]
        return tuple(dict.fromkeys(["N", "H", *found]))
