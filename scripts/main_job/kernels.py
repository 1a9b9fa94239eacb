"""Before the job: derive every cell, regenerate its kernels, hold them against the equations.

A process of its own, so that the job itself imports the kernels that were just written.
"""

import sys
from collections.abc import Sequence

import derive
from derive.cli import BAD_INPUT, DOES_NOT_HOLD, GOOD
from derive.emit import store
from derive.errors import DeriveError
from derive.load import named, names
from derive.verify import run as climb
from scripts.main_job.options import parsed, size_of
from scripts.main_job.progress import bar, headline, say


def main(arguments: Sequence[str] | None = None) -> int:
    options = parsed(arguments, names())
    if options.resume is not None:  # they were held against the equations when it began
        return GOOD
    try:
        derived()
        regenerated()
        return GOOD if verified(size_of(options).verified or names()) else DOES_NOT_HOLD
    except DeriveError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return BAD_INPUT


def derived() -> None:
    headline("Deriving the gradients of every cell")
    with bar("derive", len(names())) as progressed:
        for name in names():
            derive.gradients(named(name))
            progressed(name)


def regenerated() -> None:
    headline("Regenerating the kernels")
    for path in store.generate():
        say(f"{'wrote' if path.exists() else 'deleted'} {path}")
    say(f"{len(store.files(store.PACKAGE))} files are what the equations give")


def verified(chosen: Sequence[str]) -> bool:
    """Climb the ladder of `derive verify --quick`; one line a cell, and all about a failure."""
    headline("Verifying")
    failures = []
    with bar("verify", len(chosen)) as progressed:
        for name in chosen:
            report = climb([named(name)], quick=True)
            cell = report.cells[0]
            failures += [] if report.ok else [report.text()]
            progressed(f"{name}: {len(cell.passed())} rungs, {len(cell.measurements)} figures, {cell.seconds:.0f} s")
    for failure in failures:
        say(failure)
    return not failures


if __name__ == "__main__":
    sys.exit(main())
