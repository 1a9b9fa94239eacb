"""The benchmark's own honesty: equal work, answers compared before times count, ratios the right way round."""

import json
import os
import subprocess
import sys
import time

import numpy as np
import pytest

import lstm_numba as ln
from scripts.benchmarks import check, groups, measure, overhead, peak, peers, placement, table, timing
from scripts.benchmarks.candidate import Candidate
from scripts.benchmarks.cases import Case, Data
from scripts.benchmarks.timing import Timing
from scripts.sizes import ROOT

TINY = (4, 3, 5, 8)
PROCESSORS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_setaffinity") else 1
HEAD = {
    "date": "2026-01-01",
    "command": "./scripts/bench",
    "threads": 1,
    "peak": {"float32": 100.0, "float64": 50.0},
    "machine": {"processor": "a processor", "instructions": "avx2", "versions": {"numba": "1"}},
}


def row(ours, **rivals):
    times = {"ours": ours, **rivals}
    return measure.Row(Case("lstm", TINY), 1e9, {name: Timing((t,) * 7) for name, t in times.items()}, {})


def result(*rows):
    return measure.Result(groups.Group("a group", 2.0, 1.5, ()), list(rows))


@pytest.mark.parametrize("threads", [1, 2])
def test_every_row_names_a_cell_and_peers_that_exist(threads):
    for group in groups.groups("full", threads):
        for case, rivals in group.rows:
            assert case.cell in ln.cells()
            assert all(isinstance(rival, Case) or rival in peers.PEERS for rival in rivals)


@pytest.mark.slow
@pytest.mark.parametrize("cell", ["lstm", "gru_reset_after", "peephole", "depth_gated"])
def test_every_installed_peer_gives_our_gradients(cell):
    names = [name for name in peers.installed() if name != "torch.compile"]
    measured = measure.measure(Case(cell, TINY), tuple(names), peers.installed(), seconds=0)
    assert len(measured.times) > 1
    assert measured.wrong == {}


def test_the_peak_is_that_of_as_many_sums_as_are_counted():
    spin = peak.spinner("float32")
    (text,) = spin.inspect_asm().values()
    instructions = [line.split() for line in text.splitlines() if line.strip()]
    sums = {words[-1] for words in instructions if words[0].startswith(("vfmadd", "fmla"))}
    assert len(sums) == peak.ACCUMULATORS


def test_a_wrong_gradient_disqualifies_a_row():
    ours = {"output": np.ones(3), "W_i": np.ones(3)}
    assert "W_i differs" in check.complaint(ours, {**ours, "W_i": np.array([1, 1, 1.001])}, "float32")
    assert "no W_i" in check.complaint(ours, {"output": np.ones(3)}, "float32")
    assert check.complaint(ours, ours, "float32") == ""


def test_a_rival_that_fails_is_named_and_the_row_goes_on():
    def broken(data):
        return Candidate("broken", lambda: 1 / 0, dict)

    measured = measure.measure(Case("rnn", TINY), ("broken",), {"broken": broken}, seconds=0)
    assert measured.failed == {"broken": "ZeroDivisionError: division by zero"}
    assert list(measured.times) == ["ours"]


def test_a_ratio_above_one_means_that_ours_is_faster_than_the_fastest_rival():
    assert row(1.0, slow=9.0, fast=2.0).ratio == 2.0


def test_a_goal_needs_both_the_mean_and_the_smallest_ratio():
    assert result(row(1.0, rival=2.0), row(1.0, rival=2.0)).is_met
    assert not result(row(1.0, rival=8.0), row(1.0, rival=1.4)).is_met
    assert not result(row(1.0, rival=1.6)).is_met


def test_a_row_without_rivals_has_no_ratio_and_is_no_success():
    assert np.isnan(row(1.0).ratio)
    assert not result(row(1.0)).is_met


def test_the_report_shows_every_time_and_the_json_reads_back():
    results = [result(row(0.002, rival=0.004))]
    text, data = table.markdown(results, HEAD), json.loads(table.as_json(results, HEAD))
    assert "| lstm train 4x3x5x8 | 2 ±0% | 500 | 500% | rival 4 ±0% | 2.00 |" in text
    assert data["groups"][0]["rows"][0]["seconds"]["rival"]["median"] == 0.004


def test_lengths_leave_the_share_of_steps_that_the_row_says():
    assert Data(Case("lstm", (40, 20, 2, 2), valid=0.5)).lengths.mean() == 20


@pytest.mark.parametrize("arguments", [["--threads", "100000"], ["--cells", "nothing"]])
def test_a_wrong_request_is_one_clear_line(arguments):
    command = [sys.executable, "-m", "scripts.benchmarks", *arguments]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert ran.returncode != 0
    assert arguments[0] in ran.stderr.splitlines()[-1]
    assert "Traceback" not in ran.stderr


def test_the_torch_modules_stand_beside_the_layer_that_they_wrap():
    pytest.importorskip("torch")
    measured, _ = overhead.rows("rnn", seconds=0)
    assert measured.keys() == {"cell", "mode", overhead.LAYER, overhead.LEAST, overhead.RECURRENT, overhead.DROP_IN}
    times = {"layer": 100.0, "least wrapper": 130.0, "Recurrent": 170.0, "drop-in": 160.0}
    row = {"cell": "lstm", "mode": "train", **times}
    assert overhead.markdown([row]).endswith("| lstm train | 100 | 130 | 30 | 170 | 70 | 160 | 60 | <= 80 |")


def test_a_round_with_moved_processors_is_taken_again_of_all_candidates(monkeypatch):
    calls, usual = {"ours": 0, "other": 0}, iter([True, True, True, False] + 100 * [True])

    def called(name):
        calls[name] += 1
        return time.sleep(0.003)

    monkeypatch.setattr(timing, "SETTLING", 1e-4)
    monkeypatch.setattr(placement, "probe", lambda threads: lambda: next(usual))
    candidates = [Candidate(name, lambda name=name: called(name), None) for name in calls]
    found = timing.interleave(candidates, 0, 2)
    assert {len(one.samples) for one in found.values()} == {timing.FEWEST}
    assert set(calls.values()) == {4 + 2 * (timing.FEWEST + 1)}  # four for the estimate


def test_a_machine_that_has_changed_for_good_is_measured_as_it_is(monkeypatch):
    monkeypatch.setattr(timing, "SETTLING", 1e-4)
    monkeypatch.setattr(placement, "probe", lambda threads: lambda: False)
    found = timing.interleave([Candidate("ours", lambda: time.sleep(0.003), None)], 0, 2)
    assert len(found["ours"].samples) == timing.FEWEST


@pytest.mark.skipif(PROCESSORS < 2, reason="threads are bound to two processors")
def test_processors_that_come_to_lie_apart_or_share_a_core_are_noticed(monkeypatch):
    found = placement.Placement(2)
    for probe in ("_away", "_together"):
        with monkeypatch.context() as patch:
            seconds = getattr(found, probe)
            patch.setattr(found, probe, lambda seconds=seconds: 1 + seconds())
            assert not found.is_usual()
