"""Training that can be stopped anywhere and continued to the same bits.

What a step does depends on the settings, the corpus and the trainer's own state, never on the clock. A time limit is
turned into a number of steps once, before the first, and kept with the settings.
"""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lstm_numba.errors import CheckpointError
from lstm_numba.train import NATS_PER_BIT, Adam, checkpoint, clip_by_norm, cosine
from scripts.main_job.corpus import Corpus
from scripts.main_job.language_model import LanguageModel, State


@dataclass(frozen=True)
class Settings:
    """Everything that decides the result, beside the corpus."""

    cell: str = "lstm"
    hidden_size: int = 256
    layers: int = 1
    width: int = 64
    rows: int = 32
    window: int = 32
    rate: float = 8e-3
    beta2: float = 0.99
    warmup: int = 50
    clip: float = 1.0
    seed: int = 0
    steps: int = 1000

    def model(self, threads: int) -> LanguageModel:
        return LanguageModel(self.cell, self.hidden_size, self.layers, self.width, self.seed, threads)


@dataclass(frozen=True)
class Lanes:
    """The training bytes as ``rows`` texts read side by side, ``window`` bytes at a time."""

    data: NDArray[np.uint8]
    rows: int
    window: int

    @property
    def windows(self) -> int:
        """How many windows an epoch has."""
        return max(1, len(self.data) // (self.rows * self.window))

    def batch(self, shift: int, index: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Inputs and targets (T, B) of window ``index``; lane r starts at shift + r * (length of a lane), cyclic."""
        steps = np.arange(self.window + 1)[:, None] + index * self.window
        lanes = np.arange(self.rows) * (len(self.data) // self.rows) + shift
        text = self.data[(steps + lanes) % len(self.data)]
        return text[:-1], text[1:]


class Trainer:
    """Truncated BPTT with carried state, clipped by norm, Adam with a falling rate."""

    def __init__(self, settings: Settings, corpus: Corpus, threads: int = 1) -> None:
        self.settings, self.corpus = settings, corpus
        self.model = settings.model(threads)
        self.lanes = Lanes(corpus.training, settings.rows, settings.window)
        self.optimizer = Adam(self.model.parameters, betas=(0.9, settings.beta2))
        self.rng = np.random.default_rng(settings.seed)
        self.step, self.shift = 0, 0
        self.state: State = None
        self.losses: list[float] = []
        self.curve: list[list[float]] = []

    @property
    def finished(self) -> bool:
        return self.step >= self.settings.steps

    def advance(self) -> float:
        """Do one step; return its loss in bits per byte."""
        index = self.step % self.lanes.windows
        if index == 0:  # an epoch starts: the lanes begin elsewhere, so that windows fall on other places
            self.shift, self.state = int(self.rng.integers(len(self.lanes.data))), None
        inputs, targets = self.lanes.batch(self.shift, index)
        done = self.model.forward_backward(inputs, targets, self.state)
        clip_by_norm(done.gradients, self.settings.clip)
        self.optimizer.update(done.gradients, self.rate)
        self.state = done.state
        self.step += 1
        self.losses.append(done.loss / NATS_PER_BIT)
        return self.losses[-1]

    @property
    def rate(self) -> float:
        s = self.settings
        return cosine(self.step, s.steps, s.rate, s.warmup, floor=s.rate / 100)

    def measure(self, held_out: NDArray[np.uint8]) -> float:
        """Note the held-out bits per byte at this step."""
        bits = self.model.bits(held_out)
        self.curve.append([self.step, bits])
        return bits

    # --- checkpoints

    def save(self, path: Path) -> None:
        checkpoint.save(path, self._arrays() | self._state_arrays(), self._facts())

    @classmethod
    def load(cls, path: Path, corpus: Corpus, threads: int = 1) -> "Trainer":
        """Make the trainer that was saved; CheckpointError if it was another corpus or model."""
        arrays, facts = checkpoint.load(path)
        if not facts.keys() >= FACTS:
            raise CheckpointError(f"{path} is a checkpoint, but not one of a training run.")
        if facts["corpus"] != corpus.digest:
            raise CheckpointError(
                f"{path} was trained on another text: the standard library here is not the one it began with.\n"
                "    Continue with the Python that started it, or start anew."
            )
        if facts["settings"].keys() != asdict(Settings()).keys():
            raise CheckpointError(f"{path} was written by another version, with other settings: start anew.")
        trainer = cls(Settings(**facts["settings"]), corpus, threads)
        trainer._restore(arrays, facts)
        return trainer

    def _arrays(self) -> dict[str, NDArray]:
        model = {f"model.{name}": array for name, array in self.model.parameters.items()}
        return model | {f"adam.{name}": array for name, array in self.optimizer.arrays().items()}

    def _state_arrays(self) -> dict[str, NDArray]:
        return {f"state.{name}": array for name, array in (self.state or {}).items()}

    def _facts(self) -> dict[str, Any]:
        return {
            "settings": asdict(self.settings),
            "corpus": self.corpus.digest,
            "step": self.step,
            "shift": self.shift,
            "rng": self.rng.bit_generator.state,
            "losses": self.losses,
            "curve": self.curve,
        }

    def _restore(self, arrays: dict[str, NDArray], facts: dict[str, Any]) -> None:
        state = {name.removeprefix("state."): arrays.pop(name) for name in list(arrays) if name.startswith("state.")}
        checkpoint.restore(self._arrays(), arrays)
        self.state = state or None
        self.step = self.optimizer.steps = facts["step"]
        self.shift, self.losses, self.curve = facts["shift"], facts["losses"], facts["curve"]
        self.rng.bit_generator.state = facts["rng"]


def calibrated(settings: Settings, corpus: Corpus, threads: int, seconds: float) -> Settings:
    """Return the settings with as many steps as fit into the time, timed on a trainer that is thrown away."""
    trial = Trainer(settings, corpus, threads)
    trial.advance()  # compiles
    times = [_timed(trial) for _ in range(CALIBRATION_STEPS)]
    return replace(settings, steps=max(LEAST_STEPS, int(seconds / median(times))))


FACTS = {"settings", "corpus", "step", "shift", "rng", "losses", "curve"}  # beside the arrays, what a checkpoint holds
CALIBRATION_STEPS, LEAST_STEPS = 12, 20


def _timed(trainer: Trainer) -> float:
    start = perf_counter()
    trainer.advance()
    return perf_counter() - start
