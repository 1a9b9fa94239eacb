"""Files of weights: whole or an error, and refused where the equations are others."""

import functools
import json
import os

import numpy as np
import pytest

import derive
import lstm_numba as ln
from derive.language import Cell, Eq, H, N, matrix, sigmoid, state, tanh, vector, x
from lstm_numba import interchange
from lstm_numba.errors import MissingPackageError, WeightsFileError, WeightsWriteError
from tests.derive.user_cells import CELLS
from tests.interchange.foreign import filled, layer, same, stack

safetensors_numpy = pytest.importorskip("safetensors.numpy")
h, h_prev = state("h")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "layer.safetensors"


def mine(squash):
    """A cell of one's own; what `squash` is does not show in its name or its shapes."""
    equation = Eq(h, squash(matrix("W", H, N) @ x + matrix("U", H, H) @ h_prev + vector("b")))
    return Cell(name="mine", title="mine", year=2026, reference="test", equations=[equation])


MADE = [
    *(layer(cell, hidden_size=8) for cell in ln.cells()),
    layer("peephole", "float32", peepholes="io", reverse=True),
    layer("clockwork", periods=np.array([1, 3])),
    layer("gru", activations={"n": "elu(0.5)"}, clip=2),
    stack("rnn", activation="relu", clip=1.5),
    stack("gru"),
    stack("gru", layers=1, reverse_options={"activations": {"n": "softsign"}}),
    stack("depth_gated", "float32", layers=3, bidirectional=False),
    stack("esn", layers=1),
]


@pytest.mark.parametrize("made", MADE, ids=lambda made: f"{type(made).__name__}-{made.spec.module}")
def test_what_was_saved_is_loaded_to_the_bit(made, path):
    interchange.save(made, path)
    found = interchange.load(path, threads=2)
    first = found.layers[0] if isinstance(found, ln.Stack) else found
    assert type(found) is type(made)
    assert first.spec == layers(made)[0].spec
    assert first.threads == 2
    assert [layer._periods for layer in layers(found)] == [layer._periods for layer in layers(made)]
    assert all(np.array_equal(a._theta.flat, b._theta.flat) for a, b in zip(layers(found), layers(made), strict=True))


def layers(made):
    return made.layers if isinstance(made, ln.Stack) else (made,)


def test_the_same_layer_gives_the_same_bytes_and_other_programs_read_them(path, tmp_path):
    made = stack("peephole")
    interchange.save(made, path)
    interchange.save(made, tmp_path / "again")
    assert path.read_bytes() == (tmp_path / "again").read_bytes()
    theirs = safetensors_numpy.load_file(path)
    assert np.array_equal(theirs["1.reverse.U_f"], made.parameters["1.reverse.U_f"])


def test_a_cell_of_ones_own_is_made_by_its_class(path):
    Mine = derive.build(CELLS["projected"])
    made = filled(Mine(4, 6, P=3))
    interchange.save(made, path)
    assert same(interchange.load(path, make=Mine), made)
    with pytest.raises(WeightsFileError, match=r"'projected', which is no cell of this package.*make="):
        interchange.load(path)


def test_a_stack_of_a_cell_of_ones_own_is_made_by_its_module(path):
    module = derive.build(mine(tanh))(4, 6)._module
    made = filled(ln.Stack(module, 4, 6, layers=2))
    interchange.save(made, path)
    assert same(interchange.load(path, make=functools.partial(ln.Stack, module)), made)


def test_other_equations_are_refused_although_every_shape_fits(path):
    interchange.save(derive.build(mine(tanh))(4, 6), path)
    with pytest.raises(WeightsFileError, match=r"equations [0-9a-f]{64}, and those of 'mine' are now [0-9a-f]{64}"):
        interchange.load(path, make=derive.build(mine(sigmoid)))


