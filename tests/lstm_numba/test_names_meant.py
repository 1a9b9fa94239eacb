"""A name that is not known: the message says which one was meant, and what is known.

Truth: what a user who mistyped would want to read.
"""

import numpy as np
import pytest

import lstm_numba as ln
from lstm_numba.errors import ArgumentError, OptionError, UnknownNameError

X, D = np.ones((5, 2, 3), "float32"), np.ones((5, 2, 4), "float32")


@pytest.mark.parametrize(
    ("cell", "name", "said"),
    [
        ("lstm", "foo", r"'foo' is neither an argument nor an input of this cell; .* by name: none"),
        ("lstm", "length", r"of this cell \(did you mean 'lengths'\?\)"),
        ("depth_gated", "C_lower", r"\(did you mean 'c_lower'\?\).* by name: c_lower"),
    ],
)
def test_a_sequence_or_an_argument(cell, name, said):
    with pytest.raises(ArgumentError, match=said):
        ln.Layer(cell, 3, 4).forward(X, **{name: X})


@pytest.mark.parametrize("layers", [ln.Layer, ln.Stack])
def test_a_parameter_in_another_case(layers):
    with pytest.raises(UnknownNameError, match=r"did you mean '(0\.)?W_i'"):  # W_f is as near to w_i by its letters
        layers("lstm", 3, 4).parameters["w_i" if layers is ln.Layer else "0.w_i"]


def test_what_is_no_word_at_all():
    with pytest.raises(OptionError, match="device must be one of 'cpu', 'cuda'"):
        ln.Layer("lstm", 3, 4, device=np.array(["cpu", "cuda"]))
    with pytest.raises(ArgumentError, match=r"inputs has no entry .*: it takes x"):
        ln.Layer("lstm", 3, 4).forward(X).backward(D, inputs=[["x"]])
