"""The generated scalar text: run on SymPy symbols it is the derivation; run on numbers it computes; always the same."""

import ast
import os
import subprocess
import sys

import numpy as np
import pytest
import sympy

import derive
from derive.differentiate import DOT_STOP
from derive.emit.scalar import functions_used, operations, scalar_source, steps
from derive.functions import NUMPY, TABLE, unstopped
from derive.program import split
from derive.symbols import Vector
from tests.derive.all_cells import EVERY, PACKAGE, each
from tests.derive.user_cells import CELLS


def executed(cell, functions):
    """The generated functions of a cell, calling `functions`."""
    namespace = dict(functions)
    exec(scalar_source(split(cell)), namespace)
    return namespace


def settled(equations, start=None):
    """The last right-hand sides with every earlier name replaced by what it is."""
    values = dict(start or {})
    for name, expression, *_ in equations:
        values[name] = expression.xreplace(values)
    return values


def symbol_of(name, step):
    pairs = (*step.jvp.incoming, *step.vjp_jvp.incoming, *step.vjp_jvp.moved)
    symbols = {v for pair in pairs for v in pair} | {*step.saved, *step.vjp.incoming, DOT_STOP}
    return next(v for v in symbols if v.name == name)


def same(text, derived):
    derived = unstopped(derived)
    derived = derived.xreplace({v: Vector(v.name, v.role, v.space) for v in derived.atoms(Vector)})
    difference = sympy.nsimplify(sympy.sympify(text), rational=True) - derived
    return difference == 0 or sympy.simplify(difference) == 0


@each(EVERY)
def test_text_on_symbols_is_the_derivation(cell):
    namespace = executed(cell, TABLE)
    for step in steps(split(cell)):
        forward = settled(step.stage.equations)
        results = namespace[step.forward.name](*step.stage.reads)
        names = {name.name: name for name, _ in step.stage.equations}
        for name, text in zip(step.forward.results, results, strict=True):
            assert same(text, forward[names[name]])

        results = namespace[step.backward.name](*step.vjp.incoming, *step.vjp.saved)
        derived = settled(step.vjp.equations)
        for (_, d), text in zip(step.vjp.outputs, results, strict=True):
            assert same(text, derived.get(d, d))

        for function, equations in (
            (step.tangent, step.jvp.equations),
            (step.backward_tangent, step.vjp_jvp.equations),
        ):
            derived = {name.name: expression for name, expression in settled(equations).items()}
            results = namespace[function.name](*(symbol_of(name, step) for name in function.arguments))
            for name, text in zip(function.results, results, strict=True):
                assert same(text, derived[name])


def numbers(names, random, step):
    """A random array a name; a clock ticks or not."""
    clocks = [v.name for v in step.stage.reads if v.role == "clock"]
    return {name: random.integers(0, 2, 50) * 1.0 if name in clocks else random.uniform(0.2, 1.5, 50) for name in names}


@each(EVERY)
def test_text_on_arrays_is_its_own_complex_step_and_adjoint(cell):
    """J v by the text is the complex step of the text, and u.(J v) = (J' u).v; stop() leaves no trace in the text."""
    random, namespace = np.random.default_rng(5), executed(cell, NUMPY)
    for step in steps(split(cell)):
        at = numbers(step.forward.arguments, random, step)
        values = dict(zip(step.forward.results, namespace[step.forward.name](**at), strict=True)) | at
        moves = {v.name: dot.name for v, dot in step.jvp.incoming}
        along = {dot: random.normal(size=50) for dot in moves.values()}
        held = {name: 0 for name in step.tangent.arguments if name == "dot_stop"}
        pushed = namespace[step.tangent.name](**along, **{v.name: values[v.name] for v in step.jvp.saved}, **held)
        pushed = pushed[: len(step.jvp.outputs)]

        shifted = {name: at[name] + 1e-30j * along[moves[name]] if name in moves else at[name] for name in at}
        stepped = executed(cell, NUMPY)[step.forward.name](**shifted)
        stops = any(expression.has(TABLE["stop"]) for _, expression in step.stage.equations)
        for ours, complex_step in [] if stops else zip(pushed, stepped, strict=False):
            np.testing.assert_allclose(ours * np.ones(50), np.imag(complex_step) / 1e-30, rtol=1e-11, atol=1e-13)

        incoming = {d.name: random.normal(size=50) for d in step.vjp.incoming}
        pulled = namespace[step.backward.name](**incoming, **{v.name: values[v.name] for v in step.vjp.saved})
        left = sum(u * j for u, j in zip(incoming.values(), pushed, strict=True))
        right = sum(g * along[moves[v.name]] for (v, _), g in zip(step.vjp.outputs, pulled, strict=True))
        np.testing.assert_allclose(left * np.ones(50), right * np.ones(50), rtol=1e-10, atol=1e-12)


@each(EVERY)
def test_text_calls_only_functions_of_the_table_and_computes_with_plain_operators(cell):
    tree = ast.parse(scalar_source(split(cell)))
    allowed = (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.USub, ast.Pow)
    for node in ast.walk(tree):
        if isinstance(node, (ast.BinOp, ast.UnaryOp)):
            assert isinstance(node.op, allowed)
        if isinstance(node, ast.Call):
            assert node.func.id in TABLE
        if isinstance(node, ast.Constant) and not isinstance(node.value, str):
            assert isinstance(node.value, int)


