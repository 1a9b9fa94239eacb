"""Cells whose gates are coupled: the equations, and what cannot be coupled.  The ONNX tests run them."""

import pytest

import derive
import lstm_numba as ln
from derive import verify
from derive.errors import OptionError

PEEPHOLE = derive.cells["peephole"].variant(peepholes="io")


def test_an_lstm_coupled_so_is_the_coupled_cell():
    cell, known = derive.coupled(derive.cells["lstm"], {"f": "i"}), derive.cells["coupled"]
    assert {str(e.lhs): e.rhs for e in cell.equations} == {str(e.lhs): e.rhs for e in known.equations}
    assert set(cell.parameters) == set(known.parameters)
    assert cell.initial == {}
    assert cell.chosen == {"coupled": {"f": "i"}}


def test_coupling_and_activations_go_together():
    layer = ln.Layer("peephole", 3, 4, peepholes="io", coupled={"f": "i"}, clip=2.0, activations={"o": "softsign"})
    assert layer.options == {
        "peepholes": "io", "coupled": {"f": "i"}, "activations": {"o": "softsign"}, "clip": 2.0
    }  # fmt: skip
    assert not any(name.endswith("_f") for name in layer.parameters)


@pytest.mark.parametrize("gates", [{"f": "q"}, {"q": "i"}, {"i": "f"}, {"f": "f"}, {"f": "o"}, {"c": "i"}, {"f": 1}])
def test_gates_that_cannot_be_coupled_are_refused(gates):
    with pytest.raises(OptionError, match=r"cell peephole: .* cannot be coupled to .*; these can be: f to i, g to i"):
        derive.coupled(PEEPHOLE, gates)


@pytest.mark.parametrize("gates", [{}, ["f"], "f"])
def test_what_is_no_coupling_is_refused(gates):
    with pytest.raises(ln.errors.OptionError, match="coupled must be a dict"):
        ln.Layer("peephole", 3, 4, coupled=gates)


@pytest.mark.slow
def test_it_climbs_the_ladder():
    report = verify.run([derive.coupled(PEEPHOLE, {"f": "i"})], quick=True)
    assert report.ok, report.text()
