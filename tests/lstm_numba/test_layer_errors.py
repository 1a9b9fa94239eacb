"""Bad input: every mistake gives one error that says the rule, what came and the cure; nothing crashes.

Truth: the table below, what a user sees beside the class that says which kind of mistake it is.
"""

import types

import numpy as np
import pytest

import derive
import lstm_numba as ln
from derive.language import Cell, Eq, H, N, matrix, state, tanh, vector, x
from lstm_numba import errors
from lstm_numba.errors import ArgumentError, DtypeError, OptionError, ShapeError, SizeError, TapeError, UnknownCellError

T, B, INPUT, HIDDEN = 5, 2, 3, 4
X, OUT, ROWS = np.ones((T, B, INPUT)), np.ones((T, B, HIDDEN)), np.ones((B, HIDDEN))
JAGGED = [[1.0, 2.0], [3.0]]


@pytest.fixture(scope="module")
def layer():
    return ln.Layer("lstm", INPUT, HIDDEN, dtype="float64")


@pytest.fixture(scope="module")
def run(layer):
    return layer.forward(X)


def refuses(error, *words):
    """The error, with all these words in its message."""
    pattern = "".join(f"(?=.*{word})" for word in words)
    return pytest.raises(error, match=f"(?s){pattern}")


def cases(*rows):
    return pytest.mark.parametrize(("value", "error", "words"), rows, ids=lambda value: repr(value)[:40])


# --- making a layer


@cases(
    ("lstmm", UnknownCellError, ["no cell 'lstmm'", "did you mean 'lstm'", "gru"]),
    ("LSTM", UnknownCellError, ["did you mean 'lstm'"]),
    ("transformer", UnknownCellError, ["there are rnn, ", "derive.build"]),
    ("", UnknownCellError, ["no cell ''"]),
    (None, ArgumentError, ["name of a cell", "got None"]),
    (derive.cells["lstm"], ArgumentError, ["name of a cell", "derive.build"]),
    (types.ModuleType("mine"), ArgumentError, ["mine is not the module of a cell", "derive generate"]),
)
def test_what_is_no_cell(value, error, words):
    with refuses(error, *words):
        ln.Layer(value, INPUT, HIDDEN)


SIZES = cases(
    (0, OptionError, ["at least 1", "got 0"]),
    (-3, OptionError, ["at least 1", "got -3"]),
    (3.0, ArgumentError, ["integer", "3.0", "float"]),
    ("3", ArgumentError, ["integer", "'3'", "str"]),
    (None, ArgumentError, ["integer", "None"]),
    (True, ArgumentError, ["integer", "bool"]),
    ([3], ArgumentError, ["integer", "list"]),
    (np.array(3), ArgumentError, ["integer", "ndarray"]),
    (float("nan"), ArgumentError, ["integer", "nan"]),
    (2**80, SizeError, ["more than"]),
)


@pytest.mark.parametrize("name", ["input_size", "hidden_size", "threads"])
@SIZES
def test_sizes(name, value, error, words):
    with refuses(error, name, *words):
        ln.Layer(**{"name": "lstm", "input_size": INPUT, "hidden_size": HIDDEN, name: value})


@pytest.mark.parametrize("sizes", [(3, 2**31), (2**45, 4), (2**31, 2**31), (2**61, 1)])
def test_matrices_that_nothing_can_address(sizes):
    with refuses(SizeError, "parameter ", "numbers", "smaller"):
        ln.Layer("lstm", *sizes)


def test_matrices_larger_than_memory():
    with pytest.raises(MemoryError):
        ln.Layer("lstm", 2**40, 4)


@pytest.mark.parametrize(
    "dtype", ["float16", "int32", None, "complex64", ">f4", "abc", {}, {"names": ["a"]}, "f4,f4", 3, object]
)
def test_number_types(dtype):
    with refuses(DtypeError, "dtype must be 'float32' or 'float64'", "got"):
        ln.Layer("lstm", INPUT, HIDDEN, dtype=dtype)


@pytest.mark.parametrize("seed", [-1, None, 1.5, "7"])
def test_seeds(seed):
    with refuses(errors.LstmNumbaError, "seed must be"):
        ln.Layer("lstm", INPUT, HIDDEN, seed=seed)


