"""Planted bugs: what is wrong on purpose is found.

Truth checked here: the *ladder*.  A check that nothing can fail is worth nothing, so each kind of bug is planted in
every place and must be told from the right thing by the ladder's own measures and tolerances.
"""

import ast
from dataclasses import replace

import numpy as np
import pytest

import derive
from derive.verify.derivative import central_difference, gradient
from derive.verify.driver import Driver
from derive.verify.kernel_mutants import KERNELS, TANGENTS, kernel_mutants
from derive.verify.kernel_mutants import RULES as KERNEL_RULES
from derive.verify.mutants import RULES, mutants
from derive.verify.problem import make
from derive.verify.report import norm_error
from derive.verify.rungs.planted import Nursery, in_formulas, in_time
from derive.verify.rungs.planted_kernels import in_kernels
from derive.verify.structural import BROKEN, broken
from tests.derive.user_cells import CELLS as USER_CELLS

CELLS = {cell.module: cell for name in derive.cells for cell in derive.cells[name].variants()}
ALLOWED = 1e-13
FIRST = tuple(name for name in KERNELS if name not in TANGENTS)
SLSTM = "d_a_i, d_z_a_f, d_z_v, d_z_o, {}, d_c_prev, d_k_prev"
RIGHT = ("d_w_prev", "d_w_prev")
BOTH = f"{SLSTM}, dot_d_a_i, dot_d_z_a_f, dot_d_z_v, dot_d_z_o, dot_{{}}, dot_d_c_prev, dot_d_k_prev"
# the mutants that say the same in other words, and why
EQUIVALENT = {
    # maximum and minimum take their arguments in any order; a_f and w_prev only ever occur as their sum
    "slstm": {
        "swapped operands in step: w = maximum(a_w, a_i)  ->  w = maximum(a_i, a_w)",
        f"wrong name in step_vjp: return ({SLSTM.format('d_w_prev')})  ->  return ({SLSTM.format('d_a_f')})",
        *(
            f"wrong name in step_vjp_jvp: return ({BOTH.format(*RIGHT)})  ->  return ({BOTH.format(*two)})"
            for two in (("d_a_f", "d_w_prev"), ("d_w_prev", "d_a_f"))
        ),
    },
    # a_c is only asked for its sign
    "odd": {
        "swapped operands in step: t_p = minimum(l, 1 / 2)  ->  t_p = minimum(1 / 2, l)",
        "scaled by 1 + 1e-6 in step: a_c = l - p  ->  a_c = 1.000001 * (l - p)",
        "rounded to float32 in step: a_c = l - p  ->  a_c = 1.0000000149011612 * (l - p)",
    },
}
IDLE_IN_KERNELS = {
    # relu's slope asks for the sign of h, which is that of z, whatever scales it
    "rnn_relu": {
        "dropped call in forward: store(slots_1, slot_1, h)  ->  pass",
        "scaled by 1 + 1e-6 in backward: load(slots_1, slot_1)  ->  1.000001 * load(slots_1, slot_1)",
        "scaled by 1 + 1e-6 in forward_tangent: load(slots_1, slot_1)  ->  1.000001 * load(slots_1, slot_1)",
        "scaled by 1 + 1e-6 in backward_tangent: load(slots_1, slot_1)  ->  1.000001 * load(slots_1, slot_1)",
        # and a slope that does not change has no use for the change of h
        "dropped call in forward_tangent: store(dot_slots_1, slot_1, dot_h)  ->  pass",
    },
    # no adjoint goes to a previous h: there is nothing to give to the first one
    "lstm1997_truncated": {
        "dropped call in backward: release(rows, resets, given, d_all_h, earlier, d_start_h, first, H_row)  ->  pass",
        *(
            "dropped call in backward_tangent: "
            f"release(rows, resets, given, {d}_all_h, earlier, {d}_start_h, first, H_row)  ->  pass"
            for d in ("d", "dot_d")
        ),
        "wrong step in backward_tangent: earlier  ->  later",
    },
}
# one for each form of work along a direction: the others' kernels are mutated in the first order only
SECOND = ("rnn", "rnn_relu", "gru", "clockwork", "lstm1997_truncated", "depth_gated")


