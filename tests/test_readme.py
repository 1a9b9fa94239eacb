"""README.md is run: every Python block, every command.  A fenced block's language says what it is.

python     run in order, in one namespace, in a scratch directory; `# name.py` in its first line saves it as a file
console    what follows `$ ` is run there; ./scripts/... take minutes, and are only checked to exist
text       must stand in what one of the commands printed
"""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from scripts import pages
from scripts.sizes import ROOT

README = (pages.ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
PYTHON = {"derive": [sys.executable, "-m", "derive"], "python": [sys.executable]}


def run_python(text, namespace):
    if file := re.match(r"# (\w+\.py)\n", text):
        Path(file[1]).write_text(text, encoding="utf-8")
    else:
        exec(compile(text, "README.md", "exec"), namespace)


def run_command(line):
    """One line of a console block; returns what it printed."""
    program, *arguments = shlex.split(line, comments=True)
    if program.startswith("./scripts/"):
        assert os.access(ROOT / program, os.X_OK), f"{program} is not there or not executable"
        return ""
    command = [*PYTHON.get(program, [program]), *arguments]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONUTF8": "1"})
    assert ran.returncode == 0, f"{line}\n{ran.stdout}{ran.stderr}"
    return ran.stdout


@pytest.mark.slow
@pytest.mark.timeout(600)  # it compiles, verifies and trains
def test_every_block_and_command_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    namespace, printed = {"__name__": "readme"}, ""
    for language, text in BLOCKS:
        if language == "python":
            run_python(text, namespace)
        elif language == "console":
            printed += "".join(run_command(line.removeprefix("$ ")) for line in text.splitlines())
        else:
            assert text in printed


def test_every_block_says_what_it_is():
    assert {language for language, _ in BLOCKS} == {"python", "console", "text"}
    assert README.count("```") == 2 * len(BLOCKS)


def test_the_pages_of_the_cells_are_what_the_equations_give():
    assert [path for path, text in pages.pages().items() if not pages.is_written(path, text)] == []


def test_every_linked_file_exists():
    targets = re.findall(r"\]\((?!https?:|#)([^)#]+)", README)
    assert [target for target in targets if not (ROOT / target).exists()] == []
