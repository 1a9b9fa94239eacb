"""Interleaved timing: A B C A B C ..., so that a slow second of the machine meets every candidate alike."""

import gc
import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

from scripts.benchmarks.candidate import Candidate

SHORTEST = 2e-3  # seconds of one sample: shorter calls are repeated, or the clock is what is measured
LONG = 0.5  # seconds of a call that what was in the caches before it does not change
FEWEST, MOST = 5, 60  # samples of each candidate
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


def interleave(candidates: list[Candidate], seconds: float, threads: int = 1) -> dict[str, Timing]:
    """Warm up, then time every candidate in turn for about so many seconds in all."""
    settling = SETTLING if threads > 1 else 0
    estimates = [estimated(one.run) for one in candidates]
    repeats = [max(1, math.ceil(SHORTEST / estimate)) for estimate in estimates]
    a_round = sum(estimate * (n + 1) for estimate, n in zip(estimates, repeats, strict=True))
    rounds = min(MOST, max(FEWEST, round(seconds / a_round)))
    samples: dict[str, list[float]] = {one.name: [] for one in candidates}
    gc.collect()
    gc.disable()
    try:
        for done in range(rounds):
            for one, n, estimate in zip(candidates, repeats, estimates, strict=True):
                if done >= FEW and estimate > SLOW * min(estimates):
                    continue
                samples[one.name].append(sample(one.run, n, settling, first=settling > 0 or estimate < LONG))
    finally:
        gc.enable()
    return {name: Timing(tuple(values)) for name, values in samples.items()}
