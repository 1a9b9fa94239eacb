"""Flax recurrent cells, linen and nnx: their parameters as nested dicts, without Flax itself."""

from collections.abc import Iterator, Mapping
from typing import Any

from lstm_numba.errors import ArgumentError, ForeignWeightsError, NotExpressibleError, OptionError
from lstm_numba.interchange.layouts import FLAX, Layout
from lstm_numba.interchange.stacking import (
    Arrays,
    as_arrays,
    assembled,
    dtype_for,
    stacked_of,
    unchanged_cell,
    unstacked,
)
from lstm_numba.layer import Layer


def from_flax(parameters: Any, *, dtype: Any = None, threads: int = 1, **options: Any) -> Layer:
    """A Layer that computes what a Flax cell does.

    Args:
        parameters: of a linen cell (LSTMCell, OptimizedLSTMCell, GRUCell, SimpleCell) what `init` gave, with or without
            the outer {"params": ...}; of an nnx cell (the same names) `nnx.to_pure_dict(nnx.state(cell, nnx.Param))`.
            Kernels are (N, H) and (H, H), or all gates side by side, (N, k H) and (H, k H). The names say which it is.
        dtype: of the result; without it float64 if any array is, else float32.
        options: of the cell: activation="relu" for SimpleCell(activation_fn=relu), which the parameters do not say;
            activations={"g": "relu", "h": "relu"} for LSTMCell(activation_fn=relu).

    nnx.GRUCell has no b_hn: it is 0.

    Raises:
        ForeignWeightsError, ShapeError, DtypeError, ArgumentError: for parameters of something else.
    """
    if not isinstance(parameters, Mapping):
        raise ArgumentError(
            f"parameters must be a nested dict of arrays, got {type(parameters).__name__}: of an nnx cell, pass "
            "nnx.to_pure_dict(nnx.state(cell, nnx.Param))."
        )
    inner = parameters.get("params", parameters) if len(parameters) == 1 else parameters
    given = as_arrays("parameters", dict(_flat(inner)))
    layout, kind = _layout(given), dtype_for(given, dtype)
    made = assembled(layout.cell, [[unstacked(layout, given, kind, options)]], kind, threads, **options)
    assert isinstance(made, Layer)
    return made


def to_flax(layer: Layer, kind: str | None = None) -> dict[str, Any]:
    """The parameters of a Flax cell as a nested dict of NumPy arrays.

    Args:
        kind: which cell, e.g. "nnx.GRUCell"; without it the linen cell. Of a linen cell pass {"params": result} to
            `apply`; an nnx cell takes it by `nnx.update(cell, nnx.State(result))`.

    Raises: NotExpressibleError if Flax has no cell for this, OptionError if `kind` is not one.
    """
    name = unchanged_cell(layer) if isinstance(layer, Layer) else type(layer).__name__
    fitting = [key for key, layout in FLAX.items() if layout.cell == name]
    if not fitting:
        known = ", ".join(f"{layout.cell} ({key})" for key, layout in FLAX.items())
        raise NotExpressibleError(f"Flax has no cell for {name}; it has {known}: convert a Stack layer by layer.")
    if kind is not None and kind not in fitting:
        raise OptionError(f"kind={kind!r} is not a Flax cell for {name}: choose {', '.join(fitting)}.")
    nested: dict[str, Any] = {}
    for key, array in stacked_of(FLAX[kind or fitting[0]], layer.parameters).items():
        part, leaf = key.split(".")
        nested.setdefault(part, {})[leaf] = array
    return nested


def _flat(nested: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in nested.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value


def _layout(given: Arrays) -> Layout:
    """The layout with exactly these keys, biases aside; where all gates stand side by side, by their number too."""
    kernels = {key for key in given if key.endswith("kernel")}
    width = given["dense_h.kernel"].shape if "dense_h.kernel" in given else ()
    gates = width[1] / width[0] if len(width) == 2 and width[0] else None
    for layout in FLAX.values():
        matrices = {stacked.key: len(stacked.blocks) for stacked in layout.arrays if stacked.key.endswith("kernel")}
        if kernels == matrices.keys() and gates in (None, matrices.get("dense_h.kernel")):
            return layout
    raise ForeignWeightsError(
        f"no Flax cell here has the parameters {', '.join(given) or '(none)'}; known are {', '.join(FLAX)}: pass the "
        "parameters of the cell alone, not of the module around it."
    )
