"""CUDA tensors in torch's modules, on a stand-in: CPU tensors that are handed to the CUDA kernels in plain Python."""

import contextlib
import copy
from types import SimpleNamespace

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

import lstm_numba.torch as lt
from lstm_numba.errors import CudaUnavailableError
from lstm_numba.gpu import device as devices
from lstm_numba.gpu import exchange
from lstm_numba.gpu import layer as gpu_layer
from lstm_numba.gpu.interpreted import Interpreter
from lstm_numba.torch import call, cuda, eager, operators
from lstm_numba.types import Types
from tests.conftest import cuda_devices
from tests.cuda import fake_cupy
from tests.cuda.devices import H100

T, B, N, H = 4, 3, 3, 4
RESETS = torch.tensor([[0, 0, 1], [0, 1, 0], [1, 0, 0], [0, 0, 0]], dtype=torch.bool)


@pytest.fixture
def stand_in(monkeypatch):
    """From now on CPU tensors are a device's."""
    device = Interpreter(H100)
    monkeypatch.setattr(devices, "numbered", lambda number: device)
    monkeypatch.setattr(exchange.Torch, "working", lambda self, device: device.active())
    monkeypatch.setattr(exchange.Torch, "free_bytes", lambda self, device: device.free_bytes())
    found = exchange.kind_of

    def kind_of(value, xp):
        return exchange.Torch(xp, value) if isinstance(value, torch.Tensor) else found(value, xp)

    for module in (exchange, gpu_layer):
        monkeypatch.setattr(module, "kind_of", kind_of)
    monkeypatch.setitem(operators.RUNTIMES, "cpu", cuda)
    for module in (operators, eager):  # what they call without asking the table
        monkeypatch.setattr(module, "cpu", cuda, raising=False)
    cuda._layer.cache_clear()
    yield device
    cuda._layer.cache_clear()


def everything(module, x, **options):
    """Outputs, last states, and the gradients of a loss of them all."""
    x = x.detach().clone().requires_grad_()
    output, last = module(x, **options)
    last = list(last.values()) if isinstance(last, dict) else list(last) if isinstance(last, tuple) else [last]
    loss = sum((found * torch.arange(found.numel()).reshape(found.shape)).sum() for found in (output, *last))
    return [output, *last, *torch.autograd.grad(loss, [x, *module.parameters()])]


def close(found, expected, tolerance=1e-12):
    return all(
        one.dtype == other.dtype and one.shape == other.shape and torch.allclose(one, other, tolerance, tolerance)
        for one, other in zip(found, expected, strict=True)
    )


MODULES = {
    "gru": lambda: lt.Recurrent("gru", N, H, dtype=torch.float64, reverse=True),
    "peephole": lambda: lt.Recurrent("peephole", N, H, dtype=torch.float64),
    "clockwork": lambda: lt.Recurrent("clockwork", N, H, dtype=torch.float64),
    "LSTM": lambda: lt.LSTM(N, H, 2, bidirectional=True, dtype=torch.float64),
    "projected": lambda: lt.LSTM(N, H, proj_size=2, dtype=torch.float64),
    "GRU without biases": lambda: lt.GRU(N, H, bias=False, dtype=torch.float64),
}


@pytest.mark.parametrize("name", MODULES)
def test_a_module_on_the_device_gives_what_it_gives_on_the_cpu(name, monkeypatch, request):
    torch.manual_seed(0)
    module, x = MODULES[name](), torch.randn(T, B, N, dtype=torch.float64)
    options = {"lengths": [4, 2, 0], "resets": RESETS} if isinstance(module, lt.Recurrent) else {}
    expected = everything(module, x, **options)
    request.getfixturevalue("stand_in")
    assert close(everything(module, x, **options), expected)


def test_half_tensors_stay_half_and_states_and_parameters_are_computed_in_float32(monkeypatch, request):
    torch.manual_seed(0)
    module, x = lt.GRU(N, H, dtype=torch.float16), torch.randn(T, B, N, dtype=torch.float16)
    expected = everything(copy.deepcopy(module).float(), x.float())
    request.getfixturevalue("stand_in")
    monkeypatch.setattr(call, "COMPUTED", call.COMPUTED_ON_CUDA)
    found = everything(module, x)
    assert {tensor.dtype for tensor in found} == {torch.float16}
    layer = cuda._layer(module.plans[0][0], (N, H), Types("float16"), None)
    assert (layer.types.stored.name, layer.types.arithmetic.name) == ("float16", "float32")
    assert close([tensor.float() for tensor in found], expected, 2e-2)


