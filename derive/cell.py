"""1. A cell is data: named equations, a reference, and what follows from them.  It checks itself when it is made."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from hashlib import sha256
from itertools import product
from typing import Any

import sympy

from derive.emit.printer import equation as printed
from derive.errors import CellError, NameRuleError, OptionError
from derive.functions import adopt
from derive.laws import check, symbols_of
from derive.symbols import SPACE, Matrix, Vector

Number = int | float


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A recurrent cell, one step of it: new states from inputs, previous states and parameters.

    Args:
        name: an identifier; generated files are called after it.
        title: what a table of cells shows.
        year, reference: where the equations come from.
        equations: in an order in which each name is defined before it is read.
        outputs: the states that leave the layer; without it, the state that the last equation of a state defines.
        initial: parameter or constant -> the number it is filled with at the start of training; "1/H" is one over the
            size of H, so that a constant matrix filled with it takes a mean over the units.

    Raises:
        CellError: (a subclass, named after the law) the equations break a law; see `derive.laws`.
    """

    name: str
    title: str
    year: int
    reference: str
    equations: Sequence[sympy.Eq]  # a tuple once the cell is made
    outputs: Sequence[str] = ()
    initial: dict[str, Number | str] = field(default_factory=dict)
    options: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    chosen: dict[str, Any] = field(default_factory=dict)
    build: Callable[..., "Cell"] | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        self._set("equations", tuple(map(_adopted, self._listed("equations", "[Eq(h, ...)]"))))
        self._set("outputs", self._listed("outputs", '("h",)') or self._last_state())
        if not isinstance(self.initial, Mapping):
            raise CellError(f'cell {self.name}: initial is {self.initial!r}; give a dict, such as {{"b_f": 1}}')
        check(self)

    def _listed(self, field: str, example: str) -> tuple[Any, ...]:
        given = getattr(self, field)
        if isinstance(given, str) or not isinstance(given, Iterable):
            raise CellError(f"cell {self.name}: {field} is {given!r}; give a list, such as {example}")
        return tuple(given)

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)

    def _last_state(self) -> tuple[str, ...]:
        names = [e.lhs.name for e in self.equations if getattr(getattr(e, "lhs", None), "role", None) == "state"]
        return tuple(names[-1:])

    def __hash__(self) -> int:
        return hash((self.module, self.equations, self.outputs))

    # --- What the equations say

    @cached_property
    def symbols(self) -> dict[str, Vector | Matrix]:
        """Every symbol, in the order of first appearance."""
        return {symbol.name: symbol for equation in self.equations for symbol in symbols_of_equation(equation)}

    @cached_property
    def states(self) -> dict[str, str]:
        """State -> space: the outputs first, then the others in the order in which they are defined."""
        spaces = {e.lhs.name: e.lhs.space for e in self.equations if e.lhs.role == "state"}
        return {name: spaces[name] for name in (*self.outputs, *spaces)}

    @cached_property
    def inputs(self) -> dict[str, str]:
        """Input sequence -> space."""
        return {name: symbol.space for name, symbol in self._with_role("input").items()}

    @cached_property
    def parameters(self) -> dict[str, Vector | Matrix]:
        """What training changes."""
        return self._with_role("parameter")

    @cached_property
    def constants(self) -> dict[str, Vector | Matrix]:
        """What training leaves alone."""
        return self._with_role("constant")

    @cached_property
    def clock(self) -> bool:
        """Whether the activity of a unit depends on the step."""
        return bool(self._with_role("clock"))

    @cached_property
    def values(self) -> dict[str, str]:
        """Value -> space, in equation order: the gates and candidates."""
        return {e.lhs.name: e.lhs.space for e in self.equations if e.lhs.role == "value"}

    @property
    def gates(self) -> tuple[str, ...]:
        return tuple(self.values)

    @cached_property
    def shapes(self) -> dict[str, tuple[str, ...]]:
        """Parameter -> its spaces, e.g. {"W_i": ("H", "N"), "b_i": ("H",)}."""
        return {name: symbol.shape for name, symbol in self.parameters.items()}

    def shape(self, name: str) -> tuple[str, ...]:
        return self.symbols[name].shape

    def _with_role(self, role: str) -> dict[str, Any]:
        return {name: symbol for name, symbol in self.symbols.items() if symbol.role == role}

    # --- Variants

    @property
    def module(self) -> str:
        """The name of the generated module: the cell's, then every choice that is not the default."""
        choices = [_suffix(name, self.chosen[name]) for name in self.options if not self._is_default(name)]
        return "_".join([self.name, *choices])

    def _is_default(self, option: str) -> bool:
        return bool(self.chosen[option] == self.options[option][0])

    def variant(self, **choices: Any) -> "Cell":
        """The cell with other options; an option not named keeps its default.

        Raises:
            OptionError: no such option, or no such value of it.
        """
        for name, choice in choices.items():
            if name not in self.options:
                known = ", ".join(self.options) or "none"
                raise OptionError(f"cell {self.name} has no option {name!r}; its options: {known}")
            if choice not in self.options[name]:
                known = ", ".join(map(repr, self.options[name]))
                raise OptionError(f"cell {self.name}: {name}={choice!r} is not one of {known}")
        return _choose(self.build, self.options, choices) if self.build else self

    def variants(self) -> tuple["Cell", ...]:
        """Every combination of options, the default first."""
        combinations = product(*self.options.values())
        return tuple(self.variant(**dict(zip(self.options, values, strict=True))) for values in combinations)

    # --- Texts

    @cached_property
    def canonical(self) -> str:
        """Everything that decides what is generated, one fact a line."""
        symbols = (f"{name}: {_declared(symbol)}" for name, symbol in self.symbols.items())
        equations = (f"{e.lhs} = {printed(e.rhs)}" for e in self.equations)
        return "\n".join([self.module, *symbols, *equations, f"outputs: {', '.join(self.outputs)}", ""])

    @cached_property
    def equations_hash(self) -> str:
        """SHA-256 of the canonical text: the same in every process."""
        return sha256(self.canonical.encode()).hexdigest()

    def _repr_latex_(self) -> str:
        from derive.show import latex_of_cell  # here, because pages are made of cells

        return latex_of_cell(self)


