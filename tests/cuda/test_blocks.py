"""How a product's threads go about shared memory: those that read at once read different banks."""

from types import FunctionType, SimpleNamespace

import pytest

pytest.importorskip("numba_cuda")

from lstm_numba.gpu import cores, exact
from lstm_numba.gpu.plan import Method
from lstm_numba.types import Types

THREADS, BANKS = 256, 32
DEPTH = 64
AT_ONCE = 8  # lanes that read 16 bytes in one turn


class Noted:
    """Shared memory that notes what is read: places of single numbers."""

    def __init__(self):
        self.read = []

    def __getitem__(self, place):
        self.read.append(place)
        return 0.0

    def __setitem__(self, place, value):
        pass


CUDA = SimpleNamespace(threadIdx=SimpleNamespace(x=0), blockDim=SimpleNamespace(x=THREADS), syncthreads=lambda: None)


def moved(function):
    """The function with one thread for CUDA."""
    return FunctionType(function.__code__, {**function.__globals__, "cuda": CUDA}, "", None, function.__closure__)


def several(count):
    """What reads so many numbers notes the first of them."""
    return lambda array, place: (array[place],) * count


def multiply(kinds):
    if not Method.of(kinds).tensor:
        return exact.make_multiply(moved, 4, several(4), lambda value, bits: value, lambda operand: True, 0.0)
    read = several(2), several(4), lambda array, place: array[place], lambda word: word, 0.0
    behind = lambda array, place: array[place:]
    return cores.make_multiply(moved, 2, behind, *read, lambda a, b, c: c, lambda operand: True, 0.0)


def reads(kinds, thread, sums, rows):
    """The places of matrices and of parts of sums that one thread reads, one after the other."""
    CUDA.threadIdx.x, stored, numbers, operand = thread, Noted(), Noted(), [0.0] * 10**5
    moved(multiply(kinds))(stored, 0, sums, DEPTH, operand, DEPTH, rows, numbers, 10**6, rows, 0, 0)
    return stored.read, numbers.read


CASES = [(Types("float32"), 32, 8), (Types("bfloat16"), 64, 8), (Types("bfloat16"), 128, 16)]


@pytest.mark.parametrize(("kinds", "sums", "rows"), CASES, ids=str)
def test_lanes_that_read_a_matrix_at_once_read_different_banks(kinds, sums, rows):
    found = [reads(kinds, thread, sums, rows)[0] for thread in range(AT_ONCE)]
    assert found[0]
    numbers = 16 // kinds.stored.itemsize
    for places in zip(*found, strict=True):
        assert len({place // numbers % (128 // 16) for place in places}) == AT_ONCE


@pytest.mark.parametrize(("kinds", "sums", "rows"), CASES, ids=str)
def test_a_warp_that_adds_reads_each_number_from_a_bank_of_its_own(kinds, sums, rows):
    found = [reads(kinds, thread, sums, rows)[1] for thread in range(BANKS)]
    assert len({len(places) for places in found}) == 1
    for places in zip(*found, strict=True):
        assert len({place % BANKS for place in places}) == BANKS


@pytest.mark.parametrize("ratio", [1, 2])
def test_every_term_of_a_matrix_has_a_place_of_its_own_and_no_place_is_left(ratio):
    lines, span, spot = cores.make_spot(ratio)
    rows, length = lines(20), span(40)
    places = {spot(i, k, length, 20) for i in range(rows) for k in range(length)}
    assert places == set(range(rows * length))
    assert len(places) == Method(True, cores.WORDS * ratio).held(20, 40)


def test_parts_stay_within_the_scratch_that_a_plan_gives():
    for kinds, sums in ((Types("float32"), 16), (Types("bfloat16"), 64)):
        most = max(place for thread in range(THREADS) for place in reads(kinds, thread, sums, 16)[1])
        assert most < Method.of(kinds).scratch(sums, 16)
