"""Files of the project's own: safetensors, the arrays under our names, and what they belong to in the metadata.

The metadata has one entry, JSON: the cell, its options and sizes, the hash of its equations, and a checksum, which the
format lacks. One entry, because the library writes several in any order: the same layer gives the same bytes.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lstm_numba.errors import MissingPackageError, UnknownCellError, WeightsFileError, WeightsWriteError
from lstm_numba.interchange.stacking import Arrays, layers_of, named_layers
from lstm_numba.layer import Layer
from lstm_numba.stack import Stack
from lstm_numba.whole_file import is_no_file, replaced_when_whole

FORMAT = "lstm_numba weights 1"
ENTRY = "lstm_numba"
FACTS = ("format", "cell", "settings", "equations", "stack", "sha256")


def save(layer: Layer | Stack, path: Path | str) -> None:
    """Write a layer's or a stack's parameters and constants as a safetensors file, atomically.

    Arrays are called as in the layer, "W_i" (H, N), in a stack "0.W_i"; other programs read them with safetensors.

    Raises: WeightsWriteError if the disk refuses; an earlier file at this path stays as it was.
        MissingPackageError without the package safetensors.
    """
    numpy = _safetensors().numpy
    arrays, facts = _views(layer), _facts(layer)
    facts["sha256"] = _checksum(arrays, facts)
    content = numpy.save(arrays, metadata={ENTRY: json.dumps(facts, sort_keys=True)})
    with replaced_when_whole(Path(path), WeightsWriteError) as file:
        file.write(content)


def load(path: Path | str, *, make: Callable[..., Layer | Stack] | None = None, threads: int = 1) -> Layer | Stack:
    """Read a layer or a stack; everything is read and checked before anything is returned.

    Args:
        make: what makes layers of a cell of one's own: `derive.build(cell)`, or `functools.partial(Stack, module)`.

    Raises: WeightsFileError, one message, if the file is missing, damaged or something else, or if the cell's equations
        are no longer those that the weights belong to. MissingPackageError without the package safetensors.
    """
    _safetensors()
    arrays, facts = _read(Path(path))
    _check_sizes(path, facts, arrays)
    made = _made(path, facts, make, threads)
    _check_equations(path, facts, made)
    views = _views(made)
    wrong = [name for name in {**views, **arrays} if _described(views.get(name)) != _described(arrays.get(name))]
    if wrong:
        lines = [
            f"{name}: expected {_described(views.get(name))}, found {_described(arrays.get(name))}" for name in wrong
        ]
        raise WeightsFileError("\n    ".join([f"{path} does not hold the arrays of the layer that it names:", *lines]))
    for name, view in views.items():
        view[...] = arrays[name]
    return made


def _safetensors() -> Any:
    try:
        import safetensors.numpy
    except ImportError as error:
        raise MissingPackageError(
            f"this needs the package safetensors ({error}): pip install 'lstm-numba[safetensors]'."
        ) from error
    return safetensors


# --- what belongs to the arrays


def _views(made: Layer | Stack) -> Arrays:
    """Every array, trained or not, by the name that it has in the file."""
    parts = named_layers(made).items()
    return {f"{prefix}{name}": array for prefix, layer in parts for name, array in layer._theta.items()}


def _facts(made: Layer | Stack) -> dict[str, Any]:
    layer = layers_of(made)[0]
    settings: dict[str, Any] = {"dtype": layer.dtype.name, **layer.options}
    settings |= {space: size for space, size in layer.spaces.items() if space not in ("N", "H")}
    settings |= {"input_size": layer.input_size, "hidden_size": layer.hidden_size}
    if layer._periods is not None:
        settings["periods"] = layer._periods
    if isinstance(made, Stack):
        settings |= {"layers": made.count, "bidirectional": len(made.directions) == 2}
        settings |= {"reverse_options": made.reverse_options} if made.reverse_options else {}
    else:
        settings["reverse"] = layer.reverse
    return {
        "format": FORMAT,
        "cell": layer.name,
        "settings": settings,
        "equations": _equations(made),
        "stack": isinstance(made, Stack),
    }


def _checksum(arrays: Mapping[str, NDArray[Any]], facts: Mapping[str, Any]) -> str:
    """Of the arrays, and of the facts but for the checksum itself."""
    said = {name: value for name, value in facts.items() if name != "sha256"}
    digest = hashlib.sha256(json.dumps(said, sort_keys=True).encode())
    for name in sorted(arrays):
        digest.update(f"{name} {_described(arrays[name])}\n".encode())
        digest.update(np.ascontiguousarray(arrays[name]).tobytes())
    return digest.hexdigest()


def _described(array: NDArray[Any] | None) -> str:
    return "nothing" if array is None else f"{array.dtype} {array.shape}"


# --- reading


def _read(path: Path) -> tuple[Arrays, dict[str, Any]]:
    from safetensors import safe_open

    if is_no_file(path):
        raise WeightsFileError(f"{path} is a folder, a pipe or a device; weights are a file.")
    try:
        with safe_open(path, framework="numpy") as file:
            facts = json.loads((file.metadata() or {})[ENTRY])
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (it is no mapping)
        known = {name: facts[name] for name in FACTS}
    except FileNotFoundError:
        raise WeightsFileError(f"{path}: there is no such file.") from None
    except Exception as error:  # a damaged file raises SafetensorError, KeyError, ValueError, TypeError, OSError
        raise WeightsFileError(
            f"{path} is not a file of weights, or is damaged ({type(error).__name__}: {error}).\n"
            "    The file was left as it is; weights are written by interchange.save(layer, path)."
        ) from error
    if known["format"] != FORMAT:
        raise WeightsFileError(f"{path} has the format {known['format']!r}, expected {FORMAT!r}: write it again.")
    if known["sha256"] != _checksum(arrays, known):
        raise WeightsFileError(f"{path} is damaged: it does not hold what its checksum was taken of. Use another copy.")
    return arrays, known


def _check_sizes(path: Path | str, facts: Mapping[str, Any], arrays: Arrays) -> None:
    """Before a layer of that size takes memory: some array has as many rows as there are units."""
    said = facts["settings"].get("hidden_size") if isinstance(facts["settings"], Mapping) else None
    largest = max((size for array in arrays.values() for size in array.shape), default=0)
    if isinstance(said, int) and said > largest and arrays:
        raise WeightsFileError(f"{path} says hidden_size={said}, and its arrays have at most {largest} rows.")


def _made(
    path: Path | str, facts: Mapping[str, Any], make: Callable[..., Layer | Stack] | None, threads: int
) -> Layer | Stack:
    """A layer as the one that was saved, with parameters of its own."""
    cell, settings = facts["cell"], facts["settings"]
    try:
        if make is not None:
            return make(threads=threads, **settings)
        return (Stack if facts["stack"] else Layer)(cell, threads=threads, **settings)
    except UnknownCellError:
        raise WeightsFileError(
            f"{path} holds weights of {cell!r}, which is no cell of this package: pass what makes its layers, "
            "make=derive.build(cell)."
        ) from None
    except Exception as error:  # whatever a changed cell or a foreign `make` does not take
        raise WeightsFileError(
            f"{path} holds weights of {cell!r} with {settings}, and no such layer can be made ({error})."
        ) from error


def _equations(made: Layer | Stack) -> str:
    """The hash of the cell's equations, of both directions' where they have others."""
    return "+".join(dict.fromkeys(layer.spec.equations_hash for layer in layers_of(made)))


def _check_equations(path: Path | str, facts: Mapping[str, Any], made: Layer | Stack) -> None:
    if facts["equations"] != _equations(made):
        raise WeightsFileError(
            f"{path} holds weights of {facts['cell']!r} with equations {facts['equations']}, and those of "
            f"{layers_of(made)[0].name!r} are now {_equations(made)}: the weights mean something else here.\n"
            "    Load them with the equations that they were trained with, or train anew."
        )
