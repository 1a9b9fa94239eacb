"""Between the arrays of another library and the parameters of layers, as a layout says."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lstm_numba import checks, derived, registry
from lstm_numba.errors import (
    ArgumentError,
    DtypeError,
    ForeignWeightsError,
    LstmNumbaError,
    NotExpressibleError,
    ShapeError,
)
from lstm_numba.interchange.layouts import Layout, Stacked
from lstm_numba.layer import Layer
from lstm_numba.prefixed import prefix
from lstm_numba.stack import Stack

Arrays = dict[str, NDArray[Any]]
Shapes = Mapping[str, tuple[str, ...]]
# One dict of our parameters for each direction of each level.
Levels = Sequence[Sequence[Mapping[str, NDArray[Any]]]]


# --- what comes in


def as_arrays(what: str, given: Mapping[str, Any]) -> Arrays:
    """Foreign arrays by name, as NumPy's; tensors that require a gradient are taken without it, bfloat16 as float32."""
    found = {}
    for key, value in given.items():
        found[key] = array = checks.as_array(f"{what}: {key}", _readable(value))
        if array.dtype.kind != "f":
            raise DtypeError(f"{what}: {key} must hold floating-point numbers, got {array.dtype}.")
    return found


def _readable(value: Any) -> Any:
    """NumPy has no bfloat16: its numbers are some of float32's."""
    detach = getattr(value, "detach", None)
    if callable(detach):  # a tensor of torch's
        value = detach()
        return value.float() if str(value.dtype) == "torch.bfloat16" else value
    return value.astype("float32") if str(getattr(value, "dtype", "")) == "bfloat16" else value


def dtype_for(arrays: Mapping[str, NDArray[Any]], dtype: Any) -> np.dtype[Any]:
    """The dtype asked for; else float64 where any array is, else float32."""
    if dtype is not None:
        return checks.dtype_of(dtype)
    return np.dtype("float64" if any(array.dtype.itemsize > 4 for array in arrays.values()) else "float32")


def unstacked(layout: Layout, arrays: Arrays, dtype: np.dtype[Any], options: Mapping[str, Any]) -> Arrays:
    """Our parameters, all of them, from a library's arrays.

    Raises: ForeignWeightsError if an array is missing, ShapeError if one has another shape than the others imply.
    """
    shapes = registry.find(layout.cell, dict(options)).CELL.parameters
    check_complete(layout, arrays)
    sizes = _sizes(layout, arrays, shapes)
    found: Arrays = {}
    for stacked in (one for one in layout.arrays if one.key in arrays):
        array = arrays[stacked.key].astype(dtype)
        _check_shape(layout, stacked, array, shapes, sizes)
        for block, part in zip(stacked.blocks, _parts(stacked, array), strict=True):
            name = block.removeprefix("+")
            if name in shapes:
                found[name] = found[name] + part if name in found else part
    return {
        name: found[name] if name in found else np.zeros([sizes[space] for space in spaces], dtype)
        for name, spaces in shapes.items()
    }


def _kind(stacked: Stacked) -> str:
    """W, U, b or p: what a foreign array holds."""
    return next(block for block in stacked.blocks if block != "-").removeprefix("+")[0]


def check_complete(layout: Layout, arrays: Mapping[str, Any]) -> None:
    """Matrices have to be there; the vectors of one kind all or none (layers without a bias)."""
    kinds = {kind: [s.key for s in layout.arrays if _kind(s) == kind] for kind in "WUbp"}
    for kind, keys in kinds.items():
        missing = [key for key in keys if key not in arrays]
        if missing and (kind in "WU" or len(missing) < len(keys)):
            wanted, came = ", ".join(s.key for s in layout.arrays), ", ".join(arrays) or "nothing"
            raise ForeignWeightsError(
                f"{layout.library} has the arrays {wanted}; {missing[0]} is missing, given: {came}."
            )


