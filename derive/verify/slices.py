"""Parts of a problem: some rows of its batch, some of its steps."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from derive.verify.problem import Named, Problem


def rows(problem: Problem, chosen: slice) -> Problem:
    """The problem of some rows of the batch."""
    return replace(
        problem,
        inputs={name: values[:, chosen] for name, values in problem.inputs.items()},
        state={name: values[chosen] for name, values in problem.state.items()},
        d_outputs={name: values[:, chosen] for name, values in problem.d_outputs.items()},
        d_state={name: values[chosen] for name, values in problem.d_state.items()},
        lengths=None if problem.lengths is None else problem.lengths[chosen],
        resets=None if problem.resets is None else problem.resets[:, chosen],
    )


def steps(problem: Problem, start: int, stop: int) -> Problem:
    """The problem of steps start .. stop - 1, from the same initial states."""
    lengths = None if problem.lengths is None else np.clip(problem.lengths - start, 0, stop - start)
    return replace(
        problem,
        inputs={name: values[start:stop] for name, values in problem.inputs.items()},
        d_outputs={name: values[start:stop] for name, values in problem.d_outputs.items()},
        lengths=lengths,
        resets=None if problem.resets is None else problem.resets[start:stop],
    )


def starting(problem: Problem, state: Named) -> Problem:
    """The problem from other initial states."""
    return replace(problem, state=dict(state))


def ending(problem: Problem, d_state: Named) -> Problem:
    """The problem with other cotangents of the final states."""
    return replace(problem, d_state=dict(d_state))
