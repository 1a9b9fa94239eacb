"""The folders of runs: a new one for every start, the last one to continue."""

from pathlib import Path

from scripts.main_job.errors import RunError


def new_folder(runs: Path, name: str) -> Path:
    """Make runs/name, or runs/name-2 and so on: a run never overwrites another."""
    number = 1
    while True:
        folder = runs / (name if number == 1 else f"{name}-{number}")
        try:
            folder.mkdir(parents=True)
            return folder
        except FileExistsError:
            number += 1


def latest_folder(runs: Path) -> Path:
    checkpoints = list(runs.glob("*/checkpoint.npz"))
    if not checkpoints:
        raise RunError(f"There is no run to continue in {runs}. Start one without --resume, or name its folder.")
    return max(checkpoints, key=lambda path: path.stat().st_mtime).parent


def resume_command(folder: Path) -> str:
    return f"./scripts/run --resume {folder}"
