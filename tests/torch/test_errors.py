"""For the same wrong input the same kind of exception as torch.nn's, and clear errors where torch has no say."""

import subprocess
import sys
from inspect import signature

import pytest
import torch
from torch.nn.utils.rnn import pack_sequence

import lstm_numba as ln
import lstm_numba.torch as lt
from derive.cell import SETTINGS
from derive.laws import ARGUMENTS
from lstm_numba.errors import (
    ArgumentError,
    DeviceError,
    DtypeError,
    NotRecordableError,
    OptionError,
    ShapeError,
    UnsupportedDerivativeError,
)
from lstm_numba.torch import operators
from scripts.sizes import ROOT

T, B, N, H = 3, 2, 4, 5
X = torch.zeros(T, B, N)

CONSTRUCTOR = {
    "a dropout above 1": ("LSTM", (N, H, 2), {"dropout": 1.5}),
    "a dropout that is no number": ("GRU", (N, H), {"dropout": "much"}),
    "a dropout that is a truth": ("GRU", (N, H), {"dropout": True}),
    "a bias that is a number": ("LSTM", (N, H), {"bias": 1}),
    "batch_first that is a number": ("LSTM", (N, H), {"batch_first": 1}),
    "an input size of 0": ("LSTM", (0, H), {}),
    "an input size that is text": ("LSTM", ("4", H), {}),
    "a hidden size of 0": ("GRU", (N, 0), {}),
    "a hidden size that is a fraction": ("GRU", (N, 2.5), {}),
    "no layers": ("RNN", (N, H, 0), {}),
    "a negative projection": ("LSTM", (N, H), {"proj_size": -1}),
    "a projection as large as the cell": ("LSTM", (N, H), {"proj_size": H}),
    "a projection of a GRU": ("GRU", (N, H), {"proj_size": 2}),
    "a projection of an RNN": ("RNN", (N, H), {"proj_size": 2}),
    "an unknown nonlinearity": ("RNN", (N, H), {"nonlinearity": "cubic"}),
    "an unknown argument": ("LSTM", (N, H), {"peepholes": "io"}),
    "no sizes": ("LSTM", (), {}),
}


def pair(*sizes):
    return torch.zeros(*sizes), torch.zeros(*sizes)


CALLS = {
    "one axis": ("LSTM", (torch.zeros(N),)),
    "four axes": ("GRU", (torch.zeros(1, T, B, N),)),
    "another number of features": ("LSTM", (torch.zeros(T, B, N + 1),)),
    "another type": ("LSTM", (X.double(),)),
    "integers": ("RNN", (X.long(),)),
    "a state of another size": ("GRU", (X, torch.zeros(1, B, H + 1))),
    "a state of another batch": ("LSTM", (X, pair(1, B + 1, H))),
    "a state of another number of layers": ("LSTM", (X, pair(2, B, H))),
    "a state without the axis of layers": ("GRU", (X, torch.zeros(B, H))),
    "a pair without the axis of layers": ("LSTM", (X, pair(B, H))),
    "a state with a batch for one row": ("RNN", (X[:, 0], torch.zeros(1, B, H))),
    "a pair with a batch for one row": ("LSTM", (X[:, 0], pair(1, B, H))),
    "a pair that is one": ("LSTM", (X, (torch.zeros(1, B, H),))),
    "a pair that is three": ("LSTM", (X, (torch.zeros(1, B, H),) * 3)),
    "a packed sequence of other features": ("GRU", (pack_sequence([torch.zeros(T, N + 1)]),)),
    "a packed sequence with a state of another batch": ("GRU", (pack_sequence([X[:, 0]]), torch.zeros(1, B, H))),
    "a state of another type": ("GRU", (X, torch.zeros(1, B, H).double())),
    "a pair of another type": ("LSTM", (X, (torch.zeros(1, B, H).double(),) * 2)),
    "a list": ("LSTM", (X.tolist(),)),
    "nothing": ("GRU", ()),
}


def raised(make):
    with pytest.raises(Exception) as caught:  # noqa: PT011 (which one is what is asked)
        make()
    return caught.type


@pytest.mark.parametrize("case", CONSTRUCTOR)
def test_the_constructor_refuses_as_torch_does(case):
    kind, sizes, settings = CONSTRUCTOR[case]
    theirs = raised(lambda: getattr(torch.nn, kind)(*sizes, **settings))
    assert issubclass(raised(lambda: getattr(lt, kind)(*sizes, **settings)), theirs)


@pytest.mark.parametrize("case", CALLS)
def test_a_call_is_refused_as_torch_does(case):
    kind, arguments = CALLS[case]
    theirs = raised(lambda: getattr(torch.nn, kind)(N, H)(*arguments))
    assert issubclass(raised(lambda: getattr(lt, kind)(N, H)(*arguments)), theirs)


def test_dropout_in_one_layer_is_warned_of_as_in_torch():
    with pytest.warns(UserWarning, match="num_layers greater than 1"):
        lt.LSTM(N, H, dropout=0.5)


# --- where torch has no say


def test_a_device_without_kernels_is_named():
    with pytest.raises(DeviceError, match="no kernels for meta tensors, only for cpu"):
        operators.runtime([X.to("meta")])
    with pytest.raises(DeviceError, match="on one device, got cpu, meta"):
        operators.runtime([X, X.to("meta")])


@pytest.mark.parametrize("module", [lt.LSTM(N, H), lt.Recurrent("peephole", N, H)])
def test_tensors_without_numbers_do_not_mix_with_others(module):
    for here, there in (("cpu", "meta"), ("meta", "cpu")):
        with pytest.raises(DeviceError, match="on one device, got cpu, meta"):
            module.to(here)(X.to(there))


