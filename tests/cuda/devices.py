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
    """Blocks run one at a time, each until all must meet; the order is turned round after every meeting.

    A value that a block reads before another has written it, or after, is then read too early or too late every time.
    """

    def __init__(self, blocks):
        self.blocks, self.arrived, self.order = blocks, 0, list(range(blocks))
        self.changed, self.failed = threading.Condition(), None

    def wait_for(self, block):
        with self.changed:
            self.changed.wait_for(lambda: self.failed or self.order[self.arrived] == block, timeout=60)

    def done(self):
        with self.changed:
            self.arrived += 1
            if self.arrived == self.blocks:
                self.arrived = 0
                self.order.reverse()
            self.changed.notify_all()

    def meet(self, block):
        self.done()
        self.wait_for(block)


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

        def meet(barrier, parts, met):
            turns.meet(block)
            return met

        return bound(getattr(module, name), {**vars(words), "share": share, "meet": meet})

    @staticmethod
    def _run(function, block, arguments, found, turns):
        turns.wait_for(block)
        # plain words have no scratch: regions may lie wherever they do not meet
        places = {name: number * 10**9 for number, name in enumerate(found.places)}
        try:
            function(barrier=None, **{**arguments, **{n: places[n] for n in places if n in arguments}})
        except Exception as error:  # noqa: BLE001  (raised again where the sweep was asked for)
            turns.failed = error
        turns.done()
