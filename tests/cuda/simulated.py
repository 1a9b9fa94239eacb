"""Kernels in Numba's CUDA simulator, one operating-system thread for each CUDA thread, held against the CPU's layers.

Run as a program, with NUMBA_ENABLE_CUDASIM=1.  One block at a time: rows may be divided among blocks, units may not.
Shared memory is exactly as large as the plan says, and an index outside of any array is an error.  The tensor-core
instruction is put together from the lanes' fragments as the PTX manual lays them out.
"""

import sys
import threading
from collections import defaultdict
from types import FunctionType

import numpy as np
from numba import cuda
from numba.cuda.simulator.cudadrv.devicearray import FakeCUDAArray

import lstm_numba as ln
from lstm_numba.gpu import block, compiler, cores, device, exact, staging, words
from lstm_numba.gpu.interpreted import Interpreter
from lstm_numba.gpu.plan import Limits, Method
from lstm_numba.gpu.staging import make_stage
from tests import layers

ONE_BLOCK = Limits((9, 0), 1, 200_000)
THREE_BLOCKS = Limits((9, 0), 3, 200_000)


# --- One instruction of a warp, from its fragments


class Warps:
    """Where the lanes of a warp meet, and what each of them has brought."""

    def __init__(self):
        self.doors = {}
        self.brought = defaultdict(dict)
        self.lock = threading.Lock()

    def together(self, thread, fragments, lanes=32):
        """The fragments of all lanes of the thread's warp, by lane."""
        warp, lane = divmod(thread, 32)
        with self.lock:
            door = self.doors.setdefault((warp, lanes), threading.Barrier(lanes))
            self.brought[warp][lane] = fragments
        door.wait(timeout=60)
        found = dict(self.brought[warp])
        door.wait(timeout=60)
        return found


WARPS = Warps()


def half_matrices(found):
    """A (16, 16) and B (16, 8) of m16n8k16: registers hold pairs."""
    a, b = np.zeros((16, 16)), np.zeros((16, 8))
    for lane, (left, right, _) in found.items():
        group, thread = lane // 4, lane % 4
        for register, (row, column) in enumerate([(0, 0), (8, 0), (0, 8), (8, 8)]):
            a[group + row, 2 * thread + column : 2 * thread + column + 2] = left[register]
        for register, row in enumerate([0, 8]):
            b[2 * thread + row : 2 * thread + row + 2, group] = right[register]
    return a, b


def tf32_matrices(found):
    """A (16, 8) and B (8, 8) of m16n8k8."""
    a, b = np.zeros((16, 8)), np.zeros((8, 8))
    for lane, (left, right, _) in found.items():
        group, thread = lane // 4, lane % 4
        for register, (row, column) in enumerate([(0, 0), (8, 0), (0, 4), (8, 4)]):
            a[group + row, thread + column] = left[register]
        for register, row in enumerate([0, 4]):
            b[thread + row, group] = right[register]
    return a, b


def mma_of(matrices):
    def mma(a, b, c):
        found = WARPS.together(cuda.threadIdx.x, (a, b, c))
        left, right = matrices(found)
        group, thread = divmod(cuda.threadIdx.x % 32, 4)
        product = left @ right
        places = [(group, 2 * thread), (group, 2 * thread + 1), (group + 8, 2 * thread), (group + 8, 2 * thread + 1)]
        return tuple(value + product[place] for value, place in zip(c, places, strict=True))

    return mma


def swapped(value, bits):
    """The number of the lane whose number differs in these bits."""
    thread = cuda.threadIdx.x
    return WARPS.together(thread, value, min(32, cuda.blockDim.x))[thread % 32 ^ bits]


def number(array, index):
    return array[index]


def several_of(count, one, ratio=1):
    return lambda array, index: tuple(one(array, index + k * ratio) for k in range(count))


def put_number(array, index, value):
    array[index] = value


def put_pair(array, index, pair):
    array[index], array[index + 1] = pair


def several_put(count, put, ratio=1):
    def put_several(array, index, values):
        for k in range(count):
            put(array, index + k * ratio, values[k])

    return put_several


def always(operand):
    """Every array is aligned."""
    return True


def never(found):
    """Whatever one thread after the other reads is there."""
    return False


class Behind:
    """An array from a place on."""

    def __init__(self, array, start):
        self.array, self.start = array, start

    def __getitem__(self, index):
        return self.array[self.start + index]


def pair(array, index):
    assert index % 2 == 0
    return float(array[index]), float(array[index + 1])


def as_it_is(value):
    return value


def nobody():
    """Has waited."""


# --- A device


