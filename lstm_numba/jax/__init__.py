"""The cells as JAX functions: `jit`, `grad` and `vmap` around the CPU kernels.

lstm = lstm_numba.jax.Recurrent("lstm")
parameters = lstm.initial(input_size=8, hidden_size=32)
output = lstm(parameters, x).output                             # x (T, B, 8)
jax.grad(lambda p: lstm(p, x).output.sum())(parameters)         # exact, through all steps
"""

from lstm_numba.errors import MissingPackageError

try:
    import jax as _jax  # noqa: F401
except ImportError as error:
    raise MissingPackageError(f"lstm_numba.jax needs JAX ({error}): pip install 'lstm-numba[jax]'.") from error

from lstm_numba.jax.recurrent import Recurrent as Recurrent
from lstm_numba.jax.recurrent import Result as Result