def test_a_run_is_found_again_by_its_backward(stand_in, monkeypatch):
    made, run_of = [], cuda.run_of
    monkeypatch.setattr(cuda, "run_of", lambda *a: made.append(run_of(*a)) or made[-1])
    everything(lt.GRU(N, H), torch.randn(T, B, N))
    assert len(made) == 1


@pytest.mark.parametrize(("dtype", "rounds"), [(torch.float32, True), (torch.float32, False), (torch.float64, True)])
def test_products_are_rounded_where_torch_rounds_its_own(dtype, rounds, monkeypatch):
    monkeypatch.setattr(cuda, "_rounds_to_tf32", lambda: rounds)
    assert cuda._types(dtype).products == ("tf32" if rounds and dtype == torch.float32 else "exact")


def test_the_flag_is_that_of_torchs_recurrent_layers():
    before = torch.backends.cudnn.allow_tf32
    try:
        for allowed in (False, True):
            torch.backends.cudnn.allow_tf32 = allowed
            assert cuda._rounds_to_tf32() is allowed
    finally:
        torch.backends.cudnn.allow_tf32 = before


def test_fake_tensors_of_a_device_have_its_types_and_places():
    module = lt.LSTM(N, H)
    with FakeTensorMode():
        plan, weights = module.plans[0]
        moved = [torch.empty(weight.shape, device="cuda", dtype=torch.bfloat16) for weight in weights]
        given = [torch.empty(T, B, N, device="cuda", dtype=torch.bfloat16)]
        given += [torch.empty(B, H, device="cuda", dtype=torch.bfloat16) for _ in range(2)]
        output, h, c, reserve = operators.forward([*given, *moved], None, None, plan.key, True)
        gradients = operators.backward([output, h, c], [*given, *moved], reserve, None, None, plan.key, None)
    assert (output.shape, c.shape, reserve.device.type) == ((T, B, H), (B, H), "cpu")
    assert {(t.dtype, t.device.type) for t in (output, h, c, *gradients)} == {(torch.bfloat16, "cuda")}


@pytest.mark.skipif(bool(cuda_devices()), reason="says what is missing where there is no device")
def test_without_a_device_the_error_says_what_is_missing():
    plan, weights = lt.GRU(N, H).plans[0]
    with pytest.raises(CudaUnavailableError, match="device='cuda' needs"):
        cuda.forward(plan, [torch.zeros(T, B, N), torch.zeros(B, H), *weights], None, None, False)


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")  # of torch's forward mode
def test_derivatives_of_second_order_run_on_the_device_too(request):
    torch.manual_seed(0)
    module, x = lt.GRU(N, H, dtype=torch.float64), torch.randn(T, B, N, dtype=torch.float64)

    def second():
        moving = x.clone().requires_grad_()
        first = torch.autograd.grad(module(moving)[0].pow(2).sum(), moving, create_graph=True)[0]
        pushed = torch.func.jvp(lambda x: module(x)[0], (x,), (x.cos(),))[1]
        return [pushed, *torch.autograd.grad(first.sin().sum(), [moving, *module.parameters()])]

    expected = second()
    request.getfixturevalue("stand_in")
    assert close(second(), expected)


@pytest.mark.parametrize("cupy", [13, 14])
def test_work_goes_to_torchs_stream_on_the_tensors_device_in_torchs_memory(monkeypatch, cupy):
    if cupy == 14:
        named = staticmethod(lambda stream: fake_cupy.Stream(pointer=stream.__cuda_stream__()[1]))
        monkeypatch.setattr(fake_cupy.Stream, "from_external", named, raising=False)
    freed, alone = [], contextlib.nullcontext()
    stand_in = SimpleNamespace(
        current_stream=lambda place: SimpleNamespace(cuda_stream=77), device=lambda place: alone,
        caching_allocator_alloc=lambda size, number, stream: 923 + size + stream, caching_allocator_delete=freed.append,
        memory_reserved=lambda place: 50, memory_allocated=lambda place: 20,
    )  # fmt: skip
    monkeypatch.setattr(exchange.Torch, "_torch", SimpleNamespace(cuda=stand_in))
    device = devices.Device(fake_cupy.Cupy(), 2)
    own = exchange.Torch(device.xp, SimpleNamespace(device="cuda:2"))
    with own.working(device):
        assert (fake_cupy.Stream.current.ptr, fake_cupy.Device.current) == (77, 2)
        take, release = fake_cupy.Cupy.allocator.functions
        assert take(24, 2) == 1024
        release(1024, 2)
    assert freed == [1024]
    assert fake_cupy.Cupy.allocator is fake_cupy.Stream.current is None
    assert own.free_bytes(device) == device.unused_bytes() + 30
