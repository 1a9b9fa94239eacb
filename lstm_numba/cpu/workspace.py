"""What kernels work in, and only they: arrays by the names that they have in the kernels, made once for a shape."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from lstm_numba.cpu.memory import Memory, Pieces
from lstm_numba.cpu.packed import Packing
from lstm_numba.cpu.script import Script
from lstm_numba.sizes import Sizes
from lstm_numba.spec import CellSpec

Arrays = dict[str, Any]


@dataclass(frozen=True, eq=False)
class Work:
    """Pieces of one array.

    Attributes:
        whole: the array.
        arrays: its pieces, flat.
        rows: those of states, as rows without padding.
    """

    whole: NDArray[Any]
    arrays: Arrays
    rows: Arrays

    def set_rows(self, name: str, count: int, rows: NDArray[Any], row: int) -> None:
        """The first `count` rows; whole registers read the padding, so it is 0."""
        if row > rows.shape[1]:
            self.arrays[name][: count * row] = 0
        self.rows[name][:count] = rows


@dataclass(eq=False)
class Reel:
    """What a forward works in, and what it has written down of it.

    Attributes:
        works: of all rows of the batch, or one for each chunk.
        arrays: by their names in the kernels, with blanks for what a user hands in.
        chunk_arrays: what each chunk has for itself.
    """

    works: list[Work]
    arrays: Arrays = field(default_factory=dict)
    chunk_arrays: list[Arrays] = field(default_factory=list)
    forward: Script | None = None
    backward: Script | None = None


class Workspaces:
    """The work arrays of one layer, lent.

    Attributes:
        tapes: (rows of the batch, steps of states, steps of slots, how many) -> what a forward leaves for its backward.
        adjoints: (rows of the batch,) -> what a backward sums up in; all of it is to be 0 first.
    """

    def __init__(self, spec: CellSpec, sizes: Sizes, packing: Packing, summed: Mapping[str, int]) -> None:
        self._spec, self._sizes, self._packing, self._summed = spec, sizes, packing, summed
        self.tapes, self.adjoints = Memory(self._tapes), Memory(self._adjoint)

    def _tapes(self, size: int, depth: int, kept: int, count: int) -> Reel:
        return Reel([self._tape(size, depth, kept) for _ in range(count)])

    def _tape(self, size: int, depth: int, kept: int) -> Work:
        spec, row, pieces = self._spec, self._sizes.row, Pieces(self._sizes.dtype)
        for k, length in enumerate(self._sizes.slot_rows, start=1):
            pieces.add(f"slots_{k}", kept * size * length)
        for name, space in spec.kept.items():
            pieces.add(f"kept_{name}", kept * size * row(space))
        for state, space in spec.states.items():
            pieces.add(f"all_{state}", depth * size * row(space))
            pieces.add(f"start_{state}", size * row(space))
        return self._work(pieces, {f"{kind}_{s}": o for s, o in spec.states.items() for kind in ("all", "start")})

    def _adjoint(self, size: int) -> Work:
        spec, row = self._spec, self._sizes.row
        pieces = self._packing.gradient_pieces()
        for state, space in spec.states.items():
            pieces.add(f"d_all_{state}", 2 * size * row(space))
            pieces.add(f"d_start_{state}", size * row(space))
        for name, length in self._summed.items():
            pieces.add(name, size * length)
        return self._work(pieces, {f"{kind}_{s}": o for s, o in spec.states.items() for kind in ("d_all", "d_start")})

    def _work(self, pieces: Pieces, spaces: Mapping[str, str]) -> Work:
        whole, arrays = pieces.make()
        rows = {name: self._unpadded(arrays[name], space) for name, space in spaces.items()}
        return Work(whole, arrays, rows)

    def _unpadded(self, array: NDArray[Any], space: str) -> NDArray[Any]:
        return array.reshape(-1, self._sizes.row(space))[:, : self._sizes.spaces[space]]
