"""The vmap rule of everything here: one call for each entry of the mapped axes, the results stacked."""

from collections.abc import Callable
from typing import Any

import torch
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten


def each(function: Callable[..., Any]) -> Callable[..., Any]:
    """A vmap rule, as `torch.library.register_vmap` and `torch.autograd.Function.vmap` want it."""

    def rule(info: Any, in_dims: Any, *args: Any) -> tuple[Any, Any]:
        flat, shape = tree_flatten(args)
        dims = tree_flatten(in_dims)[0]
        results = [
            function(*tree_unflatten([_entry(value, dim, k) for value, dim in zip(flat, dims, strict=True)], shape))
            for k in range(info.batch_size)
        ]
        stacked = [torch.stack(entries) for entries in zip(*results, strict=True)]
        return tuple(stacked) if isinstance(results[0], tuple) else stacked, tree_map(lambda _: 0, results[0])

    return rule


def _entry(value: Any, dim: int | None, k: int) -> Any:
    return value if dim is None else value.select(dim, k)
