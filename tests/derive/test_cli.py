"""The command line: exit codes, one message for bad input, and never a traceback."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import derive
from derive import cli, verify
from derive.emit import store
from derive.load import names
from derive.verify.report import CellReport, Measurement, Report
from scripts.sizes import ROOT

MINE = """
from derive.language import Cell, Eq, H, N, matrix, state, tanh, vector, x

h, h_prev = state("h")
W, U, b = matrix("W", H, N), matrix("U", H, H), vector("b")
cell = Cell(name="mine", title="Mine", year=2024, reference="-", equations=[Eq(h, tanh(W @ x + U @ h_prev + b))])
"""


@pytest.fixture
def run(capsys):
    """Run a command in this process: exit code, what it printed, what it complained."""

    def run(*arguments):
        try:
            code = cli.main([str(argument) for argument in arguments])
        except SystemExit as stop:  # argparse
            code = stop.code
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run


def process(*arguments, **options):
    command = [sys.executable, "-m", "derive", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, encoding="utf-8", **options)


@pytest.fixture
def mine(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(MINE)
    return path


# --- In a process of its own


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["list"], 0),
        (["show", "lstm"], 0),
        (["check"], 0),
        (["show", "nothing"], 2),
        (["show", "nothing.py"], 2),
        (["no-such-command"], 2),
        ([], 2),
    ],
)
def test_the_exit_code_says_how_it_went(arguments, code):
    finished = process(*arguments, cwd=ROOT)
    assert finished.returncode == code, finished.stdout + finished.stderr
    assert "Traceback" not in finished.stdout + finished.stderr
    assert bool(finished.stderr) == (code == 2)


def test_a_terminal_without_greek_letters_gets_question_marks(tmp_path):
    environment = {"PYTHONIOENCODING": "ascii", "PYTHONPATH": str(ROOT), "PATH": "", "SYSTEMROOT": ""}
    finished = process("show", "rnn", "--what", "gradients", cwd=tmp_path, env=environment)
    assert finished.returncode == 0
    assert "d_h_prev = U? d_z_h" in finished.stdout


def test_a_reader_that_stops_early_is_no_error():
    writer = subprocess.Popen([sys.executable, "-m", "derive", "list", "--json"], cwd=ROOT, stdout=-1, stderr=-1)
    writer.stdout.close()
    _, complaints = writer.communicate()
    assert (writer.returncode, complaints) == (0, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no full device to write to")
def test_an_answer_that_cannot_be_written_gets_code_2_and_one_message():
    with open("/dev/full", "w") as full:
        answer = subprocess.run(
            [sys.executable, "-m", "derive", "list"], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert (answer.returncode, answer.stderr) == (2, "derive list: cannot write: No space left on device\n")


def test_help_answers_without_importing_sympy():
    program = "import sys; from derive import cli; code = cli._parser(); print('sympy' in sys.modules)"
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert finished.stdout.strip() == "False"


def test_the_same_page_comes_from_every_process():
    command = ("show", "peephole", "--what", "all", "--as", "python")
    first, second = (process(*command, cwd=ROOT, env={"PYTHONHASHSEED": str(seed)}).stdout for seed in (1, 2))
    assert first == second
    assert "d_p_f" in first


# --- list


def test_the_list_has_every_cell_with_what_it_takes(run):
    code, printed, _ = run("list", "--json")
    entries = {entry["name"]: entry for entry in json.loads(printed)}
    assert code == 0
    assert list(entries) == list(names())
    assert entries["lstm"] | {"reference": "", "parameters": {}} == {
        "name": "lstm",
        "title": "LSTM with forget gate",
        "year": 2000,
        "reference": "",
        "states": ["h", "c"],
        "gates": ["i", "f", "g", "o"],
        "parameters": {},
        "options": {},
    }
    assert entries["lstm"]["parameters"]["W_i"] == ["H", "N"]
    assert entries["peephole"]["options"]["peepholes"][0] == "ifo"


def test_the_list_for_people_has_one_line_a_cell(run):
    _, printed, _ = run("list")
    assert len(printed.splitlines()) == 1 + len(names())


# --- show


@pytest.mark.parametrize("form", cli.FORMS)
@pytest.mark.parametrize("what", cli.WHAT)
def test_every_page_is_shown_in_every_form(run, what, form):
    code, printed, complaints = run("show", "rnn", "--what", what, "--as", form)
    assert (code, complaints) == (0, "")
    assert printed.strip()


def test_a_variant_and_files_of_ones_own_are_shown(run, mine, tmp_path):
    assert "p_o" in run("show", "peephole:peepholes=o")[1]
    assert "h = tanh(W x + U h_prev + b)" in run("show", mine)[1]
    (tmp_path / "text.cell").write_text("states: h\nparameters: u\nh = tanh(u * h_prev)")
    assert "h = tanh(u ⊙ h_prev)" in run("show", tmp_path / "text.cell")[1]


BAD = {
    "an unknown cell": (["show", "lst"], "there is no cell 'lst'. Did you mean lstm"),
    "a hostile name": (["show", "__import__('os').system('true')"], "there is no cell"),
    "an unknown option": (["show", "lstm:peepholes=io"], "cell lstm has no option 'peepholes'"),
    "an unknown value": (["show", "peephole:peepholes=x"], "peepholes=x is unknown"),
    "an unknown page": (["show", "lstm", "--what", "gradient"], "invalid choice: 'gradient'"),
    "an unknown form": (["show", "lstm", "--as", "html"], "invalid choice: 'html'"),
    "an unknown flag": (["show", "lstm", "--verbose"], "unrecognized arguments: --verbose"),
    "no cell": (["show"], "the following arguments are required: CELL"),
    "a missing file": (["show", "no/such.py"], "cannot read no/such.py: No such file"),
    "a file of another kind": (["verify", "README.md/.."], "a cell file ends in .py or .cell"),
    "a page that the cell has not": (["show", "lstm", "--what", "penalty"], "the penalty is for"),
    "no units": (["flow", "rnn", "--hidden", "0"], "'0' is not a whole number from 1"),
    "a seed below 0": (["flow", "rnn", "--seed", "-1"], "'-1' is not a whole number from 0"),
    "half a step": (["flow", "rnn", "--steps", "1.5"], "'1.5' is not a whole number"),
    "too many units": (["flow", "rnn", "--hidden", "9999999999"], "is not a whole number from 1"),
    "a wrong cell to generate": (["generate", "lstm", "gur"], "Did you mean gru?"),
}


@pytest.mark.parametrize(("arguments", "said"), BAD.values(), ids=BAD)
def test_bad_input_gets_code_2_and_one_message(run, arguments, said):
    code, printed, complaints = run(*arguments)
    assert (code, printed) == (2, "")
    assert said in complaints
    assert "Traceback" not in complaints


FILES = {
    "not Python": ("a text, no program", "line 1: not Python"),
    "no cell": ("x = 1", "there is no `cell`"),
    "an exception": ("\n1 / 0", "line 2: ZeroDivisionError"),
    "an exit": ("raise SystemExit(0)", "SystemExit"),
    "a law broken": (MINE.replace("U @ h_prev", "U @ x"), "line 6: cell mine, equation h ="),
    "another thing": ("cell = 'lstm'", "`cell` is a str"),
}


@pytest.mark.parametrize("command", ["show", "generate", "flow"])
@pytest.mark.parametrize(("text", "said"), FILES.values(), ids=FILES)
def test_a_file_that_is_no_cell_gets_code_2_and_one_message(run, tmp_path, command, text, said):
    path = tmp_path / "mine.py"
    path.write_text(text)
    code, printed, complaints = run(command, path)
    assert (code, printed) == (2, "")
    assert complaints.startswith(f"derive {command}: {path}")
    assert said in complaints


# --- generate, check


def test_two_cells_of_one_name_are_not_one_file(run, tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "mine.cell").write_text("states: h\nparameters: b\nh = b * h_prev")
    code, _, complaints = run("generate", tmp_path / "a" / "mine.cell", tmp_path / "b" / "mine.cell", "--out", tmp_path)
    assert code == 2
    assert "two of the cells are called mine" in complaints
    assert not (tmp_path / "mine.py").exists()


def test_kernels_are_written_once_where_they_are_asked_for(run, tmp_path):
    code, printed, _ = run("generate", "rnn", "--out", tmp_path)
    assert (code, printed.count("wrote ")) == (0, 2)
    assert run("generate", "rnn", "--out", tmp_path) == (0, "every file is as it should be\n", "")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["rnn.py", "rnn_relu.py"]


def test_a_cell_of_ones_own_does_not_go_into_the_package(run, mine, monkeypatch):
    monkeypatch.chdir(mine.parent)
    assert run("generate", "mine.py") == (0, "wrote generated/mine.py\n".replace("/", cli.os.sep), "")
    assert (mine.parent / "generated" / "mine.py").read_text().startswith('"""Mine')