@pytest.mark.parametrize("value", ["no", None, 1, np.array([1, 2])])
def test_flags(layer, value):
    with refuses(ArgumentError, "reverse must be True or False"):
        ln.Layer("lstm", INPUT, HIDDEN, reverse=value)
    with refuses(ArgumentError, "save must be True, False or"):
        layer.forward(X, save=value)
    with refuses(ArgumentError, "bidirectional must be True or False"):
        ln.Stack("lstm", INPUT, HIDDEN, bidirectional=value)


@pytest.mark.parametrize(
    ("cell", "options", "words"),
    [
        ("lstm", {"peepholes": "io"}, ["lstm has no option 'peepholes'", "its options: none"]),
        ("peephole", {"peephole": "io"}, ["did you mean 'peepholes'", "its options: peepholes;"]),
        ("lstm", {"activation": "relu"}, ["no option 'activation'", "did you mean 'activations'"]),
        ("peephole", {"peepholes": "oi"}, ["peepholes='oi'", "'ifo', 'i', 'f'"]),
        ("peephole", {"peepholes": None}, ["peepholes=None"]),
        ("peephole", {"peepholes": np.array(["i", "f"])}, ["peepholes=array"]),
        ("rnn", {"activation": "gelu"}, ["'tanh', 'relu'"]),
        ("lstm", {"P": 3}, ["takes no size P", "input_size, hidden_size"]),
        ("lstm", {"periods": [1, 2]}, ["no option 'periods'"]),
        ("clockwork", {"periods": []}, ["periods must be integers from 1"]),
        ("clockwork", {"periods": [0, 1]}, ["periods must be integers from 1"]),
        ("clockwork", {"periods": [1.5]}, ["periods must be integers"]),
        ("clockwork", {"periods": "12"}, ["periods must be integers"]),
        ("clockwork", {"periods": [2**70]}, ["periods must be integers"]),
        ("clockwork", {"periods": [1, 2, 3]}, ["3 modules", "hidden_size 4", "divisible by 3"]),
    ],
)
def test_options(cell, options, words):
    with refuses(OptionError, *words):
        ln.Layer(cell, INPUT, HIDDEN, **options)


@pytest.mark.parametrize("periods", [5, [[1, 2]], [1, None], [float("inf")], [float("nan")]])
def test_periods_that_are_no_integers(periods):
    with refuses(ArgumentError, "periods must be integers"):
        ln.Layer("clockwork", INPUT, HIDDEN, periods=periods)


def test_options_of_a_cell_of_ones_own():
    h, h_prev = state("h")
    equations = [Eq(h, tanh(matrix("W", H, N) @ x + vector("u") * h_prev))]
    build = derive.build(Cell(name="own", title="own", year=2026, reference="test", equations=equations))
    for options in ({"peepholes": "i"}, {"periods": [1]}, {"P": 3}):
        with refuses(OptionError, next(iter(options))):
            build(INPUT, HIDDEN, **options)
    with refuses(ArgumentError, "input_size must be an integer"):
        build("3", HIDDEN)


# --- arrays


class Unreadable:
    """What promises DLPack and cannot keep it."""

    def __dlpack__(self, **options):
        raise BufferError("it is somewhere else")

    def __dlpack_device__(self):
        return 1, 0


NO_ARRAYS = {
    "text": ("abc", ArgumentError, ["must be an array", "got str"]),
    "bytes": (b"abc", ArgumentError, ["got bytes"]),
    "a dict": ({}, ArgumentError, ["got dict"]),
    "a jagged list": (JAGGED, ArgumentError, ["NumPy can read", "list"]),
    "a broken promise": (Unreadable(), ArgumentError, ["Unreadable", "somewhere else"]),
    "a set": ({1.0}, DtypeError, ["got object"]),
    "a masked array": (np.ma.masked_less(OUT, 0), ArgumentError, ["mask would be ignored", r"filled\(0\)"]),
}


def wrong_types(array):
    """Number types that are not the layer's, and what the message says of them."""
    return {
        "single": (array.astype("float32"), ["got float32", "np.asarray", "dtype='float32'"]),
        "whole": (array.astype(int), ["got int64", "np.asarray"]),
        "complex": (array.astype(complex), ["got complex128", "np.asarray"]),
        "big-endian": (array.astype(">f8"), ["got >f8", "np.asarray"]),
        "objects": (array.astype(object), ["got object"]),
        "words": (np.full(array.shape, "a"), ["got <U1"]),
        "bools": (array > 0, ["got bool"]),
    }


