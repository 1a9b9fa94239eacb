"""Folders of other versions in the cache of kernels: removed when nobody needs them, and nothing else is."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lstm_numba.cpu import cleaning
from lstm_numba.cpu.cleaning import DAY, LOCK, MANY
from scripts.sizes import ROOT

pytestmark = pytest.mark.skipif(cleaning.fcntl is None, reason="without such locks nothing is removed")
ENTRIES = (
    "step-12.py.0123456789abcdef01234567.nbc",
    "step-12.py.0123456789abcdef",
    "cuda_01ab.cubin",
    "lstm_numba_built_mine_0123.py",
    ".lstm_numba_built_mine_0123.py.x8_1.tmp",
)


def folder(base, name, idle, *entries):
    """A folder of another version, last used `idle` days ago."""
    made = base / (name if len(name) == 16 else f"{name:0>16}")
    made.mkdir()
    for entry in entries or ENTRIES:
        (made / entry).write_bytes(b"kernel")
    (made / "__pycache__").mkdir()
    then = time.time() - idle * DAY
    os.utime(made, (then, then))
    return made


@pytest.fixture
def own(tmp_path):
    return folder(tmp_path, "a", 0)


def test_what_was_not_used_for_a_month_goes(own, tmp_path):
    old, recent = folder(tmp_path, "b", 31), folder(tmp_path, "c", 29)
    cleaning.use(own)
    assert not old.exists()
    assert sorted(tmp_path.iterdir()) == sorted([own, recent])


def test_of_many_those_that_were_used_last_stay_and_those_of_today(own, tmp_path):
    other = {idle: folder(tmp_path, f"{idle}", idle) for idle in range(2, MANY + 4)}
    today = [folder(tmp_path, f"d{k}", 0.5) for k in range(2)]
    cleaning.use(own)
    left = MANY - 1 - len(today)  # the own one is one of them
    assert [idle for idle, made in other.items() if made.exists()] == list(other)[:left]
    assert all(made.exists() for made in today)


def test_many_of_today_stay(own, tmp_path):
    others = [folder(tmp_path, f"{k:x}0", 0.5) for k in range(MANY + 4)]
    cleaning.use(own)
    assert all(made.exists() for made in others)


def test_what_a_living_process_uses_stays_until_it_ends(own, tmp_path):
    old = folder(tmp_path, "b", 31)
    code = (
        f"import os; from pathlib import Path; from lstm_numba.cpu import cleaning; cleaning.use(Path({str(old)!r}));"
        f"os.utime({str(old)!r}, (0, 0)); print('held', flush=True); input()"
    )
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout.readline() == "held\n"
        cleaning.use(own)
        assert (old / ENTRIES[0]).exists()
        process.communicate("\n")
    cleaning.use(own)
    assert not old.exists()


@pytest.mark.parametrize("what", ["other file", "other name", "link", "file"])
def test_what_is_not_recognised_is_left_alone(own, tmp_path, what):
    (tmp_path / "elsewhere").mkdir()
    made = {
        "other file": lambda: folder(tmp_path, "b", 99, *ENTRIES, "thesis.tex"),
        "other name": lambda: folder(tmp_path, "photographs-2019", 99),
        "link": lambda: folder(tmp_path / "elsewhere", "b", 99),
        "file": lambda: tmp_path / "000000000000000b",
    }[what]()
    if what == "link":
        (tmp_path / made.name).symlink_to(made)
    if what == "file":
        made.write_text("")
        os.utime(made, (0, 0))
    cleaning.use(own)
    assert made.exists()


def test_a_removal_that_was_cut_off_is_finished(own, tmp_path):
    gone = folder(tmp_path, "b", 0).rename(tmp_path / ".gone-000000000000000b")
    cleaning.use(own)
    assert not gone.exists()


@pytest.mark.parametrize("refused", ["rename", "iterdir"])
def test_a_disk_that_refuses_is_no_obstacle(own, tmp_path, monkeypatch, refused):
    old = folder(tmp_path, "b", 31)
    monkeypatch.setattr(Path, refused, lambda *_: (_ for _ in ()).throw(PermissionError("read-only")))
    cleaning.use(own)
    monkeypatch.undo()
    assert {entry.name for entry in old.iterdir()} >= set(ENTRIES)


def test_a_file_system_without_locks_keeps_everything(own, tmp_path, monkeypatch):
    old = folder(tmp_path, "b", 31)
    monkeypatch.setattr(cleaning.fcntl, "flock", lambda *_: (_ for _ in ()).throw(OSError("no locks")))
    cleaning.use(own)
    assert old.exists()


def test_a_process_that_begins_cleans_up_and_marks_its_own_folder(tmp_path):
    old = folder(tmp_path, "b", 31)
    code = "import lstm_numba.cpu.cache as c; print(c.folder())"
    environment = os.environ | {"LSTM_NUMBA_CACHE_DIR": str(tmp_path)}
    tmp_path.chmod(0o700)
    for _ in range(2):
        found = subprocess.check_output([sys.executable, "-c", code], text=True, cwd=ROOT, env=environment)
        mine = Path(found.strip())
        assert (mine / LOCK).exists()
        assert time.time() - mine.stat().st_mtime < DAY
        os.utime(mine, (0, 0))
    assert not old.exists()
