"""The learning rate as a function of the step."""

from math import cos, pi


def cosine(step: int, steps: int, peak: float, warmup: int = 0, floor: float = 0.0) -> float:
    """Rise in a line to the peak over ``warmup`` steps, then fall along half a cosine to the floor at the last step.

    rate = floor + (peak - floor) (1 + cos(pi s)) / 2,      s from 0 after the warm-up to 1 at the end
    """
    if step < warmup:
        return peak * (step + 1) / warmup
    passed = min(1.0, (step - warmup) / max(1, steps - warmup))
    return floor + (peak - floor) * (1 + cos(pi * passed)) / 2
