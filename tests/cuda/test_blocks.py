"""How a product's threads go about shared memory: those of a warp that add up parts read different banks."""

from types import FunctionType, SimpleNamespace

import pytest

pytest.importorskip("numba_cuda")

from lstm_numba.gpu import block
from lstm_numba.gpu.plan import Method
from lstm_numba.types import Types

THREADS, BANKS = 256, 32
DEPTH = 64


class Numbers(dict):
    """Shared memory that notes what is read; its sums lie behind all parts."""

    def __init__(self):
        super().__init__()
        self.read = []

    def __getitem__(self, place):
        self.read.append(place)
        return 0.0


CUDA = SimpleNamespace(threadIdx=SimpleNamespace(x=0), blockDim=SimpleNamespace(x=THREADS), syncthreads=lambda: None)


def moved(function):
    """The function with one thread for CUDA."""
    return FunctionType(function.__code__, {**vars(block), "cuda": CUDA}, "", None, function.__closure__)


def reads(multiply, thread, count, rows):
    """The places that one thread reads, one after the other."""
    CUDA.threadIdx.x, numbers, nothing = thread, Numbers(), [0.0] * (count * (DEPTH + 16))
    moved(multiply)(nothing, 0, count, DEPTH, nothing, 0, 0, rows, numbers, 10**6, rows, 0, 0)
    return numbers.read


def exact_multiply():
    return block.make_multiply(block.LANES, True, 0.0, *block.make_sums(moved, 0.0))


def tensor_multiply():
    method = Method.of(Types("bfloat16"))
    steps = block.make_steps(moved, lambda *_: None, lambda *_: None, lambda a, b, c: c)
    return block.make_tensor_multiply(method.step, method.row_length, 0.0, *steps, *block.make_parts(moved, 0.0))


@pytest.mark.parametrize(
    ("multiply", "count", "rows"),
    [(exact_multiply(), 32, 8), (tensor_multiply(), 64, 8), (tensor_multiply(), 128, 16)],
    ids=["exact", "tensor cores, a tile", "tensor cores, more"],
)
def test_a_warp_that_adds_reads_each_number_from_a_bank_of_its_own(multiply, count, rows):
    found = [reads(multiply, thread, count, rows) for thread in range(BANKS)]
    assert found[0]
    assert len({len(places) for places in found}) == 1
    for places in zip(*found, strict=True):
        assert len({place % BANKS for place in places}) == BANKS


def test_parts_stay_within_the_scratch_that_a_plan_gives():
    for multiply, kinds, count in (
        (exact_multiply(), Types("float32"), 16),
        (tensor_multiply(), Types("bfloat16"), 64),
    ):
        most = max(place for thread in range(THREADS) for place in reads(multiply, thread, count, 8))
        assert most < Method.of(kinds).scratch(count)
