"""Kernels of recurrent cells generated from equations: forward and exact backpropagation through time, on NumPy arrays.

layer = lstm_numba.Layer("lstm", input_size=8, hidden_size=32)
run = layer.forward(x)                     # x (T, B, 8)
gradients = run.backward(d_output)         # exact, through all steps

`Layer` is one cell of `cells()` at one size, `Stack` several on top of each other.  Beside them, imported by name:
`lstm_numba.train` (losses, Adam, checkpoints), `.torch`, `.jax`, `.interchange` (weights in and out), `.echo_state`.
Every error derives from `LstmNumbaError`.
"""

from lstm_numba.errors import LstmNumbaError
from lstm_numba.layer import Layer
from lstm_numba.registry import cells
from lstm_numba.run import Gradients, Run, Tangents
from lstm_numba.stack import Stack

__all__ = ["Gradients", "Layer", "LstmNumbaError", "Run", "Stack", "Tangents", "cells"]
