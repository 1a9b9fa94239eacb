"""The machinery of ./scripts/gpu_check, as far as it needs no device: processes that break off, limits, the report."""

import json
import sys
import time

import pytest

pytest.importorskip("numba_cuda")

import lstm_numba as ln
from lstm_numba.gpu import compiler
from lstm_numba.gpu.interpreted import Interpreter
from lstm_numba.types import Types
from scripts.gpu_checks import compilation, limits, needs, processes, report, rungs
from scripts.gpu_checks.record import Record
from scripts.gpu_checks.rows import ROWS
from tests import layers
from tests.cuda.devices import H100, twin

NAMES = ["first", "second", "third"]


@pytest.fixture
def parts(monkeypatch):
    """Instead of parts of the check, Python texts by their names."""
    texts = {}

    class Popen(processes.subprocess.Popen):
        def __init__(self, command, **options):
            super().__init__([command[0], "-c", texts[command[-1]]], **options)

    monkeypatch.setattr(processes.subprocess, "Popen", Popen)
    return texts


def saying(*values, then=""):
    return "import json\n" + "\n".join(f"print(json.dumps({value!r}), flush=True)" for value in values) + f"\n{then}"


def test_behind_a_rung_that_kills_its_process_another_goes_on(parts):
    parts["p:0"] = saying(["first", []], then="import os; os.abort()")
    parts["p:2"] = saying(["third", ["wrong"]])
    found = {}
    processes.each("p", NAMES, time.monotonic() + 60, found.__setitem__)
    assert found == {"first": [], "second": {"failed": "exit -6"}, "third": ["wrong"]}


def test_what_is_found_is_on_disk_at_once(parts, tmp_path):
    parts["p"] = saying(["first", ["wrong"]], then="print('[a library speaks]'); import time; time.sleep(100)")
    record, entry, seen = Record(tmp_path / "out", 0.0, machine={}, architectures="9.0", kernels=[]), {}, []
    record.write(ladder=[{"part": "ladder:gru", "found": entry}])

    def heard(pair):
        record.put(entry, *pair)
        seen.append(json.loads((tmp_path / "out" / "gpu_check.json").read_text())["ladder"][0]["found"])

    processes.told("p", 5.5, heard=heard)
    assert seen == [{"first": ["wrong"]}]
    assert "0 of 1 checks hold" in (tmp_path / "out" / "gpu_check.md").read_text()


@pytest.mark.parametrize(("arguments", "said"), [([], ["cupy-cuda13x", "torch"]), (["--compile-only"], [])])
def test_packages_that_are_missing_are_named_in_one_line(arguments, said, monkeypatch, capsys):
    found = needs.find_spec
    monkeypatch.setattr(needs, "find_spec", lambda name: None if name in needs.RUNNING else found(name))
    monkeypatch.setattr(sys, "argv", ["needs", *arguments])
    assert needs.main() == (2 if said else 0)
    assert [line.split(" has no ")[1] for line in capsys.readouterr().err.splitlines()] == [
        f"{', '.join(said)}: install, or set PYTHON." for _ in said[:1]
    ]


def test_the_summary_is_short_however_much_fails():
    failed = {"failed": "Traceback " + "long\n" * 500}
    kernels = [{"cell": "gru", "kernel": "unit", "storage": "float32", "products": "exact", **failed}] * 500
    names = [name for name, _ in rungs.rungs("lstm")]
    found = {"machine": failed, "architectures": "9.0", "kernels": kernels, "seconds": 460.0}
    found["ladder"] = [{"part": f"ladder:{cell}", "found": dict.fromkeys(names, failed)} for cell in ln.cells()]
    found["speed"] = {str(number): failed for number in range(len(ROWS))}
    found["sanitizer"] = [{"tool": "memcheck", **failed}, {"tool": "racecheck", **failed}]
    text = report.summary(found)
    assert len(text) < 8000
    assert all(f"ladder:{cell}: 0 of" in text for cell in ln.cells())
    assert ROWS[-1].label[:20] in text
    assert text.endswith("All of it took 460.0 s.")


