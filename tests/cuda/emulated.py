"""A device whose kernels are the compiled PTX, run by `tests.cuda.ptx`, with the grids and blocks of a real one."""

import ml_dtypes
import numpy as np

from lstm_numba.gpu import compiler
from lstm_numba.gpu.interpreted import Interpreter
from tests.cuda import ptx


class Emulator(Interpreter):
    """Products by NumPy, everything else as it is compiled.

    Args:
        change: what is done to a kernel's text before it runs.
    """

    def __init__(self, limits=None, change=lambda text: text):
        super().__init__(limits)
        self.change, self.seed = change, 0

    def to_low(self, array, kinds):
        if kinds.storage != "bfloat16":
            return array.astype(kinds.stored)
        return array.astype(ml_dtypes.bfloat16).view(np.uint16)

    def multiply(self, target, left, right, kinds):
        if kinds.storage == "bfloat16":
            left, right = left.view(ml_dtypes.bfloat16), right.view(ml_dtypes.bfloat16)
        super().multiply(target, left, right, kinds)

    def launch(self, module, kinds, name, arguments, space):
        count = arguments["batch"] * arguments[space]
        if count:
            names = compiler.unit_arguments(module, name, space)
            self._run(compiler.unit_ptx(module, kinds, name, space), -(-count // compiler.THREADS), compiler.THREADS,
                      0, [arguments[n] for n in names])  # fmt: skip

    def sweep(self, module, kinds, name, arguments, found):
        values = [arguments[n] for n in compiler.signature(module, name)]
        self._run(compiler.sweep_ptx(module, kinds, name), found.blocks, found.threads, found.shared, values)

    def _run(self, text, grid, threads, shared, values):
        self.seed += 1
        ptx.launch(self.change(text), grid, threads, shared, values, self.seed)
