"""The bridge between the two halves is text on disk: who may import whom."""

import ast
import subprocess
import sys

import pytest

import derive
from scripts.sizes import ROOT

# The places of derive that hand over to the runtime, each inside a function: building a cell and verifying one.
BRIDGES = ("derive/build.py", "derive/verify/")
GENERATED_MAY_IMPORT = ("math", "lstm_numba")


def modules(folder):
    return sorted((ROOT / folder).rglob("*.py"))


def imports(path, top_level_only=False):
    """Names of the modules that a file imports."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in tree.body if top_level_only else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.module


def belongs(name, packages):
    return name.split(".")[0] in packages


def test_importing_the_runtime_leaves_sympy_and_derive_alone():
    code = "import sys, lstm_numba; print(sorted({'sympy', 'derive', 'torch', 'jax'} & sys.modules.keys()))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert run.stdout.strip() == "[]"


@pytest.mark.parametrize("path", modules("lstm_numba"), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_the_runtime_never_names_derive_or_sympy(path):
    assert [name for name in imports(path) if belongs(name, {"derive", "sympy"})] == []


@pytest.mark.parametrize("path", modules("derive"), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_derive_reaches_the_runtime_only_over_its_bridges(path):
    is_bridge = path.relative_to(ROOT).as_posix().startswith(BRIDGES)
    assert [name for name in imports(path, top_level_only=is_bridge) if belongs(name, {"lstm_numba"})] == []


@pytest.mark.parametrize("path", modules("lstm_numba/generated"), ids=lambda path: path.name)
def test_generated_files_import_only_the_runtime_and_math(path):
    assert [name for name in imports(path) if not belongs(name, GENERATED_MAY_IMPORT)] == []


def test_type_checkers_see_the_names_that_derive_imports_when_they_are_asked_for():
    tree = ast.parse((ROOT / "derive" / "__init__.py").read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    froms = [node for node in block.body if isinstance(node, ast.ImportFrom)]
    told = {alias.asname: node.module for node in froms for alias in node.names if alias.asname}
    assert told == derive.HOME
