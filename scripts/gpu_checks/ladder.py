"""The ladder on a device: every result of a layer against the CPU's in float64, and the same bits every time."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

import lstm_numba as ln
from lstm_numba.errors import CudaMemoryError
from lstm_numba.spec import declared
from tests import layers

TOLERANCE = {"float64": 1e-12, "float32": 5e-6, "tf32": 5e-3, "float16": 2e-2, "bfloat16": 2e-2}
SIZES = (
    (7, 3, 5, 12),
    (5, 17, 3, 34),
    (3, 1, 1, 1),
    (9, 20, 33, 514),
)  # T, B, N, H; the last one needs several blocks for its units
REPEATS = 20


@dataclass(frozen=True)
class Pair:
    """A layer on the device, the CPU's in float64 with the same parameters as the device stores them, and numbers."""

    own: Any
    exact: Any
    numbers: layers.Numbers

    @property
    def tolerance(self) -> float:
        kinds = self.own.types
        return TOLERANCE["tf32" if kinds.products == "tf32" else kinds.storage]


def rounded(array: np.ndarray, storage: str) -> np.ndarray:
    """float64 as near as the type of storage comes to it."""
    if storage != "bfloat16":
        return array.astype(storage).astype("float64")
    bits = array.astype("float32").view("uint32").astype("uint64")
    return ((bits + 0x7FFF + (bits >> 16 & 1) >> 16 << 16).astype("uint32")).view("float32").astype("float64")


