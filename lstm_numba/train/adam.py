"""Adam (Kingma & Ba 2015): a step for every weight from running means of its gradient and of the gradient's square."""

from collections.abc import Mapping
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from lstm_numba.checks import as_array, fitting, positive
from lstm_numba.errors import DtypeError, GradientNamesError, OptionError
from lstm_numba.train import arguments
from lstm_numba.train.checkpoint import restore


class Adam:
    """Minimise by Adam; the parameters are updated in place.

        m <- beta1 m + (1 - beta1) g        v <- beta2 v + (1 - beta2) g^2
        w <- w - rate * (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + epsilon)

    Nothing depends on the clock, on threads or on hashing: the same gradients give the same bits.

    Args:
        parameters: arrays by name, floating, writable. They are kept, not copied.
        rate: the step size; ``update`` may override it, for a schedule.
        betas: how much of the running means of g and g^2 is kept at each step.
        epsilon: the smallest denominator.

    Raises:
        DtypeError, ArgumentError: a parameter is no array of floating numbers, or cannot be written.
        OptionError: rate, betas or epsilon out of range.
    """

    def __init__(
        self,
        parameters: Mapping[str, NDArray],
        rate: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        epsilon: float = 1e-8,
    ) -> None:
        self.parameters = dict(arguments.named("parameters", parameters))
        for name, weights in self.parameters.items():
            arguments.in_place(f"parameter {name}", weights)
        self.rate, self.epsilon = arguments.number("rate", rate, 0), arguments.number("epsilon", epsilon, 0)
        if np.shape(betas) != (2,):
            raise OptionError(f"betas must be two numbers, got {betas!r:.60}.")
        beta1, beta2 = betas
        self.betas = arguments.number("beta1", beta1, 0, 1), arguments.number("beta2", beta2, 0, 1)
        self.steps = 0
        self.mean = {name: np.zeros_like(weights) for name, weights in self.parameters.items()}
        self.square = {name: np.zeros_like(weights) for name, weights in self.parameters.items()}

    def update(self, gradients: Mapping[str, NDArray], rate: float | None = None) -> None:
        """Take one step.  ``gradients`` has exactly the names and the shapes of the parameters.

        Raises: GradientNamesError, DtypeError, ShapeError, OptionError; then nothing has changed.
        """
        rate = self.rate if rate is None else arguments.number("rate", rate, 0)
        if arguments.named("gradients", gradients).keys() != self.parameters.keys():
            raise GradientNamesError(_names_message(self.parameters, gradients))
        for name, weights in self.parameters.items():
            _check_gradient(f"gradient {name}", gradients[name], weights)
        self.steps += 1
        for name in self.parameters:
            self._update_one(name, gradients[name], rate)

    def _update_one(self, name: str, gradient: NDArray, rate: float) -> None:
        beta1, beta2 = self.betas
        mean, square = self.mean[name], self.square[name]
        # m <- beta1 m + (1 - beta1) g
        mean *= beta1
        scratch = np.multiply(gradient, 1 - beta1)
        mean += scratch
        # v <- beta2 v + (1 - beta2) g^2
        square *= beta2
        np.multiply(gradient, gradient, out=scratch)
        scratch *= 1 - beta2
        square += scratch
        # w <- w - rate / (1 - beta1^t) * m / (sqrt(v / (1 - beta2^t)) + epsilon)
        np.sqrt(square, out=scratch)
        scratch /= sqrt(1 - beta2**self.steps)
        scratch += self.epsilon
        np.divide(mean, scratch, out=scratch)
        scratch *= rate / (1 - beta1**self.steps)
        self.parameters[name] -= scratch

    def arrays(self) -> dict[str, NDArray]:
        """Return the running means, for a checkpoint; with ``steps`` they are the whole state."""
        return {f"{kind}.{name}": means[name] for kind, means in self._means.items() for name in means}

    def restore(self, arrays: Mapping[str, NDArray], steps: int) -> None:
        """Continue from what ``arrays`` and ``steps`` gave; the arrays are copied.

        Raises: CheckpointError, ArgumentError, OptionError; then nothing has changed.
        """
        steps = positive("steps", steps, least=0)
        restore(self.arrays(), arrays)
        self.steps = steps

    @property
    def _means(self) -> dict[str, dict[str, NDArray]]:
        return {"mean": self.mean, "square": self.square}


def _check_gradient(name: str, given: NDArray, weights: NDArray) -> None:
    gradient = as_array(name, given)
    if gradient.dtype.kind in "cOSU":
        raise DtypeError(f"{name} must be real numbers, got {gradient.dtype}.")
    fitting(name, gradient.shape, weights.shape, "the shape of the parameter")


def _names_message(parameters: Mapping[str, NDArray], gradients: Mapping[str, NDArray]) -> str:
    missing = [name for name in parameters if name not in gradients]
    unknown = [name for name in gradients if name not in parameters]
    return (
        f"Every parameter needs its gradient, and no other: missing {missing}, unknown {unknown}.\n"
        "    The names were read from the parameters that Adam was made with;\n"
        "    join the gradients of all parts of the model in one mapping."
    )
