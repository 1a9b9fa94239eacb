"""4. A cell -> the text of its generated module: header, facts, step functions, kernels."""

import ast
from textwrap import wrap

import sympy

from derive.cell import Cell
from derive.emit.cuda import cuda_functions
from derive.emit.kernels import kernels, products
from derive.emit.layout import Layout
from derive.emit.printer import equation
from derive.emit.scalar import functions_used, scalar_source
from derive.program import split
from derive.symbols import H, Matrix

WIDTH = 120
WORDS = (
    "Biased", "Product", "Transposed", "clear", "lanes", "load", "load_first", "panels_of", "release", "restore",
    "ring", "spread", "store", "store_first", "together", "units_of",
)  # fmt: skip
CUDA_WORDS = (
    "add", "deal", "end_of", "erase", "erase_adjoint", "erase_both", "get", "get_low", "hold", "hold_turned",
    "multiply", "or_give", "or_start", "places", "put", "put_adjoint", "put_both", "put_low", "share",
    "shared_memory", "starts_again", "summed", "take", "thread", "threads", "ticks", "wait",
)  # fmt: skip


CUDA = """
# --- On a CUDA device: what one thread does for one unit of one row

"""

HEADER = '''"""{title}: one step, its derivatives, and the kernels of a sequence.

GENERATED - edit {source}, then run

    {command}

Equations  sha256 {hash}   (SymPy {sympy})
Reference  {reference}

{equations}

In the step functions every argument is one element [b, j] of an array (B, H).  d_v means dL/dv, dot_v a tangent.
"""
'''


def module_text(cell: Cell, source: str, command: str) -> str:
    """The whole module of one cell.

    Args:
        source: where its equations stand, as the reader should look for it.
        command: what regenerates it.
    """
    layout = Layout(split(cell))
    steps = scalar_source(layout.program)
    loops = "\n" + kernels(layout).rstrip("\n")
    body = "\n\n".join([products(layout), "\n" + steps.rstrip("\n"), loops, CUDA + cuda_functions(layout)])
    header = _header(cell, source, command)
    return "\n".join([header, _imports(steps, body), facts(layout), body])


def _header(cell: Cell, source: str, command: str) -> str:
    reference = wrap(cell.reference, WIDTH - 11)
    lines = [f"{e.lhs} = {equation(e.rhs)}" for e in cell.equations]
    return HEADER.format(
        title=cell.title,
        source=source,
        command=command,
        hash=cell.equations_hash,
        sympy=sympy.__version__,
        reference=("\n" + " " * 11).join(reference),
        equations="\n".join(f"    {line}" for line in lines),
    )


def _imports(steps: str, body: str) -> str:
    called = {node.id for node in ast.walk(ast.parse(body)) if isinstance(node, ast.Name)}
    functions = sorted(functions_used(steps))
    lines = _import("lstm_numba.gpu.words", [word for word in CUDA_WORDS if word in called])
    lines += [f"from lstm_numba.functions import {', '.join(functions)}"] if functions else []
    lines += ["from lstm_numba.spec import CellSpec, Slot, Stage"]
    words = [word for word in WORDS if word in called]
    return "\n".join([*lines, *_import("lstm_numba.words", words), ""])


def _import(module: str, names: list[str]) -> list[str]:
    line = f"from {module} import {', '.join(names)}"
    if len(line) <= WIDTH:
        return [line]
    return [f"from {module} import (", *(f"    {name}," for name in names), ")"]


# --- What the runtime needs to know


# Facts that a CellSpec has no default for.
REQUIRED = (
    "name", "module", "title", "year", "reference", "equations_hash", "inputs", "outputs", "states", "parameters",
)  # fmt: skip


def facts(layout: Layout) -> str:
    """CELL = CellSpec(...)."""
    return "\n".join(["CELL = CellSpec(", *(f"    {name}={text}," for name, text in _facts(layout).items()), ")", ""])


def _facts(layout: Layout) -> dict[str, str]:
    cell = layout.program.cell
    own = {home.name: home for home in layout.homes.values() if not home.stage}
    biases = [slot.bias.name for stage in layout.affine.values() for slot in stage.slots if slot.bias is not None]
    spaces = {v.name: v.space for stage in layout.steps for v, _ in stage.equations}
    known = {
        "name": cell.name,
        "module": cell.module,
        "title": cell.title,
        "year": cell.year,
        "reference": cell.reference,
        "equations_hash": cell.equations_hash,
        "inputs": cell.inputs,
        "outputs": cell.outputs,
        "states": cell.states,
        "parameters": {name: symbol.shape for name, symbol in cell.parameters.items()},
        "constants": {name: symbol.shape for name, symbol in cell.constants.items()},
        "initial": cell.initial,
        "biases": tuple(dict.fromkeys(biases)),
        "pointwise": tuple(v.name for v in layout.parameters),
        "accumulated": _accumulated(layout),
        "numbers": {name: spaces for name, spaces in layout.numbers.items() if spaces != (H,)},
        "pointwise_inputs": tuple(v.name for v in layout.pointwise_inputs),
        "kept": {name: spaces[name] for name in own},
        "structures": {n: s.structure for n, s in cell.symbols.items() if isinstance(s, Matrix) and s.structure},
        "clock": cell.clock,
        "sleeping": layout.sleeping,
        "program": _program(layout),
        "options": cell.options,
        "chosen": cell.chosen,
    }
    texts = {name: _literal(value) for name, value in known.items() if value or name in REQUIRED}
    return texts | {"stages": _stages(layout)}


def _program(layout: Layout) -> tuple[tuple[str, int, str], ...]:
    """The stages in order, each kind numbered from 1."""
    program = layout.program
    numbers = {stage: k for kind in (program.affine, program.pointwise) for k, stage in enumerate(kind, start=1)}
    return tuple((type(stage).__name__.lower(), numbers[stage], stage.space) for stage in program.stages)


def _accumulated(layout: Layout) -> tuple[str, ...]:
    outputs = [v for step in layout.steps.values() for v, _ in step.vjp.outputs]
    return tuple(dict.fromkeys(v.name for v in outputs if v.role == "parameter"))


def _literal(value: object) -> str:
    """A Python literal with the strings in double quotes; a dict with an entry a line where it is long."""
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if isinstance(value, tuple):
        return f"({', '.join(map(_literal, value))}{',' if len(value) == 1 else ''})"
    if isinstance(value, dict):
        entries = [f"{_literal(key)}: {_literal(item)}" for key, item in value.items()]
        line = "{" + ", ".join(entries) + "}"
        if len(line) <= WIDTH - 24:
            return line
        return "\n".join(["{", *(f"        {entry}," for entry in entries), "    }"])
    return repr(value)


def _stages(layout: Layout) -> str:
    lines = ["("]
    for stage in layout.affine.values():
        lines += ["        Stage(", f"            {_literal(stage.space)},", "            ("]
        for slot in stage.slots:
            terms = tuple((matrix.name, vector.name) for matrix, vector in slot.terms)
            bias = _literal(slot.bias.name) if slot.bias is not None else "None"
            lines.append(f"                Slot({_literal(slot.name)}, {_literal(terms)}, {bias}),")
        lines += ["            ),", "        ),"]
    return "\n".join([*lines, "    )"])
