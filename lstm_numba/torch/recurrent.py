"""Any cell as a torch module: the layer of `lstm_numba.Layer`, its parameters under the names of the equations."""

from collections.abc import Mapping
from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from torch.fx import Proxy

from lstm_numba import checks, clock
from lstm_numba.errors import ArgumentError, OptionError, ShapeError
from lstm_numba.layer import Layer
from lstm_numba.torch import call, init
from lstm_numba.torch.cells import module_of
from lstm_numba.torch.plan import Plan
from lstm_numba.torch.tensors import values

States = Mapping[str, Tensor]
KEEP, ZONE = "keep_", "zone_"


class Recurrent(torch.nn.Module):
    """One layer of one cell, in one direction.

    Args:
        cell: a name, one of `lstm_numba.cells()`; a cell of one's own (`derive.load("my_cell.py")`); or its generated
            module.
        input_size, hidden_size: N and H.
        batch_first: x and output are (B, T, size), as are further inputs; else (T, B, size).
        reverse: read each row from its last valid step to its first.
        input_dropout, recurrent_dropout: probability that an entry of x, or of the output that recurs, is dropped: one
            mask for all steps of a row (Gal & Ghahramani 2016).
        zoneout: probability that a unit keeps its state for a step (Krueger et al. 2017): one number for all states, or
            one for each, {"h": 0.05, "c": 0.5}.
        forget_bias: number that the bias of the gate that keeps starts at; None leaves what the cell says.
        chrono: longest lag to be learnt; that bias then starts at log u, u uniform in [1, chrono - 1] (Tallec &
            Ollivier 2018).
        device, dtype: of the parameters.
        options: the cell's own, as of `Layer`: peepholes="io", periods=[1, 2, 4, 8], P=32.

    Shape:
        x (T, B, N); states (B, space); outputs (T, B, space).  T = 0, B = 0 and length 0 are legal.

    The masks are inputs of the equations: `recurrent_dropout` gives the cell an input keep_h, `zoneout` the inputs
    zone_h, zone_c, ...  What is not handed to `forward` is drawn from torch's generator; in evaluation it is the mean.

    Raises:
        UnknownCellError, OptionError, ArgumentError, DtypeError: for what cannot be made.
    """

    def __init__(
        self,
        cell: Any,
        input_size: int,
        hidden_size: int,
        *,
        batch_first: bool = False,
        reverse: bool = False,
        input_dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        zoneout: float | Mapping[str, float] = 0.0,
        forget_bias: float | None = None,
        chrono: int | None = None,
        device: Any = None,
        dtype: torch.dtype | None = None,
        **options: Any,
    ) -> None:
        super().__init__()
        self.input_size, self.hidden_size, self.batch_first = input_size, hidden_size, batch_first
        self.input_dropout = _probability("input_dropout", input_dropout)
        self.recurrent_dropout = _probability("recurrent_dropout", recurrent_dropout)
        self.zoneout = _zoneouts(zoneout)
        self.forget_bias, self.chrono = forget_bias, chrono
        self._settings = {name: value for name, value in options.items() if name.isupper() or name == "periods"}
        chosen = {name: value for name, value in options.items() if name not in self._settings}
        zoned = tuple(self.zoneout) if isinstance(zoneout, Mapping) else any(self.zoneout.values())
        module = module_of(cell, chosen, self.recurrent_dropout > 0, zoned)
        layer = self._fresh(module)
        self.spaces = layer.spaces
        periods = clock.module_periods(self._settings.get("periods"), hidden_size) if layer.spec.clock else None
        self._names = tuple(layer._theta)
        self._plan = Plan.of(module, tuple((name,) for name in self._names), reverse, periods)
        self._register(layer, device, dtype or torch.get_default_dtype())
        self._set_biases()

    def _fresh(self, module: ModuleType) -> Layer:
        """A NumPy layer with initial numbers; its seed is drawn from torch's generator."""
        drawn = torch.randint(2**62, (), device="cpu")
        seed = int(drawn) if type(drawn) is Tensor else 0  # a fake one has no number, and whoever wants one needs none
        return Layer(module, self.input_size, self.hidden_size, dtype="float64", seed=seed, **self._settings)

    def _register(self, layer: Layer, device: Any, dtype: torch.dtype) -> None:
        taken = sorted({*self._names} & {*dir(self)})
        if taken:
            raise OptionError(
                f"{layer.spec.name} has a parameter {taken[0]!r}, a name that every torch module uses for something "
                "else: give it another name in the equations."
            )
        device = torch.get_default_device() if device is None else device
        for name, array in layer.parameters.items():
            self.register_parameter(name, torch.nn.Parameter(torch.from_numpy(array).to(device, dtype, copy=True)))
        for name, array in layer.constants.items():
            self.register_buffer(name, torch.from_numpy(array).to(device, dtype, copy=True))

    def reset_parameters(self) -> None:
        """Draw all numbers anew: matrices and vectors uniform in +-1/sqrt(H), biases 0 or what the cell says."""
        with torch.no_grad():
            for name, array in self._fresh(self._plan.module)._theta.items():
                getattr(self, name).copy_(torch.from_numpy(array))
        self._set_biases()

    def _set_biases(self) -> None:
        if self.forget_bias is not None:
            init.forget_bias_(self, self.forget_bias)
        if self.chrono is not None:
            init.chrono_(self, self.chrono)

    @property
    def plans(self) -> tuple[tuple[Plan, tuple[Tensor, ...]], ...]:
        """The plan of each layer, with the tensors that it lays out."""
        return ((self._plan, tuple(values(self, self._names))),)

    @property
    def states(self) -> tuple[str, ...]:
        """Names of the states."""
        return tuple(self._plan.spec.states)

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the input sequences, the first being what `forward` takes first."""
        return self._plan.inputs

    @property
    def output_size(self) -> int:
        spec = self._plan.spec
        return self.spaces[spec.states[spec.outputs[0]]]

    def forward(
        self,
        x: Tensor,
        state: States | None = None,
        lengths: Any = None,
        resets: Tensor | None = None,
        **inputs: Tensor,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The output (T, B, H) and each row's last state, {"h": (B, H), ...}.

        Args:
            x: (T, B, N), or (B, T, N) with batch_first.
            state: first states; what is left out is 0.
            lengths: (B,) integers in [0, T]. Past a row's end its state is held and its outputs are 0.
            resets: (T, B) bool, or (B, T) with batch_first; before a step where it is true the row's state returns to
                its first value.
            inputs: the cell's further input sequences, shaped as x, or (B, space) for the same at all steps.

        Raises:
            ShapeError, DtypeError, ArgumentError, OptionError, DeviceError: before anything is computed.
            NotRecordableError: torch.jit.trace is at work; see `call.recorded` too.
        """
        if isinstance(x, Proxy):
            return call.recorded(self, x, state, lengths, resets, **inputs)
        outputs, last = self.run(x, state, lengths, resets, **inputs)
        return next(iter(outputs.values())), last

    def run(
        self,
        x: Tensor,
        state: States | None = None,
        lengths: Any = None,
        resets: Tensor | None = None,
        **inputs: Tensor,
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """As `forward`, with every output of the cell by name: a depth-gated LSTM gives h and c."""
        spec = self._plan.spec
        if torch.jit.is_tracing():
            raise call.not_recordable(spec.name)
        if _tensor(spec.main, x).dim() != 3:
            raise ShapeError(f"{spec.main} has {x.dim()} axes, expected 3: (T, B, N), or (B, T, N) with batch_first.")
        x, resets = self._turned(x), None if resets is None else self._turned(resets)
        given = self._inputs(x, inputs)
        if lengths is not None:
            lengths = torch.as_tensor(lengths)
        ((plan, tensors),) = self.plans
        run = call.scanned if call.leaves_torch() else call.run
        found = run(plan, given, self._states(x, state), tensors, lengths, resets)
        outputs = [self._turned(output) for output in found[: len(spec.outputs)]]
        last = found[len(spec.outputs) :]
        return dict(zip(spec.outputs, outputs, strict=True)), dict(zip(spec.states, last, strict=True))

    def _turned(self, sequence: Tensor) -> Tensor:
        return sequence.transpose(0, 1) if self.batch_first else sequence

    def _states(self, x: Tensor, given: States | None) -> list[Tensor]:
        own = self._plan.spec.states
        given = checks.only("state", given, tuple(own))
        return [_tensor(n, given[n]) if n in given else x.new_zeros(x.shape[1], self.spaces[s]) for n, s in own.items()]

    # --- inputs: those that were given, masks, zeros

    def _inputs(self, x: Tensor, given: Mapping[str, Tensor]) -> list[Tensor]:
        """In the plan's order, each (T, B, space)."""
        further = self._plan.further
        checks.further(given, further)
        found = [x * self._dropout_mask(x, x.shape[2], self.input_dropout)] if self._drops(self.input_dropout) else [x]
        for name in further:
            if name not in given:
                found.append(self._default(name, x))
            elif _tensor(name, given[name]).dim() == 2:
                found.append(given[name].expand(len(x), *given[name].shape))
            else:
                found.append(self._turned(given[name]))
        return found

    def _default(self, name: str, x: Tensor) -> Tensor:
        """An input that was not given: a mask, or zeros."""
        size = self.spaces[self._plan.spec.inputs[name]]
        if name.startswith(KEEP):
            if not self._drops(self.recurrent_dropout):
                return x.new_ones(()).expand(*x.shape[:2], size)
            return self._dropout_mask(x, size, self.recurrent_dropout).expand(len(x), -1, -1)
        rate = self.zoneout.get(name.removeprefix(ZONE), self.zoneout.get("", 0.0)) if name.startswith(ZONE) else 0.0
        if rate and self.training:
            return x.new_empty(*x.shape[:2], size).bernoulli_(rate)
        return x.new_full((), rate).expand(*x.shape[:2], size)

    def _drops(self, rate: float) -> bool:
        return self.training and rate > 0

    @staticmethod
    def _dropout_mask(x: Tensor, size: int, rate: float) -> Tensor:
        """(B, size): 0 with the probability `rate`, else what keeps the mean at 1."""
        return x.new_empty(x.shape[1], size).bernoulli_(1 - rate).div_(1 - rate)

    def __prepare_scriptable__(self) -> Any:
        raise call.not_recordable(self._plan.spec.name)

    def extra_repr(self) -> str:
        settings = {"batch_first": self.batch_first, "reverse": self._plan.reverse, "input_dropout": self.input_dropout}
        settings |= {"recurrent_dropout": self.recurrent_dropout, **self._settings}
        shown = "".join(f", {name}={value}" for name, value in settings.items() if value)
        return f"{self._plan.spec.name}, {self.input_size}, {self.hidden_size}{shown}"


def _tensor(name: str, value: Any) -> Tensor:
    if not isinstance(value, Tensor):
        raise ArgumentError(f"{name} must be a tensor, got {type(value).__name__}: convert it with torch.as_tensor.")
    return value


def _probability(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1:
        raise OptionError(f"{name} must be a probability in [0, 1), got {value!r}.")
    return float(value)


def _zoneouts(given: Any) -> dict[str, float]:
    """State -> probability; "" is every state that is not named."""
    rates = given if isinstance(given, Mapping) else {"": given}
    return {name: _probability(f"zoneout[{name!r}]" if name else "zoneout", rate) for name, rate in rates.items()}
