"""What a torch module costs over the call of the layer that it stands for.   python -m scripts.benchmarks.overhead

Small layers, where the kernels take little: inference and a training step of each, interleaved.  Beside them the least
that a module written in Python pays to torch: the layer's call in an autograd.Function of the same tensors, and nothing
else.
"""

import sys
from collections.abc import Iterable, Iterator
from itertools import product

from scripts.benchmarks import threads

CELLS, SIZE = ("rnn", "lstm", "gru_reset_after"), (20, 1, 32, 32)
LIMITS = {"infer": 40, "train": 2 * 40}  # microseconds over the layer: so many a call, and a step is two calls
TITLE = f"The torch modules over the layer's own calls, {'x'.join(map(str, SIZE))}"
LAYER, LEAST, RECURRENT, DROP_IN = "layer", "least wrapper", "Recurrent", "drop-in"
Row = dict[str, str | float]  # the cell, what is done, and microseconds of each


def rows(cells: str | None = None, seconds: float = 6) -> Iterator[Row]:
    """Two rows for each cell, or for each of the list.

    Raises:
        AssertionError: two of them give other numbers.
    """
    from scripts.benchmarks import check, timing
    from scripts.benchmarks.candidate import ours
    from scripts.benchmarks.cases import Case, Data
    from scripts.benchmarks.peers import own_torch

    chosen = [one for one in CELLS if cells is None or one in cells.split(",")]
    for mode, cell in product(LIMITS, chosen):
        data = Data(Case(cell, SIZE, mode))
        layer, *modules = ours(data, LAYER), *(build(data) for build in own_torch.ALL.values())
        expected = layer.values(layer.run())
        for module in modules:
            complaint = check.complaint(expected, module.values(module.run()), data.case.dtype)
            assert not complaint, f"{module.name}: {complaint}"
        times = timing.interleave([layer, *modules], seconds)
        yield {"cell": cell, "mode": mode, **{name: 1e6 * time.median for name, time in times.items()}}


def markdown(found: Iterable[Row]) -> str:
    """The table, times in microseconds."""
    from scripts.benchmarks import table

    header = ["case", LAYER, LEAST, "over the layer", RECURRENT, "over the layer", DROP_IN, "over the layer", "goal"]
    return f"### {TITLE}, us\n\n" + table.table(header, [_cells(row) for row in found])


def _cells(row: Row) -> list[str]:
    pairs = [(float(row[name]), float(row[name]) - float(row[LAYER])) for name in (LEAST, RECURRENT, DROP_IN)]
    figures = [float(row[LAYER]), *(figure for pair in pairs for figure in pair)]
    return [f"{row['cell']} {row['mode']}", *(f"{figure:.0f}" for figure in figures), f"<= {LIMITS[str(row['mode'])]}"]


def main() -> int:
    threads.pin(1)
    print(markdown(list(rows())))
    return 0


if __name__ == "__main__":
    sys.exit(main())
