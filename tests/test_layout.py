"""Repository hygiene: sizes, and what must not be in any tracked file."""

import re
import subprocess

import pytest

from scripts import sizes

# Written so that this file does not contain what it looks for.
FORBIDDEN = {
    "a path of somebody's machine": re.compile(r"(?<![\w.-])/(?:home|root|work|farm|tmp|Users)/[a-z]"),
    "unfinished work": re.compile(r"\b(?:TO[D]O|FIX[M]E|X[X]X|raise NotImplemented[E]rror)\b"),
    "a package index of one's own": re.compile(r"--(?:extra-)?index-[u]rl|--trusted-[h]ost"),
}


def tracked_texts():
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=sizes.ROOT, capture_output=True, text=True, check=False)
    unlisted = (path.relative_to(sizes.ROOT) for folder in sizes.FOLDERS for path in sizes.sources(folder))
    for name in listed.stdout.split("\0")[:-1] or unlisted:  # an unpacked archive has no git
        path = sizes.ROOT / name
        if path.is_file() and b"\0" not in (content := path.read_bytes()):
            yield name, content.decode("utf-8")


@pytest.mark.parametrize("folder", sizes.FOLDERS)
def test_files_and_functions_stay_short(folder):
    assert sizes.measure(folder).overspent == []


@pytest.mark.parametrize("what", FORBIDDEN)
def test_no_tracked_file_contains(what):
    found = [
        f"{name}:{number}: {line.strip()}"
        for name, text in tracked_texts()
        for number, line in enumerate(text.splitlines(), 1)
        if FORBIDDEN[what].search(line)
    ]
    assert found == []


def test_lines_of_a_function_leave_out_its_docstring_and_inner_functions():
    source = 'def outer():\n    """Say\n    what."""\n    def inner():\n        return 1\n    return inner\n'
    outer, inner = (node for node in sizes.ast.walk(sizes.ast.parse(source)) if isinstance(node, sizes.Function))
    assert (sizes.own_lines(outer), sizes.own_lines(inner)) == (2, 2)


STEPS = (
    "derive/cell.py",
    "derive/program.py",
    "derive/differentiate.py",
    "derive/emit/module.py",
    "lstm_numba/layer.py",
    "derive/verify/__init__.py",
)


@pytest.mark.parametrize(("number", "path"), list(enumerate(STEPS, 1)))
def test_the_way_of_the_data_has_the_same_numbers_in_the_document_and_in_the_code(number, path):
    assert f"\n{number}. **" in (sizes.ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    assert (sizes.ROOT / path).read_text(encoding="utf-8").startswith(f'"""{number}. ')


def test_every_folder_of_the_packages_is_named_in_the_architecture():
    document = (sizes.ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    folders = {path.parent for folder in ("derive", "lstm_numba") for path in sizes.sources(folder)}
    assert [str(folder) for folder in folders if f"{folder.name}/" not in document] == []


def test_every_file_that_the_architecture_names_is_there():
    document = (sizes.ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    named = re.findall(r"`([\w/]+\.py)`", document)
    there = [path.as_posix() for folder in sizes.FOLDERS for path in sizes.sources(folder)]
    assert [name for name in named if not any(path.endswith(f"/{name}") for path in there)] == []
