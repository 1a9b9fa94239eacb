"""How the biases begin that decide how long a cell remembers."""

from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor

from lstm_numba.errors import OptionError
from lstm_numba.torch.plan import Plan

# Cell -> bias -> +1 if a large value keeps the state, -1 if it overwrites it.
KEEPERS: Mapping[str, Mapping[str, int]] = {
    "coupled": {"b_i": -1},
    "gru": {"b_z": 1},
    "gru_reset_after": {"b_z": 1},
}
FORGET = {"b_f": 1}
# The opposite gate of a cell that has both: chrono starts it at the negative.
OPPOSITE = {"b_f": "b_i"}


class HasPlans(Protocol):
    """A module of this package."""

    @property
    def plans(self) -> tuple[tuple[Plan, tuple[Tensor, ...]], ...]: ...


def forget_bias_(module: HasPlans, value: float) -> None:
    """Set the bias of the gate that keeps the state, in all layers, to one number.

    `module` is any of this package: a drop-in module, `Recurrent`, `Stack`.  Where torch has two biases that are added,
    the second becomes 0.

    Raises:
        OptionError: the cell has no such gate.
    """
    for plan, tensors in module.plans:
        for name, sign in _keepers(plan).items():
            _fill(plan, tensors, name, lambda bias, sign=sign: bias.fill_(sign * value))


def chrono_(module: HasPlans, longest: int) -> None:
    """Draw the bias of the gate that keeps the state as log u, u uniform in [1, longest - 1]; its opposite is -log u.

    A unit then remembers for about u steps (C. Tallec, Y. Ollivier, ICLR 2018, arXiv 1804.11188).

    Raises:
        OptionError: `longest` is not above 2, or the cell has no such gate.
    """
    if not longest > 2:
        raise OptionError(f"chrono must be above 2, the longest lag in steps; got {longest}.")
    for plan, tensors in module.plans:
        for name, sign in _keepers(plan).items():
            lags = next(_places(plan, tensors, name)).detach().clone().uniform_(1, longest - 1).log_()
            _fill(plan, tensors, name, lambda bias, lags=lags, sign=sign: bias.copy_(sign * lags))
            _fill(plan, tensors, OPPOSITE.get(name, ""), lambda bias, lags=lags: bias.copy_(-lags))


def _keepers(plan: Plan) -> Mapping[str, int]:
    found = KEEPERS.get(_family(plan), FORGET)
    if not found.keys() <= {name for names in plan.layout for name in names}:
        raise OptionError(f"{plan.spec.name} has no bias of a gate that keeps its state.")
    return found


def _family(plan: Plan) -> str:
    """The cell's name without what was derived from it."""
    return plan.spec.name.removesuffix("_zoned").removesuffix("_dropped")


def _places(plan: Plan, tensors: tuple[Tensor, ...], name: str) -> Any:
    """The parts of tensors in which a parameter lies."""
    for names, tensor in zip(plan.layout, tensors, strict=True):
        if name in names:
            yield tensor.chunk(len(names))[names.index(name)]


@torch.no_grad()
def _fill(plan: Plan, tensors: tuple[Tensor, ...], name: str, fill: Any) -> None:
    """Fill the first part; the others are added to it and become 0."""
    for number, part in enumerate(_places(plan, tensors, name)):
        if number:
            part.zero_()
        else:
            fill(part)
