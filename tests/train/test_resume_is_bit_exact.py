"""Stopped anywhere and continued, in this process or another, training ends at the same bits."""

import os
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace

import numpy as np
import pytest

from lstm_numba.errors import CheckpointError
from lstm_numba.train import checkpoint
from scripts.main_job import __main__ as main_job
from scripts.main_job.corpus import Corpus
from scripts.main_job.trainer import Settings, Trainer
from scripts.sizes import ROOT

SETTINGS = Settings(hidden_size=9, width=5, layers=2, rows=3, window=7, steps=24)  # an epoch has 9 windows


@pytest.fixture
def corpus():
    text = np.random.default_rng(3).integers(97, 105, 200).astype(np.uint8)
    return Corpus(text, text[:50], ("a.py",), ("b.py",))


def finished(trainer, path):
    while not trainer.finished:
        trainer.advance()
    trainer.measure(trainer.corpus.held_out)
    trainer.save(path)
    return path.read_bytes()


@pytest.mark.parametrize("stop", [1, 8, 9, 10, 23])
def test_a_continued_run_writes_the_same_file(corpus, tmp_path, stop):
    straight = finished(Trainer(SETTINGS, corpus), tmp_path / "straight.npz")
    stopped = Trainer(SETTINGS, corpus)
    for _ in range(stop):
        stopped.advance()
    stopped.save(tmp_path / "stopped.npz")
    continued = Trainer.load(tmp_path / "stopped.npz", corpus)
    assert finished(continued, tmp_path / "continued.npz") == straight


def test_saving_changes_nothing(corpus, tmp_path):
    straight = finished(Trainer(SETTINGS, corpus), tmp_path / "straight.npz")
    saving = Trainer(SETTINGS, corpus)
    while not saving.finished:
        saving.advance()
        saving.save(tmp_path / "often.npz")
    assert finished(saving, tmp_path / "saving.npz") == straight


def test_the_number_of_threads_changes_nothing(corpus, tmp_path):
    one = finished(Trainer(SETTINGS, corpus, threads=1), tmp_path / "one.npz")
    assert finished(Trainer(SETTINGS, corpus, threads=2), tmp_path / "two.npz") == one


def test_each_epoch_begins_elsewhere(corpus):
    trainer, shifts = Trainer(SETTINGS, corpus), []
    while not trainer.finished:
        trainer.advance()
        shifts.append(trainer.shift)
    assert len(set(shifts)) == 3
    assert shifts[:9] == [shifts[0]] * 9


def test_a_run_is_not_continued_on_another_text(corpus, tmp_path):
    Trainer(SETTINGS, corpus).save(tmp_path / "run.npz")
    other = replace(corpus, training=corpus.training[::-1].copy())
    with pytest.raises(CheckpointError, match="another text"):
        Trainer.load(tmp_path / "run.npz", other)


def test_a_checkpoint_of_other_settings_is_refused(corpus, tmp_path):
    path = tmp_path / "checkpoint.npz"
    Trainer(SETTINGS, corpus).save(path)
    arrays, facts = checkpoint.load(path)
    checkpoint.save(path, arrays, {**facts, "settings": {**facts["settings"], "unheard_of": 1}})
    with pytest.raises(CheckpointError, match="another version"):
        Trainer.load(path, corpus)


def test_a_checkpoint_that_is_no_training_run_is_refused(corpus, tmp_path):
    checkpoint.save(tmp_path / "other.npz", {"W": np.ones(3)}, {"corpus": corpus.digest})
    with pytest.raises(CheckpointError, match="not one of a training run"):
        Trainer.load(tmp_path / "other.npz", corpus)


# --- the whole program

PROGRAM = """
    import sys, time
    from scripts.main_job import __main__ as main_job
    from scripts.main_job.sunspots import naive, sunspots
    from scripts.main_job.trainer import Trainer

    pause, measure = float(sys.argv.pop(1)), Trainer.measure

    def measured(trainer, held_out):  # a fifth of the way: time to interrupt
        measure(trainer, held_out)
        print("measured", flush=True)
        time.sleep(pause)

    def forecast(options):
        series = sunspots()
        return series, {"naive": {horizon: naive(series, horizon) for horizon in (1, 5)}}

    Trainer.measure, main_job.forecast = measured, forecast
    sys.exit(main_job.main(sys.argv[1:]))
"""
COMMAND = [sys.executable, "-c", textwrap.dedent(PROGRAM)]


def started(*arguments, runs, seed, pause=0):
    command = [*COMMAND, str(pause), "--quick", "--threads", "1", "--runs", runs, *arguments]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, cwd=ROOT, env=os.environ | {"PYTHONHASHSEED": seed}, **pipes)


def run(*arguments, runs, seed):
    process = started(*arguments, runs=runs, seed=seed)
    assert b"Traceback" not in process.communicate()[1]
    assert process.returncode == 0


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="sends POSIX signals")
def test_ctrl_c_and_resume_end_at_the_same_weights(tmp_path):
    start = ("--steps", "60", "--hidden", "16")
    run(*start, "--name", "straight", runs=tmp_path, seed="0")
    stopped = started(*start, "--name", "stopped", runs=tmp_path, seed="7", pause=2)
    while b"measured" not in (line := stopped.stdout.readline()) and line:
        pass
    stopped.send_signal(signal.SIGINT)
    assert b"Traceback" not in stopped.communicate()[1]
    assert stopped.returncode == main_job.STOPPED
    assert not (tmp_path / "stopped" / "weights.npz").exists()
    run("--resume", str(tmp_path / "stopped"), runs=tmp_path, seed="8")
    for file in ("checkpoint.npz", "weights.npz"):
        assert (tmp_path / "stopped" / file).read_bytes() == (tmp_path / "straight" / file).read_bytes()


def test_a_damaged_checkpoint_is_one_message_and_stays(tmp_path, capsys):
    (tmp_path / "broken").mkdir()
    path = tmp_path / "broken" / "checkpoint.npz"
    path.write_bytes(b"PK not really")
    assert main_job.main(["--resume", "--runs", str(tmp_path)]) == 2
    assert "is not a checkpoint, or is damaged" in capsys.readouterr().err
    assert path.read_bytes() == b"PK not really"


def test_without_a_run_to_continue_it_says_so(tmp_path, capsys):
    assert main_job.main(["--resume", "--runs", str(tmp_path)]) == 2
    assert "no run to continue" in capsys.readouterr().err


def test_what_a_run_is_cannot_change_when_it_is_resumed(capsys):
    with pytest.raises(SystemExit) as stop:
        main_job.main(["--resume", "--cell", "gru"])
    assert stop.value.code == 2
    assert "leave out --cell" in capsys.readouterr().err
