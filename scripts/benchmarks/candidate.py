"""One implementation of a case: something to call, and its results under the names of the equations."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from scripts.benchmarks.cases import Arrays, Data


@dataclass(frozen=True)
class Candidate:
    """`run` is timed; `values` makes arrays of what it returned: output, gradients of x and of every parameter."""

    name: str
    run: Callable[[], Any]
    values: Callable[[Any], Arrays]


def ours(data: Data, name: str = "ours") -> Candidate:
    """The layer itself: forward, and in training the full backward."""

    given = {"lengths": data.lengths, "resets": data.resets, **data.inputs}

    def infer() -> Any:
        return data.layer.forward(data.x, data.state, save=False, **given), None

    def train() -> Any:
        run = data.layer.forward(data.x, data.state, **given)
        return run, run.backward(data.d_output)

    def values(result: Any) -> Arrays:
        run, gradients = result
        return {"output": run.output} | ({"x": gradients.x, **gradients.parameters} if gradients else {})

    return Candidate(name, train if data.case.mode == "train" else infer, values)
