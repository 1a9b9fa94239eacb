"""State dicts of torch.nn in and out.  Truth: torch.nn itself in float64."""

from functools import partial

import numpy as np
import pytest
import torch

from lstm_numba import Layer, Stack, interchange
from tests.interchange.foreign import B, H, N, T, close, draw, layer, same, stack

P = 5  # of tests.layers
MODULES = {
    "lstm": torch.nn.LSTM,
    "gru_reset_after": torch.nn.GRU,
    "rnn": torch.nn.RNN,
    "lstm_projected": partial(torch.nn.LSTM, proj_size=P),
}
SHAPES = [{}, {"num_layers": 2}, {"bidirectional": True}, {"num_layers": 3, "bidirectional": True}, {"bias": False}]


def module(cell, **options):
    torch.manual_seed(0)
    made = MODULES[cell](N, H, dtype=torch.float64, **options)
    with torch.no_grad():
        for array in made.parameters():
            array.mul_(2)
    return made


def run_module(made, x, first):
    """Output and final states, (T, B, ...) and (layers, B, H) each."""
    given = tuple(torch.from_numpy(array) for array in first)
    with torch.no_grad():
        output, last = made(torch.from_numpy(x), given if len(given) > 1 else given[0])
    return output.numpy(), [array.numpy() for array in (last if isinstance(last, tuple) else (last,))]


def run_ours(made, x, first):
    names = list(made.spec.states)
    prefixes = [f"{p}." for p in made.parameters.parts] if isinstance(made, Stack) else [""]
    state = {f"{p}{n}": array[k] for n, array in zip(names, first, strict=True) for k, p in enumerate(prefixes)}
    run = made.forward(x, state, save=False)
    return run.output, [np.stack([run.state[f"{p}{n}"] for p in prefixes]) for n in names]


def agree(ours, theirs, cell):
    count = len(ours.layers) if isinstance(ours, Stack) else 1
    sizes = [P if space == "P" else H for space in ours.spec.states.values()]
    x, first = draw(T, B, N), [draw(count, B, size, seed=k) for k, size in enumerate(sizes)]
    output, last = run_ours(ours, x, first)
    expected, expected_last = run_module(theirs, x, first)
    assert close(output, expected, 1e-14)
    assert all(close(a, b, 1e-14) for a, b in zip(last, expected_last, strict=True))


@pytest.mark.parametrize("options", SHAPES, ids=str)
@pytest.mark.parametrize("cell", MODULES)
def test_what_comes_in_computes_what_torch_does(cell, options):
    theirs = module(cell, **options)
    ours = interchange.from_torch(theirs.state_dict())
    plain = options.keys() <= {"bias"}
    assert isinstance(ours, Layer if plain else Stack)
    agree(ours, theirs, cell)


@pytest.mark.parametrize("options", SHAPES[:-1], ids=str)
@pytest.mark.parametrize("cell", MODULES)
def test_what_goes_out_makes_torch_compute_what_we_do(cell, options):
    theirs = module(cell, **options)
    count, both = options.get("num_layers", 1), options.get("bidirectional", False)
    ours = stack(cell, layers=count, bidirectional=both) if options else layer(cell)
    theirs.load_state_dict({key: torch.from_numpy(array) for key, array in interchange.to_torch(ours).items()})
    agree(ours, theirs, cell)


@pytest.mark.parametrize("cell", MODULES)
def test_there_and_back_changes_no_bit(cell):
    for made in (layer(cell), stack(cell), layer(cell, dtype="float32")):
        assert same(interchange.from_torch(interchange.to_torch(made)), made)


def test_relu_is_said_by_the_caller_for_the_state_dict_does_not():
    theirs = module("rnn", nonlinearity="relu")
    agree(interchange.from_torch(theirs.state_dict(), activation="relu"), theirs, "rnn")


def test_the_second_bias_of_a_gru_is_kept_apart_where_the_reset_stands_before_it():
    theirs = module("gru_reset_after").state_dict()
    ours = interchange.from_torch(theirs).parameters
    first, second = (theirs[f"bias_{part}_l0"].numpy().reshape(3, H) for part in ("ih", "hh"))
    assert np.array_equal(ours["b_z"], first[1] + second[1])
    assert np.array_equal(ours["b_n"], first[2])
    assert np.array_equal(ours["b_hn"], second[2])


def test_a_prefix_takes_one_module_out_of_a_larger_model():
    model = torch.nn.ModuleDict({"encoder": module("lstm"), "head": torch.nn.Linear(H, 2)})
    ours = interchange.from_torch(model.state_dict(), prefix="encoder.")
    agree(ours, model["encoder"], "lstm")


def test_the_dtype_is_the_arrays_own_or_the_one_asked_for():
    wide = module("lstm").state_dict()
    narrow = {key: array.half() for key, array in wide.items()}
    assert interchange.from_torch(wide).dtype == np.float64
    assert interchange.from_torch(narrow).dtype == np.float32
    assert interchange.from_torch(wide, dtype="float32").dtype == np.float32


def test_tensors_that_require_a_gradient_are_taken_too():
    theirs = module("lstm")
    agree(interchange.from_torch(dict(theirs.named_parameters())), theirs, "lstm")


def test_bfloat16_is_read_as_float32():
    module = torch.nn.GRU(N, H).bfloat16()
    ours = interchange.from_torch(module.state_dict())
    assert ours.dtype == np.float32
    assert np.array_equal(ours.parameters["W_r"], module.weight_ih_l0[:H].detach().float().numpy())
