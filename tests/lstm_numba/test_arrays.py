"""Arrays in every state that NumPy knows, and sequences of every size.

Truth: the same numbers in plain C-contiguous arrays give the same bits; what is handed in is never written to; what is
handed out is the caller's own.
"""

import numpy as np
import pytest

import lstm_numba as ln
from tests.layers import backward, everything, forward, numbers_for, other_bits, random_layer, slopes, values

T, B, INPUT, HIDDEN = 4, 7, 3, 5  # seven rows: a whole tile and a rest


@pytest.fixture(scope="module")
def layer():
    return random_layer("lstm", INPUT, HIDDEN)


@pytest.fixture(scope="module")
def numbers(layer):
    return numbers_for(layer, T, B)


@pytest.fixture(scope="module")
def expected(layer, numbers):
    return everything(layer, numbers)


# --- layouts


def misaligned(array):
    memory = np.zeros(array.nbytes + 1, np.uint8)
    copy = memory[1:].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


def strided(array):
    wide = np.ones((*array.shape[:-1], 2 * array.shape[-1]), array.dtype)
    wide[..., ::2] = array
    return wide[..., ::2]


def read_only(array):
    copy = array.copy()
    copy.flags.writeable = False
    return copy


def read_only_misaligned(array):
    copy = misaligned(array)
    copy.flags.writeable = False
    return copy


class Foreign:
    """An array that is none: it only speaks DLPack."""

    def __init__(self, array):
        self._array = array

    def __dlpack__(self, **options):
        return self._array.__dlpack__(**options)

    def __dlpack_device__(self):
        return self._array.__dlpack_device__()


LAYOUTS = {
    "fortran order": np.asfortranarray,
    "every other place": strided,
    "negative strides": lambda array: np.flip(np.flip(array).copy()),
    "transposed": lambda array: np.ascontiguousarray(array.T).T,
    "misaligned": misaligned,
    "read-only": read_only,
    "read-only and misaligned": read_only_misaligned,
    "dlpack": Foreign,
    "nested lists": lambda array: array.tolist(),
}


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_every_layout_gives_the_same_bits(layer, numbers, expected, layout):
    assert other_bits(everything(layer, numbers.each(layout)), expected) == []


@pytest.mark.parametrize("layout", [np.asfortranarray, strided, read_only, misaligned, np.ndarray.tolist])
def test_lengths_and_resets_may_have_any_layout(layer, numbers, layout):
    lengths, resets = np.array([4, 0, 1, 4, 2, 3, 1]), np.random.default_rng(0).random((T, B)) < 0.4
    found = everything(layer, numbers, lengths=layout(lengths), resets=layout(resets))
    assert other_bits(found, everything(layer, numbers, lengths=lengths, resets=resets)) == []


@pytest.mark.parametrize("kind", ["uint8", "int16", "uint64", ">i4"])
def test_lengths_may_be_any_integers(layer, numbers, kind):
    lengths = np.array([4, 0, 1, 4, 2, 3, 1])
    expected = everything(layer, numbers, lengths=lengths)
    assert other_bits(everything(layer, numbers, lengths=lengths.astype(kind)), expected) == []


def test_torch_tensors_are_arrays(layer, numbers, expected):
    torch = pytest.importorskip("torch")
    assert other_bits(everything(layer, numbers.each(torch.from_numpy)), expected) == []


def test_rows_of_zero_stride_are_taken_for_what_they_say(layer):
    x = np.broadcast_to(np.ones(INPUT), (T, B, INPUT))
    assert other_bits(values(layer.forward(x)), values(layer.forward(x.copy()))) == []


# --- whose memory


def arrays_of(numbers):
    return [*numbers.inputs.values(), *numbers.state.values(), numbers.d_output, *numbers.d_state.values()]


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("lengths", [None, [4, 0, 1, 4, 2, 3, 1]])
def test_what_is_handed_in_is_never_written_to(numbers, reverse, lengths):
    layer = random_layer("lstm", INPUT, HIDDEN, reverse=reverse)
    given = numbers.each(np.copy)
    parameters = layer.parameters.flat.copy()
    run = forward(layer, given, lengths=lengths)
    backward(run, given)
    backward(run, given)
    assert [a.tobytes() for a in arrays_of(given)] == [a.tobytes() for a in arrays_of(numbers)]
    np.testing.assert_array_equal(layer.parameters.flat, parameters)


