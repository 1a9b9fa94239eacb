"""What is no other library's weights: one error that says the rule, what came and the cure."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

import derive
import lstm_numba as ln
from derive.symbols import Eq
from lstm_numba import interchange
from lstm_numba.errors import (
    ArgumentError,
    DtypeError,
    ForeignWeightsError,
    MissingPackageError,
    NotExpressibleError,
    OptionError,
    ShapeError,
)
from scripts.sizes import ROOT
from tests.interchange.foreign import H, N, draw, layer, stack

LSTM = interchange.to_torch(layer("lstm"))
PROJECTED = interchange.to_torch(stack("lstm_projected", bidirectional=False))
STACK = interchange.to_torch(stack("gru_reset_after"))
KERAS = interchange.to_keras(layer("gru"))
FLAX = interchange.to_flax(layer("lstm"))
# A user's cell with the package's name and parameters, and another output.
EQUATIONS = derive.cells["lstm"].equations
MINE = replace(derive.cells["lstm"], equations=[*EQUATIONS[:-1], Eq(EQUATIONS[-1].lhs, 2 * EQUATIONS[-1].rhs)])
MY_LSTM = derive.build(MINE)(N, H)


def without(given, *keys):
    return {key: array for key, array in given.items() if key not in keys}


def refused(error, words, function, *arguments, **options):
    with pytest.raises(error, match=f"(?s){words}") as caught:
        function(*arguments, **options)
    assert isinstance(caught.value, ln.LstmNumbaError)


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        (torch.nn.LSTM(2, 3), ArgumentError, r"must be a dict.*got LSTM.*module\.state_dict\(\)"),
        (None, ArgumentError, "got NoneType"),
        ({}, ForeignWeightsError, "found no key"),
        ({"weight": draw(2, 2)}, ForeignWeightsError, "found weight: give the state dict"),
        (without(LSTM, "weight_ih_l0"), ForeignWeightsError, "weight_ih_l0 is missing, given: weight_hh_l0"),
        (without(LSTM, "weight_hh_l0"), ForeignWeightsError, "weight_hh_l0.*there is none"),
        (without(LSTM, "bias_hh_l0"), ForeignWeightsError, "bias_hh_l0 is missing"),
        (without(STACK, "bias_ih_l1", "bias_hh_l1"), ForeignWeightsError, "bias_ih_l1 is missing"),
        (without(STACK, "weight_ih_l1_reverse"), ForeignWeightsError, "weight_ih_l1_reverse is missing"),
        ({**LSTM, "weight_hh_l0": draw(5 * H, H)}, ForeignWeightsError, r"4 gates for LSTM.*got shape \(30, 6\)"),
        ({**LSTM, "weight_hh_l0": draw(H)}, ForeignWeightsError, r"got shape \(6,\)"),
        (
            {**LSTM, "bias_ih_l0": draw(H)},
            ShapeError,
            r"bias_ih_l0 has shape \(6,\), expected \(4 H\) = \(24,\): .*H = 6",
        ),
        ({**LSTM, "weight_ih_l0": draw(4 * H)}, ShapeError, "weight_ih_l0 must be a matrix"),
        ({**LSTM, "weight_ih_l0": draw(H, N)}, ShapeError, r"expected \(4 H, N\) = \(24, 4\)"),
        ({**LSTM, "bias_ih_l0": np.arange(24)}, DtypeError, "bias_ih_l0 must hold floating-point numbers, got int64"),
        ({**LSTM, "bias_ih_l0": "b"}, ArgumentError, "bias_ih_l0 must be an array, got str"),
        ({**STACK, "weight_ih_l1": draw(3 * H, 7)}, ShapeError, "layer 1 has N = 7 and H = 6, expected N = 12"),
        (
            without(PROJECTED, "weight_hr_l1"),
            ForeignWeightsError,
            "torch.nn.LSTM with proj_size.*weight_hr_l1 is missing",
        ),
        ({**PROJECTED, "weight_hr_l0": draw(3, H)}, ShapeError, r"weight_hr_l0 has shape \(3, 6\), expected \(P, H\)"),
    ],
)
def test_what_is_no_state_dict_of_torch(given, error, words):
    refused(error, words, interchange.from_torch, given)


def test_a_prefix_that_nothing_has():
    refused(ForeignWeightsError, "no key that begins with 'encoder.'", interchange.from_torch, LSTM, prefix="encoder.")


def test_an_option_that_the_cell_does_not_have():
    refused(OptionError, "lstm has no option 'activation'", interchange.from_torch, LSTM, activation="relu")
    refused(DtypeError, "float16", interchange.from_torch, LSTM, dtype="float16")


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        (dict(enumerate(KERAS)), ArgumentError, r"list of arrays, got dict: pass keras_layer\.get_weights\(\)"),
        ([], ForeignWeightsError, "2, 3, 4 or 6 arrays; got 0"),
        (KERAS * 3, ForeignWeightsError, "got 9"),
        ([KERAS[0], draw(H, 2 * H), KERAS[2]], ForeignWeightsError, r"k = 4 gates.*got shape \(6, 12\)"),
        ([KERAS[1], KERAS[0], KERAS[2]], ForeignWeightsError, r"got shape \(4, 18\)"),
        ([KERAS[0].T, *KERAS[1:]], ShapeError, r"kernel has shape \(18, 4\), expected \(N, 3 H\)"),
        ([*KERAS[:2], draw(3, 3 * H)], ShapeError, r"bias has shape \(3, 18\), expected \(2, 3 H\) = \(2, 18\)"),
        ([*KERAS, draw(5, 3 * H), *KERAS[1:]], ShapeError, "layer 0 has N = 5"),
    ],
)
def test_what_are_no_weights_of_keras(given, error, words):
    refused(error, words, interchange.from_keras, given)


def test_reset_after_that_the_bias_contradicts():
    refused(OptionError, r"the bias has shape \(18,\)", interchange.from_keras, KERAS, reset_after=True)


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ([FLAX], ArgumentError, "nested dict of arrays, got list"),
        ({}, ForeignWeightsError, "no Flax cell here has the parameters .none."),
        ({"cell": FLAX}, ForeignWeightsError, "parameters of the cell alone"),
        (without(FLAX, "hf"), ForeignWeightsError, "known are linen.LSTMCell"),
        ({**FLAX, "hf": {"kernel": draw(H, H)}}, ForeignWeightsError, "hf.bias is missing"),
        ({**FLAX, "hf": {"kernel": draw(N, H), "bias": draw(H)}}, ShapeError, r"hf.kernel has shape \(4, 6\)"),
    ],
)
def test_what_are_no_parameters_of_flax(given, error, words):
    refused(error, words, interchange.from_flax, given)


@pytest.mark.parametrize(
    ("function", "made", "words"),
    [
        (interchange.to_torch, layer("gru"), r"no module for the cell gru; it has lstm \(torch.nn.LSTM\)"),
        (interchange.to_torch, layer("lstm", reverse=True), "only reads backwards"),
        (interchange.to_torch, stack("rnn", reverse_options={"activation": "relu"}), "equations in each direction"),
        (interchange.to_torch, layer("lstm", clip=1), "no module for the cell lstm with equations of its own"),
        (interchange.to_keras, layer("rnn", activations={"h": "elu"}), "no layer for the cell rnn with equations of"),
        (interchange.to_flax, layer("lstm", clip=1), "no cell for lstm with equations of its own"),
        (interchange.to_torch, MY_LSTM, "no module for the cell lstm with equations of its own"),
        (interchange.to_keras, layer("peephole"), "no layer for the cell peephole"),
        (interchange.to_keras, stack("lstm"), "no layer for 2 layers at once"),
        (interchange.to_keras, layer("lstm", reverse=True), "go_backwards"),
        (interchange.to_flax, layer("coupled"), "no cell for coupled"),
        (interchange.to_flax, stack("lstm"), "Stack layer by layer"),
    ],
)
def test_what_the_other_library_does_not_have(function, made, words):
    refused(NotExpressibleError, words, function, made)


def test_what_the_other_library_does_not_have_is_refused_only_where_it_is_not_zero():
    refused(
        NotExpressibleError,
        "flax.nnx.GRUCell has no b_hn",
        interchange.to_flax,
        layer("gru_reset_after"),
        "nnx.GRUCell",
    )
    refused(NotExpressibleError, "has no b_i", interchange.to_keras, layer("lstm"), use_bias=False)


def test_what_is_no_layer_goes_nowhere(tmp_path):
    for function in (interchange.to_torch, interchange.to_keras, interchange.to_onnx):
        refused(ArgumentError, "a Layer or a Stack.*got dict", function, {})
    refused(ArgumentError, "a Layer or a Stack", interchange.save, "lstm", tmp_path / "file")
    refused(
        OptionError,
        "kind='LSTMCell' is not a Flax cell for lstm: choose linen.LSTMCell",
        interchange.to_flax,
        layer("lstm"),
        "LSTMCell",
    )
    refused(
        OptionError, "form='loop' is not one of 'operator', 'scan'", interchange.to_onnx, layer("lstm"), form="loop"
    )
    refused(ArgumentError, "lengths must be True or False", interchange.to_onnx, layer("lstm"), lengths=[1])


def test_what_is_no_onnx_model(tmp_path):
    refused(ArgumentError, "ModelProto or the path of one, got int", interchange.from_onnx, 3)
    refused(ArgumentError, "empty list", interchange.from_onnx, interchange.to_onnx(layer("lstm")), node=[])
    refused(ForeignWeightsError, "no such file", interchange.from_onnx, tmp_path / "nothing.onnx")
    (tmp_path / "text.onnx").write_text("import this\n")
    refused(ForeignWeightsError, "not an ONNX model, or is damaged", interchange.from_onnx, tmp_path / "text.onnx")
    scan = interchange.to_onnx(layer("lstm"), form="scan")
    refused(
        ForeignWeightsError,
        "exactly one LSTM, GRU or RNN node is expected, the model has: none",
        interchange.from_onnx,
        scan,
    )


def test_without_onnx_the_message_says_what_to_install(monkeypatch):
    monkeypatch.delitem(sys.modules, "lstm_numba.interchange.onnx_write", raising=False)
    monkeypatch.setitem(sys.modules, "onnx", None)
    refused(MissingPackageError, r"pip install 'lstm-numba\[onnx\]'", interchange.to_onnx, layer("lstm"))


def test_importing_interchange_imports_no_other_library():
    names = "{'torch', 'keras', 'flax', 'jax', 'onnx', 'safetensors', 'sympy', 'derive'}"
    code = f"import sys, lstm_numba.interchange; print(sorted({names} & sys.modules.keys()))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert run.stdout.strip() == "[]"
