"""What is compared with what, and how far ahead it should be: the tables of the benchmark as data."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from scripts.benchmarks.cases import Case

Size = tuple[int, int, int, int]
SIZES: dict[str, tuple[Size, ...]] = {
    "quick": ((100, 32, 128, 128), (100, 64, 256, 256)),
    "full": ((100, 32, 128, 128), (100, 64, 256, 256), (128, 64, 512, 512), (50, 128, 1024, 1024)),
}
BATCH_ONE, SMALL, MIDDLE = (100, 1, 64, 64), (20, 1, 32, 32), (100, 64, 256, 256)
HAND_WRITTEN = ("torch loop", "torch.compile", "JAX scan")
UNAIDED = ("peephole", "coupled", "gru", "lstm1997", "depth_gated")
CLOCKS = (("periods", (1, 2, 4, 8, 16, 32, 64, 128)),)
Rival = str | Case  # a peer, or our own layer at another case


@dataclass(frozen=True)
class Group:
    """Rows with one goal.  A row's ratio is the time of its fastest rival over ours."""

    title: str
    mean: float  # the geometric mean of the ratios should reach this
    least: float  # and no row be below this
    rows: tuple[tuple[Case, tuple[Rival, ...]], ...]


def cells(names: Iterable[str], sizes: Iterable[Size], mode: str, dtype: str = "float32") -> list[Case]:
    return [Case(name, size, mode, dtype) for name in names for size in sizes]


def peers(title: str, mean: float, least: float, cases: Iterable[Case], rivals: tuple[str, ...]) -> Group:
    """Our layer beside other libraries."""
    return Group(title, mean, least, tuple((case, rivals) for case in cases))


def ourselves(title: str, limit: float, pairs: Iterable[tuple[Case, Case]]) -> Group:
    """Our layer at two cases, (measured, base): the first may take `limit` times the second."""
    return Group(title, 1 / limit, 1 / limit, tuple((measured, (base,)) for measured, base in pairs))


def odd_sizes() -> Iterator[tuple[Case, Case]]:
    """Sizes that fill no register or tile, beside the next that do."""
    T, B, N, H = 100, 32, 128, 128
    for hidden, padded in ((100, 112), (257, 272)):
        yield Case("lstm", (T, B, N, hidden)), Case("lstm", (T, B, N, padded))
    for batch, padded in ((1, 8), (3, 8), (7, 8), (33, 40)):
        yield Case("lstm", (T, batch, N, H)), Case("lstm", (T, padded, N, H))
    for inputs in (1, 5):
        yield Case("lstm", (T, B, inputs, H)), Case("lstm", (T, B, 16, H))


def on_one_thread(sizes: tuple[Size, ...]) -> list[Group]:
    """Every table, on one thread."""
    lstm, training = Case("lstm", MIDDLE), "training step"
    clockwork = [(Case("clockwork", size, options=CLOCKS), Case("rnn", size)) for size in sizes]
    return [
        peers(f"LSTM, {training}", 1.3, 1.05, cells(["lstm"], sizes, "train"), ("torch.nn", "JAX scan")),
        peers("LSTM, inference", 1.1, 1.0, cells(["lstm"], sizes, "infer"), ("torch.nn", "onnxruntime", "JAX scan")),
        peers(f"GRU and RNN, {training}", 2.5, 2.5, cells(["gru_reset_after", "rnn"], sizes, "train"), ("torch.nn",)),
        peers(f"Cells no library has a kernel for, {training}", 2.5, 2.5, cells(UNAIDED, sizes, "train"), HAND_WRITTEN),
        peers("Batch 1, inference", 1.2, 1.2, [Case("lstm", BATCH_ONE, "infer")], ("onnxruntime", "torch.nn")),
        peers(f"Small, {training}", 2, 2, [Case("lstm", SMALL)], ("torch.nn",)),
        peers(f"float64, {training}", 2, 2, cells(["lstm"], sizes, "train", "float64"), ("torch.nn",)),
        ourselves("Clockwork, 8 modules, beside our rnn of the same size", 0.45, clockwork),
        ourselves("Odd sizes beside the padded multiple", 1.35, odd_sizes()),
        ourselves("Half of the steps valid, beside all", 0.6, [(replace(lstm, valid=0.5), lstm)]),
        ourselves("Resets beside none", 1.03, [(replace(lstm, resets=True), lstm)]),
    ]


def groups(sizes: str, threads: int) -> list[Group]:
    """Every table, for a set of sizes and a number of threads."""
    tables = [on_threads(group, threads) for group in on_one_thread(SIZES[sizes])]
    if threads > 1:
        pairs = [(Case("lstm", size, threads=threads), Case("lstm", size)) for size in SIZES[sizes]]
        tables.append(ourselves(f"{threads} threads beside 1", 1 / (0.925 * threads), pairs))
    return tables


def on_threads(group: Group, threads: int) -> Group:
    """The same group on so many threads."""
    rows = [
        (case, [replace(one, threads=threads) if isinstance(one, Case) else one for one in rivals])
        for case, rivals in group.rows
    ]
    return replace(group, rows=tuple((replace(case, threads=threads), tuple(rivals)) for case, rivals in rows))
