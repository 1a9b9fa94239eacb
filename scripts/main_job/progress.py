"""Progress on the terminal, lines where there is none, and a Ctrl-C that lets the current step finish."""

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

console = Console(highlight=False)


def say(text: str) -> None:
    console.print(text, markup=False, soft_wrap=True)


def headline(text: str) -> None:
    console.print(f"\n[bold]{text}[/bold]")


@contextmanager
def bar(title: str, total: int, done: int = 0) -> Iterator[Callable[[str], None]]:
    """Yield what to call after each step, with a note to show; plain lines, one a tenth, where nobody watches."""
    if console.is_terminal:
        with _live_bar(title, total, done) as advance:
            yield advance
    else:
        yield _lines(title, total, done)


@contextmanager
def _live_bar(title: str, total: int, done: int) -> Iterator[Callable[[str], None]]:
    columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[note]}")]
    with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=console) as progress:
        task = progress.add_task(title, total=total, completed=done, note="")
        yield lambda note: progress.update(task, advance=1, note=note)


def _lines(title: str, total: int, done: int) -> Callable[[str], None]:
    position = done

    def advance(note: str) -> None:
        nonlocal position
        position += 1
        if position * 10 // total > (position - 1) * 10 // total:
            say(f"{title} {position}/{total}  {note}")
            sys.stdout.flush()

    return advance


class StopRequest:
    """While it is entered, Ctrl-C or a polite kill only sets ``made``; a second one interrupts as usual."""

    SIGNALS = (signal.SIGINT, signal.SIGTERM)

    def __init__(self) -> None:
        self.made = False

    def __enter__(self) -> Self:
        self._before = {number: signal.signal(number, self._note) for number in self.SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        self._restore()

    def _note(self, *_: object) -> None:
        self.made = True
        self._restore()
        print("\nStopping after this step ...", file=sys.stderr)

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
