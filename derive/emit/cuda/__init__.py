"""Layout -> what a cell's CUDA kernels are made of, as readable Python: what one thread does.

    unit_forward_1     pointwise stage 1, of one unit of one row at one step
    unit_backward_1    its transpose
    unit_..._tangent_1 both along a direction
    sweep_forward      a block's share of all steps, for grids whose blocks can wait for each other
    sweep_backward     steps last to first

The step functions are those that the CPU runs.  The words are in `lstm_numba.gpu.words`; the runtime binds them to CUDA
scalars, makes kernels of the units, and compiles them.
"""

from derive.emit.cuda.backward import backward_units
from derive.emit.cuda.forward import forward_units
from derive.emit.cuda.sweep import sweeps
from derive.emit.cuda.tangent import tangent_units
from derive.emit.layout import Layout


def cuda_functions(layout: Layout) -> str:
    """The functions of a cell."""
    units = [*forward_units(layout), *backward_units(layout), *sweeps(layout), *tangent_units(layout)]
    return "\n\n\n".join(unit.text() for unit in units) + "\n"
