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

    fixed = data.layer.fixed()  # as in a session of onnxruntime's, whose weights are packed when it is made
    if data.case.mode == "infer":
        fixed.__enter__()

    def infer() -> Any:
        return data.layer.forward(data.x, data.state, save=False, **given), fixed  # the block lasts while it is held

    def train() -> Any:
        run = data.layer.forward(data.x, data.state, **given)
        return run, run.backward(data.d_output)

    def values(result: Any) -> Arrays:
        run, gradients = result
        found = {"output": run.output}
        return found if data.case.mode == "infer" else found | {"x": gradients.x, **gradients.parameters}

    return Candidate(name, train if data.case.mode == "train" else infer, values)