def test_a_file_that_is_not_ours_is_not_overwritten(run, tmp_path):
    (tmp_path / "rnn.py").write_text("mine = 1\n")
    code, _, complaints = run("generate", "rnn", "--out", tmp_path)
    assert code == 2
    assert "is not a generated file" in complaints
    assert (tmp_path / "rnn.py").read_text() == "mine = 1\n"


def test_check_shows_the_difference_and_the_command_that_fixes_it(run, tmp_path, monkeypatch):
    store.generate([derive.cells["rnn"]], tmp_path)
    (tmp_path / "rnn.py").write_text((tmp_path / "rnn.py").read_text().replace("1 - h * h", "1 + h * h"))
    (tmp_path / "extra.py").write_text("1\n")
    texts = store.texts_of([derive.cells["rnn"]])
    monkeypatch.setattr(store, "PACKAGE", tmp_path)
    monkeypatch.setattr(store, "texts_of", lambda _: texts)
    code, printed, _ = run("check")
    assert code == 1
    assert "changed: rnn.py" in printed
    assert "stale: extra.py" in printed
    assert any(line.startswith("-") and "1 + h * h" in line for line in printed.splitlines())
    assert printed.endswith("to fix: derive generate\n")


def test_check_agrees_when_nothing_differs(run, tmp_path, monkeypatch):
    texts = store.texts_of([derive.cells["rnn"]])
    store.store(texts, tmp_path, complete=True)
    monkeypatch.setattr(store, "PACKAGE", tmp_path)
    monkeypatch.setattr(store, "texts_of", lambda _: texts)
    assert run("check")[0] == 0


