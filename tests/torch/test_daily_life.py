"""What a module lives through: copies, files, threads, forked loaders, checkpointing, in any order."""

import copy
import os
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import onnxruntime
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.checkpoint import checkpoint
from torch.utils.data import DataLoader, Dataset

import derive
import lstm_numba.torch as lt
from scripts.sizes import ROOT

T, B, N, H = 5, 3, 4, 6
OWN_CELL = ROOT / "examples" / "minimal_gated_unit.py"
MODULES = {
    "LSTM": lambda: lt.LSTM(N, H, 2, bidirectional=True, proj_size=2),
    "masked LSTM": lambda: lt.Recurrent("lstm", N, H, recurrent_dropout=0.1, zoneout=0.2),
    "clockwork": lambda: lt.Recurrent("clockwork", N, H, periods=(1, 2, 4)),
    "a cell of one's own": lambda: lt.Stack(derive.load(OWN_CELL), N, H, num_layers=2),
}
modules = pytest.mark.parametrize("name", MODULES)


class Model(torch.nn.Module):
    """A layer and what follows it."""

    def __init__(self, recurrent):
        super().__init__()
        self.recurrent = recurrent
        self.linear = torch.nn.Linear(2 * H, 1)

    def forward(self, x):
        return self.linear(self.recurrent(x)[0])


def made(name):
    torch.manual_seed(1)
    return MODULES[name]().eval()


def same(one, other):
    x = torch.randn(T, B, N)
    return torch.equal(one(x)[0], other(x)[0])


@modules
def test_copies_compute_the_same_and_are_apart(name):
    module = made(name)
    for other in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):  # noqa: S301 (our own)
        assert same(module, other)
        next(other.parameters()).data.add_(1)
        assert not same(module, other)


@pytest.mark.slow
def test_whole_modules_are_saved_and_loaded_in_another_process(tmp_path):
    made_here, x = {name: made(name) for name in MODULES}, torch.randn(T, B, N)
    outputs = {name: module(x)[0].detach() for name, module in made_here.items()}
    torch.save({"modules": made_here, "x": x, "outputs": outputs}, tmp_path / "modules.pt")
    code = (
        "import torch, lstm_numba.torch\n"
        f"found = torch.load({str(tmp_path / 'modules.pt')!r}, weights_only=False)\n"
        "for name, module in found['modules'].items():\n"
        "    assert torch.equal(module(found['x'])[0], found['outputs'][name]), name"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


@modules
def test_weights_are_loaded_without_trusting_the_file(name, tmp_path):
    module, other = made(name), MODULES[name]().eval()
    torch.save(module.state_dict(), tmp_path / "weights.pt")
    other.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))
    assert same(module, other)


def gradients(module, x):
    return torch.autograd.grad(module(x)[0].square().sum(), list(module.parameters()))


def test_several_threads_share_a_module():
    module, batches = made("LSTM"), [torch.randn(T, B, N) for _ in range(12)]
    alone = [gradients(module, x) for x in batches]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda x: gradients(module, x), batches))
    for one, other in zip(alone, together, strict=True):
        assert all(map(torch.equal, one, other))


def test_two_threads_pull_back_through_one_forward():
    module, x = made("LSTM"), torch.randn(T, B, N)
    output, weights = module(x)[0], list(module.parameters())
    alone = torch.autograd.grad(output.sum(), weights, retain_graph=True)
    with ThreadPoolExecutor(4) as pool:
        waiting = [pool.submit(torch.autograd.grad, output.sum(), weights, retain_graph=True) for _ in range(8)]
    for future in waiting:
        assert all(map(torch.equal, alone, future.result()))


def test_the_results_are_the_same_bits_for_every_number_of_torchs_threads():
    module, x, before = made("LSTM"), torch.randn(T, 9, N), torch.get_num_threads()
    try:
        found = []
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            found.append(gradients(module, x))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(*pair) for other in found[1:] for pair in zip(found[0], other, strict=True))


class Encoded(Dataset):
    """Rows that a recurrent module encodes in the worker."""

    def __init__(self, module):
        self.module, self.rows = module, torch.randn(6, T, N)

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, k):
        with torch.no_grad():
            return self.module(self.rows[k])[0]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:os.fork.* was called.*JAX:RuntimeWarning")  # where another test has started JAX
def test_forked_workers_of_a_loader_run_the_module():
    data = Encoded(lt.LSTM(N, H))
    data[0]  # the parent has its threads and kernels already
    loaded = torch.cat(list(DataLoader(data, batch_size=2, num_workers=2, multiprocessing_context="fork")))
    assert torch.equal(loaded, torch.stack([data[k] for k in range(len(data))]))


