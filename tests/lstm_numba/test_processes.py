"""Processes and threads: a layer goes where its user takes it.

Truth: the bits that the same layer gives in one thread of one process.
"""

import copy
import os
import pickle
import subprocess
import sys
import threading

import numpy as np
import pytest

import derive
import lstm_numba as ln
from derive.language import Cell, Eq, H, N, matrix, state, tanh, vector, x
from scripts.sizes import ROOT
from tests.layers import backward, everything, forward, numbers_for, other_bits, random_layer

T, B, INPUT, HIDDEN = 6, 8, 3, 5


def built_layer():
    h, h_prev = state("h")
    equations = [Eq(h, tanh(matrix("W", H, N) @ x + vector("u") * h_prev))]
    cell = Cell(name="leaf", title="leaf", year=2026, reference="test", equations=equations)
    return derive.build(cell)(INPUT, HIDDEN, dtype="float64")


LAYERS = {
    "named": lambda: random_layer("lstm", INPUT, HIDDEN, threads=2),
    "options": lambda: random_layer("clockwork", INPUT, 6, periods=(1, 2), reverse=True),
    "built": built_layer,
}


def through_a_pickle(value):
    return pickle.loads(pickle.dumps(value))  # noqa: S301  (our own)


layers = pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS)


# --- copies


@layers
@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, through_a_pickle])
def test_a_copy_is_the_same_layer_with_parameters_of_its_own(make, copied):
    layer = make()
    twin, numbers = copied(layer), numbers_for(layer, T, B)
    assert other_bits(everything(twin, numbers), everything(layer, numbers)) == []
    assert (repr(twin), twin.threads, twin.reverse) == (repr(layer), layer.threads, layer.reverse)
    kept = layer.parameters.flat.copy()
    for name in twin.parameters:
        twin.parameters[name] *= 2
    np.testing.assert_array_equal(layer.parameters.flat, kept)
    np.testing.assert_array_equal(twin.parameters.flat, 2 * kept)


def test_a_deep_copy_of_a_built_layer_has_its_class():
    layer = built_layer()
    assert type(copy.deepcopy(layer)) is type(layer)


def test_a_stack_of_layers_stays_tied_to_its_parameters():
    stack = through_a_pickle(ln.Stack("lstm", INPUT, HIDDEN, layers=2))
    stack.parameters["1.b_i"] = np.full(HIDDEN, 7)
    assert (stack.layers[1].parameters["b_i"] == 7).all()


def test_gradients_can_be_pickled():
    layer = random_layer("lstm", INPUT, HIDDEN)
    numbers = numbers_for(layer, T, B)
    gradients = backward(forward(layer, numbers), numbers)
    twin = through_a_pickle(gradients)
    np.testing.assert_array_equal(twin.parameters.flat, gradients.parameters.flat)
    assert np.shares_memory(twin.parameters["U_f"], twin.parameters.flat)


@layers
def test_another_process_opens_a_pickle(make, tmp_path):
    layer, x = make(), np.ones((T, B, INPUT))
    (tmp_path / "layer.pickle").write_bytes(pickle.dumps(layer))
    np.save(tmp_path / "x.npy", x)
    code = """
        import pickle, sys, numpy as np
        layer = pickle.load(open(sys.argv[1] + "/layer.pickle", "rb"))
        np.save(sys.argv[1] + "/output.npy", layer.forward(np.load(sys.argv[1] + "/x.npy")).output)
        assert "sympy" not in sys.modules
    """
    python(code, str(tmp_path))
    np.testing.assert_array_equal(np.load(tmp_path / "output.npy"), layer.forward(x).output)


# --- threads


def test_threads_may_run_one_layer_at_once():
    layer = random_layer("lstm", INPUT, HIDDEN, threads=2)
    problems = [numbers_for(layer, T, B, seed) for seed in range(6)]
    expected = [everything(layer, numbers) for numbers in problems]
    found = at_once([lambda numbers=numbers: [everything(layer, numbers) for _ in range(20)] for numbers in problems])
    for runs, wanted in zip(found, expected, strict=True):
        assert all(other_bits(run, wanted) == [] for run in runs)


