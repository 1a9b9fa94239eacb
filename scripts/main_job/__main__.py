"""Train a character model on real text, forecast a real series, report.     python -m scripts.main_job --help"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from time import monotonic

from threadpoolctl import threadpool_limits

import lstm_numba as ln
from lstm_numba.errors import LstmNumbaError
from scripts.main_job import report
from scripts.main_job.baselines import ContextModel, gzip_bits
from scripts.main_job.corpus import Corpus, python_source
from scripts.main_job.folders import latest_folder, new_folder, resume_command
from scripts.main_job.forecast import HORIZONS, Effort, Forecasts, echo_state, recurrent
from scripts.main_job.options import parsed, size_of
from scripts.main_job.progress import StopRequest, bar, headline, say
from scripts.main_job.sunspots import Series, autoregression, naive, seasonal, sunspots
from scripts.main_job.trainer import Settings, Trainer, calibrated

STOPPED = 130  # what a shell reports of a program that Ctrl-C ended
SAVE_EVERY = 20  # seconds; when a checkpoint is written changes nothing in it
MEASUREMENTS = 5  # on the held-out bytes, the last after the last step


def main(arguments: list[str] | None = None) -> int:
    options = parsed(arguments, ln.cells())
    try:
        # Several BLAS threads fight with the layer's own, and change the last bits of a product with their number.
        with threadpool_limits(1, "blas"):
            return run(options)
    except LstmNumbaError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 2
    except MemoryError as error:
        print(f"scripts/run: the model does not fit into memory ({error}); take a smaller --hidden.", file=sys.stderr)
        return 2
    except OSError as error:  # a full disk, a folder that cannot be written: the checkpoint is whole or not there
        place = error.filename or options.runs
        print(f"scripts/run: {place} cannot be used: {error.strerror or error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:  # outside training there is nothing to save
        print("Stopped.", file=sys.stderr)
        return STOPPED


def run(options: argparse.Namespace) -> int:
    """The whole job, in order."""
    headline("The text")
    corpus = python_source()
    say(f"{len(corpus.training):,} bytes to learn from, {len(corpus.held_out):,} held out, of Python's own library")
    folder, trainer = resumed(options, corpus) if options.resume is not None else started(options, corpus)
    if not train(trainer, folder):
        say(f"Stopped after step {trainer.step} of {trainer.settings.steps}. To continue:  {resume_command(folder)}")
        return STOPPED
    language = compared(trainer)
    series, said = forecast(options)
    path = report.write(folder, trainer, language, series, said)
    headline("Done")
    say(f"report           {path}\ntrained weights  {folder / 'weights.npz'}")
    return 0


# --- language


def started(options: argparse.Namespace, corpus: Corpus) -> tuple[Path, Trainer]:
    """Make a new run in a folder of its own; the time allowed becomes a number of steps."""
    size = size_of(options)
    settings = Settings(
        cell=options.cell or "lstm",
        hidden_size=options.hidden or size.hidden,
        layers=options.layers or 1,
        rate=size.rate,
        seed=options.seed or 0,
    )
    settings = with_steps(settings, options, corpus, options.minutes or size.minutes)
    trainer = Trainer(settings, corpus, options.threads)
    return new_folder(options.runs, options.name or settings.cell + ("-quick" if options.quick else "")), trainer


def with_steps(settings: Settings, options: argparse.Namespace, corpus: Corpus, minutes: float) -> Settings:
    if options.steps:
        return replace(settings, steps=options.steps)
    say(f"Compiling and timing {settings.cell} ...")
    settings = calibrated(settings, corpus, options.threads, 60 * minutes)
    say(f"{settings.steps} steps fit into {minutes:g} minutes on {options.threads} thread(s)")
    return settings


def resumed(options: argparse.Namespace, corpus: Corpus) -> tuple[Path, Trainer]:
    """Continue the run that is named, or the one that was written to last."""
    folder = Path(options.resume) if options.resume else latest_folder(options.runs)
    trainer = Trainer.load(folder / "checkpoint.npz", corpus, options.threads)
    say(f"Continuing {folder} after step {trainer.step} of {trainer.settings.steps}")
    return folder, trainer


def train(trainer: Trainer, folder: Path) -> bool:
    """Train to the last step, or until asked to stop; the checkpoint is written in either case."""
    settings, path = trainer.settings, folder / "checkpoint.npz"
    headline(f"Training: {settings.layers} x {settings.cell}, {settings.hidden_size} units")
    saved = monotonic()
    with StopRequest() as stop, bar("language model", settings.steps, trainer.step) as progressed:
        while not (trainer.finished or stop.made):
            bits = trainer.advance()
            if trainer.step % max(1, settings.steps // MEASUREMENTS) == 0 or trainer.finished:
                trainer.measure(trainer.corpus.held_out)
            progressed(f"{bits:.2f} bits/byte" + (f", held out {trainer.curve[-1][1]:.3f}" if trainer.curve else ""))
            if monotonic() - saved > SAVE_EVERY:
                trainer.save(path)
                saved = monotonic()
        trainer.save(path)
    return trainer.finished


def compared(trainer: Trainer) -> report.Language:
    headline("Bits per byte on the held-out bytes (smaller is better)")
    corpus = trainer.corpus
    language = report.Language(
        model=trainer.curve[-1][1],
        context=ContextModel(corpus.training).bits(corpus.held_out),
        gzip=gzip_bits(corpus.held_out),
        sample=trainer.model.write(b"def ", 500, seed=trainer.settings.seed).decode(errors="replace"),
    )
    say("\n".join(report.language_lines(language)))
    return language


# --- forecasting


def forecast(options: argparse.Namespace) -> tuple[Series, dict[str, Forecasts]]:
    headline("Sunspots: error of the forecast 1 and 5 years ahead, against the naive one")
    size = size_of(options)
    series, effort = sunspots(), Effort(epochs=size.forecast_epochs, seeds=size.forecast_seeds)
    methods = {"naive": naive, "one cycle ago": seasonal, "AR(9)": autoregression}
    said = {name: {h: method(series, h) for h in HORIZONS} for name, method in methods.items()}
    said["esn"] = echo_state(series, seeds=effort.seeds)
    with bar("forecasts", len(size.forecast_cells)) as progressed:
        for cell in size.forecast_cells:
            said[cell] = recurrent(series, cell, effort)
            progressed(cell)
    say("\n".join(report.forecast_lines(report.table(series, said))))
    return series, said


if __name__ == "__main__":
    sys.exit(main())