class Simulator(Interpreter):
    """Launches as on a device, each thread a thread; `threads` of a sweep's block are fewer than a plan's."""

    def __init__(self, limits, threads):
        super().__init__(limits)
        self.threads = threads

    def launch(self, module, kinds, name, arguments, space):
        count = arguments["batch"] * arguments[space]
        if not count:
            return
        text, names = compiler.unit_text(
            module, name, space, nothing="None"
        )  # what is in the slots is no sum of its own
        functions = {n: getattr(module, n) for n in compiler.of_unit(module, name)}
        kernel = compiler.from_text(text.replace("grid(1)", "cuda.grid(1)"), f"{name}_kernel", **functions, cuda=cuda)
        cuda.jit(kernel)[-(-count // 8), 8](*[in_place(arguments[n]) for n in names])

    def sweep(self, module, kinds, name, arguments, found):
        assert found.parts == 1  # blocks are simulated one after the other
        names = {"cuda": cuda, "min": min, "max": max, "range": range}
        sweep = _all_in(names, module, kinds, name, self)
        signature = sweep.__code__.co_varnames[: sweep.__code__.co_argcount]
        cuda.jit(sweep)[found.groups, self.threads, 0, found.shared](*[in_place(arguments[n]) for n in signature])


def in_place(value):
    """An array as the device's own, so that two arguments can be the same memory, as they are on a device."""
    return FakeCUDAArray(value) if isinstance(value, np.ndarray) else value


def _all_in(names, module, kinds, name, device):
    """The sweep with everything that it calls in one dictionary of names: the simulator puts its `cuda` there."""

    def moved(function):
        return FunctionType(function.__code__, names, function.__name__, function.__defaults__, function.__closure__)

    method, zero = Method.of(kinds), kinds.arithmetic.type(0)
    layout = cores.make_spot(4 // kinds.stored.itemsize) if method.tensor else exact.make_spot(method.chunk)
    hold, hold_turned = block.make_hold(moved, *map(moved, layout), 0, as_it_is)
    if method.tensor:
        ratio, mma = 4 // kinds.stored.itemsize, moved(mma_of(half_matrices if kinds.is_half else tf32_matrices))
        one, put = (pair, put_pair) if kinds.is_half else (number, put_number)
        several, none = several_of(4, one, ratio), (0.0, 0.0) if kinds.is_half else 0.0
        put_several = several_put(4, put, ratio)
        read, placed = (moved(several), moved(one), never, nobody), (moved(put_several), moved(put))
        stage = make_stage(moved, 4 * ratio, ratio, method.at_once, read, placed, as_it_is, none)
        two = moved(several_of(2, one, ratio))
        product = cores.make_multiply(moved, ratio, stage, two, moved(several), mma, none, always, 0.0)
    else:
        count = 16 // kinds.arithmetic.itemsize
        several, put_several = several_of(count, number), several_put(count, put_number)
        read, placed = (several, number, never, nobody), (put_several, put_number)
        stage = make_stage(moved, count, 1, method.at_once, read, placed, as_it_is, zero)
        product = exact.make_multiply(moved, count, several, stage, moved(swapped), always, zero)
    deal, product = product

    def multiply(stored, numbers, dealt, operand, start, more, waits):
        product(stored, numbers, dealt, Behind(operand, start), more, waits)

    def shared_memory():
        stored = cuda.shared.array(0, kinds.stored)
        numbers = cuda.shared.array(0, kinds.arithmetic)
        return stored, numbers

    functions = {n: f for n, f in {**vars(words), **vars(module)}.items() if isinstance(f, FunctionType)}
    functions |= {"thread": block.thread, "threads": block.threads, "wait": block.wait, "share": block.share}
    functions |= {"places": block.places, "hold": hold, "hold_turned": hold_turned, "deal": deal, "multiply": multiply}
    functions |= {"shared_memory": shared_memory, "pair": pair, "put_pair": put_pair, "swapped": swapped}
    constants = {**vars(block), **vars(staging), **vars(cores if method.tensor else exact)}
    names |= {name: value for name, value in constants.items() if isinstance(value, int)} | {"WARPS": WARPS}
    names |= {"divmod": divmod, "np": np, "tuple": tuple, "Behind": Behind}
    ours = "lstm_numba.gpu", module.__name__, "__main__"
    own = {n for n, f in functions.items() if (f.__module__ or ours[0]).startswith(ours)}
    names |= {n: moved(f) if n in own else f for n, f in functions.items()}
    return names[name]


# --- What is held against the CPU


CASES = [  # cell, dtype, products, hidden, device
    ("lstm", "float64", "exact", 5, Simulator(None, 8)),
    ("gru", "float64", "exact", 3, Simulator(None, 8)),
    ("gru", "float64", "exact", 5, Simulator(ONE_BLOCK, 8)),
    ("lstm", "float32", "exact", 5, Simulator(THREE_BLOCKS, 8)),
    ("depth_gated", "float64", "exact", 6, Simulator(ONE_BLOCK, 16)),
    ("lstm_projected", "float64", "exact", 6, Simulator(THREE_BLOCKS, 16)),
    ("lstm", "float32", "tf32", 9, Simulator(ONE_BLOCK, 64)),
    ("gru", "float16", "exact", 18, Simulator(ONE_BLOCK, 64)),
]
TOLERANCE = {"float64": 1e-13, "float32": 1e-6, "float16": 5e-3}


def check(cell, dtype, products, hidden, simulator):
    """Names of results that are not the CPU's."""
    device.current = lambda: simulator
    exact = layers.random_layer(cell, 3, hidden)
    further = layers.FURTHER.get(cell, {})
    own = ln.Layer(cell, 3, hidden, dtype=dtype, products=products, device="cuda", **further)
    for name, array in exact.parameters.items():
        array *= 0.5
        own.parameters[name] = array.astype(own.dtype)
    numbers = layers.numbers_for(exact, 3, 3)
    options = {"lengths": [3, 2, 1], "resets": np.arange(9).reshape(3, 3) % 4 == 1}
    expected = layers.everything(exact, numbers, **options)
    stored, states = numbers.cast(own.types.storage), numbers.cast(own.dtype.name)
    mixed = layers.Numbers(stored.inputs, states.state, stored.d_output, states.d_state)
    return layers.farther_apart(layers.everything(own, mixed, **options), expected, TOLERANCE[dtype])


if __name__ == "__main__":
    apart = {str(case[:4]): found for case in CASES if (found := check(*case))}
    print(apart or f"{len(CASES)} cases agree")
    sys.exit(bool(apart))
