"""Names of what belongs to the layers of a stack: "0.W_i", "1.h", and of the second direction "1.reverse.U_f"."""

from collections.abc import Iterator, Mapping
from typing import Any

from numpy.typing import ArrayLike, NDArray

from lstm_numba import checks
from lstm_numba.parameters import Parameters

# Which layer of a stack: how many lie below it, and "" or "reverse".
Key = tuple[int, str]


def prefix(key: Key) -> str:
    """What the names of a layer begin with."""
    k, direction = key
    return f"{k}.{direction}" if direction else str(k)


def prefixed(parts: Mapping[Key, Mapping[str, NDArray[Any]]]) -> dict[str, NDArray[Any]]:
    return {f"{prefix(key)}.{name}": array for key, part in parts.items() for name, array in part.items()}


def own(given: Mapping[str, Any], key: Key, names: Mapping[str, Any]) -> dict[str, Any]:
    """A layer's share of prefixed entries, by the layer's own names."""
    full = {name: f"{prefix(key)}.{name}" for name in names}
    return {name: given[long] for name, long in full.items() if long in given}


class Named(Mapping[str, NDArray[Any]]):
    """The parameters of several layers under the layers' prefixes: "0.W_i", "1.reverse.U_f"."""

    def __init__(self, parts: Mapping[str, Parameters]) -> None:
        self.parts = parts
        self._where = {f"{prefix}.{name}": (part, name) for prefix, part in parts.items() for name in part}

    def __getitem__(self, key: str) -> NDArray[Any]:
        part, name = self._find(key)
        return part[name]

    def __setitem__(self, key: str, value: ArrayLike) -> None:
        part, name = self._find(key)
        part[name] = value

    def _find(self, key: str) -> tuple[Parameters, str]:
        if key not in self._where:
            raise checks.unknown(key, self._where)
        return self._where[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._where)

    def __len__(self) -> int:
        return len(self._where)

    @property
    def flats(self) -> tuple[NDArray[Any], ...]:
        """The flat vectors of all layers, in order."""
        return tuple(part.flat for part in self.parts.values())
