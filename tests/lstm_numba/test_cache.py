"""The cache of compiled kernels as a user's machine treats it: no home, no disk, damage, other users, other versions.

Truth: a kernel gives the same numbers however it was come by, and files are read only where nobody else can have
written them.
"""

import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from numba import njit

from lstm_numba.cpu import cache
from scripts.sizes import ROOT

FOLDER = "import lstm_numba.cpu.cache as c; print(c.folder())"
SMALL_KERNEL = """
from numba import njit
from lstm_numba.cpu import cache
kernel = cache.keep(njit(lambda a: 2.0 * a), "doubled")
print(kernel(1.5), sum(kernel.stats.cache_hits.values()))
"""


def python(code, cwd=ROOT, **variables):
    """What a fresh process prints, with only these variables about caches and homes."""
    kept = {
        k: v for k, v in os.environ.items() if k not in ("HOME", "XDG_CACHE_HOME", "LSTM_NUMBA_CACHE_DIR", "TMPDIR")
    }
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=cwd, env=kept | variables, check=False
    )
    assert run.returncode == 0, run.stderr
    return run


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A folder for this test's kernels."""
    folder = tmp_path / "kernels"
    folder.mkdir(mode=0o700)
    monkeypatch.setattr(cache, "folder", lambda: folder)
    return folder


def kernel(factor=2.0):
    """A compiled function as a new process would have it."""

    def scaled(a):
        return factor * a

    return cache.keep(njit(scaled), f"scaled by {factor}")


# --- damage


def test_a_kernel_is_kept_and_found_again(home):
    assert kernel()(1.5) == 3.0
    (entry,) = home.iterdir()
    written = entry.stat().st_mtime_ns
    again = kernel()
    assert again(1.5) == 3.0
    assert sum(again.stats.cache_hits.values()) == 1
    assert entry.stat().st_mtime_ns == written


def test_kernels_of_other_texts_are_kept_apart(home):
    assert [kernel(2.0)(1.5), kernel(3.0)(1.5), kernel(2.0)(1.5)] == [3.0, 4.5, 3.0]


