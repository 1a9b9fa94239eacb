"""Every cell climbs every rung: the generated text and the compiled kernels against the oracle.

Truth checked here: derivation, text and machine code, for the cells of the package and for what users would write.
"""

from functools import cache, partial

import pytest

import derive
from derive.verify import Ladder, run, spelling, verify
from derive.verify.ladder import RUNGS
from derive.verify.report import CellReport
from tests.derive.user_cells import CELLS as USER_CELLS

CELLS = {cell.module: cell for name in derive.cells for cell in derive.cells[name].variants()}
TEXT_RUNGS = [rung for rung in RUNGS if rung.__name__ in ("symbols", "long_numbers", "text")]
# planted bugs have a file of their own
KERNEL_RUNGS = [rung for rung in RUNGS if rung not in TEXT_RUNGS and rung.__name__ != "bugs"]
# one variant of each family stands for it where kernels are compiled; the others take the long way
SLOW = {"peephole_i", "peephole_f", "peephole_o", "peephole_if", "peephole_fo"}
# a layer needs an input sequence to know how many steps there are
USERS_KERNELS = [name for name, cell in USER_CELLS.items() if cell.inputs]


@cache
def ladder(name):
    """Of a package cell the kernels on disk, of a user's what `derive.build` makes."""
    if name in USER_CELLS:
        return Ladder(USER_CELLS[name], quick=True)
    from lstm_numba import Layer

    cell = CELLS[name]
    return Ladder(cell, quick=True, maker=partial(Layer, cell.name, **cell.chosen))


def holds(name, rung):
    found = CellReport(name, name, tuple(rung(ladder(name))))
    assert found.measurements
    assert found.ok, "\n".join(found.failures())


def marked(names, slow):
    return [pytest.param(name, marks=pytest.mark.slow) if name in slow else name for name in names]


@pytest.mark.parametrize("rung", TEXT_RUNGS, ids=lambda rung: rung.__name__)
@pytest.mark.parametrize("name", [*CELLS, *USER_CELLS])
def test_the_text_holds(name, rung):
    holds(name, rung)


@pytest.mark.parametrize("name", marked(CELLS, SLOW))
@pytest.mark.parametrize("rung", KERNEL_RUNGS, ids=lambda rung: rung.__name__)
def test_the_kernels_hold(name, rung):
    holds(name, rung)


@pytest.mark.slow
@pytest.mark.parametrize("name", USERS_KERNELS)
@pytest.mark.parametrize("rung", KERNEL_RUNGS, ids=lambda rung: rung.__name__)
def test_the_kernels_of_a_users_cell_hold(name, rung):
    holds(name, rung)


def test_a_crash_is_a_failed_rung_and_not_the_end():
    def no_layer(*sizes, **options):
        raise TypeError("no such layer")

    found = verify(Ladder(CELLS["rnn"], quick=True, maker=no_layer))
    assert not found.ok
    assert {"symbols", "text", "planted bugs"} <= set(found.passed())
    assert "TypeError\n    no such layer" in next(found.failures())


def test_a_report_has_every_rung_once():
    found = verify(ladder("rnn"))
    assert found.ok
    assert len(found.rungs()) == len(RUNGS)
    assert found.passed() == list(found.rungs())


def test_a_variant_is_spelled_as_a_command_line_takes_it():
    assert spelling(CELLS["peephole_io"]) == "peephole:peepholes=io"
    assert spelling(CELLS["lstm1997_truncated"]) == "lstm1997:truncated=true"
    assert spelling(CELLS["lstm"]) == "lstm"


def test_no_cells_is_no_proof():
    assert not run([]).ok