def symbols_of_equation(equation: sympy.Eq) -> Iterable[Vector | Matrix]:
    return (*symbols_of(equation.rhs), equation.lhs)


def _adopted(equation: Any) -> Any:
    return sympy.Eq(equation.lhs, adopt(equation.rhs), evaluate=False) if isinstance(equation, sympy.Eq) else equation


def _declared(symbol: Vector | Matrix) -> str:
    structure = getattr(symbol, "structure", None)
    return " ".join([symbol.role, *symbol.shape, *([structure] if structure else [])])


def _suffix(option: str, choice: Any) -> str:
    return option if choice is True else f"no_{option}" if choice is False else str(choice)


# --- Families: one function, several cells


# What layers and stacks are made with, besides a cell's options and sizes.
SETTINGS = (
    "self", "name", "cell", "input_size", "hidden_size", "dtype", "seed", "threads", "device", "products", "reverse",
    "coupled", "activations", "clip", "layers", "num_layers", "bidirectional", "reverse_options", "dropout",
    "batch_first", "input_dropout", "recurrent_dropout", "zoneout", "forget_bias", "chrono",
)  # fmt: skip


def family(**options: tuple[Any, ...]) -> Callable[[Callable[..., Cell]], Cell]:
    """Make a cell with options from a function of them; the first value of each is the default.

    @family(activation=("tanh", "relu"))
    def cell(activation):
        return Cell(...)
    """
    for name, values in options.items():
        if not isinstance(values, tuple) or not values:
            raise OptionError(f"@family: {name}={values!r}; give a tuple of its values, the default first")
        if name in SETTINGS or SPACE.fullmatch(name):
            raise NameRuleError(f"@family: a layer takes {name}=... for something else; give the option another name")
    return lambda build: _choose(build, options, {})


def _choose(build: Callable[..., Cell], options: dict[str, tuple[Any, ...]], choices: dict[str, Any]) -> Cell:
    chosen = {name: choices.get(name, values[0]) for name, values in options.items()}
    cell = build(**chosen)
    if not isinstance(cell, Cell):
        raise CellError(f"@family: {build.__name__} returns {cell!r}; end it with return Cell(...)")
    return replace(cell, options=options, chosen=chosen, build=build)
