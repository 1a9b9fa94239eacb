"""Layout -> the sequence kernels of a cell as readable Python: loops over steps, panels, rows and units.

    project             input products of many steps at once, for short batches
    forward             steps first to last: 1. affine, 2. pointwise, for each stage
    backward            steps last to first: 2. pointwise transposed, 1. affine transposed, for each stage
    forward_tangent     the steps of forward along a direction, on what it left
    backward_tangent    backward and its tangent side by side, on what forward and forward_tangent left

The text runs as it is, slowly, on the words of `lstm_numba.words`; the runtime binds the same words to SIMD registers
and compiles it.
"""

from derive.emit.kernels.backward import Backward
from derive.emit.kernels.forward import Forward, Project
from derive.emit.kernels.tangent import BackwardTangent, ForwardTangent
from derive.emit.layout import Layout

KERNELS = (Project, Forward, Backward, ForwardTangent, BackwardTangent)


def kernels(layout: Layout) -> str:
    """The kernels of a cell."""
    return "\n\n\n".join(kernel(layout).text() for kernel in KERNELS) + "\n"


def products(layout: Layout) -> str:
    """The packed products that the kernels call, one line each."""
    forward = [(f"multiply_{o.key}", "Product", o) for k in layout.affine for o in layout.operands[k]]
    backward = [(f"transpose_{o.key}", "Transposed", o) for k in layout.affine for o in layout.transposed(k)]
    biased = [o for operands in layout.operands.values() for o in operands[:1] if o.reaches_all]
    lines = [f"{name} = {word}(run={o.run}, gates={o.gates}, low={o.low})\n" for name, word, o in forward + backward]
    return "".join([*lines, *(f"biased_{o.key} = Biased(gates={o.gates})\n" for o in biased)])
