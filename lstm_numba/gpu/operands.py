"""The products of a cell: which matrices, stacked, multiply which vector into which slots."""

from dataclasses import dataclass
from types import ModuleType

from lstm_numba.spec import CellSpec
from lstm_numba.words import Product, Transposed


@dataclass(frozen=True)
class Operand:
    """One vector that an affine stage multiplies.

    Attributes:
        name: x, h_prev, or a kept value; stage: the affine stage's number.
        matrices: one for each slot that it reaches, None where a slot between two others has none.
        low: the first of these slots; units, depth: a matrix's rows and columns.
        source: the array that holds its rows.
        state: of h_prev, h; else "".
        target: the array that receives its adjoint at every step, "" if none does.
    """

    name: str
    stage: int
    matrices: tuple[str | None, ...]
    low: int
    units: int
    depth: int
    source: str
    state: str
    target: str
    is_input: bool

    @property
    def key(self) -> str:
        return f"{self.stage}_{self.name}"

    @property
    def is_stopped(self) -> bool:
        """Whether it is read under stop(), and so receives no adjoint."""
        return not self.is_input and not self.target

    @property
    def slots(self) -> slice:
        """Its columns in a row of slots."""
        return slice(self.low * self.units, (self.low + len(self.matrices)) * self.units)


def operands_of(module: ModuleType, spaces: dict[str, int]) -> tuple[Operand, ...]:
    """The operands of a generated module, stage by stage, inputs first as in the text."""
    products = {name: value for name, value in vars(module).items() if isinstance(value, Product)}
    reached = {name for name, value in vars(module).items() if isinstance(value, Transposed)}
    return tuple(_operand(module.CELL, name, product, reached, spaces) for name, product in products.items())


def _operand(spec: CellSpec, name: str, product: Product, reached: set[str], spaces: dict[str, int]) -> Operand:
    _, number, vector = name.split("_", 2)
    stage = spec.stages[int(number) - 1]
    state = spec.state_of(vector)
    is_input = vector in spec.inputs
    space = spec.inputs[vector] if is_input else spec.states[state] if state else spec.kept[vector]
    run = range(product.low, product.low + product.run)
    terms = [{operand: matrix for matrix, operand in slot.terms} for slot in stage.slots]
    return Operand(
        name=vector,
        stage=int(number),
        matrices=tuple(terms[place].get(vector) for place in run),
        low=product.low,
        units=spaces[stage.space],
        depth=spaces[space],
        source=f"seq_{vector}" if is_input else f"all_{state}" if state else f"kept_{vector}",
        state=state,
        target=_target(vector, state) if f"transpose_{number}_{vector}" in reached else "",
        is_input=is_input,
    )


def _target(vector: str, state: str) -> str:
    return f"d_all_{state}" if state else f"d_kept_{vector}"