def test_what_is_handed_out_is_the_callers(layer, numbers):
    run = forward(layer, numbers)
    first = backward(run, numbers)
    mine = [run.output, *run.state.values(), *first.inputs.values(), *first.state.values(), first.parameters.flat]
    kept = first.parameters.flat.copy()
    assert all(array.flags.writeable for array in mine)
    assert not any(np.shares_memory(a, b) for a in mine for b in arrays_of(numbers))
    assert not any(np.shares_memory(a, b) for k, a in enumerate(mine) for b in mine[:k])
    for array in mine:
        array[...] = np.nan
    np.testing.assert_array_equal(backward(run, numbers).parameters.flat, kept)
    assert all(np.isnan(array).all() for array in mine)


def test_a_run_keeps_the_weights_that_it_was_made_with(numbers, expected):
    layer = random_layer("lstm", INPUT, HIDDEN)
    run = forward(layer, numbers)
    layer.parameters.flat[...] = 0
    for _ in range(2):
        np.testing.assert_array_equal(backward(run, numbers).parameters["U_f"], expected["d U_f"])


def test_a_later_run_leaves_the_results_of_an_earlier_one_alone(layer, numbers, expected):
    run = forward(layer, numbers)
    everything(layer, numbers.each(np.negative))
    assert other_bits(values(run), {name: expected[name] for name in values(run)}) == []
    np.testing.assert_array_equal(backward(run, numbers).parameters["U_f"], expected["d U_f"])


# --- sizes


def test_no_steps_give_the_first_state(layer):
    numbers = numbers_for(layer, 0, 3)
    found = everything(layer, numbers)
    assert found["h"].shape == (0, 3, HIDDEN)
    for name in ("h", "c"):
        np.testing.assert_array_equal(found[f"final {name}"], numbers.state[name])
        np.testing.assert_array_equal(found[f"d first {name}"], numbers.d_state[name])
    assert not any(found[f"d {name}"].any() for name in layer.parameters)


def test_no_rows_give_empty_arrays_and_zero_gradients(layer):
    found = everything(layer, numbers_for(layer, 4, 0), lengths=[], resets=np.zeros((4, 0), bool))
    assert found["h"].shape == (4, 0, HIDDEN)
    assert found["final c"].shape == (0, HIDDEN)
    assert not any(found[f"d {name}"].any() for name in layer.parameters)


def test_lengths_of_zero_give_the_first_state(layer):
    numbers = numbers_for(layer, 4, 3)
    found = everything(layer, numbers, lengths=[0, 0, 0])
    assert not found["h"].any()
    assert not found["d x"].any()
    np.testing.assert_array_equal(found["final c"], numbers.state["c"])
    np.testing.assert_array_equal(found["d first c"], numbers.d_state["c"])
    assert not any(found[f"d {name}"].any() for name in layer.parameters)


@pytest.mark.parametrize("empty", [(0, 3), (4, 0), (0, 0)])
def test_empty_batches_may_be_read_only(layer, empty):
    numbers = numbers_for(layer, *empty)
    assert other_bits(everything(layer, numbers.each(read_only)), everything(layer, numbers)) == []


def lstm_by_hand(p, x, h, c):
    for x_t in x:
        z_i, z_f, z_g, z_o = (x_t @ p[f"W_{k}"].T + h @ p[f"U_{k}"].T + p[f"b_{k}"] for k in "ifgo")
        c = c / (1 + np.exp(-z_f)) + np.tanh(z_g) / (1 + np.exp(-z_i))
        h = np.tanh(c) / (1 + np.exp(-z_o))
        yield h


@pytest.mark.parametrize("hidden", [1, 2, 7, 8, 9, 16, 33, 100, 257])
@pytest.mark.parametrize(("steps", "batch", "inputs"), [(1, 1, 1), (3, 1, 2), (2, 6, 1), (2, 13, 9)])
def test_sizes_that_fit_no_register_give_the_equations(hidden, steps, batch, inputs):
    layer = random_layer("lstm", inputs, hidden)
    numbers = numbers_for(layer, steps, batch)
    expected = [*lstm_by_hand(layer.parameters, numbers.inputs["x"], numbers.state["h"], numbers.state["c"])]
    np.testing.assert_allclose(forward(layer, numbers).output, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("hidden", [1, 7, 33, 100])
@pytest.mark.parametrize("batch", [1, 7])
def test_sizes_that_fit_no_register_give_the_gradient(hidden, batch):
    layer = random_layer("lstm", 2, hidden)
    difference, pulled = slopes(layer, numbers_for(layer, 3, batch))
    assert pulled == pytest.approx(difference, rel=1e-7)


def test_a_layer_says_its_sizes():
    assert repr(ln.Layer("lstm", 2, 3)) == "Layer('lstm', 2, 3, dtype='float32')"
