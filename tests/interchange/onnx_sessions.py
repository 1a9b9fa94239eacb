"""Exported models under onnxruntime, beside the layer that they were exported from."""

import numpy as np
import onnxruntime

import lstm_numba as ln
from tests.interchange.foreign import B, T, draw


def session(model):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def both(made, model, lengths=None, resets=None, steps=T, batch=B):
    """What the layer gives and what the model gives, by the model's names, on the same random numbers."""
    ran, feed = session(model), {}
    if lengths is not None:
        feed["lengths"] = np.asarray(lengths, np.int64)
    if resets is not None:
        feed["resets"] = resets
    sizes = {"T": steps, "B": batch}
    for k, given in enumerate(one for one in ran.get_inputs() if one.name not in feed):
        shape = [sizes.get(size, size) for size in given.shape]
        feed[given.name] = draw(*shape, seed=k).astype(dtype_of(made))
    found = dict(zip([one.name for one in ran.get_outputs()], ran.run(None, feed), strict=True))
    return expected(made, feed, lengths, resets), found


def dtype_of(made):
    return (made.layers[0] if isinstance(made, ln.Stack) else made).dtype


def expected(made, feed, lengths, resets):
    sequences = {name: array for name, array in feed.items() if array.ndim == 3}
    state = {name.removesuffix("_0"): array for name, array in feed.items() if name.endswith("_0")}
    x = sequences.pop(made.spec.main)
    run = made.forward(x, state, lengths, resets, save=False, **sequences)
    further = dict(list(run.outputs.items())[1:]) if isinstance(made, ln.Layer) else {}
    return {"output": run.output, **further, **{f"{name}_T": array for name, array in run.state.items()}}


def differing(ours, theirs, tolerance):
    """Names of arrays that differ norm-wise, or are not on both sides."""
    assert ours.keys() == theirs.keys()
    apart = {name: np.linalg.norm(ours[name] - theirs[name]) for name in ours}
    return [name for name, array in ours.items() if not apart[name] <= tolerance * max(np.linalg.norm(array), 1e-3)]
