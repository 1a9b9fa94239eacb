"""One row of the table: our layer and its rivals on the same arrays, in turn, each finished when the clock is read."""

import gc
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch

import lstm_numba as ln
from lstm_numba.gpu.device import current
from scripts.gpu_checks import limits
from scripts.gpu_checks.rows import ROWS, Row

SAMPLES, SECONDS = 15, 2.5
COMPILED_STEPS = 16  # torch.compile unrolls the loop: minutes for more
Call = Callable[[], Any]


def tensors(row: Row) -> dict[str, Any]:
    """x, an output's derivative and lengths, on the device."""
    steps, batch, inputs, hidden = row.size
    generator = torch.Generator("cuda").manual_seed(0)
    kind = getattr(torch, row.storage)

    def draw(size: int) -> Any:
        return torch.randn(steps, batch, size, device="cuda", generator=generator).to(kind)

    lengths = torch.linspace(steps // 4, steps, batch).round().long().flip(0) if row.unequal else None
    return {"x": draw(inputs), "d_output": draw(row.projected.get("P", hidden)), "lengths": lengths}


def ours(row: Row, given: dict[str, Any], cell: str) -> tuple[Call, Any]:
    _, _, inputs, hidden = row.size
    kinds = {"dtype": row.storage, "products": row.products, "device": "cuda"}
    layer = ln.Layer(cell, inputs, hidden, **kinds, **row.projected)
    ends = None if given["lengths"] is None else given["lengths"].numpy()

    def forward() -> Any:
        return layer.forward(given["x"], lengths=ends, save=False)

    def train() -> Any:
        return layer.forward(given["x"], lengths=ends).backward(given["d_output"])

    return (forward if row.mode == "forward" else train), layer


def cudnn(row: Row, given: dict[str, Any], _: Any) -> Call:
    """torch.nn.LSTM; with tf32 allowed where our products are tf32 too."""
    _, _, inputs, hidden = row.size
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = row.products == "tf32"
    projection = row.projected.get("P", 0)
    module = torch.nn.LSTM(inputs, hidden, device="cuda", dtype=given["x"].dtype, proj_size=projection)
    x, d_output, lengths = given["x"].detach().clone(), given["d_output"], given["lengths"]

    def run() -> Any:
        if lengths is None:
            return module(x)[0]
        packed = module(torch.nn.utils.rnn.pack_padded_sequence(x, lengths))[0]
        return torch.nn.utils.rnn.pad_packed_sequence(packed, total_length=len(x))[0]

    return _called(row, run, x, d_output, module.parameters())


def as_module(row: Row, given: dict[str, Any]) -> Call:
    """`lstm_numba.torch.LSTM`, with all that torch does around it."""
    from lstm_numba.torch import LSTM

    module = LSTM(*row.size[2:], device="cuda", dtype=given["x"].dtype)
    return _called(row, lambda: module(x)[0], x := given["x"].detach().clone(), given["d_output"], module.parameters())


def loop(row: Row, given: dict[str, Any], layer: Any) -> Call:
    """The cell written in torch, step by step."""
    return _loop(row, given, layer, lambda function: function)


def compiled(row: Row, given: dict[str, Any], layer: Any) -> Call:
    """The same under torch.compile, for fewer steps: it unrolls them."""
    few = {name: value if value is None else value[:COMPILED_STEPS] for name, value in given.items()}
    return _loop(row, few, layer, torch.compile)


def _loop(row: Row, given: dict[str, Any], layer: Any, compiler: Callable[..., Any]) -> Call:
    from tests.oracles.torch_cells import OPS, fuse, unroll

    parameters = {name: torch.from_dlpack(array).clone() for name, array in layer.parameters.items()}
    fused = {
        n: v.to(given["x"].dtype).contiguous().requires_grad_() for n, v in fuse(OPS, layer.name, parameters).items()
    }
    hidden, batch = layer.hidden_size, given["x"].shape[1]
    state = {name: torch.zeros(batch, hidden, device="cuda", dtype=given["x"].dtype) for name in layer.spec.states}
    x, options = given["x"].detach().clone(), dict(layer.options)
    extra = torch.zeros_like(given["d_output"]) if len(layer.spec.inputs) > 1 else None
    run = compiler(lambda: unroll(layer.name, x, fused, state, extra, **options)[0])
    return _called(row, run, x, given["d_output"], list(fused.values()))


def _called(row: Row, run: Call, x: Any, d_output: Any, parameters: Any) -> Call:
    """A forward without a tape, or a forward and a backward."""
    wanted = [x.requires_grad_(row.mode == "train"), *parameters]

    def forward() -> Any:
        with torch.no_grad():
            return run()

    def train() -> Any:
        return torch.autograd.grad(run(), wanted, d_output)

    return forward if row.mode == "forward" else train


RIVALS: dict[str, Callable[..., Call]] = {
    "cudnn": cudnn,
    "loop": loop,
    "compile": compiled,
    "lstm": lambda row, given, _: ours(row, given, "lstm")[0],
    "ours": lambda row, given, _: ours(row, given, row.cell)[0],
}


def sample(call: Call) -> float:
    torch.cuda.synchronize()
    started = time.perf_counter()
    call()
    torch.cuda.synchronize()
    return time.perf_counter() - started


def measured(first: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Row by row from one on, its number and what was found; until the device is lost to this process."""
    for number, row in list(enumerate(ROWS))[first:]:
        try:
            found = measure(row)
        except Exception as error:  # noqa: BLE001  (reported, and the rest goes on)
            found = {"failed": f"{type(error).__name__}: {error}"[:500]}
        yield str(number), found
        try:
            torch.cuda.synchronize()
        except RuntimeError:
            return
        gc.collect()
        torch.cuda.empty_cache()
        current().xp.get_default_memory_pool().free_all_blocks()


def measure(row: Row) -> dict[str, Any]:
    """Milliseconds of each, and how ours was laid out."""
    given = tensors(row)
    call, layer = ours(row, given, row.cell)
    calls, failed = {"this": as_module(row, given) if row.module else call}, {}
    for name in row.rivals:
        try:
            calls[name] = RIVALS[name](row, given, layer)
            sample(calls[name])
        except Exception as error:  # noqa: BLE001  (reported, and the rest goes on)
            calls.pop(name, None)
            failed[name] = f"{type(error).__name__}: {error}"[:500]
    times = interleaved(calls)
    if "compile" in times:
        times["compile"] = [taken * row.size[0] / COMPILED_STEPS for taken in times["compile"]]
    engine, batch = layer._placed.engine, row.size[1]
    plans = {way: _plan(engine.plan(way, batch)) for way in ("forward", "backward")}
    found = {"label": row.label, "milliseconds": times, "plans": plans, "failed": failed}
    return found | limits.shares(engine, call, row.size[0], batch, row.mode)


def interleaved(calls: dict[str, Call]) -> dict[str, list[float]]:
    """Samples of all in turn, after three calls of each: the third replays graphs."""
    estimate = sum(min(sample(call) for _ in range(3)) for call in calls.values())
    rounds = max(3, min(SAMPLES, int(SECONDS / estimate)))
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            taken[name].append(1e3 * sample(call))
    return taken


def _plan(found: Any) -> dict[str, int] | None:
    return found and {name: getattr(found, name) for name in ("parts", "groups", "tile", "shared")}
