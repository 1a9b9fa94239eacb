"""Generated text on disk: only what changed is written, only what is ours is touched."""

import os

import pytest

import derive
from derive.emit import store as module
from derive.emit.store import MARK, StoreError, check, compare, files, generate, store, texts_of

HEADER = f'"""A cell.\n\n{MARK} cell.py\n"""\n'
TEXTS = {"a.py": HEADER + "a = 1\n", "sub/b.py": HEADER + "b = 2\n"}


@pytest.fixture
def out(tmp_path):
    store(TEXTS, tmp_path / "out", complete=True)
    return tmp_path / "out"


def kinds(wanted, found):
    return {entry.path: entry.kind for entry in compare(wanted, found)}


def test_every_text_is_written_as_it_is(out):
    assert {path: (out / path).read_bytes().decode() for path in files(out)} == TEXTS


def test_only_files_whose_text_changes_are_written(out):
    before = {path: os.stat(out / path).st_mtime_ns for path in TEXTS}
    changed = {**TEXTS, "a.py": HEADER + "a = 3\n"}
    assert store(changed, out, complete=True) == [out / "a.py"]
    assert store(changed, out, complete=True) == []
    assert os.stat(out / "sub/b.py").st_mtime_ns == before["sub/b.py"]
    assert (out / "a.py").read_text() == changed["a.py"]


def test_nothing_else_is_left_in_the_folder(out):
    store({**TEXTS, "a.py": HEADER}, out, complete=True)
    assert files(out) == ["a.py", "sub/b.py"]


def test_stale_files_of_ours_are_deleted_only_when_the_texts_are_complete(out):
    only = {"a.py": TEXTS["a.py"]}
    assert store(only, out, complete=False) == []
    assert store(only, out, complete=True) == [out / "sub/b.py"]
    assert files(out) == ["a.py"]


def test_a_file_of_the_user_is_neither_deleted_nor_overwritten(out):
    (out / "mine.py").write_text("mine = 1\n")
    assert store(TEXTS, out, complete=True) == []
    with pytest.raises(StoreError, match=r"mine\.py is not a generated file.*\n.*--out DIR"):
        store({**TEXTS, "mine.py": HEADER, "new.py": HEADER}, out, complete=True)
    assert (out / "mine.py").read_text() == "mine = 1\n"
    assert not (out / "new.py").exists()  # nothing at all is written then


def test_the_file_that_makes_the_folder_a_package_stays(out):
    (out / "__init__.py").write_text(HEADER)
    assert store(TEXTS, out, complete=True) == []


@pytest.mark.parametrize("path", ["../a.py", "/a.py", "sub/../../a.py", "", "."])
def test_no_path_leaves_the_folder(out, path):
    with pytest.raises(StoreError, match="leaves the output folder"):
        store({path: HEADER}, out, complete=False)


def test_a_folder_that_cannot_be_written_is_one_clear_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"cannot write below .*--out DIR") as caught:
        store(TEXTS, tmp_path / "file", complete=False)
    assert isinstance(caught.value, OSError)


def test_an_interrupted_write_leaves_the_old_text_and_no_other_file(out, monkeypatch):
    monkeypatch.setattr(module.os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        store({**TEXTS, "a.py": HEADER}, out, complete=True)
    assert (out / "a.py").read_text() == TEXTS["a.py"]
    assert sorted(entry.name for entry in out.iterdir()) == ["a.py", "sub"]


def interrupted(*_):
    raise KeyboardInterrupt


def test_two_folders_are_compared_both_ways(out, tmp_path):
    found = tmp_path / "found"
    store({"a.py": HEADER + "a = 2\n", "old.py": HEADER}, found, complete=True)
    (found / "hand_made.py").write_text("1\n")
    (found / "__init__.py").write_text(HEADER)
    (found / "notes.txt").write_text("mine")
    (found / "__pycache__").mkdir()
    (found / "__pycache__" / "a.cpython.pyc").write_bytes(b"\0")
    assert kinds(out, found) == {"a.py": "changed", "sub/b.py": "missing", "old.py": "stale", "hand_made.py": "stale"}
    assert kinds(out, out) == {}


def test_a_difference_is_shown_as_a_patch(out, tmp_path):
    store({**TEXTS, "a.py": HEADER + "a = 2\n"}, tmp_path / "found", complete=True)
    (entry,) = compare(out, tmp_path / "found")
    assert entry.diff.splitlines()[:2] == ["--- on disk/a.py", "+++ from the equations/a.py"]
    assert entry.diff.splitlines()[-2:] == ["-a = 2", "+a = 1"]


def test_a_damaged_file_is_changed_not_an_exception(out, tmp_path):
    store(TEXTS, tmp_path / "found", complete=True)
    (tmp_path / "found" / "a.py").write_bytes(b"\xff\xfe" + HEADER.encode())
    assert kinds(out, tmp_path / "found") == {"a.py": "changed"}


def test_the_generated_files_of_the_package_are_what_the_equations_give():
    assert [f"{entry.path}: {entry.kind}\n{entry.diff}" for entry in check()] == []


def test_generating_writes_what_checking_compares(tmp_path):
    cells = [derive.cells["rnn"], derive.cells["gru"]]
    assert generate(cells, tmp_path) == [tmp_path / path for path in texts_of(cells)]
    assert generate(cells, tmp_path) == []
    found = {entry.path: entry.kind for entry in check(out=tmp_path)}
    assert set(found.values()) == {"missing"}
    assert not {"rnn.py", "gru.py"} & found.keys()
