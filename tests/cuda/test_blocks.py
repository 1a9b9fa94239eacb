"""How a product's threads go about shared memory: those that read at once read different banks."""

from types import FunctionType, SimpleNamespace

import pytest

pytest.importorskip("numba_cuda")

from lstm_numba.gpu import cores, exact
from lstm_numba.gpu.plan import Method
from lstm_numba.gpu.staging import make_stage
from lstm_numba.types import Types

THREADS, BANKS = 256, 32
DEPTH = 64
AT_ONCE = 8  # lanes that read 16 bytes in one turn
STAGE, SUMS = 10**5, 10**6  # where these regions begin


class Noted:
    """Shared memory that notes what is read: places of single numbers."""

    def __init__(self):
        self.read, self.written = [], []

    def __getitem__(self, place):
        self.read.append(place)
        return 0.0

    def __setitem__(self, place, value):
        self.written.append(place)


CUDA = SimpleNamespace(threadIdx=SimpleNamespace(x=0), blockDim=SimpleNamespace(x=THREADS), syncthreads=lambda: None)


def moved(function):
    """The function with one thread for CUDA."""
    return FunctionType(function.__code__, {**function.__globals__, "cuda": CUDA}, "", None, function.__closure__)


def several(count):
    """What reads so many numbers notes the first of them."""
    return lambda array, place: (array[place],) * count


def put(array, place, value):
    array[place] = 0.0


def product(kinds):
    """deal and multiply."""
    method = Method.of(kinds)
    one, as_it_is = (lambda array, place: array[place]), (lambda piece: piece)
    read = several(4), one, lambda found: False, lambda: None
    if not method.tensor:
        stage = make_stage(moved, 4, 1, method.at_once, read, (put, put), as_it_is, 0.0)
        return exact.make_multiply(moved, 4, several(4), stage, lambda value, bits: value, lambda operand: True, 0.0)
    stage = make_stage(moved, method.size, 2, method.at_once, read, (put, put), as_it_is, 0.0)
    words = several(2), several(4)
    return cores.make_multiply(moved, 2, stage, *words, lambda a, b, c: c, 0.0, lambda operand: True, 0.0)


def places(kinds, thread, sums, rows):
    """The places that one thread reads, one after the other: of the matrix, of the operand, of parts of sums; and those
    at which it lays the operand down."""
    CUDA.threadIdx.x, stored, numbers, operand = thread, Noted(), Noted(), [0.0] * 10**5
    deal, multiply = map(moved, product(kinds))
    span = Method.of(kinds).span(rows, DEPTH)
    multiply(stored, numbers, deal(0, sums, DEPTH, DEPTH, rows, SUMS, rows, STAGE, span, 0), operand, 0, 0)
    matrix = [place for place in stored.read if place < STAGE]
    return matrix, [place for place in stored.read if place >= STAGE], numbers.read, stored.written


CASES = [(Types("float32"), 32, 8), (Types("bfloat16"), 64, 8), (Types("bfloat16"), 128, 16)]


@pytest.mark.parametrize("which", [0, 1], ids=["the matrix", "the operand"])
@pytest.mark.parametrize(("kinds", "sums", "rows"), CASES, ids=str)
def test_lanes_that_read_at_once_read_different_banks(kinds, sums, rows, which):
    found = [places(kinds, thread, sums, rows)[which] for thread in range(AT_ONCE)]
    assert found[0]
    numbers = 16 // kinds.stored.itemsize
    for at_once in zip(*found, strict=True):
        assert len({place // numbers % (128 // 16) for place in at_once}) == AT_ONCE


@pytest.mark.parametrize(("kinds", "sums", "rows"), CASES, ids=str)
def test_a_warp_that_adds_reads_each_number_from_a_bank_of_its_own(kinds, sums, rows):
    found = [places(kinds, thread, sums, rows)[2] for thread in range(BANKS)]
    assert len({len(places) for places in found}) == 1
    for at_once in zip(*found, strict=True):
        assert len({place % BANKS for place in at_once}) == BANKS


@pytest.mark.parametrize(("kinds", "sums", "rows"), CASES, ids=str)
def test_an_operand_is_laid_down_once_within_what_the_plan_gives_it(kinds, sums, rows):
    method = Method.of(kinds)
    found = [place for thread in range(THREADS) for place in places(kinds, thread, sums, rows)[3]]
    assert len(set(found)) == len(found) == rows * DEPTH // method.size
    assert max(found) + method.size <= STAGE + method.stage(rows, method.span(rows, DEPTH))


@pytest.mark.parametrize(("ratio", "count"), [(1, 20), (2, 20), (1, 7), (2, 130)])
def test_every_term_of_a_matrix_has_a_place_of_its_own_and_no_place_is_left(ratio, count):
    lines, span, spot = cores.make_spot(ratio)
    rows, length = lines(count), span(40)
    found = {spot(i, k, length, count) for i in range(rows) for k in range(length)}
    assert found == set(range(rows * length))
    assert len(found) == Method(True, cores.WORDS * ratio, 8).held(count, 40)


def test_parts_stay_within_the_scratch_that_a_plan_gives():
    for kinds, sums in ((Types("float32"), 16), (Types("bfloat16"), 64)):
        most = max(place for thread in range(THREADS) for place in places(kinds, thread, sums, 16)[2])
        assert most < Method.of(kinds).scratch(sums, 16)