def test_threads_may_pull_back_one_run_at_once():
    layer = random_layer("lstm", INPUT, 64)  # long enough in its kernels for threads to meet
    numbers = numbers_for(layer, 40, 16)
    run = forward(layer, numbers)
    expected = backward(run, numbers).parameters.flat
    found = at_once([lambda: backward(run, numbers).parameters.flat] * 8)
    assert all(np.array_equal(gradient, expected) for gradient in found)


def at_once(tasks):
    """What the tasks return, each in a thread of its own."""
    results = [None] * len(tasks)

    def work(k):
        results[k] = tasks[k]()

    threads = [threading.Thread(target=work, args=(k,)) for k in range(len(tasks))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


# --- forks, spawns, signals: each in a process of its own


def python(code, *arguments):
    """Run a script; its lines may be indented."""
    code = "\n".join(line.removeprefix(" " * 8) for line in code.splitlines())
    run = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, cwd=ROOT, timeout=100, check=False
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_runs_a_layer_that_its_parent_has_used():
    python("""
        import os, warnings, numpy as np, lstm_numba as ln
        warnings.simplefilter("ignore")  # of Python, about threads of the parent
        layer, x = ln.Layer("lstm", 3, 5, dtype="float64", threads=3), np.ones((6, 8, 3))
        expected = layer.forward(x)
        gradient = expected.backward(expected.output).parameters.flat
        children = []
        for _ in range(3):
            child = os.fork()
            if child == 0:
                run = layer.forward(x)
                same = np.array_equal(run.backward(run.output).parameters.flat, gradient)
                replayed = np.array_equal(expected.backward(expected.output).parameters.flat, gradient)
                os._exit(0 if same and replayed else 1)
            children.append(child)
        assert np.array_equal(layer.forward(x).output, expected.output)
        assert [os.waitpid(child, 0)[1] for child in children] == [0, 0, 0]
    """)


def test_workers_that_are_spawned_are_sent_layers():
    script = """
        import multiprocessing, sys, numpy as np, lstm_numba as ln
        from tests.lstm_numba.spawned import output_of

        if __name__ == "__main__":
            layer, x = ln.Layer("lstm", 3, 5, dtype="float64", threads=2), np.ones((6, 8, 3))
            with multiprocessing.get_context("spawn").Pool(2) as pool:
                found = pool.starmap(output_of, [(layer, x)] * 3)
            assert all(np.array_equal(output, layer.forward(x).output) for output in found)
    """
    python(script)


@pytest.mark.parametrize("threads", [1, 2])
def test_control_c_leaves_the_process_usable(threads):
    python(f"""
        import os, signal, threading, numpy as np, lstm_numba as ln
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background begins with it ignored
        layer, small = ln.Layer("lstm", 64, 64, threads={threads}), np.ones((6, 8, 64), "f4")
        run = layer.forward(small)
        gradient = run.backward(run.output).parameters.flat
        large = np.ones((400, 128, 64), "f4")

        def interrupted(work):
            threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT)).start()
            try:
                while True:
                    work()
            except KeyboardInterrupt:
                return True

        assert interrupted(lambda: layer.forward(large))
        assert interrupted(lambda: run.backward(run.output))
        assert np.array_equal(run.backward(run.output).parameters.flat, gradient)
        again = layer.forward(small)
        assert np.array_equal(again.backward(again.output).parameters.flat, gradient)
    """)


def test_an_exit_in_the_middle_of_work_is_no_crash():
    python("""
        import threading, numpy as np, lstm_numba as ln
        layer, x = ln.Layer("lstm", 3, 5, threads=2), np.ones((6, 8, 3), "f4")
        layer.forward(x)
        threading.Thread(target=lambda: [layer.forward(x) for _ in range(10**9)], daemon=True).start()
    """)
