"""A cell in torch's own operations: the kernels' results, also where torch.onnx.export writes them.

Truth: the kernels; of the published cells their text, run uncompiled; of functions those on NumPy's arrays.
"""

import inspect

import numpy as np
import onnxruntime
import pytest
import torch
from torch.export import Dim

import derive
import lstm_numba as ln
import lstm_numba.torch as lt
from derive.build import module_of
from lstm_numba import functions
from lstm_numba.cpu.interpreted import PlainLayer
from lstm_numba.torch.plan import Plan
from lstm_numba.torch.scanned import FUNCTIONS, Scanned
from scripts.sizes import ROOT
from tests.verify.test_zoo import CELLS

T, B, N, H = 6, 3, 4, 8
VARIANTS = [
    *((name, {}) for name in ln.cells() if name not in ("clockwork", "lstm_projected")),
    ("clockwork", {"periods": (1, 2, 4, 8)}),
    ("lstm_projected", {"P": 3}),
    ("peephole", {"peepholes": "io"}),
    ("rnn", {"activation": "relu"}),
]
LENGTHS, RESETS = np.array([6, 0, 4]), np.arange(T * B).reshape(T, B) % 4 == 2


def agree(layer, marks, tolerance=1e-13):
    """Compare a layer with what torch's operations make of its parameters."""
    lengths, resets = marks
    rng = np.random.default_rng(2)
    for array in layer.parameters.values():
        array[...] = rng.uniform(-0.5, 0.5, array.shape)
    spec = layer.spec
    state = {name: rng.normal(size=(B, layer.spaces[space])) for name, space in spec.states.items()}
    periods = None if layer._periods is None else tuple(layer._periods)
    plan = Plan(layer._module, tuple((name,) for name in layer._theta), layer.reverse, periods)
    inputs = {name: rng.normal(size=(T, B, layer.spaces[spec.inputs[name]])) for name in plan.inputs}
    given = [[torch.tensor(one) for one in some.values()] for some in (inputs, state, layer._theta)]
    given += [None if mark is None else torch.tensor(mark) for mark in marks]
    found = Scanned(plan, *given).run()
    run = layer.forward(inputs.pop(spec.main), state, lengths, resets, save=False, **inputs)
    for one, other in zip(found, [*run.outputs.values(), *run.state.values()], strict=True):
        np.testing.assert_allclose(one.numpy(), other, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("marks", [(None, None), (LENGTHS, None), (None, RESETS), (LENGTHS, RESETS)])
@pytest.mark.parametrize(("name", "options"), VARIANTS)
def test_torchs_operations_compute_what_the_kernels_do(name, options, marks, reverse):
    agree(ln.Layer(name, N, H, dtype="float64", reverse=reverse, **options), marks)


@pytest.mark.parametrize("name", CELLS)
def test_and_so_they_do_for_published_cells(name):
    module = module_of(CELLS[name])
    further = {space: H for space in module.CELL.spaces if space not in "NH"}
    agree(PlainLayer(module, H, H, dtype="float64", **further), (LENGTHS, None), 1e-12)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_is_the_one_on_numpys_arrays(name):
    numbers = np.array([-np.inf, -40.0, -1.5, -1e-9, -0.0, 0.0, 2.5, 40.0, np.inf, np.nan])
    count = len(inspect.signature(getattr(functions, name)).parameters)
    arrays = np.meshgrid(*[numbers] * count)
    with np.errstate(all="ignore"):
        expected = getattr(functions, name)(*arrays)
        found = FUNCTIONS[name](*map(torch.tensor, arrays)).numpy()
        np.testing.assert_allclose(found, expected, rtol=1e-15, atol=0)
        if count == 2:  # a number in an equation
            np.testing.assert_array_equal(
                FUNCTIONS[name](torch.tensor(numbers), 0.5), getattr(functions, name)(numbers, 0.5)
            )
            np.testing.assert_array_equal(
                FUNCTIONS[name](0.5, torch.tensor(numbers)), getattr(functions, name)(0.5, numbers)
            )


def test_every_function_of_generated_text_has_its_twin():
    assert FUNCTIONS.keys() == {name for name, _ in inspect.getmembers(functions, inspect.isfunction)}


class Model(torch.nn.Module):
    """A layer and what follows it, with the lengths of the rows."""

    def __init__(self, recurrent, size):
        super().__init__()
        self.recurrent, self.linear = recurrent, torch.nn.Linear(size, 2)

    def forward(self, x, lengths):
        output, last = self.recurrent(x, lengths=lengths)
        return self.linear(output), *last.values()


EXPORTED = {
    "masked LSTM": lambda: (lt.Recurrent("lstm", N, H, recurrent_dropout=0.1, zoneout=0.2, reverse=True), H),
    "clockwork": lambda: (lt.Recurrent("clockwork", N, H, periods=(1, 2, 4, 8)), H),
    "clipped": lambda: (lt.Recurrent("peephole", N, H, activations={"g": "softsign"}, clip=3.0), H),
    "normalised": lambda: (lt.Recurrent(derive.load(ROOT / "examples" / "layer_norm_lstm.py"), N, H, S=1), H),
    "stack": lambda: (lt.Stack("depth_gated", N, H, num_layers=2, bidirectional=True), 2 * H),
}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of what torch's exporter deprecates
@pytest.mark.parametrize("name", EXPORTED)
def test_torchs_exporter_writes_any_cell_to_onnx_for_any_number_of_steps_and_rows(name, tmp_path):
    torch.manual_seed(1)
    model, path, rows = Model(*EXPORTED[name]()).eval(), tmp_path / "model.onnx", Dim("B")
    example, shapes = (torch.randn(T, B, N), torch.tensor(LENGTHS)), {"x": {0: Dim("T"), 1: rows}, "lengths": {0: rows}}
    torch.onnx.export(model, example, path, dynamo=True, verbose=False, dynamic_shapes=shapes)
    session = onnxruntime.InferenceSession(path)
    for steps, count in ((T, B), (11, 5), (1, 1)):
        given = torch.randn(steps, count, N), torch.arange(1, count + 1).clamp(max=steps)
        found = session.run(
            None, {one.name: value.numpy() for one, value in zip(session.get_inputs(), given, strict=True)}
        )
        for one, other in zip(found, model(*given), strict=True):
            np.testing.assert_allclose(one, other.detach(), rtol=0, atol=1e-5)
