"""Kernels of recurrent cells generated from equations: forward and exact backpropagation through time, on NumPy arrays.

layer = lstm_numba.Layer("lstm", input_size=8, hidden_size=32)
run = layer.forward(x)                     # x (T, B, 8)
gradients = run.backward(d_output)         # exact, through all steps
"""

from lstm_numba.errors import LstmNumbaError as LstmNumbaError
from lstm_numba.layer import Layer as Layer
from lstm_numba.registry import cells as cells
from lstm_numba.run import Gradients as Gradients
from lstm_numba.run import Run as Run
from lstm_numba.run import Tangents as Tangents
from lstm_numba.stack import Stack as Stack