def test_check_holds_kernels_of_ones_own_against_their_file(run, mine, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    run("generate", mine, "--out", "my kernels")
    assert run("check", mine, "--out", "my kernels")[:2] == (0, "my kernels is what the equations give\n")
    mine.write_text(MINE.replace("tanh(W", "tanh(2 * b + W"))
    code, printed, _ = run("check", mine, "--out", "my kernels")
    assert (code, printed.splitlines()[0]) == (1, "changed: mine.py")
    assert printed.endswith(f"to fix: derive generate {mine} --out 'my kernels'\n")
    assert "missing: mine.py" in run("check", mine)[1]


def test_a_changed_copy_that_kept_its_name_is_not_said_to_be_the_packages_cell(run, tmp_path):
    path = tmp_path / "copy.py"
    path.write_text(MINE.replace('"mine"', '"lstm"'))
    run("generate", path, "--out", tmp_path)
    assert "GENERATED - edit the cell's file" in (tmp_path / "lstm.py").read_text()


# --- verify, flow


@pytest.mark.parametrize(("error", "code"), [(0.0, 0), (1.0, 1)])
def test_verify_prints_the_report_and_its_verdict_is_the_exit_code(run, monkeypatch, error, code):
    asked = []

    def measured(cells, quick, sources):
        asked.append((cells[0].module, quick, *sources))
        rung = Measurement("gradient", "dL/dx", ("kernel", "oracle"), error, 0.5)
        return Report((CellReport(cells[0].module, sources[0], (rung,)),), quick)

    monkeypatch.setattr(verify, "run", measured)
    found, printed, complaints = run("verify", "lstm", "rnn:activation=relu", "--quick")
    assert (found, complaints) == (code, "")
    assert asked == [("lstm", True, "lstm"), ("rnn_relu", True, "rnn:activation=relu")]
    assert [line.split()[0] for line in printed.splitlines()[:3]] == ["cell", "lstm", "rnn_relu"]
    found, printed, _ = run("verify", "gru", "--json")
    assert (found, json.loads(printed)["ok"]) == (code, code == 0)


def test_verify_takes_every_variant_and_with_quick_every_cell(run, monkeypatch):
    asked = []
    monkeypatch.setattr(verify, "run", lambda cells, **_: asked.append(cells[0].module) or Report(()))
    run("verify", "--quick")
    assert asked == list(names())
    asked.clear()
    run("verify")
    assert asked == [variant.module for cell in derive.cells.values() for variant in cell.variants()]


def test_flow_is_measured_for_a_cell_and_for_a_file(run, mine):
    code, printed, _ = run("flow", mine, "--hidden", "4", "--steps", "5", "--json")
    page = json.loads(printed)
    assert (code, page["cell"], page["hidden"], page["steps"]) == (0, "mine", 4, 5)
    assert "Lyapunov" in run("flow", "rnn", "--hidden", "4", "--steps", "5")[1]


def test_a_picture_that_cannot_be_drawn_gets_code_2(run, tmp_path):
    pytest.importorskip("matplotlib")
    code, printed, complaints = run("flow", "rnn", "--hidden", "3", "--steps", "3", "--plot", tmp_path / "no" / "a.png")
    assert (code, printed) == (2, "")
    assert "cannot draw" in complaints


def test_a_closed_output_is_no_mistake(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)  # what Python makes of `derive list >&-`
    assert cli.main(["list"]) == 0