DAMAGE = {
    "empty": lambda content: b"",
    "cut off": lambda content: content[: len(content) // 2],
    "one bit": lambda content: content[:-9] + bytes([content[-9] ^ 1]) + content[-8:],
    "garbage": lambda content: os.urandom(len(content)),
    "text": lambda content: b"<html>404</html>",
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_entry_is_compiled_again(home, damage):
    kernel()(1.5)
    (entry,) = home.iterdir()
    entry.write_bytes(damage(entry.read_bytes()))
    damaged = kernel()
    assert damaged(1.5) == 3.0
    assert not damaged.stats.cache_hits
    healed = kernel()
    assert healed(1.5) == 3.0
    assert sum(healed.stats.cache_hits.values()) == 1


def test_a_folder_in_the_place_of_an_entry_is_no_obstacle(home):
    kernel()(1.5)
    (entry,) = home.iterdir()
    entry.unlink()
    entry.mkdir()
    assert kernel()(1.5) == 3.0


def test_a_folder_that_vanishes_is_no_obstacle(home):
    compiled = kernel()
    shutil.rmtree(home)
    assert compiled(1.5) == 3.0
    assert kernel()(1.5) == 3.0


def test_threads_may_compile_at_once(home):
    found = []
    threads = [threading.Thread(target=lambda: found.append(kernel()(1.5))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [3.0] * 4


# --- where it is


def test_the_user_names_the_folder(tmp_path):
    found = Path(python(FOLDER, LSTM_NUMBA_CACHE_DIR=str(tmp_path / "mine")).stdout.strip())
    assert found.parent == tmp_path / "mine"
    assert found.stat().st_mode & 0o777 == found.parent.stat().st_mode & 0o777 == 0o700


def test_without_a_home_it_is_a_private_temporary_folder(tmp_path):
    found = Path(python(FOLDER, TMPDIR=str(tmp_path)).stdout.strip())
    assert found.parent.parent == tmp_path
    assert found.parent.stat().st_mode & 0o777 == 0o700


def test_a_home_that_cannot_be_written_to_is_passed_over(tmp_path):
    (tmp_path / "file").write_text("")
    found = Path(python(FOLDER, HOME=str(tmp_path / "file"), TMPDIR=str(tmp_path)).stdout.strip())
    assert found.parent.parent == tmp_path


def test_a_folder_that_is_named_and_cannot_be_used_is_said_so_and_nothing_fails(tmp_path):
    (tmp_path / "file").write_text("")
    run = python(SMALL_KERNEL, LSTM_NUMBA_CACHE_DIR=str(tmp_path / "file" / "below"))
    assert "LSTM_NUMBA_CACHE_DIR" in run.stderr
    assert run.stdout.split() == ["3.0", "0"]


def test_a_machine_without_any_temporary_folder(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HOME", str(tmp_path / "file"))
    for name in ("LSTM_NUMBA_CACHE_DIR", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(cache.tempfile, "gettempdir", lambda: (_ for _ in ()).throw(FileNotFoundError("none")))
    with pytest.warns(RuntimeWarning, match="every process compiles them anew"):
        assert cache.folder.__wrapped__() is None


# --- whose it is


def chosen_in(folder, monkeypatch):
    monkeypatch.setenv("LSTM_NUMBA_CACHE_DIR", str(folder))
    return cache.folder.__wrapped__()


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o777])
def test_a_folder_that_others_may_write_to_is_refused(tmp_path, monkeypatch, mode):
    chosen = chosen_in(tmp_path / "shared", monkeypatch)
    chosen.chmod(mode)
    with pytest.warns(RuntimeWarning, match="private"):
        assert chosen_in(tmp_path / "shared", monkeypatch) is None


def test_a_folder_that_others_may_replace_is_refused(tmp_path, monkeypatch):
    shared = chosen_in(tmp_path / "shared", monkeypatch).parent
    shared.chmod(0o777)
    with pytest.warns(RuntimeWarning, match="private"):
        assert chosen_in(shared, monkeypatch) is None
    shared.chmod(0o1777)  # sticky, as the temporary folder of a machine
    assert chosen_in(shared, monkeypatch).parent == shared


@pytest.mark.parametrize("whose", ["folder", "its parent"])
def test_a_folder_of_somebody_else_is_refused(tmp_path, monkeypatch, whose):
    chosen = chosen_in(tmp_path / "mine", monkeypatch)
    foreign = chosen if whose == "folder" else chosen.parent
    own = Path.stat

    def stat(path, **options):
        found = own(path, **options)
        return os.stat_result((*found[:4], os.getuid() + 1, *found[5:])) if path == foreign else found

    monkeypatch.setattr(Path, "stat", stat)
    with pytest.warns(RuntimeWarning, match="private"):
        assert chosen_in(tmp_path / "mine", monkeypatch) is None


# --- what it depends on


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A copy of the package to edit."""
    shutil.copytree(cache.PACKAGE, tmp_path / "copy", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(cache, "PACKAGE", tmp_path / "copy")
    return tmp_path / "copy"


def fingerprint():
    return cache.fingerprint.__wrapped__()


def test_it_does_not_depend_on_where_the_package_lies(package):
    assert fingerprint() == cache.fingerprint()


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("cpu/target.py", "LINE_BYTES = 64"),
        ("cpu/elementary.py", "BOUNDED = {"),
        ("words.py", "def "),
        ("functions.py", "1 + decay"),
    ],
)
def test_editing_a_constant_changes_the_fingerprint(package, name, line):
    path = package / name
    text = path.read_text()
    assert line in text
    path.write_text(text.replace(line, f"{line} ", 1))
    assert fingerprint() != cache.fingerprint()
    path.write_text(text)
    assert fingerprint() == cache.fingerprint()


@pytest.mark.parametrize("what", ["numba", "llvmlite", "np"])
def test_another_version_of_a_tool_changes_the_fingerprint(monkeypatch, what):
    before = fingerprint()
    monkeypatch.setattr(getattr(cache, what), "__version__", "99.0")
    assert fingerprint() != before


def test_another_instruction_set_changes_the_fingerprint(monkeypatch):
    before = fingerprint()
    monkeypatch.setattr(cache.target, "NAME", "another")
    assert fingerprint() != before


# --- processes


def test_two_processes_may_fill_it_at_once(tmp_path):
    """Both start on an empty folder; a third finds what they left."""
    command, variables = (
        [sys.executable, "-c", SMALL_KERNEL],
        os.environ | {"LSTM_NUMBA_CACHE_DIR": str(tmp_path / "kernels")},
    )
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=variables) for _ in range(2)]
    assert all(process.communicate()[0].startswith("3.0 ") for process in both)
    assert python(SMALL_KERNEL, LSTM_NUMBA_CACHE_DIR=str(tmp_path / "kernels")).stdout.split() == ["3.0", "1"]
