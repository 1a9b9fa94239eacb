"""5. A recurrent layer: one generated cell at one size."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lstm_numba import checks, clock, copies, registry
from lstm_numba.batch import Batch
from lstm_numba.cpu.engine import Adjoints, Engine
from lstm_numba.cpu.kernels import kernels_of
from lstm_numba.cpu.memory import Loan
from lstm_numba.cpu.packed import Filled, PackedOnce
from lstm_numba.errors import ArgumentError, OptionError
from lstm_numba.parameters import Parameters, initialise
from lstm_numba.recomputed import Recomputed
from lstm_numba.run import Gradients, Run, Tangents
from lstm_numba.spec import CellSpec
from lstm_numba.types import Types

States = Mapping[str, ArrayLike]


class Layer:
    """A recurrent layer over sequences (T, B, N), with exact gradients through time.

    Args:
        name: a cell, one of `lstm_numba.cells()`, or the module that `derive generate` wrote for one of your own.
        input_size, hidden_size: N and H.
        dtype: "float32" or "float64", of everything that comes in and goes out; on a CUDA device also "bfloat16" and
            "float16", of sequences and their gradients: parameters and states are float32 then.
        seed: of the initial parameters: uniform in +-1/sqrt(H), biases 0 or what the cell says (the forget gate's 1).
        threads: chunks of the batch that run side by side; the results do not depend on it.
        device: "cpu", or "cuda": the current CUDA device. There arrays come and go over DLPack, on the caller's stream
            and without copies (torch, CuPy), and results are of the kind that x is; NumPy arrays are copied.
        products: "exact", or "tf32": on a CUDA device, float32 products on tensor cores, factors rounded to 10 bits.
        reverse: read each row from its last valid step to its first; outputs stand at the steps that they belong to.
        options: the cell's own, e.g. peepholes="io", activation="relu", truncated=True, periods=[1, 2, 4, 8]; sizes of
            further spaces by their letters, e.g. P=32 for a projection; and of every cell what changes its equations,
            activations={"i": "hard_sigmoid", "h": "leaky_relu(alpha=0.2)"} and clip=3.0, as of `derive.activated`;
            coupled={"f": "i"}, as of `derive.coupled`.

    Attributes:
        parameters: name -> writable array, e.g. "W_i" (H, N), "U_i" (H, H), "b_i" (H,); `parameters.flat` is them all.
        constants: arrays that training leaves alone, e.g. the reservoir of `esn`.

    Raises:
        UnknownCellError, OptionError, DtypeError, ArgumentError: for what cannot be made.
        CudaUnavailableError: there is no CUDA device, or a package or driver for it is missing.
    """

    def __init__(
        self,
        name: str | ModuleType,
        input_size: int,
        hidden_size: int,
        *,
        dtype: Any = "float32",
        seed: int = 0,
        threads: int = 1,
        device: str = "cpu",
        products: str = "exact",
        reverse: bool = False,
        **options: Any,
    ) -> None:
        sizes = {"N": checks.positive("input_size", input_size), "H": checks.positive("hidden_size", hidden_size)}
        further = {key: value for key, value in options.items() if key.isupper()}
        options = {key: value for key, value in options.items() if key not in further}
        self._module = _module(name, options)
        self.spec: CellSpec = self._module.CELL
        self.device = checks.among("device", device, checks.DEVICES)
        self.types = Types.of(dtype, products, device)
        self.dtype = self.types.arithmetic
        self.threads, self.reverse = checks.positive("threads", threads), checks.flag("reverse", reverse)
        self.spaces = sizes | self._further_spaces(further)
        self.options = {**self.spec.chosen, **options, **self.spec.chosen}  # as the cell spells them, in its order
        self._periods = clock.module_periods(options.get("periods"), self.hidden_size) if self.spec.clock else None
        self._make_parameters()
        initialise(self._theta, self.spec, self.spaces, checks.positive("seed", seed, least=0))
        self._make_engine()
        self._clear_masked(self._theta)

    def _kernels(self, module: ModuleType) -> Any:
        """The functions that run: the module's own text, compiled."""
        return kernels_of(module)

    def _further_spaces(self, sizes: dict[str, Any]) -> dict[str, int]:
        """Sizes of spaces besides N and H, given by their letters."""
        wanted = [space for space in self.spec.spaces if space not in ("N", "H")]
        for space in sizes:
            if space not in wanted:
                known = ", ".join(["input_size", "hidden_size", *wanted])
                raise OptionError(f"{self.spec.name} takes no size {space}: it has {known}.")
        missing = [space for space in wanted if space not in sizes]
        if missing:
            raise ArgumentError(f"{self.spec.name} has a space {missing[0]}: give its size, e.g. {missing[0]}=32.")
        return {space: checks.positive(space, sizes[space]) for space in wanted}

    def _make_parameters(self) -> None:
        trained = {name: self._shape(shape) for name, shape in self.spec.parameters.items()}
        fixed = {name: self._shape(shape) for name, shape in self.spec.constants.items()}
        for name, shape in {**trained, **fixed}.items():
            checks.countable(f"parameter {name}", *shape)
        self._theta = Parameters({**trained, **fixed}, self.dtype)
        size = sum(int(np.prod(shape)) for shape in trained.values())
        self._parameters = Parameters(trained, self.dtype, self._theta.flat[:size])
        self._constants = Parameters(fixed, self.dtype, self._theta.flat[size:])

    # Not to be replaced: what runs lies in these arrays, and another mapping would be trained and never read.

    @property
    def parameters(self) -> Parameters:
        return self._parameters

    @property
    def constants(self) -> Parameters:
        return self._constants

    def _make_engine(self) -> None:
        module, spec = self._module, self.spec
        self._placed: Any = None
        # What every call asks for.
        self._main, self._further = spec.main, tuple(name for name in spec.inputs if name != spec.main)
        self._main_size = self.spaces[spec.inputs[self._main]]
        self._state_sizes = {name: self.spaces[space] for name, space in spec.states.items()}
        self._output_sizes = {name: self._state_sizes[name] for name in spec.outputs}
        self._state_names = tuple(spec.states)
        if self.device == "cuda":
            from lstm_numba.gpu.layer import Placed

            self._placed = Placed(self)
            self._masks = self._placed.masks
            return
        self._engine = Engine(module, self._kernels(module), self.spaces, self.dtype, self._parts(), self._periods)
        self._masks = self._engine.activity.masks()
        self._last_batch: Batch | None = None
        self._packed_once = PackedOnce(lambda theta: self._packed(False, theta))

    def _parts(self) -> Sequence[Parameters]:
        """Where the parameters lie in a flat array of them."""
        return (self._theta,)

    # --- copying: kernels and packed views are made anew

    def __getstate__(self) -> dict[str, Any]:
        made = {"_module", "_engine", "_placed", "_masks", "_theta", "_parameters", "_constants"}
        made |= {"_last_batch", "_packed_once"}
        kept = {name: value for name, value in vars(self).items() if name not in made}
        return {**kept, "_values": self._placed.host() if self._placed else self._theta.flat}

    def __reduce__(self) -> tuple[Any, ...]:
        return copies.unpickled, (copies.class_of(self), *copies.reference(self._module), self.__getstate__())

    def __deepcopy__(self, memo: dict[int, Any]) -> Layer:
        return copies.revived(type(self), self._module, copy.deepcopy(self.__getstate__(), memo))

    def __copy__(self) -> Layer:
        return copy.deepcopy(self)

    def _revive(self, module: ModuleType, state: dict[str, Any]) -> None:
        values = state.pop("_values")
        vars(self).update(state, _module=module)
        self._make_parameters()
        self._theta.flat[...] = values
        self._make_engine()

    def _shape(self, spaces: tuple[str, ...]) -> tuple[int, ...]:
        return tuple(self.spaces[space] for space in spaces)

    def _clear_masked(self, parameters: Parameters) -> None:
        for name, mask in self._masks.items():
            if name in parameters:
                parameters[name][mask] = 0

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def input_size(self) -> int:
        return self.spaces["N"]

    @property
    def hidden_size(self) -> int:
        return self.spaces["H"]

    def __repr__(self) -> str:
        options = "".join(f", {name}={value!r}" for name, value in self.options.items())
        return f"Layer({self.name!r}, {self.input_size}, {self.hidden_size}, dtype={self.dtype.name!r}{options})"

    # --- running

    def forward(
        self,
        x: ArrayLike,
        state: States | None = None,
        lengths: Sequence[int] | NDArray[Any] | None = None,
        resets: NDArray[np.bool_] | None = None,
        *,
        save: bool | str = True,
        **inputs: ArrayLike,
    ) -> Run:
        """Run the layer over a batch of sequences.

        Args:
            x: (T, B, N), time-major.  It is read again by `backward`: leave it as it is until then.
            state: first states, e.g. {"h": (B, H), "c": (B, H)}; what is left out is 0.
            lengths: (B,) integers in [0, T]. Past a row's end its state is held and its outputs are 0.
            resets: (T, B) bool; before a step where it is true the row's state returns to its first value.
            save: keep what `backward` needs; without it memory does not grow with T.  "states" keeps the states at
                about sqrt(T) steps, and `backward` computes the rest again, which costs one more forward.
            inputs: the cell's further input sequences, e.g. c_lower (T, B, H); what is left out is 0.

        T = 0, B = 0 and length 0 are legal: they give the first state, and zero gradients.

        Raises:
            ShapeError, DtypeError, ArgumentError, OptionError: before anything is computed.
            CudaMemoryError: the device has not that much memory free; before anything is computed.
        """
        if self._placed:
            return self._placed.forward(x, state, lengths, resets, checks.saving(save), inputs)
        return self._run(self._theta, x, inputs, state, lengths, resets, save)

    def _run(
        self, theta: Any, x: Any, inputs: Mapping[str, Any], state: States | None, lengths: Any, resets: Any, save: Any
    ) -> Run:
        """Check what a forward reads, and run it with these parameters."""
        x = self._sequence(x)
        steps, size = x.shape[:2]
        checks.countable("the batch's slots", steps + 1, size, self.hidden_size, 8, len(self.spec.stages) + 1)
        given = self._inputs(x, inputs)
        first = self._state("state", state, size)
        ends = checks.lengths(lengths, steps, size)
        marks = checks.resets(resets, steps, size)
        kept = checks.saving(save)
        if isinstance(kept, str):
            return Recomputed(self, theta, given, first, ends, marks)
        return Run(self, theta, given, first, ends, marks, kept)

    def jvp(
        self,
        x: ArrayLike,
        direction: Mapping[str, Any],
        state: States | None = None,
        lengths: Sequence[int] | NDArray[Any] | None = None,
        resets: NDArray[np.bool_] | None = None,
        **inputs: ArrayLike,
    ) -> tuple[Run, Tangents]:
        """Run the layer, and push a direction through the run: arguments as of `forward` and of `Run.jvp`."""
        run = self.forward(x, state, lengths, resets, save=True, **inputs)
        return run, run.jvp(direction)

    def hvp(
        self,
        x: ArrayLike,
        direction: Mapping[str, Any],
        d_output: ArrayLike | None = None,
        d_state: States | None = None,
        *,
        d_outputs: Mapping[str, ArrayLike] | None = None,
        dot_d_output: ArrayLike | None = None,
        dot_d_state: States | None = None,
        dot_d_outputs: Mapping[str, ArrayLike] | None = None,
        state: States | None = None,
        lengths: Sequence[int] | NDArray[Any] | None = None,
        resets: NDArray[np.bool_] | None = None,
        **inputs: ArrayLike,
    ) -> tuple[Run, Gradients[Parameters]]:
        """Run the layer, and differentiate its backward along a direction: arguments as of `forward` and `Run.hvp`."""
        run = self.forward(x, state, lengths, resets, save=True, **inputs)
        return run, run.hvp(
            direction,
            d_output,
            d_state,
            d_outputs=d_outputs,
            dot_d_output=dot_d_output,
            dot_d_state=dot_d_state,
            dot_d_outputs=dot_d_outputs,
        )

    def _sequence(self, x: Any) -> NDArray[Any]:
        """The main input, (T, B, space)."""
        if type(x) is np.ndarray and checks.is_sound(x, self.dtype, (*x.shape[:2], self._main_size)):
            found: NDArray[Any] = x
            return found
        main, space = self._main, self.spec.inputs[self._main]
        called = {"N": "input_size", "H": "hidden_size"}.get(space, space)
        source = f"it is (T, B, {space}), {space} = {self.spaces[space]} the layer's {called}"
        return checks.array(main, x, self.dtype, (None, None, self.spaces[space]), source)

    def _inputs(self, x: NDArray[Any], inputs: Mapping[str, ArrayLike]) -> dict[str, NDArray[Any]]:
        checks.further(inputs, self._further)
        steps, size = x.shape[:2]
        found = {self._main: x}
        for name in self._further:
            shape = (steps, size, self.spaces[self.spec.inputs[name]])
            source = f"(T, B) = ({steps}, {size}) was read from {self._main}, {shape[2]} from the layer"
            found[name] = checks.optional(name, inputs.get(name), self.dtype, shape, source)
        return found

    def _state(self, what: str, state: States | None, size: int) -> dict[str, NDArray[Any]]:
        """One array (B, space) for each state; zeros where none is given."""
        given = checks.only(what, state, self._state_names)
        found = {}
        for name, units in self._state_sizes.items():
            value: Any = given.get(name)
            if value is None:
                value = np.zeros((size, units), self.dtype)
            elif not checks.is_sound(value, self.dtype, (size, units)):
                source = f"B = {size} was read from x, {self.spec.states[name]} = {units} from the layer"
                value = checks.array(f"{what}[{name!r}]", value, self.dtype, (size, units), source)
            found[name] = value
        return found

    def _packed(self, backward: bool, theta: Any) -> Loan[Filled]:
        """Parameters, or their direction, in the kernels' order, structure applied."""
        theta = theta.copy() if self._masks else theta
        self._clear_masked(theta)
        return self._engine.packing.pack(theta.flat, backward, self.threads)

    @contextmanager
    def fixed(self) -> Iterator[None]:
        """A block in which the parameters stay as they are, so that inference need not look whether they have changed:
        for a stream that is read step by step that takes as long as the step.

            with layer.fixed():
                for x in stream:
                    run = layer.forward(x, run.state, save=False)

        On a CUDA device it changes nothing.

        Raises:
            FixedParametersError: when the block ends, if they are others; what ran in it has used those of its start.
        """
        with nullcontext() if self._placed else self._packed_once.fixed(self._theta, self.name):
            yield

    def _direction(self, given: Mapping[str, ArrayLike] | None) -> Any:
        """A direction of parameters and constants, the latter fixed; zeros where none was given."""
        theta, what = self._theta.zeros_like(), "direction['parameters']"
        for name, value in checks.only(what, given, tuple(self.parameters)).items():
            shape, source = theta[name].shape, f"the shape of parameter {name}"
            theta[name] = checks.optional(f"{what}[{name!r}]", value, self.dtype, shape, source).reshape(shape)
        return theta

    def _zero_gradients(self) -> Any:
        return self.parameters.of(self._engine.handed.zeros("parameters", self.parameters.flat.size))

    def _add_gradients(self, adjoints: Adjoints, places: NDArray[np.int64], gradients: Any) -> None:
        """Add what a backward found for parameters to theirs, structure applied."""
        found = adjoints.lent.work
        self._engine.packing.unpack(
            found.whole, found.arrays, places, gradients.flat, self.threads, adjoints.parameters
        )
        self._clear_masked(gradients)

    def _batch(
        self, steps: int, size: int, lengths: NDArray[np.int64] | None, resets: NDArray[np.uint8] | None
    ) -> Batch:
        plain = lengths is None and resets is None
        if plain and self._last_batch is not None and (self._last_batch.steps, self._last_batch.size) == (steps, size):
            return self._last_batch
        batch = Batch(steps, size, lengths, resets, self.threads)
        if plain:
            self._last_batch = batch
        return batch


def _module(name: str | ModuleType, options: dict[str, Any]) -> ModuleType:
    """The generated module of a cell's name, or the module itself where one is given."""
    if isinstance(name, ModuleType):
        return registry.given(name, options)
    if not isinstance(name, str):
        raise ArgumentError(
            f"name must be the name of a cell, one of {', '.join(registry.cells())}; got {name!r:.60}. {registry.OWN}"
        )
    return registry.find(name, options)
