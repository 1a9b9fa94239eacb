"""A cell in torch's own operations, for a model that shall run without this package.

torch.onnx.export writes the scan as ONNX's Scan, for any T and B: its body is the generated step.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch._higher_order_ops.scan import scan  # torch's word for a prototype: its exporter knows it since 2.9
from torch.nn.functional import linear

from lstm_numba import clock
from lstm_numba.spec import Slot, declared
from lstm_numba.step import bound, clock_name, run_step
from lstm_numba.torch.plan import Plan

Tensors = dict[str, Tensor]
# Sequences that are no cell's: no name of a cell has a space in it.
RUNS, RESET = "the row runs", "the reset"


def _softplus(a: Tensor) -> Tensor:
    return torch.where(a < 0, 0, a) + torch.log1p(torch.exp(-torch.abs(a)))


def _maximum(a: Any, b: Any) -> Tensor:
    return torch.where((b > a) | _is_nan(b), b, a)


def _minimum(a: Any, b: Any) -> Tensor:
    return torch.where((b < a) | _is_nan(b), b, a)


def _is_nan(b: Any) -> Any:
    return torch.isnan(b) if isinstance(b, Tensor) else False  # no number in an equation is


# The functions that generated text may call; the same names on numbers: `lstm_numba.functions`.
FUNCTIONS: dict[str, Callable[..., Any]] = {
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "relu": lambda a: torch.where(a < 0, 0, a),
    "exp": torch.exp,
    "log": torch.log,
    "sqrt": torch.sqrt,
    "sin": torch.sin,
    "cos": torch.cos,
    "softplus": _softplus,
    "absolute": torch.abs,
    "maximum": _maximum,
    "minimum": _minimum,
    "positive": lambda a: (a > 0).to(a.dtype),
    "where": lambda condition, then, otherwise: torch.where(condition != 0, then, otherwise),
    "stop": torch.detach,
}


class Scanned:
    """One layer whose layout has one parameter in each tensor; arguments as of `call.run`."""

    def __init__(
        self,
        plan: Plan,
        inputs: Sequence[Tensor],
        state: Sequence[Tensor],
        parameters: Sequence[Tensor],
        lengths: Tensor | None,
        resets: Tensor | None,
    ) -> None:
        self.plan, self.spec = plan, plan.spec
        self.parts, self.clock = bound(plan.module, FUNCTIONS), clock_name(plan.module)
        self.first = dict(zip(self.spec.states, state, strict=True))
        self.steps, self.rows = inputs[0].shape[:2]
        self.units = state[0].shape[-1]
        self.theta = self._structured({name: one for (name,), one in zip(plan.layout, parameters, strict=True)})
        self.time = torch.arange(self.steps, device=inputs[0].device)
        self.ends = None if lengths is None else lengths.to(self.time.device)
        self.turns = self._turns() if plan.reverse else None
        self.inputs = {name: self._turned(one) for name, one in zip(plan.inputs, inputs, strict=True)}
        self.resets = None if resets is None else self._turned(resets)

    def run(self) -> list[Tensor]:
        """Outputs (T, B, space) and last states (B, space)."""
        # 1. what needs no state, for all steps at once  2. step after step  3. outputs turned back
        last, outputs = scan(self._step, self.first, self._sequences())
        return [
            *(self._turned(outputs[name]) for name in self.spec.outputs),
            *(last[name] for name in self.spec.states),
        ]

    def _structured(self, theta: Tensors) -> Tensors:
        """With zeros where a matrix has them by its structure."""
        structures, periods = self.spec.structures, self.plan.periods or (1,)
        masks = {n: torch.from_numpy(m) for n, m in clock.masks(structures, len(periods), self.units).items()}
        return theta | {name: theta[name].masked_fill(mask.to(theta[name].device), 0) for name, mask in masks.items()}

    def _turns(self) -> Tensor:
        """(T, B): the step that stands at each place when the valid part of every row is turned round."""
        time, ends = self.time[:, None], self.steps if self.ends is None else self.ends
        return torch.where(time < ends, ends - 1 - time, time).expand(-1, self.rows)

    def _turned(self, sequence: Tensor) -> Tensor:
        if self.turns is None:
            return sequence
        places = self.turns if sequence.dim() == 2 else self.turns[:, :, None].expand_as(sequence)
        return sequence.gather(0, places)

    # --- 1. for all steps at once

    def _sequences(self) -> Tensors:
        slots = [slot for stage in self.spec.stages for slot in stage.slots]
        sums = {slot.name: self._over(slot, self.inputs, self._bias(slot)) for slot in slots}
        found = {name: value for name, value in sums.items() if value is not None}
        found |= {name: self.inputs[name] for name in self.spec.pointwise_inputs}
        if self.clock:
            found[self.clock] = self._ticks()
        if self.ends is not None:
            found[RUNS] = self.time[:, None] < self.ends
        return found if self.resets is None else found | {RESET: self.resets}

    def _ticks(self) -> Tensor:
        """(T, H): 1 where the period of the unit divides the step, else 0."""
        periods = torch.tensor(self.plan.periods, device=self.time.device)
        of_units = periods.repeat_interleave(self.units // len(periods))
        return (self.time[:, None] % of_units == 0).to(next(iter(self.first.values())).dtype)

    def _bias(self, slot: Slot) -> Tensor | None:
        """Where an input is added to it; else the step adds it."""
        reads = any(operand in self.inputs for _, operand in slot.terms)
        return self.theta[slot.bias] if slot.bias and reads else None

    def _over(self, slot: Slot, operands: Mapping[str, Tensor], total: Tensor | None) -> Tensor | None:
        """A slot's products with those of its operands, added to what is there."""
        for matrix, operand in slot.terms:
            if operand in operands:
                weights, given = self.theta[declared(matrix)], operands[operand]
                product = linear(given, weights) if declared(matrix) == matrix else given @ weights
                total = product if total is None else total + product
        return total

    # --- 2. one step

    def _step(self, carried: Tensors, read: Tensors) -> tuple[Tensors, Tensors]:
        before = carried if self.resets is None else {name: self._restarted(name, carried, read) for name in carried}
        known = self.theta | read | {f"{name}_prev": value for name, value in before.items()}

        def affine(slot: Slot, found: Mapping[str, Any]) -> Any:
            states = {operand: found[operand] for _, operand in slot.terms if operand not in self.inputs}
            total = read[slot.name] if slot.name in read else self.theta.get(slot.bias or "")
            return self._over(slot, states, total)

        found = run_step(self.parts, known, affine)
        after = {name: self._valid(found[name], value, read) for name, value in carried.items()}
        return after, {name: self._valid(found[name], 0, read) for name in self.spec.outputs}

    def _restarted(self, name: str, carried: Tensors, read: Tensors) -> Tensor:
        return torch.where(read[RESET][:, None], self.first[name], carried[name])

    def _valid(self, value: Tensor, otherwise: Any, read: Tensors) -> Tensor:
        """The value of rows that still run, in memory of its own: what a scan returns shares none."""
        return value.clone() if self.ends is None else torch.where(read[RUNS][:, None], value, otherwise)
