"""The learning rate as a function of the step."""

from math import cos, pi

from lstm_numba.train import arguments


def cosine(step: int, steps: int, peak: float, warmup: int = 0, floor: float = 0.0) -> float:
    """Rise in a line to the peak over ``warmup`` steps, then fall along half a cosine to the floor at the last step.

    rate = floor + (peak - floor) (1 + cos(pi s)) / 2,      s from 0 after the warm-up to 1 at the end

    Raises:
        OptionError: a step before the first, a negative number of steps or rate, or no number.
    """
    given = {"step": step, "steps": steps, "peak": peak, "warmup": warmup, "floor": floor}
    for name, value in given.items():
        arguments.number(name, value, least=0)
    if step < warmup:
        return peak * (step + 1) / warmup
    passed = min(1.0, (step - warmup) / max(1, steps - warmup))
    return floor + (peak - floor) * (1 + cos(pi * passed)) / 2
