"""Cells from files and names: what is found, and one clear error for everything else."""

import os

import pytest

import derive
from derive.errors import OptionError, ShapeError, UndefinedNameError, UnknownCellError
from derive.load import CellFileError, CellFileNotFoundError, is_file, load, named, names, resolve

MINE = """
from derive.language import Cell, Eq, H, N, matrix, state, tanh, vector, x

h, h_prev = state("h")
W, U, b = matrix("W", H, N), matrix("U", H, H), vector("b")
cell = Cell(name="mine", title="Mine", year=2024, reference="-", equations=[Eq(h, tanh(W @ x + U @ h_prev + b))])
"""

FAMILY = """
from derive.language import Cell, Eq, family, relu, state, tanh, vector

h, h_prev = state("h")
b = vector("b")

@family(squash=("tanh", "relu"), twice=(False, True))
def cell(squash, twice):
    f = {"tanh": tanh, "relu": relu}[squash]
    return Cell(name="mine", title="Mine", year=2024, reference="-", equations=[Eq(h, f(b * h_prev) * (1 + twice))])
"""


@pytest.fixture
def write(tmp_path):
    def write(text, name="mine.py"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def test_a_python_file_gives_its_cell(write):
    cell = load(write(MINE))
    assert cell.equations == derive.cells["rnn"].equations
    assert derive.load(str(write(MINE))).name == "mine"


def test_a_text_file_gives_its_cell_named_after_the_file(write):
    cell = load(write("states: h\nparameters: b\nh = tanh(b * h_prev)", "my-cell 2.cell"))
    assert cell.name == "my_cell_2"


def test_options_choose_a_variant_of_a_file(write):
    assert load(write(FAMILY), squash="relu").module == "mine_relu"
    assert resolve(f"{write(FAMILY)}:squash=relu,twice").module == "mine_relu_twice"


def test_a_file_may_hold_whatever_a_module_holds(write):
    extra = "from __future__ import annotations\nfrom dataclasses import dataclass\n@dataclass\nclass A:\n    b: int\n"
    assert load(write(extra + MINE)).name == "mine"


def test_loading_a_file_leaves_nothing_beside_it_and_shares_nothing_with_a_second_load(write):
    path = write(MINE)
    assert load(path) is not load(path)
    assert [entry.name for entry in path.parent.iterdir()] == ["mine.py"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("cell = (", "line 1: not Python: "),
        ("x = 1\nif x:\ncell = 2", "line 3: not Python: "),
        ("a cell of mine", "line 1: not Python: "),
        ("x = 1\n\nx / 0\n", "line 3: ZeroDivisionError: division by zero\n    x / 0"),
        ("import derive.nothing", "line 1: ModuleNotFoundError: No module named 'derive.nothing'"),
        ("from derive.language import *\nmax(2 * x, x)", "a choice is where(a > b, c, d)"),
        (
            "import numpy as np\nfrom derive.language import *\nnp.tanh(x)",
            "functions of symbols come from derive.language",
        ),
        ("import derive\nderive.load(__file__)", "loads itself"),
        ("raise SystemExit(0)", "line 1: SystemExit: 0"),
        ("def f():\n    return f()\nf()", "line 2: RecursionError"),
        ("import math", "there is no `cell`; end the file with cell = Cell("),
        (MINE.replace("cell =", "my_cell ="), "there is no `cell`; write cell = my_cell"),
        ("cell = 3", "`cell` is a int; end the file with"),
        ("x = '\0'", "not Python: "),
        (b"cell = '\xff\xfe'", "not a text file in UTF-8 (byte 8)"),
    ],
)
def test_a_file_without_a_cell_gives_one_message_with_the_line(write, text, said):
    path = write(text)
    with pytest.raises(CellFileError) as caught:
        load(path)
    assert str(caught.value).startswith(str(path))
    assert said in str(caught.value)
    assert isinstance(caught.value, ImportError)


