"""Interleaved timing: A B C A B C ..., so that a slow second of the machine meets every candidate alike."""

import gc
import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

from scripts.benchmarks import placement
from scripts.benchmarks.candidate import Candidate

SHORTEST = 2e-3  # seconds of one sample: shorter calls are repeated, or the clock is what is measured
LONG = 0.5  # seconds of a call that what was in the caches before it does not change
FEWEST, MOST = 5, 60  # samples of each candidate
AGAIN = 3  # rounds taken again, as a multiple of those wanted: a machine that has changed for good is measured as it is
SLOW, FEW = 2.5, 3  # a candidate so many times slower than the fastest decides nothing, and is timed so often
# Seconds until another library's worker threads, which go on looking for work when a call has ended, sleep: until then
# they take a core from whoever comes next.
SETTLING = 0.25


@dataclass(frozen=True)
class Timing:
    """Seconds of one call, over the samples."""

    samples: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.samples)

    @property
    def spread(self) -> float:
        """Half the distance between the quartiles, as a share of the median."""
        low, _, high = statistics.quantiles(self.samples, n=4)
        return (high - low) / 2 / self.median


def sample(call: Callable[[], object], repeats: int, settling: float = 0, first: bool = True) -> float:
    """Seconds of one call, after a first one that is not counted.

    A step of a training finds the caches and threads as the step before has left them, not as another library has.
    """
    time.sleep(settling)
    if first:
        call()
    started = time.perf_counter()
    for _ in range(repeats):
        call()
    return (time.perf_counter() - started) / repeats


def estimated(call: Callable[[], object]) -> float:
    """About the seconds of one call."""
    found = sample(call, 1)
    return found if found > LONG else min(found, sample(call, 1))


@dataclass(frozen=True)
class Turn:
    """One candidate's part of a round."""

    one: Candidate
    estimate: float  # seconds of a call
    settling: float

    @property
    def repeats(self) -> int:
        return max(1, math.ceil(SHORTEST / self.estimate))

    @property
    def seconds(self) -> float:
        return self.estimate * (self.repeats + 1)

    def sample(self) -> float:
        return sample(self.one.run, self.repeats, self.settling, first=self.settling > 0 or self.estimate < LONG)


def interleave(candidates: list[Candidate], seconds: float, threads: int = 1) -> dict[str, Timing]:
    """Warm up, then time every candidate in turn for about so many seconds in all.

    On several threads a round during which the processors did not stand as usual is taken again, of all candidates.
    """
    settling, is_usual = (SETTLING, placement.probe(threads)) if threads > 1 else (0, lambda: True)
    turns = [Turn(one, estimated(one.run), settling) for one in candidates]
    fastest = min(turn.estimate for turn in turns)
    rounds = min(MOST, max(FEWEST, round(seconds / sum(turn.seconds for turn in turns))))
    samples: dict[str, list[float]] = {one.name: [] for one in candidates}
    gc.collect()
    gc.disable()
    try:
        done, left = 0, AGAIN * rounds
        while done < rounds:
            taking = [turn for turn in turns if done < FEW or turn.estimate <= SLOW * fastest]
            found = [(turn.one.name, turn.sample(), is_usual()) for turn in taking]
            if left and not all(usual for _, _, usual in found):
                left -= 1
                continue
            done += 1
            for name, value, _ in found:
                samples[name].append(value)
    finally:
        gc.enable()
    return {name: Timing(tuple(values)) for name, values in samples.items()}
