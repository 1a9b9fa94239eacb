"""What the language model has to beat: counting the last three bytes, and gzip -9.

Both are scored on the same held-out bytes as the language model, in bits per byte. The counts are taken on the same
training bytes and stay fixed; gzip starts from nothing and learns from the held-out bytes as it goes.
"""

import gzip
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SYMBOLS = 256


def gzip_bits(data: NDArray[np.uint8]) -> float:
    """Bits per byte of `gzip -9 -n`: 8 x (bytes of the whole .gz, header and trailer included) / (bytes of data)."""
    return 8 * len(gzip.compress(data.tobytes(), 9, mtime=0)) / len(data)


# --- counting contexts


@dataclass(frozen=True)
class Level:
    """Counts of the n-grams of one length, sorted; an n-gram is an integer, its last byte the lowest.

    ``context`` are the n-grams without their last byte, ``total`` their summed counts, ``spare`` the counts that
    discounting takes from them and hands to the level below.
    """

    length: int
    gram: NDArray[np.uint64]
    count: NDArray[np.int64]
    discount: NDArray[np.float64]
    context: NDArray[np.uint64]
    total: NDArray[np.int64]
    spare: NDArray[np.float64]

    @classmethod
    def of(cls, length: int, gram: NDArray[np.uint64], count: NDArray[np.int64]) -> "Level":
        context, start = np.unique(gram >> np.uint64(8), return_index=True)
        discount = discounts(count)
        spare = np.add.reduceat(discount[np.minimum(count, 3)], start)
        return cls(length, gram, count, discount, context, np.add.reduceat(count, start), spare)

    def refine(self, code: NDArray[np.uint64], shorter: NDArray[np.float64]) -> NDArray[np.float64]:
        """p(s | context) = (count - D + spare p(s | shorter)) / total; a context never seen leaves it as it is."""
        count = looked_up(self.gram, self.count, code)
        total = looked_up(self.context, self.total, code >> np.uint64(8))
        spare = looked_up(self.context, self.spare, code >> np.uint64(8))
        kept = count - self.discount[np.minimum(count, 3)]
        return np.where(total > 0, (kept + spare * shorter) / np.maximum(total, 1), shorter)


class ContextModel:
    """Interpolated Kneser-Ney with three discounts (Chen & Goodman 1999) over the last ``order`` bytes.

    The longest n-grams are counted as they occur; a shorter one is counted by how many different bytes precede it.
    Below the shortest context stands the uniform distribution, so every byte has a probability.
    """

    def __init__(self, training: NDArray[np.uint8], order: int = 3) -> None:
        gram, count = np.unique(codes(training, order + 1), return_counts=True)
        self.levels = [Level.of(order + 1, gram, count)]
        for length in range(order, 0, -1):
            gram, count = np.unique(gram & np.uint64(SYMBOLS**length - 1), return_counts=True)
            self.levels.insert(0, Level.of(length, gram, count))

    def probabilities(self, data: NDArray[np.uint8]) -> NDArray[np.float64]:
        """p(byte | the bytes before it) of every byte of the data; zeros stand before the first."""
        probability = np.full(len(data), 1 / SYMBOLS)
        for level in self.levels:
            probability = level.refine(codes(data, level.length), probability)
        return probability

    def bits(self, data: NDArray[np.uint8]) -> float:
        """Return bits per byte."""
        return float(-np.log2(self.probabilities(data)).mean())


def codes(data: NDArray[np.uint8], length: int) -> NDArray[np.uint64]:
    """Code the n-gram that ends at each byte."""
    padded = np.concatenate([np.zeros(length - 1, np.uint8), data]).astype(np.uint64)
    code = np.zeros(len(data), np.uint64)
    for offset in range(length):
        code = code << np.uint64(8) | padded[offset : offset + len(data)]
    return code


def discounts(count: NDArray[np.int64]) -> NDArray[np.float64]:
    """Estimate what to take from n-grams seen 0, 1, 2 and 3 or more times, by how many were seen 1, 2, 3 and 4 times.

    D_k = k - (k + 1) Y n_{k+1} / n_k,   Y = n_1 / (n_1 + 2 n_2); one half where the counts are too few to tell.
    """
    seen = [int((count == times).sum()) for times in range(1, 5)]
    if 0 in seen[:3]:
        return np.array([0, 0.5, 0.5, 0.5])
    y = seen[0] / (seen[0] + 2 * seen[1])
    estimates = [k - (k + 1) * y * seen[k] / seen[k - 1] for k in (1, 2, 3)]
    return np.array([0, *np.clip(estimates, 0.05, [0.95, 1.95, 2.95])])


def looked_up(keys: NDArray[np.uint64], values: NDArray, wanted: NDArray[np.uint64]) -> NDArray:
    """Return the values at the wanted keys (sorted), 0 where there is none."""
    place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[place] == wanted, values[place], 0)
