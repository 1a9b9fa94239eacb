"""A time counts only for a right answer: every result is compared with the peer's first."""

import numpy as np

from scripts.benchmarks.cases import Arrays

# norm-wise, a tensor at a time; float32 libraries differ from each other by the rounding of T steps
TOLERANCES = {"float32": 5e-5, "float64": 1e-11}


def worst(ours: Arrays, theirs: Arrays) -> tuple[float, str]:
    """The largest norm-wise relative difference, and the tensor that has it."""
    shared = [name for name in ours if name in theirs]
    return max((np.linalg.norm(ours[k] - theirs[k]) / max(np.linalg.norm(theirs[k]), 1e-30), k) for k in shared)


def complaint(ours: Arrays, theirs: Arrays, dtype: str) -> str:
    """Empty if two results agree, else what differs."""
    missing = sorted({"output", *ours} - theirs.keys())
    difference, name = worst(ours, theirs)
    if difference > TOLERANCES[dtype] or not np.isfinite(difference):
        return f"{name} differs by {difference:.1e}, tolerance {TOLERANCES[dtype]:.0e}"
    return f"no {', '.join(missing)}" if missing else ""
