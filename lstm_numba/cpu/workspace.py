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
Place = tuple[str, slice, NDArray[Any], NDArray[Any]]  # a state, the batch's rows of it, where they go; see Work.first


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

    def first(self, name: str, part: slice) -> tuple[NDArray[Any], NDArray[Any]]:
        """Rows for a part of a batch; and their memory if it has padding, which whole registers read: it is to be 0."""
        count = part.stop - part.start
        rows = self.rows[name][:count]
        memory = self.arrays[name][: count * (rows.strides[0] // rows.itemsize)]
        return rows, memory if memory.size > rows.size else memory[:0]


@dataclass(frozen=True)
class Extent:
    """How much a forward works in.

    Attributes:
        spans: (first, rows) of the batch rows whose states and slots each of the works holds: of all, for products over
            all rows at once; where none will follow, of each chunk, so that no two threads write to neighbouring lines.
        held: most rows of a work; depth: steps of states; kept: steps of slots.
        hoisted: whether input products are computed ahead of the time loop.
    """

    spans: list[tuple[int, int]]
    held: int
    depth: int
    kept: int
    hoisted: bool


@dataclass(eq=False)
class Reel:
    """What a forward works in, and what it has written down of it.

    Attributes:
        works: of all rows of the batch, or one for each chunk.
        extent: whose views follow: where states enter, and those to which resets return; the states of rows that all
            end at the last step.
        arrays: by their names in the kernels, with blanks for what a user hands in.
        chunk_arrays: what each chunk has for itself.
    """

    works: list[Work]
    extent: Extent | None = None
    first: list[Place] = field(default_factory=list)
    restart: list[Place] = field(default_factory=list)
    last: dict[str, list[NDArray[Any]]] = field(default_factory=dict)
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
        whole = pieces.make()
        rows = {name: self._unpadded(whole.pieces[name], space) for name, space in spaces.items()}
        return Work(whole.array, whole.pieces, rows)

    def _unpadded(self, array: NDArray[Any], space: str) -> NDArray[Any]:
        return array.reshape(-1, self._sizes.row(space))[:, : self._sizes.spaces[space]]
