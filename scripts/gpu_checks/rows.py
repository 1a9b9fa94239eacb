"""The rows of the table: sizes, types, and what is to be reached beside whom."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One line.

    Attributes:
        size: T, B, N, H; mode: "forward" keeps nothing, "train" is forward and backward.
        rivals: "cudnn", "loop", "compile", or "lstm", our own at the same size.
        goal: their time / ours, of the first rival.
        unequal: rows of lengths from T / 4 to T; module: `lstm_numba.torch.LSTM` instead of the layer.
    """

    cell: str
    storage: str
    products: str
    size: tuple[int, int, int, int]
    mode: str
    rivals: tuple[str, ...]
    goal: float
    unequal: bool = False
    module: bool = False

    @property
    def label(self) -> str:
        steps, batch, inputs, hidden = self.size
        kind = self.products if self.products == "tf32" else self.storage
        ends = ", unequal lengths" * self.unequal + ", as a torch module" * self.module
        return f"{self.cell} {self.mode}, {kind}, T={steps} B={batch} N={inputs} H={hidden}{ends}"

    @property
    def projected(self) -> dict[str, int]:
        """The size that a projection has besides."""
        return {"P": self.size[3] // 2} if self.cell == "lstm_projected" else {}


LONG, WIDE = (1024, 16, 768, 768), (128, 64, 512, 512)
HALF = ("bfloat16", "float16")
OTHERS = ("peephole", "coupled", "gru", "lstm1997", "depth_gated")
# Their time / ours: the same cell's gates cost at most 1.15 times an LSTM's.
AS_LSTM = 1 / 1.15

ROWS = (
    *(Row("lstm", kind, "exact", LONG, mode, ("cudnn",), 1.0) for kind in HALF for mode in ("forward", "train")),
    Row("lstm", "float32", "exact", WIDE, "train", ("cudnn",), 1.0),
    Row("lstm", "float32", "tf32", WIDE, "train", ("cudnn",), 1.0),
    Row("lstm", "float32", "exact", (3000, 6, 40, 40), "train", ("cudnn",), 1.0),
    Row("lstm", "float32", "exact", (512, 64, 200, 200), "train", ("cudnn",), 2.0),
    Row("lstm", "float32", "tf32", (512, 64, 200, 200), "train", ("cudnn",), 2.0),
    Row("lstm", "float32", "tf32", (512, 64, 512, 512), "train", ("cudnn",), 2.0, unequal=True),
    *(Row(cell, "float32", "tf32", WIDE, "train", ("lstm", "loop"), AS_LSTM) for cell in OTHERS),
    *(Row(cell, "bfloat16", "exact", LONG, "train", ("lstm",), AS_LSTM) for cell in OTHERS),
    Row("lstm_projected", "bfloat16", "exact", LONG, "train", ("cudnn",), 1.0),
    Row("lstm", "float32", "exact", WIDE, "train", ("loop",), 10.0),
    Row("lstm", "float32", "exact", WIDE, "train", ("compile",), 10.0),  # alone: it may take longer than it is given
    *(Row("lstm", kind, "exact", LONG, "train", ("ours",), 1.0, module=True) for kind in HALF),
)  # fmt: skip