@each(EVERY)
def test_text_is_written_for_a_reader(cell):
    text = scalar_source(split(cell))
    assert max(map(len, text.splitlines())) <= 120
    assert not [line for line in text.splitlines() if line != line.rstrip()]
    for function in ast.parse(text).body:
        assert "Cost: " in ast.get_docstring(function)


@each(EVERY)
def test_every_argument_is_used_or_comes_from_outside(cell):
    for step in steps(split(cell)):
        for function in step.functions:
            loaded = {node.id for node in ast.walk(ast.parse(function.text)) if isinstance(node, ast.Name)}
            saved = {v.name for v in step.vjp.saved}
            assert saved & set(function.arguments) <= loaded


def test_stages_are_numbered_only_if_there_are_several():
    assert [f.name for s in steps(split(derive.cells["lstm"])) for f in s.functions] == [
        "step", "step_vjp", "step_jvp", "step_vjp_jvp",
    ]  # fmt: skip
    assert [f.name for s in steps(split(derive.cells["gru"])) for f in s.functions] == [
        "step_1", "step_1_vjp", "step_1_jvp", "step_1_vjp_jvp", "step_2", "step_2_vjp", "step_2_jvp", "step_2_vjp_jvp",
    ]  # fmt: skip


def test_results_are_what_is_written_and_then_what_is_saved():
    (step,) = steps(split(derive.cells["lstm"]))
    assert step.forward.results == ("h", "c", "i", "f", "g", "o", "tanh_c")
    assert step.backward.results == ("d_z_i", "d_z_f", "d_z_g", "d_z_o", "d_c_prev")
    assert step.tangent.results == ("dot_h", "dot_c", "dot_i", "dot_f", "dot_g", "dot_o", "dot_tanh_c")
    adjoints = step.backward.results
    assert step.backward_tangent.results == (*adjoints, *(f"dot_{name}" for name in adjoints))


def test_one_result_is_a_tuple_too():
    assert executed(derive.cells["rnn"], NUMPY)["step"](0.5) == (np.tanh(0.5),)


def test_cost_counts_what_stands_in_the_text():
    assert operations("a = -b * c + sigmoid(d - 1) / 2 + e**5") == {
        "add": 3, "mul": 1, "div": 1, "pow": 1, "neg": 1, "sigmoid": 1,
    }  # fmt: skip
    assert functions_used("h = tanh(sigmoid(a)) + tanh(b)") == ("sigmoid", "tanh")


LSTM = '''\
def step(z_i, z_f, z_g, z_o, c_prev):
    """Return h, c, and for the derivatives i, f, g, o, tanh_c.  Cost: 1 add, 3 mul, 3 sigmoid, 2 tanh."""

    # gates
    i = sigmoid(z_i)
    f = sigmoid(z_f)
    g = tanh(z_g)
    o = sigmoid(z_o)

    # states
    c = f * c_prev + g * i
    # h = o * tanh(c)
    tanh_c = tanh(c)
    h = o * tanh_c

    return h, c, i, f, g, o, tanh_c


def step_vjp(d_h, d_c_next, c_prev, i, f, g, o, tanh_c):
    """Pull d_h, d_c_next back to z_i, z_f, z_g, z_o, c_prev; d_v means dL/dv.  Cost: 6 add, 16 mul."""

    # h = o * tanh(c),  c also feeds the next step
    d_o = d_h * tanh_c
    d_c = d_c_next + d_h * o * (1 - tanh_c * tanh_c)

    # c = f * c_prev + g * i
    d_i = d_c * g
    d_f = d_c * c_prev
    d_g = d_c * i
    d_c_prev = d_c * f

    # i = sigmoid(z_i),  f = sigmoid(z_f),  g = tanh(z_g),  o = sigmoid(z_o)
    d_z_i = d_i * i * (1 - i)
    d_z_f = d_f * f * (1 - f)
    d_z_g = d_g * (1 - g * g)
    d_z_o = d_o * o * (1 - o)

    return d_z_i, d_z_f, d_z_g, d_z_o, d_c_prev
'''


def test_the_lstm_reads_like_a_textbook():
    assert scalar_source(split(derive.cells["lstm"])).startswith(LSTM)


PRINT_ALL = """
from tests.derive.all_cells import EVERY
from derive.emit.scalar import scalar_source
from derive.program import split
for cell in EVERY:
    print(cell.canonical, cell.equations_hash, scalar_source(split(cell)))
"""


@pytest.mark.parametrize("seed", ["0", "1", "2"])
def test_text_is_the_same_in_every_process(seed):
    here = "".join(f"{c.canonical} {c.equations_hash} {scalar_source(split(c))}\n" for c in EVERY)
    environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)}
    run = subprocess.run([sys.executable, "-c", PRINT_ALL], capture_output=True, text=True, env=environment, check=True)
    assert run.stdout == here


def test_lists_of_cells_are_not_empty():
    assert len(PACKAGE) == 19
    assert len(CELLS) == 13
