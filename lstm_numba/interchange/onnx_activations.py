"""The activations of ONNX's LSTM, GRU and RNN, and their clip: between a node's attributes and a layer's options.

A node lists the functions f, g, h of its formulas for one direction after the other.  Their alphas stand in a list of
their own, one for each function that has one, and so do the betas.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from lstm_numba.errors import ForeignWeightsError

# f, g, h of an operator: the equations of our cell that apply it, and what they do unless something else is said.
GATES = ("i", "f", "o"), "sigmoid"
LSTM = (GATES, (("g",), "tanh"), (("h",), "tanh"))
GRU = ((("r", "z"), "sigmoid"), (("n",), "tanh"))
PLACES: Mapping[str, tuple[tuple[tuple[str, ...], str], ...]] = {
    "lstm": LSTM,
    "peephole": LSTM,
    "coupled": ((("i", "o"), "sigmoid"), *LSTM[1:]),
    "gru": GRU,
    "gru_reset_after": GRU,
    "rnn": ((("h",), "tanh"),),
}
# ONNX's name -> ours and its parameters.
NAMES: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "Sigmoid": ("sigmoid", ()),
    "Tanh": ("tanh", ()),
    "Relu": ("relu", ()),
    "Softplus": ("softplus", ()),
    "Softsign": ("softsign", ()),
    "Affine": ("affine", ("alpha", "beta")),
    "ScaledTanh": ("scaled_tanh", ("alpha", "beta")),
    "HardSigmoid": ("hard_sigmoid", ("alpha", "beta")),
    "LeakyRelu": ("leaky_relu", ("alpha",)),
    "ThresholdedRelu": ("thresholded_relu", ("alpha",)),
    "Elu": ("elu", ("alpha",)),
}
# onnxruntime computes these with 0 where the node says nothing, and ONNX leaves it open or says 1.
WITHOUT_DEFAULT = ("Affine", "ScaledTanh", "ThresholdedRelu")
BY_LOWER_CASE = {name.lower(): name for name in NAMES}
BY_OURS = {ours: name for name, (ours, _) in NAMES.items()}
SPELLING = re.compile(r"(\w+)(?:\((.*)\))?")


def places(cell: str, options: Mapping[str, Any]) -> tuple[tuple[tuple[str, ...], str], ...]:
    """Those of a cell with these options: a gate that is coupled to another applies nothing."""
    coupled = options.get("coupled", ())
    return tuple((tuple(e for e in equations if e not in coupled), own) for equations, own in PLACES[cell])


# --- a node -> options


def options_of(
    cell: str, chosen: Mapping[str, Any], node: str, attributes: Mapping[str, Any], directions: int
) -> list[dict[str, Any]]:
    """The options of our cell for each direction: `activations`, `clip`, and for rnn its own `activation`.

    Args:
        chosen: the options that are known already.

    Raises:
        ForeignWeightsError: the lists do not fit the operator.
    """
    clip = attributes.get("clip", 0.0)
    known: dict[str, Any] = {**chosen, **({"clip": float(_number(clip))} if clip else {})}
    return [known | _changes(cell, chosen, texts) for texts in _each_direction(cell, node, attributes, directions)]


def _changes(cell: str, chosen: Mapping[str, Any], texts: list[str]) -> dict[str, Any]:
    """The option that makes a cell apply these functions."""
    if cell == "rnn" and texts == ["relu"]:
        return {"activation": "relu"}
    changes = {
        equation: text
        for (equations, own), text in zip(places(cell, chosen), texts, strict=True)
        for equation in equations
        if text != own
    }
    return {"activations": changes} if changes else {}


def _each_direction(cell: str, node: str, attributes: Mapping[str, Any], directions: int) -> list[list[str]]:
    """Our spelling of f, g, h for each direction."""
    found = PLACES[cell]
    named = [name.decode() for name in attributes.get("activations", [])]
    if not named:
        return [[own for _, own in found]] * directions
    if len(named) != len(found) * directions:
        raise ForeignWeightsError(f"{node} has {len(named)} activations, expected {len(found)} for each direction.")
    unknown = [name for name in named if name.lower() not in BY_LOWER_CASE]
    if unknown:
        raise ForeignWeightsError(f"{node} has the activation {unknown[0]!r}; ONNX knows {', '.join(NAMES)}.")
    names = [BY_LOWER_CASE[name.lower()] for name in named]
    numbers = {parameter: _numbers(node, attributes, parameter, names) for parameter in ("alpha", "beta")}
    texts = [_spelled(node, name, numbers) for name in names]
    return [texts[first : first + len(found)] for first in range(0, len(texts), len(found))]


def _numbers(node: str, attributes: Mapping[str, Any], parameter: str, names: Sequence[str]) -> Iterator[float]:
    """The alphas or betas, in the order in which the functions take them."""
    given, takers = attributes.get(f"activation_{parameter}", []), [n for n in names if parameter in NAMES[n][1]]
    if len(given) > len(takers):
        raise ForeignWeightsError(
            f"{node}: activation_{parameter} has {len(given)} numbers, and of its activations {', '.join(names)} only "
            f"{len(takers)} take one: leave out those of the others, as onnxruntime reads it."
        )
    return iter(given)


def _spelled(node: str, name: str, numbers: Mapping[str, Iterator[float]]) -> str:
    ours, parameters = NAMES[name]
    given = {parameter: next(numbers[parameter], None) for parameter in parameters}
    missing = [parameter for parameter, number in given.items() if number is None]
    if missing and name in WITHOUT_DEFAULT:
        raise ForeignWeightsError(f"{node}: {name} has no {missing[0]}: write it in activation_{missing[0]}.")
    said = ", ".join(f"{parameter}={_number(number)}" for parameter, number in given.items() if number is not None)
    return f"{ours}({said})" if said else ours


def _number(value: float) -> str:
    """The shortest decimal that is this float32: what was written when the model was made."""
    return str(np.float32(value))


# --- options -> a node


def attributes_of(cell: str, each: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """A node's attributes for the options of each direction, or None where no operator of ONNX has such functions."""
    applied, clips = [_applied(cell, options) for options in each], {options.get("clip") for options in each}
    if None in applied or len(clips) > 1:  # a node has one clip
        return None
    functions = [_parsed(text) for texts in applied for text in texts or ()]
    attributes: dict[str, Any] = {} if clips == {None} else {"clip": clips.pop()}
    if any(texts != [own for _, own in places(cell, {})] for texts in applied):
        attributes["activations"] = [name for name, _ in functions]
    for parameter in ("alpha", "beta"):
        numbers = [numbers[parameter] for _, numbers in functions if parameter in numbers]
        attributes |= {f"activation_{parameter}": numbers} if numbers else {}
    return attributes


def _applied(cell: str, options: Mapping[str, Any]) -> list[str] | None:
    """Our spelling of f, g, h, or None where gates that ONNX does not tell apart apply several."""
    changes = {"h": options["activation"]} if cell == "rnn" and "activation" in options else {}
    changes |= options.get("activations", {})
    found = [{changes.get(equation, own) for equation in equations} for equations, own in places(cell, options)]
    return None if any(len(texts) > 1 for texts in found) else [text for texts in found for text in texts]


def _parsed(text: str) -> tuple[str, dict[str, float]]:
    """ONNX's name and numbers of what `derive.activated` spells."""
    spelled = SPELLING.fullmatch(text)
    assert spelled is not None
    parts = (part.partition("=") for part in spelled[2].split(", ")) if spelled[2] else ()
    numbers = {name: _quotient(number) for name, _, number in parts}
    return ("Affine", {"alpha": 1.0, "beta": 0.0}) if spelled[1] == "linear" else (BY_OURS[spelled[1]], numbers)


def _quotient(text: str) -> float:
    above, _, below = text.partition("/")
    return float(above) / float(below or 1)