def test_checkpointing_recomputes_the_forward_and_gives_the_same_gradients():
    module, x = made("LSTM"), torch.randn(T, B, N)
    output = checkpoint(lambda x: module(x)[0], x, use_reentrant=False)
    found = torch.autograd.grad(output.square().sum(), list(module.parameters()))
    assert all(map(torch.equal, found, gradients(module, x)))


def test_saved_tensors_may_be_packed_elsewhere_in_between():
    module, x = made("LSTM"), torch.randn(T, B, N)
    with torch.autograd.graph.saved_tensors_hooks(torch.clone, lambda tensor: tensor):
        output = module(x)[0]
    found = torch.autograd.grad(output.square().sum(), list(module.parameters()))
    assert all(map(torch.equal, found, gradients(module, x)))


def test_an_optimiser_and_a_hook_train_a_module_as_they_train_torchs():
    curves = []
    for package in (torch.nn, lt):
        torch.manual_seed(3)
        module, head = package.LSTM(N, H, dtype=torch.float64), torch.nn.Linear(H, 1, dtype=torch.float64)
        optimizer, curve = torch.optim.AdamW([*module.parameters(), *head.parameters()], lr=0.01), []
        module.weight_hh_l0.register_hook(lambda gradient: gradient.clamp(-0.1, 0.1))
        for _ in range(20):
            x = torch.randn(T, B, N, dtype=torch.float64)
            loss = (head(module(x)[1][0][-1]) - x.mean(0)[:, :1]).square().mean()
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(module.parameters(), 0.5)
            optimizer.step()
            curve.append(loss.item())
        curves.append(curve)
    torch.testing.assert_close(torch.tensor(curves[1]), torch.tensor(curves[0]), rtol=1e-9, atol=0)


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_shapes_are_found_without_numbers_and_numbers_put_in_afterwards(kind):
    whole = getattr(lt, kind)(N, H, 2, bidirectional=True)
    empty = getattr(lt, kind)(N, H, 2, bidirectional=True, device="meta")
    x = torch.randn(T, B, N)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert empty(x.to("meta"))[0].shape == (T, B, 2 * H)
    empty.to_empty(device="cpu").load_state_dict(whole.state_dict())
    assert same(empty, whole)


@pytest.mark.filterwarnings("ignore")  # of what torch.jit deprecates
@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_torchs_jit_records_torchs_own_module_with_the_same_parameters(kind, tmp_path):
    model, x = Model(getattr(lt, kind)(N, H, 2, bidirectional=True, batch_first=True)), torch.randn(B, T, N)
    parameters, expected, traced = list(model.parameters()), model(x), torch.jit.trace(model, (x,))
    torch.jit.save(torch.jit.script(model), tmp_path / "scripted.pt")
    for recorded in (traced, torch.jit.load(tmp_path / "scripted.pt")):
        torch.testing.assert_close(recorded(x), expected, rtol=0, atol=1e-6)
    assert all(one is other for one, other in zip(model.parameters(), parameters, strict=True))


@pytest.mark.filterwarnings("ignore")  # of what torch's exporter deprecates
@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_torchs_exporter_writes_a_model_to_onnx_as_with_torchs_own_module(kind, tmp_path):
    model, x = Model(getattr(lt, kind)(N, H, bidirectional=True)).eval(), torch.randn(T, B, N)
    torch.onnx.export(model, (x,), tmp_path / "model.onnx", dynamo=True, verbose=False)
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    (found,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    torch.testing.assert_close(torch.from_numpy(found), model(x), rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["LSTM", "masked LSTM", "a cell of one's own"])
def test_torchs_fx_records_a_module_as_one_call_as_it_does_torchs_own(name):
    class First(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.recurrent = made(name)

        def forward(self, x):
            output, _ = self.recurrent(x)
            return output.sin()

    model = First()
    recorded, x = torch.fx.symbolic_trace(model), torch.randn(T, B, N)
    assert [node.target for node in recorded.graph.nodes if node.op == "call_module"] == ["recurrent"]
    assert torch.equal(recorded(x), model(x))


@pytest.mark.parametrize("name", MODULES)
def test_a_module_is_made_on_the_default_device(name):
    with torch.device("meta"):
        module = made(name)
    assert {tensor.device.type for tensor in (*module.parameters(), *module.buffers())} == {"meta"}


def test_importing_the_modules_leaves_the_equations_alone():
    code = "import sys, lstm_numba.torch; print('derive' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert run.stdout.strip() == "False"


@pytest.mark.parametrize("name", MODULES)
def test_a_module_is_made_and_run_where_tensors_are_fake(name):
    with FakeTensorMode():
        output, _ = made(name)(torch.randn(T, B, N))
    assert (output.shape[:2], output.device.type) == ((T, B), "cpu")
