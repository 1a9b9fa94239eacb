"""What both torch peers share."""

from collections.abc import Callable
from typing import Any

import torch

from scripts.benchmarks.candidate import Candidate
from scripts.benchmarks.cases import Arrays, Data


def tensors(arrays: Arrays, trained: bool = False) -> dict[str, torch.Tensor]:
    return {name: torch.tensor(array, requires_grad=trained) for name, array in arrays.items()}


def candidate(
    name: str,
    data: Data,
    forward: Callable[[torch.Tensor], torch.Tensor],
    leaves: dict[str, torch.Tensor],
    rename: Callable[[Arrays], Arrays],
) -> Candidate:
    """Inference in inference mode; training from no gradients, as an optimizer's step leaves them."""
    torch.set_num_threads(data.case.threads)
    is_trained = data.case.mode == "train"
    x, d_output = torch.tensor(data.x, requires_grad=is_trained), torch.tensor(data.d_output)

    def train() -> torch.Tensor:
        for leaf in (x, *leaves.values()):
            leaf.grad = None
        output = forward(x)
        output.backward(d_output)
        return output

    def infer() -> torch.Tensor:
        with torch.inference_mode():
            return forward(x)

    def values(output: Any) -> Arrays:
        found = {"output": output.detach().numpy()}
        if is_trained:
            gradients = {key: leaf.grad.numpy() for key, leaf in leaves.items() if leaf.grad is not None}
            found |= {"x": x.grad.numpy()} | rename(gradients)
        return found

    return Candidate(name, train if is_trained else infer, values)
