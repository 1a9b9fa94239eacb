"""Names of a cell beside those of the kernels.

Truth: a name that both would use is refused in one sentence; any other works.
"""

import pytest

from derive.emit.module import module_text
from derive.errors import NameRuleError
from derive.language import Cell, Eq, H, N, matrix, sigmoid, state, tanh, value, vector, x

h, h_prev = state("h")
W, U, b = matrix("W", H, N), matrix("U", H, H), vector("b")


def cell(name):
    gate = value(name)
    return Cell(
        name="named",
        title="A cell",
        year=2026,
        reference="none",
        equations=[Eq(gate, sigmoid(W @ x + b)), Eq(h, gate * tanh(U @ h_prev))],
    )


@pytest.mark.parametrize("name", ["all_h", "out_h", "slots_1"])
def test_an_array_of_the_kernels(name):
    with pytest.raises(NameRuleError, match=rf"cell named: {name} .*give it another name in the equations"):
        module_text(cell(name), "", "")


@pytest.mark.parametrize("name", ["row", "load", "all_of_it", "out_gate", "tick", "lanes", "first", "counts"])
def test_other_names(name):
    compile(module_text(cell(name), "", ""), name, "exec")
