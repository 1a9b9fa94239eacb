"""The language model: its gradient is that of its loss, every held-out byte counts once, it learns, it can be saved."""

from dataclasses import asdict

import numpy as np
import pytest

from lstm_numba.errors import CheckpointError
from lstm_numba.train import NATS_PER_BIT, checkpoint
from scripts.main_job.corpus import Corpus
from scripts.main_job.language_model import LanguageModel, saved_model
from scripts.main_job.trainer import Settings, Trainer, calibrated

PERIODIC = np.tile(np.frombuffer(b"def f(x):\n    return x\n", np.uint8), 300)


@pytest.fixture
def corpus():
    return Corpus(PERIODIC, PERIODIC[:500], ("a.py",), ("b.py",))


@pytest.mark.parametrize(("cell", "layers"), [("lstm", 1), ("gru", 2)])
def test_its_gradient_is_the_slope_of_its_loss_in_random_directions(cell, layers):
    rng = np.random.default_rng(0)
    model = LanguageModel(cell, 5, layers, 3, dtype="float64")
    inputs, targets = rng.integers(256, size=(2, 7, 2)).astype(np.uint8)
    gradients = model.forward_backward(inputs, targets, None).gradients
    for _ in range(3):
        direction = {name: rng.standard_normal(array.shape) for name, array in model.parameters.items()}
        losses = []
        for step in (1e-5, -2e-5):
            for name, array in model.parameters.items():
                array += step * direction[name]
            losses.append(model.forward_backward(inputs, targets, None).loss)
        for name, array in model.parameters.items():
            array += 1e-5 * direction[name]
        slope = sum(np.vdot(gradients[name], direction[name]) for name in gradients)
        assert (losses[0] - losses[1]) / 2e-5 == pytest.approx(slope, rel=1e-6)


def test_a_model_that_knows_nothing_needs_eight_bits():
    model = LanguageModel("lstm", 4, 1, 3)
    for array in model.parameters.values():
        array[...] = 0
    assert model.bits(PERIODIC[:333]) == pytest.approx(8, rel=1e-6)


def test_every_held_out_byte_counts_once_and_only_the_past_is_seen():
    model = LanguageModel("lstm", 4, 1, 3)
    for array in model.parameters.values():
        array[...] = 0
    model.parameters["readout.b"][65] = 3  # now an A is cheaper than any other byte, wherever it stands
    cheap, dear = -(3 - np.log(np.exp(3) + 255)) / NATS_PER_BIT, np.log(np.exp(3) + 255) / NATS_PER_BIT
    text = np.full(1000, 66, np.uint8)
    text[[0, 7, 999]] = 65
    assert model.bits(text) == pytest.approx((3 * cheap + 997 * dear) / 1000, rel=1e-6)


def test_it_learns_a_periodic_text_and_writes_it(corpus):
    trainer = Trainer(Settings(hidden_size=32, width=16, rows=8, window=23, rate=2e-2, warmup=5, steps=80), corpus)
    first = trainer.model.bits(corpus.held_out)
    while not trainer.finished:
        trainer.advance()
    assert trainer.model.bits(corpus.held_out) < 1 < first
    assert b"return" in trainer.model.write(b"def ", 60, temperature=0.1)


def test_time_becomes_a_number_of_steps(corpus):
    settings = Settings(hidden_size=4, width=3, rows=2, window=5)
    assert calibrated(settings, corpus, 1, seconds=0.0).steps >= 1
    assert calibrated(settings, corpus, 1, seconds=60.0).steps > 100


def test_saved_weights_make_the_same_model(tmp_path):
    settings = Settings(hidden_size=4, width=3, layers=2)
    model = settings.model(threads=1)
    model.parameters["readout.b"][:] = 1.5
    checkpoint.save(tmp_path / "weights.npz", model.parameters, {"settings": asdict(settings)})
    assert saved_model(tmp_path / "weights.npz").bits(PERIODIC[:99]) == model.bits(PERIODIC[:99])


def test_weights_of_another_size_are_refused(tmp_path):
    model = Settings(hidden_size=4, width=3).model(threads=1)
    facts = {"settings": asdict(Settings(hidden_size=5, width=3))}
    checkpoint.save(tmp_path / "weights.npz", model.parameters, facts)
    with pytest.raises(CheckpointError, match="another model"):
        saved_model(tmp_path / "weights.npz")
