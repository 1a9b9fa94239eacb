"""Several processes train as one does, go on from their checkpoint, and lose nothing when one of them is killed."""

import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from examples import train_ddp
from lstm_numba.errors import CheckpointError
from lstm_numba.train import checkpoint
from scripts.main_job.corpus import python_source
from scripts.sizes import ROOT

SIZES = {"hidden": 12, "width": 6, "layers": 2, "rows": 4, "window": 6, "dtype": "float64", "horizon": 20, "every": 3}
SMALL = [word for name, value in SIZES.items() for word in (f"--{name}", str(value))]
LAUNCH = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m"]


def small(path, *more):
    return [*SMALL, "--checkpoint", str(path), *more]


def alone(path, *more):
    return train_ddp.train(train_ddp.parsed(small(path, *more)), python_source())


def start(path, *more):
    command = [*LAUNCH, "examples.train_ddp", *small(path, *more)]
    return subprocess.Popen(command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


@pytest.mark.slow
def test_two_processes_that_are_stopped_and_go_on_have_the_curve_of_one(tmp_path):
    expected = alone(tmp_path / "one", "--steps", "12")
    for more in (["--steps", "6"], ["--steps", "12", "--resume"]):
        run = start(tmp_path / "two", *more)
        said, _ = run.communicate()
        assert run.returncode == 0, said
    arrays, facts = checkpoint.load(tmp_path / "two")
    np.testing.assert_allclose(facts["losses"], expected, rtol=0, atol=1e-10)
    ours, _ = checkpoint.load(tmp_path / "one")
    for name, array in ours.items():
        np.testing.assert_allclose(arrays[name], array, rtol=0, atol=1e-10, err_msg=name)


def children(process):
    """The workers that torchrun has started."""
    ask = ["ps", "-o", "pid=", "--ppid", str(process.pid)]
    listed = subprocess.run(ask, capture_output=True, text=True, check=False)
    return [int(number) for number in listed.stdout.split()]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("ps") is None, reason="needs ps, to find the workers")
def test_a_killed_worker_ends_all_with_a_clear_error_and_the_checkpoint_whole(tmp_path):
    path = tmp_path / "killed"
    run = start(path, "--steps", "1000000")
    while not path.exists():
        assert run.poll() is None, run.communicate()[0]
        time.sleep(0.1)
    os.kill(children(run)[-1], signal.SIGKILL)
    said, _ = run.communicate()
    assert run.returncode != 0
    assert "the processes lost each other" in said
    assert f"{path} is whole; start them again with --resume" in said
    step = checkpoint.load(path)[1]["step"]
    assert step % 3 == 0
    assert len(alone(path, "--steps", str(step + 2), "--resume")) == step + 2


def test_a_checkpoint_of_other_settings_is_refused(tmp_path):
    alone(tmp_path / "here", "--steps", "1")
    with pytest.raises(CheckpointError, match="another settings"):
        alone(tmp_path / "here", "--steps", "2", "--resume", "--hidden", "8")
    with pytest.raises(CheckpointError, match="no such file"):
        alone(tmp_path / "elsewhere", "--steps", "2", "--resume")


@pytest.mark.parametrize("wrong", ["--rows 0", "--window 0", "--every 0", "--clip -1", "--rate nan", "--seed -1"])
def test_impossible_numbers_are_wrong_usage(wrong):
    with pytest.raises(SystemExit):  # a limit below 0 would turn the gradient round
        train_ddp.parsed(wrong.split())


def test_rows_that_cannot_be_shared_are_refused(monkeypatch, capsys):
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(SystemExit):
        train_ddp.parsed(["--rows", "4"])
    assert "--rows 4 must be a multiple of the number of processes, 3" in capsys.readouterr().err