def _spaces(stacked: Stacked, shapes: Shapes) -> tuple[str, ...]:
    """The axes of each block: those of the first that the cell has."""
    return next(shapes[name] for name in (block.removeprefix("+") for block in stacked.blocks) if name in shapes)


def _sizes(layout: Layout, arrays: Arrays, shapes: Shapes) -> dict[str, int]:
    """N, H and further ones, from the matrices."""
    sizes: dict[str, int] = {}
    for stacked in layout.arrays:
        if _kind(stacked) in "WU":
            array = arrays[stacked.key]
            if array.ndim != 2:
                raise ShapeError(f"{layout.library}: {stacked.key} must be a matrix, got shape {array.shape}.")
            sizes.setdefault(_spaces(stacked, shapes)[1], array.shape[0 if stacked.transposed else 1])
    return sizes


def _check_shape(
    layout: Layout, stacked: Stacked, array: NDArray[Any], shapes: Shapes, sizes: Mapping[str, int]
) -> None:
    spaces, gates = _spaces(stacked, shapes), len(stacked.blocks) // stacked.rows
    axes = [(f"{gates} {spaces[0]}" if gates > 1 else spaces[0], gates * sizes[spaces[0]])]
    if len(spaces) == 2:
        axes.append((spaces[1], sizes[spaces[1]]))
    if stacked.transposed:
        axes.reverse()
    if stacked.rows > 1:
        axes.insert(0, (str(stacked.rows), stacked.rows))
    expected = tuple(size for _, size in axes)
    if array.shape != expected:
        letters, read = ", ".join(letter for letter, _ in axes), ", ".join(f"{k} = {v}" for k, v in sizes.items())
        raise ShapeError(
            f"{layout.library}: {stacked.key} has shape {array.shape}, expected ({letters}) = {expected}: {read} were "
            f"read from the matrices, and it stacks {', '.join(stacked.blocks)}."
        )


def _parts(stacked: Stacked, array: NDArray[Any]) -> list[NDArray[Any]]:
    """The blocks of an array, as (out, in) or (out,)."""
    if array.ndim == 1 or stacked.rows > 1:
        return np.split(array.reshape(-1), len(stacked.blocks))
    return np.split(array.T if stacked.transposed else array, len(stacked.blocks))


def assembled(
    cell: str,
    levels: Levels,
    dtype: np.dtype[Any],
    threads: int,
    reverse: bool = False,
    others: Sequence[Mapping[str, Any]] = (),
    **options: Any,
) -> Layer | Stack:
    """A Layer from one dict of parameters, else a Stack: every level gets its own directions' parameters.

    Args:
        others: the options of the second direction, if they may be others.
    """
    spec = registry.find(cell, options).CELL
    each = [[_extents(spec.parameters, part) for part in level] for level in levels]
    _check_levels(each, spec.spaces, spec.states[spec.outputs[0]])
    size, units, *rest = (each[0][0][space] for space in spec.spaces)
    further = dict(zip(spec.spaces[2:], rest, strict=True))
    settings: dict[str, Any] = {"dtype": dtype, "threads": threads, **options, **further}
    if len(levels) == len(levels[0]) == 1:
        made: Layer | Stack = Layer(cell, size, units, reverse=reverse, **settings)
    else:
        settings |= {"reverse_options": _differing(cell, options, *others)} if others else {}
        made = Stack(cell, size, units, layers=len(levels), bidirectional=len(levels[0]) == 2, **settings)
    parts = [part for level in levels for part in level]
    for layer, part in zip(layers_of(made), parts, strict=True):
        for name, array in part.items():
            layer.parameters[name] = array
    return made


def _differing(cell: str, options: Mapping[str, Any], others: Mapping[str, Any]) -> dict[str, Any]:
    """What turns options into others: what is missing there is as the cell has it."""
    own = registry.find(cell, dict(others)).CELL.chosen
    changed = {name for name in {**options, **others} if options.get(name) != others.get(name)}
    return {name: others.get(name, own.get(name)) for name in changed}


