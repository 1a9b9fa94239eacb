"""The cache on disk: processes that fill it side by side do not disturb each other, and damage is noticed."""

import subprocess
import sys

import pytest

from lstm_numba.cpu.cache import Entries

FIRST_NAME = """
from numba.core.bytecode import FunctionIdentity
import lstm_numba.cpu.cache
print(FunctionIdentity.from_function(lambda: None).unique_name)
"""


def test_functions_of_different_processes_have_different_names():
    first, second = (subprocess.check_output([sys.executable, "-c", FIRST_NAME]) for _ in range(2))
    assert first != second


def test_two_writers_keep_each_others_entries(tmp_path):
    one, other = (Entries(tmp_path, "kernel-.py") for _ in range(2))
    one.save("float32", 1)
    other.save("float64", 2)
    assert [one.load("float32"), one.load("float64"), other.load("float32"), other.load("int8")] == [1, 2, 1, None]


@pytest.mark.parametrize(
    "damage", [lambda b: b[:-1], lambda b: b[:40], lambda b: b"", lambda b: b[:-1] + bytes([b[-1] ^ 1])]
)
def test_a_damaged_entry_is_noticed_and_can_be_thrown_away(tmp_path, damage):
    entries = Entries(tmp_path, "kernel-.py")
    entries.save("float32", {"object": b"code"})
    (file,) = tmp_path.iterdir()
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(ValueError, match="damaged"):
        entries.load("float32")
    entries.flush()
    assert entries.load("float32") is None


def test_entries_of_other_functions_survive_a_flush(tmp_path):
    ours, theirs = Entries(tmp_path, "step-.py"), Entries(tmp_path, "step_vjp-.py")
    ours.save("key", 1)
    theirs.save("key", 2)
    ours.flush()
    assert [ours.load("key"), theirs.load("key")] == [None, 2]


def test_a_save_that_fails_leaves_nothing_behind(tmp_path, monkeypatch):
    entries = Entries(tmp_path, "kernel-.py")
    monkeypatch.setattr("pathlib.Path.replace", lambda self, target: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        entries.save("key", 1)
    assert list(tmp_path.iterdir()) == []
