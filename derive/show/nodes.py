"""What a page says beyond a cell's own equations: transposes, outer products, sums over time, diagonal matrices.

They are SymPy expressions so that one tree is printed in every notation; none of them computes anything.
"""

from __future__ import annotations

from typing import Any, ClassVar

from sympy import Function, Symbol


class Node(Function):
    """A piece of a page; real and opaque, its arguments stay in the order given."""

    tight: ClassVar[bool] = True  # whether it needs no brackets as a factor

    def _eval_is_real(self) -> bool:
        return True


class InOrder(Node):
    """a + b + c, in this order."""

    tight = False


class Chain(Node):
    """A product of matrices and of what stands for one: diag(a) U diag(b)."""


class Outer(Node):
    """a b^T."""


class Pullback(Node):
    """U^T a."""


class OverTime(Node):
    """The sum over all steps (and over the batch)."""


class Diagonal(Node):
    """diag(a)."""


class Partial(Node):
    """The Jacobian of a state with respect to a previous one."""


class Shifted(Node):
    """A symbol at step t + shift."""


class Words(Symbol):
    """A label that is printed as it is: `parameters`, `backward`."""

    def __new__(cls, text: str) -> Any:
        return Symbol.__xnew__(cls, text)


IDENTITY, NOTHING = Words("I"), Words("0")
