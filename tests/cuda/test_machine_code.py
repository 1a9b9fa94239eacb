"""Machine code, made without a device: it fits the registers, spills nothing, and multiplies as it should."""

import inspect
import re

import numpy as np
import pytest

pytest.importorskip("numba_cuda")

from lstm_numba import registry
from lstm_numba.gpu import compiler
from lstm_numba.gpu.plan import Method
from lstm_numba.types import Types

BOTH = ((8, 0), (9, 0))
NEWEST_PTX = 9.0  # what a CUDA 13.0 driver reads
CELLS = {name: registry.find(name, {}) for name in registry.cells()}  # of each cell the first variant
UNITS = [
    (name, f"unit_{direction}_{number}", space)
    for name, module in CELLS.items()
    for kind, number, space in module.CELL.program
    if kind == "pointwise"
    for direction in ("forward", "backward", "forward_tangent", "backward_tangent")
]
EXACT, TF32, HALF = Types("float32"), Types("float32", "tf32"), Types("bfloat16")
EVERY = [EXACT, TF32, HALF, Types("float16"), Types("float64")]
# The text of a product in PTX.
INSTRUCTION = {
    TF32: "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32",
    HALF: "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32",
    Types("float16"): "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32",
}


def compile_unit(cell, name, space, kinds, architectures=BOTH):
    return checked(compiler.unit_ptx(CELLS[cell], kinds, name, space), kinds, architectures, compiler.THREADS)


def compile_sweep(cell, direction, kinds, architectures=BOTH):
    ptx = compiler.sweep_ptx(CELLS[cell], kinds, f"sweep_{direction}")
    return checked(ptx, kinds, architectures, Method.of(kinds).threads)


def checked(ptx, kinds, architectures, threads):
    """PTX of a kernel that keeps to the limits of these architectures."""
    assert float(re.search(r"^\.version (\S+)", ptx, re.MULTILINE).group(1)) <= NEWEST_PTX
    assert (".f64" in ptx) == (kinds.storage == "float64")  # nothing is widened on the way
    assert ".nc" not in ptx  # nothing by the way that does not see what another block has written
    for architecture in architectures:
        binary = compiler.linked(ptx, architecture, threads)
        # the older architecture's compiler puts a few registers aside
        assert binary.stack <= (96 if architecture == (8, 0) else 0)
        assert (binary.spilled == 0) == (binary.stack == 0)
        assert 0 < binary.registers * threads <= compiler.REGISTERS
        assert binary.code.startswith(b"\x7fELF")
    return ptx


@pytest.mark.parametrize(("cell", "name", "space"), UNITS)
def test_every_unit_compiles(cell, name, space):
    compile_unit(cell, name, space, HALF if len(cell) % 2 else EXACT)


@pytest.mark.parametrize("kinds", EVERY, ids=str)
def test_units_compile_in_every_type(kinds):
    compile_unit("peephole", "unit_backward_1", "H", kinds)


@pytest.mark.parametrize(("cell", "direction", "kinds"), [("lstm", "forward", HALF), ("gru", "backward", TF32)])
def test_sweeps_multiply_on_tensor_cores(cell, direction, kinds):
    assert INSTRUCTION[kinds] in compile_sweep(cell, direction, kinds)


def kinds_of(cell):
    """The types of a cell's sweeps: of the halves, which differ in words that all cells share, one in turn."""
    turn = [*CELLS].index(cell) // 2 % 2
    return [kinds for kinds in EVERY if not kinds.is_half or EVERY.index(kinds) % 2 == turn]


@pytest.mark.slow
@pytest.mark.parametrize(("cell", "kinds"), [(cell, kinds) for cell in CELLS for kinds in kinds_of(cell)], ids=str)
def test_every_cells_sweeps_compile(cell, kinds):
    """Directions in turn, each for both architectures; all of them: ./scripts/gpu_check --compile-only."""
    nth, kind = [*CELLS].index(cell), EVERY.index(kinds)
    direction, architecture = ("forward", "backward")[(nth + kind) % 2], BOTH[(nth + kind // 2) % 2]
    ptx = compile_sweep(cell, direction, kinds, [architecture])
    has_products = "multiply(" in inspect.getsource(getattr(CELLS[cell], f"sweep_{direction}"))
    assert (INSTRUCTION[kinds] in ptx) == has_products if kinds in INSTRUCTION else ("mma" not in ptx)
    assert ("ld.relaxed.gpu" in ptx) == has_products


def test_every_argument_of_a_kernel_is_one_of_eight_bytes_as_it_is_launched_with():
    for name, space in (("unit_backward_1", "H"), ("sweep_forward", "")):
        module = CELLS["lstm1997"]
        names = compiler.unit_arguments(module, name, space) if space else compiler.signature(module, name)
        ptx = compiler.unit_ptx(module, HALF, name, space) if space else compiler.sweep_ptx(module, HALF, name)
        head = ptx[ptx.index(".entry") : ptx.index(")", ptx.index(".entry"))]
        assert re.findall(r"\.param (\.\w+)", head) == [".u64"] * len(names)


def test_the_compiler_finds_what_newer_versions_of_numpy_have_lost_and_leaves_numpy_alone(monkeypatch):
    monkeypatch.delattr(np, "row_stack")
    with compiler._older_numpy():
        assert getattr(np, "row_stack") is np.vstack  # noqa: B009  (the name is not written as one that is there)
    assert not hasattr(np, "row_stack")


def test_a_kernel_from_the_disk_is_the_one_that_was_put_there(tmp_path):
    path, binary = tmp_path / "kernel.cubin", compiler.Binary(b"\x7fELF\0code\0", "entry", "Used 12 registers")
    compiler._write(path, binary)
    assert compiler._read(path) == binary
    path.write_bytes(path.read_bytes()[:-1])
    assert compiler._read(path) is None
