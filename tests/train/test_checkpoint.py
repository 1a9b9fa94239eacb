"""A checkpoint is whole or it is an error; what stood there before survives every failure."""

import os
import subprocess
import sys
import textwrap
import zipfile

import numpy as np
import pytest

from lstm_numba.errors import ArgumentError, CheckpointError, CheckpointWriteError
from lstm_numba.train import checkpoint
from scripts.sizes import ROOT

ARRAYS = {
    "W": np.arange(6, dtype=np.float32).reshape(2, 3),
    "b": np.array(0.1),
    "empty": np.zeros((0, 4)),
    "turned": np.arange(6.0).reshape(2, 3).T,
}
FACTS = {"step": 7, "rng": np.random.default_rng(0).bit_generator.state, "name": "Höhe"}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.npz"


def assert_same(arrays, expected=ARRAYS):
    assert list(arrays) == list(expected)
    for name, array in expected.items():
        assert (arrays[name].dtype, arrays[name].shape) == (array.dtype, array.shape)
        assert arrays[name].tobytes() == array.tobytes()


def test_what_was_saved_is_loaded_to_the_bit(path):
    checkpoint.save(path, ARRAYS, FACTS)
    arrays, facts = checkpoint.load(path)
    assert_same(arrays)
    assert facts == FACTS


def test_the_same_content_gives_the_same_bytes(path, tmp_path):
    checkpoint.save(path, ARRAYS, FACTS)
    checkpoint.save(tmp_path / "other.npz", ARRAYS, FACTS)
    assert path.read_bytes() == (tmp_path / "other.npz").read_bytes()


def test_numpy_reads_it_too(path):
    checkpoint.save(path, ARRAYS)
    with np.load(path) as arrays:
        np.testing.assert_array_equal(arrays["W"], ARRAYS["W"])


def test_every_damaged_byte_is_noticed_or_harmless(path):
    checkpoint.save(path, {"W": ARRAYS["W"]}, {"step": 7})
    whole = path.read_bytes()
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :])
        try:
            arrays, facts = checkpoint.load(path)
        except CheckpointError:
            continue
        assert_same(arrays, {"W": ARRAYS["W"]})
        assert facts == {"step": 7}


def test_every_cut_off_file_is_refused_and_left_alone(path):
    checkpoint.save(path, {"b": ARRAYS["b"]})
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(CheckpointError, match="not a checkpoint, or is damaged"):
            checkpoint.load(path)
        assert path.read_bytes() == whole[:length]


def test_a_foreign_file_a_foreign_zip_and_no_file_are_each_one_clear_error(path):
    path.write_text("import this\n")
    with pytest.raises(CheckpointError, match="not a checkpoint"):
        checkpoint.load(path)
    np.savez(path, W=ARRAYS["W"])
    with pytest.raises(CheckpointError, match="not a checkpoint"):
        checkpoint.load(path)
    with pytest.raises(CheckpointError, match="no such file"):
        checkpoint.load(path.with_name("nothing.npz"))


def test_a_later_format_says_so(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(checkpoint.FACTS, '{"format": "lstm_numba checkpoint 99"}')
    with pytest.raises(CheckpointError, match="lstm_numba checkpoint 99"):
        checkpoint.load(path)


def test_a_pickle_is_neither_written_nor_run(path):
    with pytest.raises(ArgumentError, match="evil holds objects"):
        checkpoint.save(path, {"evil": np.array([object()])})
    assert list(path.parent.iterdir()) == []


def test_what_no_file_holds_is_refused_and_the_file_is_as_it_was(path):
    checkpoint.save(path, ARRAYS)
    before = path.read_bytes()
    for arrays, facts, said in (
        ({}, {"model": object()}, "what JSON can hold"),
        ([np.ones(2)], None, "arrays must be a mapping"),
    ):
        with pytest.raises(ArgumentError, match=said):
            checkpoint.save(path, arrays, facts)
    assert path.read_bytes() == before


@pytest.mark.parametrize("name", ["", "a\0b"])
def test_a_path_that_names_no_file(name):
    with pytest.raises(CheckpointWriteError, match="no name of a file"):
        checkpoint.save(name, ARRAYS)


def test_a_pipe_is_not_waited_for_nor_a_device_read(path):
    os.mkfifo(path)
    for one in (path, path.parent, "/dev/zero"):
        with pytest.raises(CheckpointError, match="a folder, a pipe or a device; a checkpoint is a file"):
            checkpoint.load(one)


def test_restoring_into_another_model_changes_nothing():
    here = {"W": np.zeros((2, 3), np.float32), "b": np.zeros(())}
    with pytest.raises(CheckpointError, match=r"b: here float64 \(\), there float64 \(2,\)"):
        checkpoint.restore(here, {"W": ARRAYS["W"], "b": np.ones(2)})
    assert not here["W"].any()
    with pytest.raises(CheckpointError, match="extra: here nothing"):
        checkpoint.restore(here, {"W": ARRAYS["W"], "b": np.ones(()), "extra": np.ones(1)})


FULL_DISK = """
    import resource
    import sys
    import numpy as np
    from lstm_numba.errors import CheckpointWriteError
    from lstm_numba.train import checkpoint

    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
    try:
        checkpoint.save(sys.argv[1], {"W": np.ones(100_000)})
    except CheckpointWriteError as error:
        assert isinstance(error, OSError)
        print(error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on the size of files")
def test_on_a_full_disk_the_old_checkpoint_stays_and_nothing_is_left_behind(path):
    checkpoint.save(path, ARRAYS, FACTS)
    before = path.read_bytes()
    code = textwrap.dedent(FULL_DISK)
    run = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=True, cwd=ROOT)
    assert "untouched" in run.stdout
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_a_folder_that_is_not_there_is_a_write_error(path):
    with pytest.raises(CheckpointWriteError, match="could not be written"):
        checkpoint.save(path.parent / "missing" / "run.npz", ARRAYS)
