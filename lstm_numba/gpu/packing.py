"""Steps 1 and 5 of the engine: parameters to one matrix for each product, and sums back to the parameters."""

from collections.abc import Collection, Mapping
from math import prod
from typing import Any

from lstm_numba.gpu.operands import Operand
from lstm_numba.gpu.shapes import Arrays, Shapes
from lstm_numba.parameters import Parameters
from lstm_numba.spec import declared


class Packing:
    """Of one layer; `places` says where parameters and constants lie in a flat vector of them all."""

    def __init__(self, shapes: Shapes, places: Parameters, device: Any) -> None:
        self.shapes, self.spec, self.places, self.device = shapes, shapes.spec, places, device

    def _part(self, flat: Any, name: str) -> Any:
        offset = self.places.offsets[name]
        return flat[offset : offset + self.places.sizes[name]]

    def _add(self, flat: Any, name: str, found: Any) -> None:
        part = self._part(flat, name)
        part += found

    # --- 1. pack

    def pack(self, theta: Mapping[str, Any]) -> Arrays:
        """Matrices, biases and pointwise parameters, by the names of the functions' arguments."""
        found: Arrays = {f"param_{name}": theta[name].reshape(-1).copy() for name in self.spec.pointwise}
        for operand in self.shapes.operands:
            blocks = [self._matrix(theta, name, operand) for name in operand.matrices]
            found[f"weights_{operand.key}"] = self.device.to_low(self._stacked(blocks), self.shapes.types)
        for k, stage in enumerate(self.spec.stages, start=1):
            size = self.shapes.spaces[stage.space]
            found[f"bias_{k}"] = self._stacked([self._bias(theta, slot.bias, size) for slot in stage.slots])
        return found

    def _matrix(self, theta: Mapping[str, Any], name: str | None, operand: Operand) -> Any:
        shape = operand.units, operand.depth
        if name is None:
            return self.shapes.zeros(prod(shape)).reshape(shape)
        matrix = theta[declared(name)]
        return matrix if declared(name) == name else matrix.T

    def _bias(self, theta: Mapping[str, Any], name: str | None, size: int) -> Any:
        return self.shapes.zeros(size) if name is None else theta[name]

    def _stacked(self, parts: list[Any]) -> Any:
        return joined(parts, self.device.xp)

    # --- 5. unpack

    @staticmethod
    def serves(operand: Operand, parameters: Collection[str]) -> bool:
        """Whether any of these parameters is one of an operand's matrices."""
        return any(name is not None and declared(name) in parameters for name in operand.matrices)

    def add_matrices(self, operand: Operand, sums: Any, flat: Any, parameters: Collection[str]) -> None:
        """The gradients of an operand's matrices, from those of the one that they are stacked in."""
        for place, name in enumerate(operand.matrices):
            if name is not None and declared(name) in parameters:
                block = sums[place * operand.units : (place + 1) * operand.units]
                found = block if declared(name) == name else block.T
                self._add(flat, declared(name), found.reshape(-1))

    def biases(self, k: int, parameters: Collection[str]) -> dict[int, str]:
        """Slot of a stage -> its bias, of those that are among the parameters."""
        slots = enumerate(self.spec.stages[k - 1].slots)
        return {place: slot.bias for place, slot in slots if slot.bias is not None and slot.bias in parameters}

    def add_biases(self, k: int, biases: Mapping[int, str], sums: Any, flat: Any) -> None:
        """The gradients of a stage's biases, from the sums of its slots' adjoints."""
        size = self.shapes.spaces[self.spec.stages[k - 1].space]
        for place, name in biases.items():
            self._add(flat, name, sums[place * size : (place + 1) * size])

    def add_pointwise(self, arrays: Arrays, batch: int, flat: Any, parameters: Collection[str]) -> None:
        """The gradients of what scalar mathematics reads, from those of every row."""
        for name in filter(parameters.__contains__, self.spec.accumulated):
            for array, space in self.spec.adjoint_rows(name).items():
                size = self.shapes.spaces[space]
                rows = arrays[array][: batch * size].reshape(batch, size)
                self._add(flat, name, rows.sum(axis=0) if self.spec.parameters[name] else rows.sum())


def joined(parts: list[Any], xp: Any) -> Any:
    """Below each other, copied one by one: CuPy's own function hands a kernel the addresses of many parts from the
    host, and a graph that was recorded would read them from memory that is long used for something else."""
    rows = sum(part.shape[0] for part in parts)
    found, row = xp.empty((rows, *parts[0].shape[1:]), parts[0].dtype), 0
    for part in parts:
        found[row : row + part.shape[0]] = part
        row += part.shape[0]
    return found
