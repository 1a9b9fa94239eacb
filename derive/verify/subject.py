"""What the ladder is held against: anything that runs a problem forward and pulls its cotangents back."""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

from derive.verify.analytic import Array
from derive.verify.derivative import Gradient
from derive.verify.problem import Problem

Named = dict[str, Array]


class Result(Protocol):
    """A forward run."""

    @property
    def outputs(self) -> Named: ...  # (T, B, space)

    @property
    def state(self) -> Named: ...  # (B, space), after the last step of each row


class Subject(Protocol):
    """An implementation of a cell over sequences.

    Attributes:
        name: what the report calls it.
        exact: whether a row's bits are the same in every batch.
    """

    name: str
    exact: bool

    def forward(self, problem: Problem) -> Result: ...

    def gradient(
        self, problem: Problem, inputs: Collection[str] | None = None, parameters: Collection[str] | None = None
    ) -> Gradient:
        """Of these input sequences and parameters, None being all of them, and of first states.

        Inputs that are not wanted are left out, parameters are 0.
        """
        ...