def wrong_shapes(array):
    """Shapes with one axis too few, too many, too long, and none."""
    return {
        "rank": array[0],
        "axes": array[None],
        "length": np.concatenate([array, array], axis=-1),
        "number": np.float64(1),
    }


PLACES = {
    "x": (X, lambda layer, run, value: layer.forward(value)),
    r"state\['c'\]": (ROWS, lambda layer, run, value: layer.forward(X, {"c": value})),
    "d_output": (OUT, lambda layer, run, value: run.backward(value)),
    r"d_outputs\['h'\]": (OUT, lambda layer, run, value: run.backward(d_outputs={"h": value})),
    r"d_state\['h'\]": (ROWS, lambda layer, run, value: run.backward(OUT, {"h": value})),
}
everywhere = pytest.mark.parametrize(("name", "place"), PLACES.items())


@everywhere
@pytest.mark.parametrize("what", NO_ARRAYS)
def test_what_is_no_array(layer, run, name, place, what):
    value, error, words = NO_ARRAYS[what]
    with refuses(error, name, *words):
        place[1](layer, run, value)


@everywhere
@pytest.mark.parametrize("what", wrong_types(X))
def test_wrong_number_types(layer, run, name, place, what):
    value, words = wrong_types(place[0])[what]
    with refuses(DtypeError, f"{name} must be float64, the layer's dtype", *words) as caught:
        place[1](layer, run, value)
    assert ("make the layer" in str(caught.value)) == (what == "single")


@everywhere
@pytest.mark.parametrize("what", wrong_shapes(X))
def test_wrong_shapes(layer, run, name, place, what):
    value = wrong_shapes(place[0])[what]
    came = str(np.shape(value)).replace("(", r"\(").replace(")", r"\)")
    with refuses(ShapeError, f"{name} has shape {came}, expected"):
        place[1](layer, run, value)


def test_shapes_say_where_their_sizes_were_read(layer, run):
    with refuses(ShapeError, "N = 3 the layer's input_size"):
        layer.forward(X[..., :2])
    with refuses(ShapeError, "B = 2 was read from x", "H = 4 from the layer"):
        layer.forward(X, {"h": ROWS[:1]})
    with refuses(ShapeError, r"expected \(5, 2, 4\): the shape of the output"):
        run.backward(OUT[:4])


def test_no_array_at_all(layer):
    with refuses(ArgumentError, "x must be an array, got NoneType"):
        layer.forward(None)


def test_an_array_larger_than_memory(layer):
    huge = np.broadcast_to(np.float64(1), (2**30, 2**20, INPUT))
    with pytest.raises(MemoryError):
        layer.forward(huge)


# --- lengths, resets, names


@cases(
    ([6, 0], OptionError, [r"\[0, T\] = \[0, 5\]", r"lengths\[0\] = 6"]),
    ([0, -1], OptionError, [r"lengths\[1\] = -1"]),
    (np.array([1, 2**63], np.uint64), OptionError, [r"lengths\[1\] = 9223372036854775808"]),
    ([1], ShapeError, [r"\(1,\), expected \(2,\)"]),
    (3, ShapeError, [r"shape \(\)"]),
    ([[1, 2]], ShapeError, [r"\(1, 2\)"]),
    ([], ShapeError, [r"\(0,\)"]),
    ([1.0, 2.0], DtypeError, ["integers", "float64", "np.asarray"]),
    ([True, False], DtypeError, ["integers", "bool"]),
    ([2**70, 1], DtypeError, ["integers", "object"]),
    ("12", ArgumentError, ["lengths must be an array", "str"]),
    (JAGGED, ArgumentError, ["lengths", "NumPy can read"]),
)
def test_lengths(layer, value, error, words):
    with refuses(error, "lengths", *words):
        layer.forward(X, lengths=value)


@cases(
    (np.zeros((T, B)), DtypeError, ["bool", "float64", "np.asarray"]),
    (np.zeros((T, B), np.uint8), DtypeError, ["bool", "uint8"]),
    (np.zeros((B, T), bool), ShapeError, [r"\(2, 5\)", r"\(T, B\) = \(5, 2\)", "read from x"]),
    (True, ShapeError, [r"shape \(\)"]),
    ("yes", ArgumentError, ["must be an array"]),
    (JAGGED, ArgumentError, ["NumPy can read"]),
)
def test_resets(layer, value, error, words):
    with refuses(error, "resets", *words):
        layer.forward(X, resets=value)


