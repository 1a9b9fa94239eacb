"""Weights in and out: torch.nn, Keras, Flax and ONNX, and files of the project's own.

    layer = interchange.from_torch(module.state_dict())      # and from_keras, from_flax, from_onnx
    arrays = interchange.to_torch(layer)                     # and to_keras, to_flax; to_onnx for any cell
    interchange.save(layer, "layer.safetensors")
    layer = interchange.load("layer.safetensors")

Arrays are NumPy's in both directions; none of these libraries is imported, but onnx by from_onnx and to_onnx and
safetensors by save and load.
"""

from lstm_numba.interchange.flax import from_flax as from_flax
from lstm_numba.interchange.flax import to_flax as to_flax
from lstm_numba.interchange.keras import from_keras as from_keras
from lstm_numba.interchange.keras import to_keras as to_keras
from lstm_numba.interchange.onnx import from_onnx as from_onnx
from lstm_numba.interchange.onnx import to_onnx as to_onnx
from lstm_numba.interchange.torch import from_torch as from_torch
from lstm_numba.interchange.torch import to_torch as to_torch
from lstm_numba.interchange.weights import load as load
from lstm_numba.interchange.weights import save as save