def test_every_damaged_byte_is_noticed_or_harmless(path):
    made = ln.Layer("rnn", 1, 2)
    interchange.save(made, path)
    whole = path.read_bytes()
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x15]) + whole[place + 1 :])
        try:
            found = interchange.load(path)
        except WeightsFileError:
            continue
        assert same(found, made), place


def test_every_cut_off_file_is_refused_and_left_alone(path):
    interchange.save(ln.Layer("rnn", 1, 2), path)
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(WeightsFileError, match="not a file of weights, or is damaged"):
            interchange.load(path)
        assert path.stat().st_size == length


def rewritten(path, change):
    """The file with other facts, and a checksum that fits them."""
    from lstm_numba.interchange import weights

    arrays, facts = weights._read(path)
    change(arrays, facts)
    facts["sha256"] = weights._checksum(arrays, facts)
    safetensors_numpy.save_file(arrays, path, metadata={weights.ENTRY: json.dumps(facts)})


def huge(arrays, facts):
    facts["settings"]["hidden_size"] = 10**15


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda arrays, facts: arrays.pop("b"), r"b: expected float32 \(2,\), found nothing"),
        (lambda arrays, facts: arrays.update(b=np.zeros(2)), r"b: expected float32 \(2,\), found float64"),
        (lambda arrays, facts: arrays.update(v=np.zeros(2)), "v: expected nothing"),
        (lambda arrays, facts: facts.update(format="lstm_numba weights 9"), "format 'lstm_numba weights 9'"),
        (lambda arrays, facts: facts.update(settings=[1]), "no such layer can be made"),
        (lambda arrays, facts: facts["settings"].update(colour=1), "no such layer can be made.*colour"),
        (huge, r"hidden_size=\d+, and its arrays have at most 2 rows"),
    ],
)
def test_a_file_that_contradicts_itself_is_one_clear_error(path, change, words):
    interchange.save(ln.Layer("rnn", 1, 2), path)
    rewritten(path, change)
    with pytest.raises(WeightsFileError, match=f"(?s){words}"):
        interchange.load(path)


def test_a_foreign_file_no_file_and_a_folder_are_each_one_clear_error(path):
    os.mkfifo(path.with_name("pipe"))
    for name in ("pipe", "."):
        with pytest.raises(WeightsFileError, match="a folder, a pipe or a device"):
            interchange.load(path.parent / name)
    with pytest.raises(WeightsFileError, match="no such file"):
        interchange.load(path)
    path.write_text("import this\n")
    with pytest.raises(WeightsFileError, match="not a file of weights"):
        interchange.load(path)
    safetensors_numpy.save_file({"W": np.zeros(2)}, path)
    with pytest.raises(WeightsFileError, match="not a file of weights"):
        interchange.load(path)


def test_a_name_that_is_too_long_is_one_clear_error(path):
    long = path.with_name("n" * 300)
    with pytest.raises(WeightsFileError, match="there is no such file"):
        interchange.load(long)
    with pytest.raises(WeightsWriteError, match="could not be written"):
        interchange.save(ln.Layer("rnn", 1, 2), long)


def test_what_is_no_file_stays_what_it_is(path):
    os.mkfifo(path)
    with pytest.raises(WeightsWriteError, match="a folder, a pipe or a device: choose another name"):
        interchange.save(ln.Layer("rnn", 1, 2), path)
    assert path.is_fifo()


def test_a_folder_that_is_not_there_is_a_write_error_and_nothing_is_left_behind(path):
    with pytest.raises(WeightsWriteError, match="could not be written"):
        interchange.save(ln.Layer("rnn", 1, 2), path.parent / "missing" / "layer")
    assert list(path.parent.iterdir()) == []


def test_without_the_package_the_message_says_what_to_install(path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "safetensors.numpy", None)
    with pytest.raises(MissingPackageError, match=r"pip install 'lstm-numba\[safetensors\]'"):
        interchange.save(ln.Layer("rnn", 1, 2), path)