def test_names_that_do_not_exist(layer, run):
    for call in (
        lambda: layer.forward(X, {"q": ROWS}),
        lambda: layer.forward(X, [ROWS]),
        lambda: layer.forward(X, "h"),
        lambda: run.backward(OUT, {"q": ROWS}),
    ):
        with refuses(ArgumentError, "state", "h, c"):
            call()
    with refuses(ArgumentError, "d_outputs has no entry 'c'", "it takes h"):
        run.backward(d_outputs={"c": OUT})


def test_a_derivative_given_twice(run):
    with refuses(ArgumentError, "give one of them"):
        run.backward(OUT, d_outputs={"h": OUT})


def test_a_backward_of_a_run_that_kept_nothing(layer):
    with refuses(TapeError, "save=False", "save=True"):
        layer.forward(X, save=False).backward(OUT)


# --- parameters


def test_parameters_that_do_not_exist(layer):
    for mapping in (layer.parameters, ln.Stack("lstm", INPUT, HIDDEN).parameters):
        prefix = next(iter(mapping)).removesuffix("W_i")
        with refuses(errors.UnknownNameError, "no parameter", "did you mean", "W_i"):
            mapping[f"{prefix}Wi"]
        with refuses(errors.UnknownNameError, "no parameter"):
            mapping[f"{prefix}W_q"] = 1
        assert mapping.get("W_q") is None
        assert "W_q" not in mapping


@cases(
    (np.ones((2, 3)), ShapeError, [r"\(4, 3\), got \(2, 3\)"]),
    (1.0, ShapeError, [r"got \(\)"]),
    (np.ones((4, 3), complex), DtypeError, ["is float64, got complex128"]),
    (np.full((4, 3), "a"), DtypeError, ["got <U1"]),
    (None, ArgumentError, ["must be an array"]),
    (JAGGED, ArgumentError, ["NumPy can read"]),
)
def test_assigning_to_a_parameter(layer, value, error, words):
    kept = layer.parameters["W_i"].copy()
    with refuses(error, "parameter W_i", *words):
        layer.parameters["W_i"] = value
    np.testing.assert_array_equal(layer.parameters["W_i"], kept)


# --- stacks


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"layers": 0}, OptionError, ["layers must be at least 1"]),
        ({"layers": 1.5}, ArgumentError, ["layers must be an integer"]),
        ({"layers": 10**9}, SizeError, ["layers = 1000000000", "at most 10000"]),
        ({"seed": None}, ArgumentError, ["seed must be an integer"]),
        ({"reverse": True}, OptionError, ["no option 'reverse'", "bidirectional=True"]),
        ({"reverse_options": {"clip": 1.0}, "bidirectional": False}, OptionError, ["need bidirectional=True"]),
        ({"reverse_options": {"dtype": "float64"}, "bidirectional": True}, OptionError, ["dtype is of both"]),
        ({"reverse_options": {"colour": 1}, "bidirectional": True}, OptionError, ["no option 'colour'"]),
        ({"reverse_options": ["clip"], "bidirectional": True}, ArgumentError, ["must be a dict"]),
        (
            {"reverse_options": {"coupled": {"f": "i"}}, "bidirectional": True},
            OptionError,
            ["the same parameters", "W_f"],
        ),
        ({"peepholes": "i"}, OptionError, ["no option 'peepholes'"]),
        ({"dtype": "float16"}, DtypeError, ["float32"]),
    ],
)
def test_making_a_stack(options, error, words):
    with refuses(error, *words):
        ln.Stack("lstm", INPUT, HIDDEN, **options)


def test_running_a_stack():
    stack = ln.Stack("lstm", INPUT, HIDDEN, layers=2, dtype="float64")
    with refuses(ArgumentError, "state has no entry 'h'", "0.h, 0.c, 1.h"):
        stack.forward(X, {"h": ROWS})
    with refuses(ShapeError, "x has shape"):
        stack.forward(X[0])
    with refuses(ShapeError, "d_output has shape"):
        stack.forward(X).backward(X)
    with refuses(TapeError, "save=True"):
        stack.forward(X, save=False).backward(OUT)
