"""The main job around its parts: what it writes, where, and what it says when something does not hold."""

import json
import os
from types import SimpleNamespace

import numpy as np
import pytest

from lstm_numba.train import checkpoint
from scripts.main_job import __main__ as main_job
from scripts.main_job import kernels
from scripts.main_job.folders import latest_folder, new_folder
from scripts.main_job.language_model import saved_model
from scripts.main_job.options import parsed
from scripts.main_job.sunspots import naive, seasonal, sunspots


@pytest.fixture
def without_forecasts(monkeypatch):
    series = sunspots()
    said = {"naive": {h: naive(series, h) for h in (1, 5)}, "esn": {h: seasonal(series, h) for h in (1, 5)}}
    monkeypatch.setattr(main_job, "forecast", lambda options: (series, said))


def test_a_run_leaves_a_report_its_figures_two_pictures_and_the_weights(tmp_path, without_forecasts, capsys):
    arguments = ["--quick", "--steps", "3", "--hidden", "8", "--runs", str(tmp_path), "--name", "small"]
    assert main_job.main(arguments) == 0
    folder = tmp_path / "small"
    assert {path.name for path in folder.iterdir()} == {
        *("report.md", "figures.json", "language.png", "forecast.png", "weights.npz", "checkpoint.npz")
    }
    figures = json.loads((folder / "figures.json").read_text())
    report = (folder / "report.md").read_text()
    for name, bits in figures["bits_per_byte"].items():
        assert f"| {name} | {bits:.3f} |" in report
    assert list(figures["bits_per_byte"]) == ["recurrent model", "order-3 contexts", "gzip -9"]
    assert figures["rmse"]["esn"]["1"] > 0
    assert "report.md" in capsys.readouterr().out
    assert len(saved_model(folder / "weights.npz").write(b"def ", 5)) == 9


def test_a_finished_run_may_be_resumed_and_reports_the_same(tmp_path, without_forecasts):
    main_job.main(["--steps", "2", "--hidden", "8", "--runs", str(tmp_path), "--name", "small"])
    before = (tmp_path / "small" / "report.md").read_text()
    assert main_job.main(["--resume", "--runs", str(tmp_path)]) == 0
    assert (tmp_path / "small" / "report.md").read_text() == before


def test_a_model_too_large_is_one_message_and_leaves_no_folder(tmp_path, capsys, monkeypatch):
    def no_room(*given):
        raise MemoryError("Unable to allocate")

    monkeypatch.setattr(main_job, "Trainer", no_room)
    assert main_job.main(["--steps", "1", "--runs", str(tmp_path)]) == 2
    assert "does not fit into memory" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_one_message(tmp_path, capsys):
    (tmp_path / "file").touch()
    assert main_job.main(["--steps", "1", "--hidden", "8", "--runs", str(tmp_path / "file")]) == 2
    assert "cannot be used: Not a directory" in capsys.readouterr().err


def test_a_run_never_overwrites_another(tmp_path):
    assert [new_folder(tmp_path, "lstm").name for _ in range(3)] == ["lstm", "lstm-2", "lstm-3"]


def test_the_run_written_to_last_is_the_one_to_continue(tmp_path):
    for name, seconds in (("a", 2000), ("b", 1000)):
        path = new_folder(tmp_path, name) / "checkpoint.npz"
        checkpoint.save(path, {"W": np.ones(1)})
        os.utime(path, (seconds, seconds))
    assert latest_folder(tmp_path).name == "a"


def test_an_unknown_cell_and_impossible_numbers_are_wrong_usage(capsys):
    numbers = ("--hidden 0", "--minutes -1", "--minutes inf", "--steps x", "--seed -1")
    for arguments in ("--cell lstn", "--name ../x", *numbers):
        with pytest.raises(SystemExit) as stop:
            parsed(arguments.split(), ["lstm", "gru"])
        assert stop.value.code == 2
    assert "lstm" in capsys.readouterr().err


@pytest.mark.parametrize(("holds", "code"), [(True, 0), (False, 1)])
def test_kernels_that_do_not_hold_stop_the_job(monkeypatch, capsys, holds, code):
    cell = SimpleNamespace(passed=lambda: ["gradient"], measurements=[1], seconds=0.0)
    report = SimpleNamespace(ok=holds, cells=[cell], text=lambda: "rungs failed: gradient")
    monkeypatch.setattr(kernels, "climb", lambda cells, quick: report)
    monkeypatch.setattr(kernels, "regenerated", lambda: None)  # a test leaves the package as it is
    assert kernels.main(["--quick"]) == code
    assert ("rungs failed" in capsys.readouterr().out) != holds


def test_a_resumed_run_is_not_verified_again(monkeypatch):
    monkeypatch.setattr(kernels, "verified", lambda chosen: pytest.fail("verified"))
    assert kernels.main(["--resume"]) == 0
