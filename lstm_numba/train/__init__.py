"""What training needs beside a layer: both ends of the model, a loss, clipping, an optimiser, a schedule, checkpoints.

Plain NumPy; the layer does the work. ``scripts/main_job/language_model.py`` is all of it in one place.
"""

from lstm_numba.train import checkpoint
from lstm_numba.train.adam import Adam
from lstm_numba.train.clip import clip_by_norm, clip_by_value, global_norm
from lstm_numba.train.embedding import Embedding
from lstm_numba.train.loss import NATS_PER_BIT, cross_entropy, log_probabilities, squared_error
from lstm_numba.train.penalty import vanishing_penalty
from lstm_numba.train.readout import Readout
from lstm_numba.train.schedule import cosine

__all__ = [
    "NATS_PER_BIT",
    "Adam",
    "Embedding",
    "Readout",
    "checkpoint",
    "clip_by_norm",
    "clip_by_value",
    "cosine",
    "cross_entropy",
    "global_norm",
    "log_probabilities",
    "squared_error",
    "vanishing_penalty",
]
