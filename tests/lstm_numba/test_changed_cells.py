"""Layers of cells whose equations are changed by the options `activations` and `clip`.

Truth: NumPy loops with these functions, and differences of the loss.
"""

import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch

import lstm_numba as ln
import lstm_numba.torch as lt
from lstm_numba import registry
from lstm_numba.errors import LstmNumbaError, OptionError
from scripts.sizes import ROOT
from tests.layers import everything, forward, numbers_for, other_bits, random_layer, slopes

STEPS, BATCH, INPUT, HIDDEN, CLIP = 5, 3, 4, 6, 0.7
CHANGES = {"activations": {"h": "elu(alpha=0.5)"}, "clip": CLIP}


@pytest.fixture
def layer():
    return random_layer("rnn", INPUT, HIDDEN, **CHANGES)


def by_hand(p, x, h):
    for row in x:
        a = np.clip(row @ p["W"].T + h @ p["U"].T + p["b"], -CLIP, CLIP)
        h = np.where(a < 0, 0.5 * (np.exp(a) - 1), a)
        yield h


def test_it_computes_what_the_options_say(layer):
    numbers = numbers_for(layer, STEPS, BATCH)
    expected = list(by_hand(layer.parameters, numbers.inputs["x"], numbers.state["h"]))
    assert np.allclose(forward(layer, numbers).output, expected, rtol=1e-13, atol=1e-14)


def test_its_gradient_is_that_of_differences(layer):
    difference, pulled = slopes(layer, numbers_for(layer, STEPS, BATCH))
    assert pulled == pytest.approx(difference, rel=1e-8)


def test_its_repr_makes_it_again_and_its_equations_are_made_once(layer):
    again = eval(repr(layer), {"Layer": ln.Layer})  # noqa: S307
    assert repr(again) == repr(layer)
    assert again._module is layer._module
    assert registry.find("rnn", CHANGES) is layer._module
    assert ln.Layer("rnn", INPUT, HIDDEN, activations=None, clip=None)._module is registry.find("rnn", {})


def test_a_copy_in_another_process_gives_the_same_bits(layer, tmp_path):
    numbers = numbers_for(layer, STEPS, BATCH)
    (tmp_path / "layer").write_bytes(pickle.dumps((layer, numbers)))
    code = (
        "import pickle, sys; from pathlib import Path; from tests.layers import everything;"
        "layer, numbers = pickle.loads(Path(sys.argv[1]).read_bytes());"
        "Path(sys.argv[2]).write_bytes(pickle.dumps(everything(layer, numbers)))"
    )
    command = [sys.executable, "-c", code, tmp_path / "layer", tmp_path / "found"]
    subprocess.run(command, check=True, cwd=ROOT)
    assert other_bits(pickle.loads((tmp_path / "found").read_bytes()), everything(layer, numbers)) == []  # noqa: S301


def test_a_torch_module_takes_the_options_with_and_without_masks():
    numpy_layer = random_layer("rnn", INPUT, HIDDEN, **CHANGES)
    numbers, x = numbers_for(numpy_layer, STEPS, BATCH), torch.zeros(STEPS, BATCH, INPUT, dtype=torch.float64)
    x += torch.from_numpy(numbers.inputs["x"])
    expected = numpy_layer.forward(x.numpy()).output
    for masks in ({}, {"recurrent_dropout": 0.5}):
        module = lt.Recurrent("rnn", INPUT, HIDDEN, dtype=torch.float64, **CHANGES, **masks).eval()
        module.load_state_dict({name: torch.from_numpy(a.copy()) for name, a in numpy_layer.parameters.items()})
        assert np.allclose(module(x)[0].detach().numpy(), expected, rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"activations": {"q": "elu"}}, "no equation of 'q' applies one activation; these do: h"),
        ({"activations": {"h": "elo"}}, "'elo', which is not one"),
        ({"clip": -1}, "clip must be a number above 0, got -1"),
        ({"clip": 1, "peepholes": "i"}, "rnn has no option 'peepholes'"),
        ({"clip": 1, "activation": "elu"}, "activation='elu' is not one of 'tanh', 'relu'"),
    ],
)
def test_what_cannot_be_is_refused(options, words):
    with pytest.raises(OptionError, match=words) as caught:
        ln.Layer("rnn", INPUT, HIDDEN, **options)
    assert isinstance(caught.value, LstmNumbaError)
