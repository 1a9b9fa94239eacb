"""torch.nn.LSTM, GRU and RNN: their state dicts, without torch itself."""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from lstm_numba.errors import ArgumentError, ForeignWeightsError, NotExpressibleError
from lstm_numba.interchange.layouts import TORCH, TORCH_PROJECTED, Layout
from lstm_numba.interchange.stacking import (
    Arrays,
    as_arrays,
    assembled,
    check_complete,
    dtype_for,
    levels_of,
    stacked_of,
    unchanged_cell,
    unstacked,
)
from lstm_numba.layer import Layer
from lstm_numba.stack import Stack

KEY = re.compile(r"(weight|bias)_(ih|hh|hr)_l(\d+)(_reverse)?")
DIRECTIONS = ("", "_reverse")


def from_torch(
    state_dict: Mapping[str, Any], *, prefix: str = "", dtype: Any = None, threads: int = 1, **options: Any
) -> Layer | Stack:
    """A Layer, or a Stack for several layers or both directions, that computes what a torch.nn module does.

    Args:
        state_dict: of a torch.nn.LSTM, GRU or RNN: weight_ih_l0 (k H, N), weight_hh_l0 (k H, H), bias_ih_l0 and
            bias_hh_l0 (k H,) or no biases, with k gates: their number says which module it is. With proj_size
            weight_hh_l0 is (4 H, P), and there is weight_hr_l0 (P, H). Tensors or arrays.
        prefix: what the keys begin with in the state dict of a larger model, e.g. "encoder.lstm."; other keys are left.
        dtype: of the result; without it float64 if any array is, else float32.
        options: of the cell: activation="relu" for torch.nn.RNN(nonlinearity="relu"), which a state dict does not say.

    The two biases are summed, except the GRU's bias_hh of n, which is b_hn.

    Raises:
        ForeignWeightsError: keys are missing, or are those of something else.
        ShapeError, DtypeError, ArgumentError: for arrays that do not fit each other or are none.
    """
    given = as_arrays("state dict", _own_keys(state_dict, prefix))
    suffixes = _suffixes(given, prefix)
    layout, kind = _layout(given), dtype_for(given, dtype)
    every = [stacked for level in suffixes for end in level for stacked in _at(layout, end).arrays]
    check_complete(replace(layout, arrays=tuple(every)), given)
    levels = [[unstacked(_at(layout, end), _of(given, end), kind, options) for end in level] for level in suffixes]
    return assembled(layout.cell, levels, kind, threads, **options)


def to_torch(layer: Layer | Stack) -> Arrays:
    """A state dict of NumPy arrays, for torch.nn.LSTM, GRU or RNN of the same sizes; P is torch's proj_size.

        module.load_state_dict({key: torch.from_numpy(array) for key, array in to_torch(layer).items()})

    Our bias goes to bias_ih; bias_hh is 0, except the GRU's for n, which is b_hn.

    Raises: NotExpressibleError if torch.nn has no module for this cell.
    """
    cell = unchanged_cell(layer)
    layouts = (*TORCH.values(), TORCH_PROJECTED)
    layout = next((layout for layout in layouts if layout.cell == cell), None)
    if layout is None or (isinstance(layer, Layer) and layer.reverse):
        what = f"the cell {cell}" if layout is None else "a layer that only reads backwards"
        known = ", ".join(f"{one.cell} ({one.library})" for one in layouts)
        raise NotExpressibleError(f"torch.nn has no module for {what}; it has {known}, forwards or in both directions.")
    found: Arrays = {}
    for k, level in enumerate(levels_of(layer)):
        for end, one in zip(DIRECTIONS, level.values(), strict=False):
            found |= stacked_of(_at(layout, f"_l{k}{end}"), one.parameters)
    return found


def _own_keys(state_dict: Any, prefix: str) -> dict[str, Any]:
    if not isinstance(state_dict, Mapping):
        kind = type(state_dict).__name__
        raise ArgumentError(f"state_dict must be a dict of arrays, got {kind}: of a module, pass module.state_dict().")
    return {key.removeprefix(prefix): v for key, v in state_dict.items() if str(key).startswith(prefix)}


def _suffixes(given: Arrays, prefix: str) -> list[list[str]]:
    """The ends of the keys, by level: [["_l0", "_l0_reverse"], ...]; all keys have to be of this kind."""
    matches = {key: KEY.fullmatch(key) for key in given}
    foreign = [key for key, match in matches.items() if match is None]
    if foreign or not given:
        came = f"found {prefix}{foreign[0]}" if foreign else f"found no key that begins with {prefix!r}"
        raise ForeignWeightsError(
            f"a state dict of torch.nn.LSTM, GRU or RNN has keys like weight_ih_l0, bias_hh_l0_reverse; {came}: give "
            "the state dict of the recurrent module, or the prefix of its keys in a larger one, prefix='encoder.lstm.'."
        )
    count = 1 + max(int(match[3]) for match in matches.values() if match)
    ends = DIRECTIONS[: 1 + any(match[4] is not None for match in matches.values() if match)]
    return [[f"_l{k}{end}" for end in ends] for k in range(count)]


def _layout(given: Arrays) -> Layout:
    """By weight_hr; without it by the number of gates, the height of weight_hh over its width."""
    if any(key.startswith("weight_hr_") for key in given):
        return TORCH_PROJECTED
    first = given.get("weight_hh_l0", np.zeros(0))
    gates = first.shape[0] / first.shape[1] if first.ndim == 2 and first.shape[1] else 0
    if gates not in TORCH:
        came = f"got shape {first.shape}" if "weight_hh_l0" in given else "there is none"
        raise ForeignWeightsError(
            f"weight_hh_l0 must be (k H, H) with k = 4 gates for LSTM, 3 for GRU, 1 for RNN; {came}."
        )
    return TORCH[int(gates)]


def _at(layout: Layout, end: str) -> Layout:
    """The layout of one layer in one direction, keys in full."""
    return replace(layout, arrays=tuple(replace(stacked, key=f"{stacked.key}{end}") for stacked in layout.arrays))


def _of(given: Arrays, end: str) -> Arrays:
    return {key: array for key, array in given.items() if re.fullmatch(rf"\w+?_(ih|hh|hr){end}", key)}
