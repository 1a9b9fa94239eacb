"""A layer's time loops as one kernel each: how they are laid over the device, and what they are given."""

from types import ModuleType
from typing import Any

from lstm_numba.gpu.plan import Plan, held_backward, held_forward, plan
from lstm_numba.gpu.shapes import Arrays, Shapes


class Sweeps:
    """Of one layer at one size.

    Attributes:
        limits: the device's; None runs everything step by step.
    """

    def __init__(self, module: ModuleType, shapes: Shapes, device: Any) -> None:
        self.module, self.shapes, self.device, self.limits = module, shapes, device, device.limits
        self.operands, self.types = shapes.operands, shapes.types
        self.plans: dict[Any, Plan | None] = {}

    def plan(self, direction: str, batch: int) -> Plan | None:
        """How one runs for so many rows; None where there is none for this cell, or it does not fit."""
        key = direction, batch, self.limits
        if key not in self.plans:  # hundreds of divisions are looked at
            self.plans[key] = self._plan(direction, batch)
        return self.plans[key]

    def _plan(self, direction: str, batch: int) -> Plan | None:
        name = f"sweep_{direction}"
        if name not in self.shapes.names or self.limits is None:
            return None
        held = held_forward(self.operands) if direction == "forward" else held_backward(self.operands)
        sizes = [self.shapes.spaces[space] for kind, _, space in self.shapes.spec.program if kind == "pointwise"]
        found = plan(held, sizes, batch, self.limits, self.types)
        return found if found and self.device.holds(self.module, self.types, name, found) else None

    def run(self, direction: str, arrays: Arrays, count: int, found: Plan) -> None:
        """So many steps."""
        name = f"sweep_{direction}"
        known = {**arrays, **self._multiplied(arrays), **found.places}
        known |= {"steps": count, "parts": found.parts, "tile": found.tile, "span": found.span}
        arguments = {n: known[n] for n in self.shapes.names[name]}
        self._unwrite(arguments, count)
        self.device.sweep(self.module, self.types, name, arguments, found)

    def _multiplied(self, arrays: Arrays) -> Arrays:
        """What the products read, in the type of storage, and the matrices as flat arrays."""
        half = self.types.is_half
        names = {f"operand_slots_{k}": f"low_slots_{k}" for k in self.shapes.stages}
        names |= {f"operand_{o.name}": f"low_{o.name}" if half else o.source for o in self.operands if not o.is_input}
        found = {operand: arrays[name] for operand, name in names.items() if name in arrays}
        return found | {f"weights_{o.key}": arrays[f"weights_{o.key}"].reshape(-1) for o in self.operands}

    def _unwrite(self, arguments: Arrays, count: int) -> None:
        """Nothing of what the products read is written yet, except for what the first step finds."""
        batch, rows = arguments["batch"], arguments["batch"] * count
        for o in self.operands:
            if (array := arguments.get(f"operand_{o.name}")) is not None:
                there = batch * o.depth if o.state else 0
                self.device.unwrite(array[there : there + rows * o.depth])
        for k in self.shapes.stages:
            if (array := arguments.get(f"operand_slots_{k}")) is not None:
                self.device.unwrite(array[: rows * self.shapes.columns(k)])
