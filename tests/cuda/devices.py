"""Stand-ins for a CUDA device, and layers to run on them."""

import threading
from contextlib import contextmanager

import numpy as np

import derive
import lstm_numba as ln
from lstm_numba.cpu.kernels import bound
from lstm_numba.gpu import device, words
from lstm_numba.gpu.interpreted import Interpreter
from lstm_numba.gpu.plan import Limits
from tests import layers

H100 = Limits((9, 0), 132, 232_448)


@contextmanager
def on(stand_in):
    """Layers made inside run on a stand-in."""
    found = device.current
    device.current = lambda: stand_in
    try:
        yield stand_in
    finally:
        device.current = found


def twin(layer, stand_in, **settings):
    """The same layer on a stand-in for a device."""
    options = {name: value for name, value in layer.options.items() if name != "periods"}
    further = {name: size for name, size in layer.spaces.items() if name not in "NH"}
    kind = {"dtype": layer.dtype.name, "reverse": layer.reverse, **settings, **options, **further}
    cell = layer._module if layer.name not in ln.cells() else layer.name
    with on(stand_in):
        found = ln.Layer(cell, layer.input_size, layer.hidden_size, device="cuda", **kind)
    found._theta.flat[...] = layer._theta.flat
    return found


def made(cell, **sizes):
    """A layer of a cell that is not in the package."""
    layer, random = derive.build(cell)(3, 4, dtype="float64", **sizes), np.random.default_rng(0)
    for array in layer.parameters.values():
        array[...] = random.normal(0, 0.6, array.shape)
    return layer


def along(layer, numbers, further, **options):
    """What jvp and hvp give, by name, of a layer and a direction."""
    run = layers.forward(layer, numbers, **options)
    direction = {**further.inputs, "state": further.state}
    direction["parameters"] = {n: np.cos(np.arange(a.size)).reshape(a.shape) for n, a in layer.parameters.items()}
    pushed = run.jvp(direction)
    changes = {"dot_d_output": further.d_output, "dot_d_state": further.d_state}
    pulled = run.hvp(direction, numbers.d_output, numbers.d_state, **changes)
    found = {"dot output": pushed.output, **{f"dot {n}": a for n, a in pushed.state.items()}}
    found |= {f"change of d {n}": a for n, a in {**pulled.inputs, **pulled.parameters}.items()}
    return found | {f"change of d first {n}": a for n, a in pulled.state.items()}


class Turns:
    """Blocks run one at a time, each until a number is not there yet that it needs."""

    def __init__(self, blocks):
        self.running, self.waited, self.failed = list(range(blocks)), 0, None
        self.changed = threading.Condition()

    def wait_for(self, block):
        with self.changed:
            self.changed.wait_for(lambda: self.failed or self.running[0] == block, timeout=60)
        if self.failed:
            raise self.failed

    def let_others(self, block):
        """The next one's turn; if all have come here one after the other none will ever go on."""
        with self.changed:
            self.waited += 1
            if self.waited > 2 * len(self.running):
                self.failed = RuntimeError("blocks wait for ever")
            self.running.append(self.running.pop(0))
            self.changed.notify_all()
        self.wait_for(block)

    def done(self):
        with self.changed:
            self.running.pop(0)
            self.waited = 0
            self.changed.notify_all()


class Blocks(Interpreter):
    """Sweeps in plain Python as the plan divides them: a block of one thread for each share of units and rows."""

    def sweep(self, module, kinds, name, arguments, found):
        turns = Turns(found.blocks)
        functions = [self._block(module, name, block, found, turns) for block in range(found.blocks)]
        threads = [
            threading.Thread(target=self._run, args=(function, block, arguments, found, turns))
            for block, function in enumerate(functions)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if turns.failed:
            raise turns.failed

    @staticmethod
    def _block(module, name, block, found, turns):
        part, group = block % found.parts, block // found.parts

        def share(parts, batch, size):
            most, each = -(-size // parts), -(-batch // found.groups)
            first, low = part * most, group * each
            return first, max(0, min(most, size - first)), low, min(batch, low + each)

        def multiply(stored, numbers, dealt, operand, start, more, waits):
            _, _, depth, apart, rows, *_ = dealt
            while waits and any(unwritten(operand[start + r * apart :][:depth]) for r in range(rows)):
                turns.let_others(block)
            turns.waited = 0
            words.multiply(stored, numbers, dealt, operand, start, more, waits)

        return bound(getattr(module, name), {**vars(words), "share": share, "multiply": multiply})

    @staticmethod
    def _run(function, block, arguments, found, turns):
        # plain words have no scratch: regions may lie wherever they do not overlap
        places = {name: number * 10**9 for number, name in enumerate(found.places)}
        try:
            turns.wait_for(block)
            function(**{**arguments, **{n: places[n] for n in places if n in arguments}})
        except Exception as error:  # noqa: BLE001  (raised again where the sweep was asked for)
            turns.failed = turns.failed or error
        turns.done()


def unwritten(array):
    """Whether all bits of any number are set."""
    return (array.view(f"i{array.itemsize}") == -1).any()
