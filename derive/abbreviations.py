"""Functions that are written out where they are applied: expressions in those of the table.

    silu(W @ x + b)                                    (W @ x + b) * sigmoid(W @ x + b)
    elu(a), elu(a, 2)                                  a parameter is what stands here, or its default
    surrogate(positive(v), v, 1 / (1 + absolute(v))**2)

Everything behind the equations, from the derivation to the kernels, sees only what they stand for.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sympy import Expr, Rational, sympify

from derive.errors import EquationError
from derive.functions import absolute, exp, maximum, minimum, positive, sigmoid, softplus, sqrt, stop, tanh, where


@dataclass(frozen=True)
class Abbreviation:
    """One row of the table: a function of u and of its parameters.

    Attributes:
        parameters: name -> what it is where nothing is said, None where it has to be said.

    Raises:
        EquationError: it is given too few arguments or too many.
    """

    name: str
    formula: Callable[..., Expr]
    parameters: Mapping[str, str | None] = field(default_factory=dict)

    @property
    def least(self) -> int:
        """Arguments that have to be given."""
        return 1 + sum(default is None for default in self.parameters.values())

    @property
    def most(self) -> int:
        return 1 + len(self.parameters)

    def __call__(self, *given: Any) -> Expr:
        if not self.least <= len(given) <= self.most:
            raise EquationError(f"{self} got {len(given)} argument{'' if len(given) == 1 else 's'}")
        defaults = list(self.parameters.values())[len(given) - 1 :]
        return self.formula(*map(sympify, given), *map(Rational, defaults))

    def __str__(self) -> str:
        shown = (name if default is None else f"{name}={default}" for name, default in self.parameters.items())
        return f"{self.name}({', '.join(('u', *shown))})"


ABBREVIATIONS: dict[str, Abbreviation] = {}


def _define(name: str, formula: Callable[..., Expr], **parameters: str | None) -> Abbreviation:
    ABBREVIATIONS[name] = Abbreviation(name, formula, parameters)
    return ABBREVIATIONS[name]


# ONNX gives thresholded_relu a default that onnxruntime does not know, and none to scaled_tanh and affine.
softsign = _define("softsign", lambda u: u / (1 + absolute(u)))
silu = _define("silu", lambda u: u * sigmoid(u))
mish = _define("mish", lambda u: u * tanh(softplus(u)))
sign = _define("sign", lambda u: positive(u) - positive(-u))
rsqrt = _define("rsqrt", lambda u: 1 / sqrt(u))
clip = _define("clip", lambda u, low, high: maximum(low, minimum(high, u)), low=None, high=None)
hard_tanh = _define("hard_tanh", lambda u: clip(u, -1, 1))
hard_sigmoid = _define("hard_sigmoid", lambda u, alpha, beta: clip(alpha * u + beta, 0, 1), alpha="0.2", beta="0.5")
scaled_tanh = _define("scaled_tanh", lambda u, alpha, beta: alpha * tanh(beta * u), alpha=None, beta=None)
leaky_relu = _define("leaky_relu", lambda u, alpha: where(u < 0, alpha * u, u), alpha="0.01")
thresholded_relu = _define("thresholded_relu", lambda u, alpha: where(u > alpha, u, 0), alpha=None)
# exp sees no positive number: where its branch is not taken, it does not overflow
elu = _define("elu", lambda u, alpha: where(u < 0, alpha * (exp(minimum(u, 0)) - 1), u), alpha="1")
# the value of u, and the derivative slope by v: v - v is 0
surrogate = _define("surrogate", lambda u, v, slope: stop(u) + stop(slope) * (v - stop(v)), v=None, slope=None)
