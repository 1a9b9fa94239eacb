"""Every cell of the package with every combination of options, and the users' cells, for parametrisation."""

import pytest

import derive
from tests.derive.user_cells import CELLS

PACKAGE = [variant for cell in derive.cells.values() for variant in cell.variants()]
EVERY = [*PACKAGE, *CELLS.values()]


def each(cells):
    return pytest.mark.parametrize("cell", cells, ids=lambda cell: cell.module)
