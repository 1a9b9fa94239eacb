"""The context model is a probability distribution, the one of the textbook, and learns; gzip's figure is gzip's."""

import gzip
import subprocess
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scripts.main_job.baselines import SYMBOLS, ContextModel, discounts, gzip_bits

texts = st.binary(min_size=1, max_size=60).map(lambda text: np.frombuffer(text, np.uint8))
few_letters = st.text("ab\n", min_size=1, max_size=80).map(lambda text: np.frombuffer(text.encode(), np.uint8))


@given(st.one_of(texts, few_letters), st.binary(min_size=3, max_size=3), st.integers(1, 4))
@settings(max_examples=20)
def test_probabilities_of_all_bytes_sum_to_one(training, context, order):
    model = ContextModel(training, order)
    nexts = [np.frombuffer(context + bytes([symbol]), np.uint8) for symbol in range(SYMBOLS)]
    probabilities = np.array([model.probabilities(text)[-1] for text in nexts])
    assert probabilities.sum() == pytest.approx(1)
    assert (probabilities > 0).all()


def slowly(training, text, order):
    """Kneser-Ney by dictionaries, one byte at a time, from its definition."""
    padded = bytes(order) + bytes(training)
    counts = {order + 1: Counter(padded[k : k + order + 1] for k in range(len(training)))}
    for length in range(order, 0, -1):
        counts[length] = Counter(gram[1:] for gram in counts[length + 1])
    taken = {length: discounts(np.array(list(count.values()))) for length, count in counts.items()}

    def probability(gram):
        if not gram:
            return 1 / SYMBOLS
        length, shorter = len(gram), probability(gram[1:])
        of_context = {g: n for g, n in counts[length].items() if g[:-1] == gram[:-1]}
        if not of_context:
            return shorter
        spare = sum(taken[length][min(n, 3)] for n in of_context.values())
        n = of_context.get(gram, 0)
        return (n - taken[length][min(n, 3)] + spare * shorter) / sum(of_context.values())

    seen = bytes(order) + bytes(text)
    return [probability(seen[k : k + order + 1]) for k in range(len(text))]


@given(few_letters, few_letters, st.integers(1, 3))
@settings(max_examples=20)
def test_it_is_kneser_ney_as_written_in_the_textbook(training, text, order):
    fast = ContextModel(training, order).probabilities(text)
    np.testing.assert_allclose(fast, slowly(training, text, order), rtol=1e-12)


def test_it_learns_what_three_bytes_decide():
    periodic = np.tile(np.frombuffer(b"abcdefg", np.uint8), 2000)
    assert ContextModel(periodic).bits(periodic[:700]) < 0.02


def test_it_cannot_beat_the_entropy_of_noise():
    noise = np.random.default_rng(0).integers(0, 256, 30_000).astype(np.uint8)
    assert 8 <= ContextModel(noise[:20_000]).bits(noise[20_000:]) < 9


def test_discounts_take_less_than_the_count_however_few_the_grams():
    for count in ([1], [1, 1, 2], [1, 1, 1, 2, 2, 3, 4], [9, 9]):
        assert (discounts(np.array(count)) <= [0, 0.95, 1.95, 2.95]).all()


def test_the_figure_of_gzip_is_what_the_program_gives(tmp_path):
    data = np.frombuffer(b"for line in file: print(line)\n" * 50, np.uint8)
    assert gzip.decompress(gzip.compress(data.tobytes(), 9, mtime=0)) == data.tobytes()
    assert gzip_bits(data) == 8 * len(gzip.compress(data.tobytes(), 9, mtime=0)) / len(data)
    (tmp_path / "text").write_bytes(data.tobytes())
    try:
        packed = subprocess.run(["gzip", "-9nc", tmp_path / "text"], capture_output=True, check=True).stdout
    except FileNotFoundError:
        return  # a machine without the program
    assert gzip_bits(data) == pytest.approx(8 * len(packed) / len(data), rel=0.02)
