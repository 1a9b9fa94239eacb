"""The rungs of the ladder on a device, in the order in which they are climbed; what fails does not stop the rest."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from scripts.gpu_checks import functions, ladder, modules
from scripts.gpu_checks.compilation import KINDS


def rungs(cell: str) -> Iterator[tuple[str, Callable[[], list[str]]]]:
    """Name -> the check: an empty list is good."""
    ways: dict[str, Callable[..., list[str]]] = {
        "at once": ladder.agrees,
        "step by step": partial(ladder.agrees, change=ladder.step_by_step),
        f"{ladder.REPEATS} times the same bits": ladder.repeats,
        "on a smaller grid": partial(ladder.agrees, change=ladder.small_grid),
    }
    for way, check in ways.items():  # whose time ends has seen every type
        for kinds in KINDS:
            yield f"{kinds.storage} {kinds.products}: {way}", partial(check, cell, kinds)
    yield "backwards", lambda: ladder.agrees(cell, KINDS[0], reverse=True)
    yield "two streams at once", lambda: ladder.two_streams(cell, KINDS[0])
    yield "NumPy arrays", lambda: ladder.numpy_too(cell, KINDS[0])
    yield "too large", lambda: ladder.too_large(cell, KINDS[0])
    for kinds in (KINDS[0], KINDS[4]):
        yield f"{kinds.storage}: along a direction", lambda kinds=kinds: modules.along(cell, kinds)
    yield from ONCE if cell == "lstm" else ((name, list) for name, _ in ONCE)


# Once: they are not about a cell.
ONCE: tuple[tuple[str, Callable[[], list[str]]], ...] = (
    *((f"torch module, {kind}", partial(modules.module, kind)) for kind in ("float32", "bfloat16", "float64")),
    ("torch module under autocast", modules.lowered),
    ("torch module in a graph that torch records", modules.recorded),
    ("sigmoid and tanh", functions.last_places),
)


def climb(cell: str, first: int) -> Iterator[tuple[str, list[str]]]:
    """Rung, what is wrong: one after the other, until the device is lost to this process."""
    import torch

    for name, check in list(rungs(cell))[first:]:
        yield name, _found(check)
        try:
            torch.cuda.synchronize()
        except RuntimeError:  # after an illegal access nothing runs in this process: another goes on
            return


def _found(check: Callable[[], list[str]]) -> list[str]:
    try:
        return check()
    except Exception as error:  # noqa: BLE001  (reported, and the rest goes on)
        return [f"{type(error).__name__}: {error}"[:500]]


def few(cell: str) -> dict[str, list[str]]:
    """What compute-sanitizer watches: it is slow."""
    kinds = [KINDS[0], KINDS[2]]
    return {
        f"{k.storage} {way}": _found(lambda k=k, c=c: ladder.agrees(cell, k, c))
        for k in kinds
        for way, c in WAYS.items()
    }


WAYS: dict[str, Callable[[Any], None] | None] = {"at once": None, "step by step": ladder.step_by_step}