def test_what_torchs_fx_cannot_record_is_named():
    with pytest.raises(NotRecordableError, match="LSTM as one call of a model that has it, and nothing inside"):
        torch.fx.symbolic_trace(lt.LSTM(N, H))


@pytest.mark.filterwarnings("ignore")  # of what torch.jit deprecates
@pytest.mark.parametrize("record", [torch.jit.script, lambda module: torch.jit.trace(module, (X,))])
def test_what_torchs_jit_cannot_record_is_named(record):
    with pytest.raises(NotRecordableError, match="cannot record the kernels of peephole: use"):
        record(torch.nn.Sequential(lt.Recurrent("peephole", N, H)))


@pytest.mark.parametrize(
    ("error", "words", "arguments"),
    [
        (ShapeError, "x has 2 axes", {"x": X[0]}),
        (ArgumentError, "x must be a tensor, got ndarray", {"x": X.numpy()}),
        (ArgumentError, "h must be a tensor, got NoneType", {"x": X, "state": {"h": None}}),
        (ShapeError, "x has shape", {"x": torch.zeros(T, B, N + 1)}),
        (DtypeError, "x must be torch.float32, the type of the parameters, got torch.float64", {"x": X.double()}),
        (ArgumentError, "state has no entry 'c'", {"x": X, "state": {"c": torch.zeros(B, H)}}),
        (ShapeError, "state", {"x": X, "state": {"h": torch.zeros(B, H + 1)}}),
        (ArgumentError, "'c_lower' is neither an argument nor an input", {"x": X, "c_lower": X}),
        (OptionError, "lengths must lie in", {"x": X, "lengths": [T + 1, 0]}),
        (ShapeError, "resets has shape", {"x": X, "resets": torch.zeros(T, B + 1, dtype=torch.bool)}),
    ],
)
def test_what_a_recurrent_layer_cannot_read_is_named(error, words, arguments):
    layer = lt.Recurrent("gru", N, H)
    with pytest.raises(error, match=words):
        layer(**arguments)


@pytest.mark.parametrize(
    ("error", "words", "make"),
    [
        (ln.LstmNumbaError, "did you mean 'gru'", lambda: lt.Recurrent("grU", N, H)),
        (OptionError, "has no option 'peepholes'", lambda: lt.Recurrent("gru", N, H, peepholes="io")),
        (OptionError, "has no option 'peepholes'", lambda: lt.Recurrent("gru", N, H, zoneout=0.1, peepholes="io")),
        (OptionError, "probability", lambda: lt.Recurrent("gru", N, H, zoneout=1.5)),
        (OptionError, "probability", lambda: lt.Recurrent("gru", N, H, recurrent_dropout=True)),
        (OptionError, "longest lag", lambda: lt.Recurrent("gru", N, H, chrono=1)),
        (OptionError, "no bias of a gate", lambda: lt.Recurrent("rnn", N, H, forget_bias=1.0)),
        (ArgumentError, "a name or a derive.Cell", lambda: lt.Recurrent(3, N, H)),
        (ArgumentError, "give its size", lambda: lt.Recurrent("lstm_projected", N, H)),
        (OptionError, "no option 'reverse'", lambda: lt.Stack("gru", N, H, reverse=True)),
    ],
)
def test_what_cannot_be_made_is_named(error, words, make):
    with pytest.raises(error, match=words):
        make()


def test_an_operator_called_with_nonsense_ends_in_an_error_before_any_kernel_runs():
    layer = lt.GRU(N, H)
    plan, weights = layer.plans[0]
    with pytest.raises(ShapeError, match="takes 6 tensors"):
        operators.forward([X], None, None, plan.key, False)
    with pytest.raises(ShapeError, match=r"parameters\[0\] has shape"):
        operators.forward([X, torch.zeros(B, H), *[w[1:] for w in weights]], None, None, plan.key, False)
    with pytest.raises(ArgumentError, match="no layer with the plan"):
        operators.forward([X, torch.zeros(B, H), *weights], None, None, "gru-0", False)


def test_a_third_derivative_and_a_second_of_a_cut_gradient_are_refused():
    x = torch.zeros(T, B, N, requires_grad=True)
    cut = lt.Recurrent("lstm1997", N, H, truncated=True)
    first = torch.autograd.grad(cut(x)[0].sum(), x, create_graph=True)[0]
    with pytest.raises(UnsupportedDerivativeError, match="stop"):
        first.sum().backward()
    whole = lt.GRU(N, H)
    first = torch.autograd.grad(whole(x)[0].sum(), x, create_graph=True)[0]
    second = torch.autograd.grad(first.square().sum(), x, create_graph=True)[0]
    with pytest.raises(UnsupportedDerivativeError, match="a third"):
        second.sum().backward()


def test_without_torch_the_extra_is_named():
    code = "import sys; sys.modules['torch'] = None; import lstm_numba.torch"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    assert "MissingPackageError: lstm_numba.torch needs PyTorch" in run.stderr
    assert "pip install 'lstm-numba[torch]'" in run.stderr


@pytest.mark.parametrize("module", [lt.Recurrent, lt.Stack])
def test_no_option_or_input_of_a_cell_has_the_name_of_another_argument(module):
    assert set(signature(module).parameters) - {"options", "settings"} <= set(SETTINGS)
    assert set(signature(module.forward).parameters) - {"x", "inputs"} <= set(ARGUMENTS)
