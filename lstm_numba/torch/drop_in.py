"""`torch.nn.LSTM`, `GRU` and `RNN` with these kernels: parameters, initialisation, checks and printing are torch's own.

They derive from `torch.nn.RNNBase` and not from `torch.nn.LSTM`: torch.compile refuses every instance of that.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.fx import Proxy
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from lstm_numba import registry
from lstm_numba.bound import Layout
from lstm_numba.torch import call
from lstm_numba.torch.plan import Plan
from lstm_numba.torch.tensors import values

States = tuple[Tensor, ...]


def _names(gates: Sequence[str], hidden_biases: Sequence[str] = ()) -> Layout:
    """What lies in weight_ih, weight_hh, bias_ih, bias_hh."""
    weight_ih, weight_hh, bias_ih = (tuple(letter + gate for gate in gates) for letter in "WUb")
    return weight_ih, weight_hh, bias_ih, tuple(hidden_biases) or bias_ih


LSTM_NAMES = _names(["_i", "_f", "_g", "_o"])
# torch's mode, and whether there is a projection -> cell, its options, what lies in each of torch's tensors.
CELLS: dict[tuple[str, bool], tuple[str, dict[str, Any], Layout]] = {
    ("RNN_TANH", False): ("rnn", {"activation": "tanh"}, _names([""])),
    ("RNN_RELU", False): ("rnn", {"activation": "relu"}, _names([""])),
    ("LSTM", False): ("lstm", {}, LSTM_NAMES),
    ("LSTM", True): ("lstm_projected", {}, (*LSTM_NAMES, ("W_hr",))),
    ("GRU", False): ("gru_reset_after", {}, _names(["_r", "_z", "_n"], ["b_r", "b_z", "b_hn"])),
}


class _DropIn(torch.nn.RNNBase):
    """What the three have in common: everything but their names.

    torch.jit and torch.onnx cannot record these kernels: what they do is torch's own module with the same parameters.
    """

    _theirs: type[torch.nn.RNNBase]
    _promoted = False  # see call.run

    def __init__(self, mode: str, *args: Any, **kwargs: Any) -> None:
        super().__init__(mode, *args, **kwargs)
        cell, options, layout = CELLS[mode, self.proj_size > 0]
        kept = layout if self.bias else tuple(names for names in layout if not names[0].startswith("b"))
        module, turns = registry.find(cell, options), (False, True) if self.bidirectional else (False,)
        self._plans = tuple(Plan.of(module, kept, reverse) for reverse in turns)

    @property
    def plans(self) -> tuple[tuple[Plan, tuple[Tensor, ...]], ...]:
        """The plan of each layer and direction, with the tensors that it lays out."""
        turns = self._plans * self.num_layers
        return tuple((plan, tuple(weights)) for plan, weights in zip(turns, self.all_weights, strict=True))

    def forward(self, input: Tensor | PackedSequence, hx: Any = None) -> Any:  # noqa: A002  (torch's name)
        """As torch's; `T = 0` is legal and gives the first state."""
        if call.leaves_torch():
            return self._theirs.forward(self, input, hx)
        if isinstance(input, Proxy):
            return call.recorded(self, input, hx)
        if isinstance(input, PackedSequence):
            return self._packed(input, hx)
        if input.dim() not in (2, 3):
            kind = type(self).__name__
            raise ValueError(f"{kind}: Expected input to be 2D or 3D, got {input.dim()}D instead")
        batched, axis = input.dim() == 3, 0 if self.batch_first else 1
        if hx is not None:
            self._check_rank(hx, input.dim())
        if not batched:
            input, hx = input.unsqueeze(axis), self._each(hx, lambda h: h.unsqueeze(1))  # noqa: A001
        self._check(input, hx, None)
        output, last = self._layers(input.transpose(0, 1) if self.batch_first else input, hx, None)
        output = output.transpose(0, 1) if self.batch_first else output
        if not batched:
            output, last = output.squeeze(axis), tuple(h.squeeze(1) for h in last)
        return output, self._like_torch(last)

    def _packed(self, packed: PackedSequence, hx: Any) -> Any:
        """The rows of a packed sequence stand longest first; the states come and go in the caller's order."""
        data, sizes, order, back = packed
        hx = self._each(hx, lambda h: h if order is None else h.index_select(1, order))
        self._check(data, hx, sizes)
        x, lengths = pad_packed_sequence(PackedSequence(data, sizes))
        output, last = self._layers(x, hx, lengths)
        if back is not None:
            last = tuple(h.index_select(1, back) for h in last)
        return PackedSequence(pack_padded_sequence(output, lengths).data, sizes, order, back), self._like_torch(last)

    def __prepare_scriptable__(self) -> torch.nn.RNNBase:
        """Torch's module with the same parameters; torch.jit.script puts it in this one's place, in the model too."""
        twin = object.__new__(self._theirs)
        vars(twin).update({name: value for name, value in vars(self).items() if name != "_plans"})
        return twin

    # --- states: a tensor, or for an LSTM a pair of them

    def _states(self, hx: Any) -> States:
        return (hx,)

    def _like_torch(self, states: States) -> Any:
        return states[0]

    def _each(self, hx: Any, change: Any) -> Any:
        return None if hx is None else self._like_torch(tuple(map(change, self._states(hx))))

    def _check(self, input: Tensor, hx: Any, sizes: Tensor | None) -> None:  # noqa: A002
        if hx is None:
            self.check_input(input, sizes)
        else:
            self.check_forward_args(input, hx, sizes)

    def _check_rank(self, hx: Any, rank: int) -> None:
        ranks = [state.dim() for state in self._states(hx)]
        if ranks != [rank] * len(ranks):
            kind = "batched" if rank == 3 else "unbatched"
            raise RuntimeError(f"For {kind} {rank}-D input, the states should also be {rank}-D but got {ranks}")

    # --- layers

    def _layers(self, x: Tensor, hx: Any, lengths: Tensor | None) -> tuple[Tensor, States]:
        """x (T, B, N) through all layers: outputs, and the last state of each layer and direction."""
        given = [[zeros] * self.num_layers * 2 for zeros in self._zeros(x)] if hx is None else self._unbound(hx)
        last, count = [], len(self._plans)
        for k in range(self.num_layers):
            outputs = []
            for d, plan in enumerate(self._plans):
                place = k * count + d
                weights = values(self, self._all_weights[place])
                first = [states[place] for states in given]
                output, *states = call.run(plan, [x], first, weights, lengths, promoted=self._promoted)
                outputs.append(output)
                last.append(states)
            x = outputs[0] if count == 1 else torch.cat(outputs, dim=2)
            if self.dropout and self.training and k < self.num_layers - 1:
                x = self._dropped(x, lengths)
        return x, tuple(map(_stacked, zip(*last, strict=True)))

    def _zeros(self, x: Tensor) -> list[Tensor]:
        sizes = {"P": self.proj_size, "H": self.hidden_size}
        return [x.new_zeros(x.shape[1], sizes[space]) for space in self._plans[0].spec.states.values()]

    def _unbound(self, hx: Any) -> list[States]:
        return [state.unbind(0) for state in self._states(hx)]

    def _dropped(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        """Dropout between layers: the numbers that torch draws, which are those of the valid steps only."""
        if lengths is None:
            return torch.dropout(x, self.dropout, train=True)
        data, sizes, _, _ = pack_padded_sequence(x, lengths)
        return pad_packed_sequence(PackedSequence(torch.dropout(data, self.dropout, train=True), sizes))[0]


def _stacked(states: States) -> Tensor:
    return torch.stack(states) if len(states) > 1 else states[0].unsqueeze(0)


class LSTM(_DropIn):
    """`torch.nn.LSTM`: the same arguments, state dict, results and errors."""

    _theirs = torch.nn.LSTM
    get_expected_cell_size = torch.nn.LSTM.get_expected_cell_size
    check_forward_args = torch.nn.LSTM.check_forward_args
    permute_hidden = torch.nn.LSTM.permute_hidden

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__("LSTM", *args, **kwargs)

    def _states(self, hx: Any) -> States:
        if len(hx) > 2:
            raise RuntimeError("lstm expects two hidden states")
        return hx[0], hx[1]

    def _like_torch(self, states: States) -> Any:
        return states


class GRU(_DropIn):
    """`torch.nn.GRU`: the same arguments, state dict, results and errors."""

    _theirs = torch.nn.GRU
    _promoted = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        _no_projection(kwargs)
        super().__init__("GRU", *args, **kwargs)


class RNN(_DropIn):
    """`torch.nn.RNN`: the same arguments, state dict, results and errors."""

    _theirs = torch.nn.RNN

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        *args: Any,
        **kwargs: Any,
    ) -> None:
        _no_projection(kwargs)
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(f"Unknown nonlinearity '{nonlinearity}'. Select from 'tanh' or 'relu'.")
        self.nonlinearity = nonlinearity
        super().__init__(f"RNN_{nonlinearity.upper()}", input_size, hidden_size, num_layers, *args, **kwargs)


def _no_projection(kwargs: dict[str, Any]) -> None:
    if "proj_size" in kwargs:
        raise ValueError("proj_size argument is only supported for LSTM, not RNN or GRU")