def test_a_process_that_hangs_is_ended_and_what_it_has_said_is_kept(parts, monkeypatch):
    monkeypatch.setattr(processes, "QUIET", 3.0)
    parts["p"] = saying({"a": 1}, then="import time; time.sleep(100)")
    answer = processes.told("p", 60)
    assert (answer.values, answer.failed) == ([{"a": 1}], "took too long")


def test_what_fails_says_how(parts):
    parts["p"] = "raise RuntimeError('no such device')"
    assert "no such device" in processes.last("p", 60)["failed"]
    assert processes.last("p", 1) == {"part": "p", "failed": "no time was left for it"}


def test_kernels_that_are_not_compiled_in_time_are_told():
    found = compilation.compile_all(["rnn"], ["9.0"], 1, seconds=0)
    assert {entry["failed"] for entry in found} == {"not compiled in time"}
    assert len(found) == len(compilation.KINDS)


def test_parts_that_wait_share_the_time_that_is_left(monkeypatch):
    monkeypatch.setattr(processes.time, "monotonic", lambda: 100.0)
    shares = processes.Shares(5, 2, 160.0)
    assert [shares.next_end() for _ in range(5)] == [120.0, 130.0, 130.0, 160.0, 160.0]


def test_every_cell_has_the_same_rungs():
    names = [name for name, _ in rungs.rungs("lstm")]
    assert len(set(names)) == len(names)
    assert [name for name, _ in rungs.rungs("gru")] == names


def test_the_least_work_of_an_lstm_is_counted_from_its_sizes():
    engine = twin(layers.random_layer("lstm", 3, 4, dtype="float32"), Interpreter(H100))._placed.engine
    work = limits.work(engine, steps=5, batch=2, mode="train")
    assert {part: sums for part, (sums, _, _) in work.items()} == {
        "project": 10 * 4 * 4 * 3, "forward": 10 * 4 * 4 * 4, "backward": 10 * 4 * 4 * 4,
        "after": 10 * 4 * 4 * (2 * 3 + 4),
    }  # fmt: skip
    assert [waits for _, _, waits in work.values()] == [0, 5, 5, 0]
    assert work["project"][1] == 10 * (3 * 4 + 16 * 4)


def test_the_kernel_that_only_waits_compiles():
    assert compiler.exchange_binary(Types("float32"), (9, 0)).spilled == 0


def test_the_report_names_the_limit_and_the_largest_loss():
    least = {"project": {"arithmetic": 2.0, "bytes": 8.0, "waits": 0.0}}
    least["forward"] = {"arithmetic": 1.0, "bytes": 3.0, "waits": 32.0}
    found = {"milliseconds": {"this": [0.08], "cudnn": [0.1]}, "plans": {"forward": None, "backward": None}}
    found |= {"failed": {}, "least": least, "taken": {"project": 10.0, "forward": 60.0, "the rest": 10.0}}
    cells = report._speed(ROWS[0], found)
    assert len(cells) == len(report.COLUMNS)
    steps = ROWS[0].size[0]
    assert cells[-3].endswith(f"forward {32 / steps:.2f} (waits)")
    assert cells[-2] == "50%"
    assert cells[-1].startswith("forward: ")
    text = report.markdown(
        {"machine": {"failed": "none"}, "architectures": "9.0", "kernels": [], "seconds": 1}
        | json.loads(json.dumps({"speed": {"0": found, "1": {"failed": "no"}}}))
        | {"ladder": [{"part": "ladder:gru", "found": {"one": [], "two": {"failed": "it hung"}, "three": ["wrong"]}}]}
    )
    assert "| failed: no |" in text
    tools = [{"found": {"at once": []}}, {"found": {"at once": ["dU"]}}, {"failed": "exit 9"}]
    assert [report.said(tool) for tool in tools] == ["clean", "at once: dU", "exit 9"]
    assert "1 of 3 checks hold" in text
    assert "two: it hung" in text