def _extents(shapes: Shapes, part: Mapping[str, NDArray[Any]]) -> dict[str, int]:
    """Space -> size of one layer's parameters."""
    return {space: size for name, array in part.items() for space, size in zip(shapes[name], array.shape, strict=True)}


def _check_levels(each: Sequence[Sequence[Mapping[str, int]]], spaces: tuple[str, ...], output: str) -> None:
    """All layers have the same sizes, but for N: they read what the level below gives, `output` its space."""
    expected = {space: each[0][0][space] for space in spaces}
    for k, level in enumerate(each):
        for found in level:
            if found != expected:
                came, wanted = (" and ".join(f"{s} = {sizes[s]}" for s in expected) for sizes in (found, expected))
                raise ShapeError(
                    f"layer {k} has {came}, expected {wanted}: these were read from the first layer, "
                    f"N {'too' if k == 0 else 'from the outputs below'}."
                )
        expected["N"] = expected[output] * len(level)


# --- what goes out


def named_layers(made: Layer | Stack) -> dict[str, Layer]:
    """What the names of a layer's arrays and states begin with -> the layer: "" of a Layer, "0.reverse." in a Stack."""
    if not isinstance(made, (Layer, Stack)):
        raise ArgumentError(f"a Layer or a Stack can be handed on, got {type(made).__name__}.")
    return {"": made} if isinstance(made, Layer) else {f"{prefix(key)}.": one for key, one in made._layers.items()}


def package_cell(layer: Layer) -> str:
    """The name of the package's cell whose equations the layer has, as its options change them; "" for a user's own.

    Names of users' cells mean nothing here: a cell called lstm may compute anything.
    """
    try:
        known = registry.find(layer.name, dict(layer.spec.chosen))
    except LstmNumbaError:
        return ""
    return layer.name if known.CELL.equations_hash == layer.spec.equations_hash else ""


def unchanged_cell(made: Layer | Stack) -> str:
    """The same for libraries whose cells cannot be changed; what other cells are called in messages."""
    layer, *others = layers_of(made)
    if any(other.spec.equations_hash != layer.spec.equations_hash for other in others):
        return f"{layer.name} with other equations in each direction"
    if package_cell(layer) and not any(option in layer.spec.chosen for option in derived.CHANGES):
        return layer.name
    return f"{layer.name} with equations of its own"


def layers_of(made: Layer | Stack) -> tuple[Layer, ...]:
    return tuple(named_layers(made).values())


def levels_of(made: Layer | Stack) -> list[dict[str, Layer]]:
    """The named layers by level, each level's forward direction first."""
    named, width = list(named_layers(made).items()), 1 if isinstance(made, Layer) else len(made.directions)
    return [dict(named[k : k + width]) for k in range(0, len(named), width)]


def stacked_of(layout: Layout, parameters: Mapping[str, NDArray[Any]]) -> Arrays:
    """A library's arrays, new ones, from our parameters.

    Raises: NotExpressibleError if a parameter that the library's cell does not have is not 0.
    """
    held = {block for stacked in layout.arrays for block in stacked.blocks}
    for name, array in parameters.items():
        if name not in held and np.any(array):
            raise NotExpressibleError(f"{layout.library} has no {name}, and this layer's is not 0.")
    return {stacked.key: _joined(stacked, parameters) for stacked in layout.arrays}


def _joined(stacked: Stacked, parameters: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
    names = [block.removeprefix("+") for block in stacked.blocks]
    zeros = np.zeros_like(next(parameters[name] for name in names if name in parameters))
    array = np.concatenate([parameters.get(block, zeros) for block in stacked.blocks])
    if stacked.rows > 1:
        return array.reshape(stacked.rows, -1)
    return np.ascontiguousarray(array.T) if stacked.transposed else array