def pair(cell: str, kinds: Any, size: tuple[int, int, int, int], **options: Any) -> Pair:
    """Half types take sequences and matrices rounded, on both sides."""
    steps, rows, inputs, hidden = size
    if cell in layers.FURTHER:
        options["P"] = 2 * (hidden // 3) or 1  # even, so that half numbers can be read in pairs
    exact = layers.random_layer(cell, inputs, hidden, **options)
    own = ln.Layer(cell, inputs, hidden, dtype=kinds.storage, products=kinds.products, device="cuda", **options)
    matrices = {declared(matrix) for stage in own.spec.stages for slot in stage.slots for matrix, _ in slot.terms}
    for name, array in exact.parameters.items():
        array *= 1.5 / max(1.0, np.sqrt(hidden))
        array[...] = rounded(array, kinds.storage if name in matrices else own.dtype.name)
        own.parameters[name] = array.astype(own.dtype)
    for name, array in exact.constants.items():
        array[...] = rounded(own._placed.device.xp.asnumpy(own.constants[name]).astype("float64"), kinds.storage)
    numbers = layers.numbers_for(exact, steps, rows)
    inputs_ = {name: rounded(array, kinds.storage) for name, array in numbers.inputs.items()}
    return Pair(
        own, exact, layers.Numbers(inputs_, numbers.state, rounded(numbers.d_output, kinds.storage), numbers.d_state)
    )


def on_device(own: Any, numbers: layers.Numbers) -> layers.Numbers:
    """The numbers as torch tensors on the device: sequences in the type of storage, states in the arithmetic's."""
    import torch

    stored, states = getattr(torch, own.types.storage), getattr(torch, own.dtype.name)

    def moved(arrays: layers.Arrays, kind: Any) -> Any:
        return {name: torch.tensor(array, device="cuda").to(kind) for name, array in arrays.items()}

    d_output = torch.tensor(numbers.d_output, device="cuda").to(stored)
    return layers.Numbers(
        moved(numbers.inputs, stored), moved(numbers.state, states), d_output, moved(numbers.d_state, states)
    )


def on_host(found: dict[str, Any]) -> layers.Arrays:
    return {name: tensor.detach().double().cpu().numpy() for name, tensor in found.items()}


def step_by_step(own: Any) -> None:
    """From now on without the kernel of all steps."""
    own._placed.engine.sweeps.limits = None


def small_grid(own: Any) -> None:
    """From now on as if the device had fewer multiprocessors."""
    engine = own._placed.engine
    engine.sweeps.limits = replace(engine.sweeps.limits, processors=40)


# --- Rungs


def agrees(cell: str, kinds: Any, change: Callable[[Any], None] | None = None, **options: Any) -> list[str]:
    """What is farther from the CPU than the types allow."""
    apart = []
    for size in SIZES:
        both = pair(cell, kinds, size, **options)
        if change is not None:
            change(both.own)
        steps, rows = size[:2]
        random = np.random.default_rng(1)
        further: list[dict[str, Any]] = [
            {},
            {"lengths": random.integers(0, steps + 1, rows), "resets": random.random((steps, rows)) < 0.3},
        ]
        for given in further:
            expected = layers.everything(both.exact, both.numbers, **given)
            found = on_host(layers.everything(both.own, on_device(both.own, both.numbers), **given))
            if size[3] == 1:
                expected, found = at_once(expected), at_once(found)
            names = layers.farther_apart(found, expected, both.tolerance)
            apart += [
                f"{size} {'with ends and resets ' * bool(given)}{name}: {distance(found[name], expected[name]):.1e}"
                for name in names
            ]
    return apart


def at_once(arrays: layers.Arrays) -> layers.Arrays:
    """All numbers in one array: a gradient that is a single number may be a small difference of large ones, and then
    float32 is 2000 units of the last place from float64 on the CPU too."""
    return {"everything": np.concatenate([array.reshape(-1) for array in arrays.values()])}


def distance(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.linalg.norm(found - expected) / max(np.linalg.norm(expected), 1e-300))


def repeats(cell: str, kinds: Any) -> list[str]:
    """What is not the same bit for bit, also when a graph is replayed."""
    both = pair(cell, kinds, SIZES[3])
    given = on_device(both.own, both.numbers)
    first = on_host(layers.everything(both.own, given))
    others = (on_host(layers.everything(both.own, given)) for _ in range(REPEATS - 1))
    return sorted({name for other in others for name in layers.other_bits(other, first)})


def two_streams(cell: str, kinds: Any) -> list[str]:
    """What two layers on two streams of two threads give, against what each gives alone."""
    import torch

    pairs = [pair(cell, kinds, SIZES[k]) for k in (1, 3)]
    given = [on_device(p.own, p.numbers) for p in pairs]
    alone = [on_host(layers.everything(p.own, g)) for p, g in zip(pairs, given, strict=True)]
    found: list[Any] = [None, None]

    def run(k: int) -> None:
        with torch.cuda.stream(torch.cuda.Stream()):
            for _ in range(5):
                found[k] = layers.everything(pairs[k].own, given[k])
            torch.cuda.current_stream().synchronize()

    torch.cuda.synchronize()
    threads = [threading.Thread(target=run, args=(k,)) for k in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    torch.cuda.synchronize()
    return [f"stream {k}: {name}" for k in range(2) for name in layers.other_bits(on_host(found[k]), alone[k])]


def numpy_too(cell: str, kinds: Any) -> list[str]:
    """NumPy arrays in and out; bfloat16 is none of NumPy's."""
    if kinds.storage == "bfloat16":
        return []
    both = pair(cell, kinds, SIZES[0])
    low, full = both.numbers.cast(kinds.storage), both.numbers.cast(both.own.dtype.name)
    found = layers.everything(both.own, layers.Numbers(low.inputs, full.state, low.d_output, full.d_state))
    found = {name: array.astype("float64") for name, array in found.items()}
    return layers.farther_apart(found, layers.everything(both.exact, both.numbers), both.tolerance)


def too_large(cell: str, kinds: Any) -> list[str]:
    """A run that does not fit is refused before it is begun."""
    further = layers.FURTHER.get(cell, {})
    own = ln.Layer(cell, 8, 1024, dtype=kinds.storage, products=kinds.products, device="cuda", **further)
    import torch

    x = torch.zeros(1, 1, 8, device="cuda", dtype=getattr(torch, kinds.storage)).expand(2**15, 2**6, 8)
    unused = own._placed.device.unused_bytes
    own._placed.device.unused_bytes = lambda: -(2**40)  # whatever torch keeps is not enough then
    try:
        own.forward(x)
    except CudaMemoryError:
        return []
    finally:
        own._placed.device.unused_bytes = unused
    return ["was not refused"]
