"""The text: the same files on every machine, and none on both sides."""

import numpy as np
import pytest

from scripts.main_job.corpus import END_OF_FILE, is_held_out, python_source
from scripts.main_job.errors import CorpusError
from scripts.main_job.trainer import Lanes

SOURCE = b"import this\n" * 100


@pytest.fixture
def library(tmp_path):
    for number in range(100):
        (tmp_path / f"module_{number}.py").write_bytes(b"# %d\n" % number + SOURCE)
    for excluded in ("site-packages/other.py", "test/test_it.py", "json/tests/test_it.py", "_sysconfigdata__linux_.py"):
        (tmp_path / excluded).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / excluded).write_bytes(b"# excluded\n" + SOURCE)
    return tmp_path


def test_no_file_is_on_both_sides_and_sides_follow_the_name(library):
    corpus = python_source(library)
    assert set(corpus.training_files) | set(corpus.held_out_files) == {f"module_{number}.py" for number in range(100)}
    assert all(is_held_out(name) for name in corpus.held_out_files)
    assert not any(is_held_out(name) for name in corpus.training_files)


def test_a_further_file_moves_no_other(library):
    before = python_source(library)
    (library / "zzz.py").write_bytes(SOURCE)
    after = python_source(library)
    assert set(before.held_out_files) <= set(after.held_out_files)


def test_each_file_ends_with_the_mark_and_sizes_are_capped(library):
    corpus = python_source(library, training_bytes=50_000, held_out_bytes=5_000)
    assert (len(corpus.training), len(corpus.held_out)) == (50_000, 5_000)
    first = (library / corpus.training_files[0]).read_bytes()
    assert corpus.training.tobytes().startswith(first + END_OF_FILE)


def test_the_digest_is_that_of_the_bytes(library):
    digest = python_source(library).digest
    assert python_source(library).digest == digest
    (library / "module_7.py").write_bytes(SOURCE)
    assert python_source(library).digest != digest


def test_a_library_without_source_is_a_clear_error(tmp_path):
    with pytest.raises(CorpusError, match="expected at least"):
        python_source(tmp_path)


def test_this_python_has_a_corpus():
    corpus = python_source(training_bytes=1 << 20, held_out_bytes=1 << 16)
    assert (len(corpus.training), len(corpus.held_out)) == (1 << 20, 1 << 16)


def test_an_epoch_of_lanes_reads_nearly_every_byte_once_and_predicts_the_next():
    lanes = Lanes(np.arange(100, dtype=np.uint8), rows=4, window=5)
    batches = [lanes.batch(shift=90, index=index) for index in range(lanes.windows)]
    read = np.concatenate([inputs for inputs, _ in batches])
    assert lanes.windows == 5
    assert sorted(read.ravel()) == list(range(100))
    assert (read[:, 0] == (90 + np.arange(25)) % 100).all()
    assert all((targets == (inputs + 1) % 100).all() for inputs, targets in batches)
