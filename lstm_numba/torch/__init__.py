"""Recurrent layers for PyTorch: `torch.nn`'s three under their own names, and every cell as `Recurrent`.

from lstm_numba.torch import LSTM          # instead of: from torch.nn import LSTM
"""

try:
    import torch as torch
except ModuleNotFoundError as error:
    from lstm_numba.errors import MissingPackageError

    raise MissingPackageError(
        "lstm_numba.torch needs PyTorch, which is not installed: pip install 'lstm-numba[torch]'."
    ) from error

from lstm_numba.torch.drop_in import GRU as GRU
from lstm_numba.torch.drop_in import LSTM as LSTM
from lstm_numba.torch.drop_in import RNN as RNN
from lstm_numba.torch.init import chrono_ as chrono_
from lstm_numba.torch.init import forget_bias_ as forget_bias_
from lstm_numba.torch.recurrent import Recurrent as Recurrent
from lstm_numba.torch.stack import Stack as Stack