@pytest.mark.parametrize("cell", [*CELLS.values(), *USER_CELLS.values()], ids=lambda cell: cell.module)
def test_every_bug_in_a_formula_and_in_time_is_found(cell):
    nursery = Nursery(cell, Driver.of(cell), ALLOWED)
    formulas, time = in_formulas(nursery), in_time(nursery)
    assert formulas.escaped == time.escaped == ()
    assert set(formulas.equivalent) == EQUIVALENT.get(cell.module, set())
    assert formulas.total >= 20
    assert time.total >= 12


@pytest.mark.parametrize(
    "name",
    [
        "rnn",
        "gru",
        "clockwork",
        *(pytest.param(name, marks=pytest.mark.slow) for name in CELLS if name not in ("rnn", "gru", "clockwork")),
    ],
)
def test_every_bug_in_a_kernel_is_found(name):
    score = in_kernels(CELLS[name], ALLOWED, KERNELS if name in SECOND else FIRST)
    assert score.escaped == ()
    assert set(score.equivalent) == IDLE_IN_KERNELS.get(name, set())
    assert score.total >= 50


def kinds(found, wanted):
    """The kinds of planted bugs, looked for until all that are wanted have come."""
    seen = set()
    for mutant in found:
        seen.add(mutant.kind)
        if seen == wanted:
            break
    return seen


def test_every_kind_of_bug_is_planted():
    found = (mutant for cell in USER_CELLS.values() for mutant in mutants(Driver.of(cell).text))
    assert kinds(found, set(RULES)) == set(RULES)
    planted = {*broken(Driver.of(CELLS["gru"]).program), *broken(Driver.of(USER_CELLS["tied"]).program)}
    assert planted >= set(BROKEN)


def test_every_kind_of_bug_is_planted_in_kernels():
    from derive.emit.module import module_text

    text = module_text(CELLS["peephole"], source="", command="")
    assert kinds(kernel_mutants(text, lambda _: True), set(KERNEL_RULES)) == set(KERNEL_RULES)


def test_mutants_are_python_and_differ_from_the_text():
    text = Driver.of(CELLS["peephole"]).text
    right = {node.name: ast.unparse(node) for node in ast.parse(text).body if isinstance(node, ast.FunctionDef)}
    found = list(mutants(text))
    assert len({mutant.text for mutant in found}) == len(found)
    assert all(mutant.text != right[mutant.function] for mutant in found)


def test_two_names_for_one_value_are_not_exchanged():
    text = "def step_vjp(d_h, a):\n    d_x = d_h * a\n    d_y = d_x\n    return (d_x, d_y)\n"
    assert not [mutant for mutant in mutants(text) if "return" in mutant.before and mutant.kind == "wrong name"]


def test_a_usual_tolerance_would_miss_some():
    # torch's gradcheck by default: central differences, rtol 1e-3, atol 1e-5
    problem = make(CELLS["lstm"], lengths=True, resets=True)
    driver, expected = Driver.of(problem.cell), gradient(problem, central_difference)
    missed = [
        mutant
        for mutant in mutants(driver.text, "_vjp")
        if all(
            np.allclose(slope, expected[key], rtol=1e-3, atol=1e-5)
            for key, slope in driver.changed(mutant.text).gradient(problem).items()
        )
    ]
    assert len(missed) >= 20


def test_a_bug_that_only_shows_with_lengths_needs_lengths():
    problem = make(CELLS["gru"], resets=True)
    driver, sweep = Driver.of(problem.cell), next(kind for kind in BROKEN if kind.__name__ == "LengthsIgnored")
    wrong = driver.changed(sweep=sweep)
    assert all(norm_error(slope, gradient(problem)[key]) <= ALLOWED for key, slope in wrong.gradient(problem).items())
    ragged = replace(problem, lengths=np.array([4, 1, 3]))
    assert any(norm_error(slope, gradient(ragged)[key]) > 1e-3 for key, slope in wrong.gradient(ragged).items())
