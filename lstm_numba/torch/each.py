"""The vmap rule of everything here: one call for each entry of the mapped axes, the results stacked."""

from collections.abc import Callable, Iterable
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor
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


# --- the older vmap, of `torch.autograd.grad(is_grads_batched=True)` and `functional.jacobian(vectorize=True)`


def is_batched(values: Iterable[Any]) -> bool:
    """Whether one of them is a tensor of the older vmap, which asks no operator for a rule."""
    return any(isinstance(value, Tensor) and _is_batched(value) for value in values)


def each_older(function: Callable[..., tuple[Tensor, ...]], *args: Any) -> tuple[Tensor, ...]:
    """One call for each entry of the innermost axis that the older vmap has hidden."""
    level = torch._C._vmapmode_increment_nesting() - 1
    torch._C._vmapmode_decrement_nesting()
    dims = [0 if is_batched([value]) else None for value in args]
    bare = [torch._remove_batch_dim(v, level, 1, 0) if dim == 0 else v for v, dim in zip(args, dims, strict=True)]
    size = next(len(value) for value, dim in zip(bare, dims, strict=True) if dim == 0)
    results, _ = each(function)(SimpleNamespace(batch_size=size), tuple(dims), *bare)
    return tuple(torch._add_batch_dim(result, 0, level) for result in results)


_is_batched = torch._C._functorch.is_legacy_batchedtensor