def test_a_law_that_a_file_breaks_keeps_its_class_and_gets_the_line(write):
    with pytest.raises(ShapeError, match=r"mine\.py, line 6: cell mine, equation h = .*U @ x needs a vector over H"):
        load(write(MINE.replace("U @ h_prev", "U @ x")))
    with pytest.raises(UndefinedNameError, match=r"mine\.py, line 6: "):
        load(write(MINE.replace("tanh(W", "tanh(h + W")))


@pytest.mark.parametrize(
    "name", ["missing.py", "missing.cell", "a\0b.py", "no/such/folder/mine.py", "x" * 5000 + ".py"]
)
def test_a_file_that_is_not_there_is_named(name):
    with pytest.raises(CellFileNotFoundError, match="cannot read"):
        load(name)


def test_a_folder_is_not_a_cell(tmp_path):
    folder = tmp_path / "folder.py"
    folder.mkdir()
    with pytest.raises(CellFileNotFoundError, match="cannot read"):
        load(folder)


def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "mine.cell")
    with pytest.raises(CellFileError, match="a pipe or a device"):
        load(tmp_path / "mine.cell")


def test_files_of_one_name_may_load_each_other(write, tmp_path):
    inner = write(MINE)
    (tmp_path / "outer").mkdir()
    outer = tmp_path / "outer" / inner.name
    outer.write_text(f"import derive\ncell = derive.load({str(inner)!r})")
    assert load(outer).name == "mine"


@pytest.mark.parametrize("name", ["mine.txt", "mine", "mine.pyc", "lstm", "../mine.so"])
def test_only_two_endings_are_cell_files(name):
    with pytest.raises(CellFileError, match=r"a cell file ends in \.py or \.cell"):
        load(name)


def test_a_file_of_a_megabyte_is_refused_before_it_is_run(write):
    with pytest.raises(CellFileError, match="more than 1000000 bytes"):
        load(write("#" * 1_000_001))


# --- Names


def test_every_cell_is_found_by_its_name():
    assert [resolve(name).name for name in names()] == list(derive.cells)
    assert named("lstm") is derive.cells["lstm"]


@pytest.mark.parametrize(
    ("spelling", "module"),
    [
        ("peephole:peepholes=io", "peephole_io"),
        ("peephole", "peephole"),
        ("rnn:activation=relu", "rnn_relu"),
        ("lstm1997:truncated", "lstm1997_truncated"),
        ("lstm1997:truncated=True", "lstm1997_truncated"),
        ("lstm1997:truncated=false", "lstm1997"),
    ],
)
def test_a_variant_has_a_spelling(spelling, module):
    assert resolve(spelling).module == module


@pytest.mark.parametrize(
    ("spelling", "error", "said"),
    [
        ("lst", UnknownCellError, "there is no cell 'lst'. Did you mean lstm"),
        ("LSTM", UnknownCellError, "Did you mean lstm?"),
        ("zzz", UnknownCellError, "There is: rnn, lstm1997, lstm,"),
        ("", UnknownCellError, "there is no cell ''"),
        ("__import__('os')", UnknownCellError, "there is no cell"),
        ("peephole:peepholes=oi", OptionError, "Did you mean io?"),
        ("peephole:peephole=io", OptionError, "has no option 'peephole'. Did you mean peepholes?"),
        ("peephole:peepholes", OptionError, "peepholes=true is unknown"),
        ("peephole:", OptionError, "has no option ''"),
        ("lstm:x=1", OptionError, "has no option 'x'. It has no options."),
        ("peephole:peepholes=i,peepholes=o", OptionError, "given twice"),
        ("no/such.py", CellFileNotFoundError, "cannot read"),
        ("etc/passwd", CellFileError, "ends in .py or .cell"),
    ],
)
def test_a_wrong_spelling_says_what_there_is(spelling, error, said):
    with pytest.raises(error) as caught:
        resolve(spelling)
    assert said in str(caught.value)


def test_a_file_is_told_from_a_name():
    spellings = ["a.py", "a.cell", "b/c", "a.py:squash=relu", "lstm", "peephole:peepholes=io"]
    assert [is_file(spelling) for spelling in spellings] == [True] * 4 + [False] * 2
