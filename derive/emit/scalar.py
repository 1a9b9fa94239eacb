"""A program -> the step functions of its Pointwise stages as readable Python: what is verified is what runs.

    step          what the stage reads -> what it writes, then what the sweeps below save
    step_vjp      incoming adjoints, saved values -> adjoints of what it reads
    step_jvp      tangents of what it reads, saved values -> tangents of what it writes, then of saved values that move
    step_vjp_jvp  step_vjp and its tangent: from the arguments of step_vjp and their tangents, the adjoints of what the
                  stage reads, then the tangents of these

The text uses + - * / (unary - too), ** above the fourth power, integer literals and the functions of the table, so the
same text runs on floats, complex numbers, arrays, intervals, SymPy symbols, SIMD registers and CUDA scalars.
"""

import ast
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from textwrap import wrap

import sympy
from sympy import Expr

from derive.differentiate import DOT_STOP, Equation, Jvp, Vjp, jvp, vjp
from derive.emit.printer import TERM, abs_term, code, equation, fraction, terms
from derive.functions import TABLE, Elementwise
from derive.program import Pointwise, Program
from derive.second import VjpJvp, vjp_jvp
from derive.symbols import Vector

WIDTH = 120
INDENT = " " * 4

OPERATIONS = {ast.Add: "add", ast.Sub: "add", ast.Mult: "mul", ast.Div: "div", ast.Pow: "pow", ast.USub: "neg"}


@dataclass(frozen=True)
class StepFunction:
    """One function of the generated text."""

    name: str
    arguments: tuple[str, ...]
    results: tuple[str, ...]
    text: str


@dataclass(frozen=True)
class Step:
    """One Pointwise stage: its derivatives and its four functions."""

    stage: Pointwise
    vjp: Vjp
    jvp: Jvp
    vjp_jvp: VjpJvp
    forward: StepFunction
    backward: StepFunction
    tangent: StepFunction
    backward_tangent: StepFunction

    @property
    def functions(self) -> tuple[StepFunction, ...]:
        return self.forward, self.backward, self.tangent, self.backward_tangent

    @property
    def saved(self) -> tuple[Vector, ...]:
        """What any of the sweeps reads of the forward step."""
        return tuple(dict.fromkeys((*self.vjp.saved, *self.jvp.saved)))


def scalar_source(program: Program) -> str:
    """The step functions of every Pointwise stage, in the order in which the stages run."""
    return "\n\n\n".join(function.text for step in steps(program) for function in step.functions) + "\n"


def steps(program: Program) -> tuple[Step, ...]:
    """The stages with their functions: `step`, or `step_1`, `step_2` ... if there are several."""
    stages = program.pointwise
    names = ["step"] if len(stages) == 1 else [f"step_{number}" for number in range(1, len(stages) + 1)]
    return tuple(_step(name, stage) for name, stage in zip(names, stages, strict=True))


def functions_used(text: str) -> tuple[str, ...]:
    """The functions of the table that a generated text calls, in the order of the table."""
    called = _calls(text)
    return tuple(name for name in TABLE if called[name])


def operations(text: str) -> dict[str, int]:
    """What a text costs: operation or function -> how often it is there."""
    nodes = (node for node in ast.walk(ast.parse(text)) if isinstance(node, (ast.BinOp, ast.UnaryOp)))
    counts = Counter(OPERATIONS[type(node.op)] for node in nodes) + _calls(text)
    return {name: counts[name] for name in (*dict.fromkeys(OPERATIONS.values()), *TABLE) if counts[name]}


def _calls(text: str) -> Counter[str]:
    nodes = (node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call))
    return Counter(node.func.id for node in nodes if isinstance(node.func, ast.Name))


# --- The four functions of a stage


def _step(name: str, stage: Pointwise) -> Step:
    back, push, both = vjp(stage), jvp(stage), vjp_jvp(stage)
    kept = tuple(v for v, _ in stage.equations if v in {*back.saved, *push.saved} and v not in stage.writes)
    moved = tuple(dot for v, dot in both.moved if v in kept)
    return Step(
        stage=stage,
        vjp=back,
        jvp=push,
        vjp_jvp=both,
        forward=_forward(name, stage, kept),
        backward=_backward(name, back),
        tangent=_tangent(name, push, moved),
        backward_tangent=_backward_tangent(name, both),
    )


def _forward(name: str, stage: Pointwise, kept: tuple[Vector, ...]) -> StepFunction:
    said = f"Return {_listed(stage.writes)}"
    said += f", and for the derivatives {_listed(kept)}." if kept else "."
    lines = tuple((v, e, source) for (v, e), source in zip(stage.equations, stage.sources, strict=True))
    return _function(name, stage.reads, (*stage.writes, *kept), said, _forward_body(lines))


def _backward(name: str, back: Vjp) -> StepFunction:
    reads = tuple(v for v, _ in back.outputs)
    said = f"Pull {_listed(back.incoming)} back to {_listed(reads)}; d_v means dL/dv."
    results = tuple(d for _, d in back.outputs)
    return _function(f"{name}_vjp", (*back.incoming, *back.saved), results, said, _reverse_body(back.equations))


def _tangent(name: str, push: Jvp, moved: tuple[Vector, ...]) -> StepFunction:
    tangents = tuple(dot for _, dot in push.incoming)
    said = f"Push {_listed(tangents)} forward to {_listed(push.outputs)}"
    said += f", and for the second derivatives {_listed(moved)}." if moved else "."
    stops = any(expression.has(DOT_STOP) for _, expression, _ in push.equations)
    if stops:
        said += "  dot_stop is 1 where what stop() holds back moves too, else 0."
    arguments = (*tangents, *push.saved, *([DOT_STOP] if stops else []))
    return _function(f"{name}_jvp", arguments, (*push.outputs, *moved), said, _reverse_body(push.equations))


def _backward_tangent(name: str, both: VjpJvp) -> StepFunction:
    adjoints, dots = zip(*both.incoming, strict=True)
    results = (*(d for _, d, _ in both.outputs), *(dot for _, _, dot in both.outputs))
    arguments = (*dots, *(dot for _, dot in both.moved), *adjoints, *both.saved)
    said = f"{name}_vjp and its tangent; dot_d_v is the change of d_v along a direction."
    return _function(f"{name}_vjp_jvp", arguments, results, said, _reverse_body(both.equations))


def _listed(names: Iterable[Vector]) -> str:
    return ", ".join(v.name for v in names) or "nothing"


def _function(
    name: str, arguments: Iterable[Vector], results: Iterable[Vector], said: str, body: list[str]
) -> StepFunction:
    takes, gives = tuple(v.name for v in arguments), tuple(v.name for v in results)
    cost = ", ".join(f"{number} {what}" for what, number in operations("\n".join(body)).items()) or "nothing"
    lines = [
        *bracketed(f"def {name}(", takes, "):"),
        *_indented([*_docstring(said, f"Cost: {cost}."), "", *body, "", *_returned(gives)]),
    ]
    return StepFunction(name, takes, gives, "\n".join(lines))


def _indented(lines: Iterable[str]) -> list[str]:
    return [INDENT + line if line else line for line in lines]


def bracketed(opening: str, items: tuple[str, ...], closing: str) -> list[str]:
    """One line if it fits, else the items on lines of their own between the brackets."""
    line = opening + ", ".join(items) + closing
    if len(line) <= WIDTH - len(INDENT):
        return [line]
    return [opening, *_indented(wrapped(", ".join(items) + ",", WIDTH - 2 * len(INDENT))), closing]


def wrapped(code: str, width: int) -> list[str]:
    """Lines of code, cut at spaces only: a name longer than a line has a line of its own."""
    return wrap(code, width, break_long_words=False, break_on_hyphens=False)


def _returned(names: tuple[str, ...]) -> list[str]:
    if len(names) < 2:
        return [f"return ({names[0]},)" if names else "return ()"]
    line = f"return {', '.join(names)}"
    return [line] if len(line) <= WIDTH - len(INDENT) else bracketed("return (", names, ")")


def _docstring(said: str, cost: str) -> list[str]:
    line = f'"""{said}  {cost}"""'
    if len(line) <= WIDTH - len(INDENT):
        return [line]
    first, *rest = wrap(said, WIDTH - len(INDENT) - 3)
    return [f'"""{first}', *rest, "", *wrap(cost, WIDTH - len(INDENT)), '"""']


# --- Bodies: blocks of assignments, each under the equation that it computes or reverses


def _forward_body(lines: tuple[Equation, ...]) -> list[str]:
    """Gates, then states; an equation that takes several lines stands above them."""
    body: list[str] = []
    for role, run in groupby(lines, key=lambda line: line[2].lhs.role):
        blocks = [(source, list(parts)) for source, parts in groupby(run, key=lambda line: line[2])]
        title = "# states" if role == "state" else "# gates"
        body += [""] if len(blocks[0][1]) > 1 else ["", title]
        for source, assignments in blocks:
            if len(assignments) > 1:
                body += _comment([source])
            body += [text for name, expression, _ in assignments for text in _assigned(name, expression)]
    return body[1:]


def _reverse_body(lines: tuple[Equation, ...]) -> list[str]:
    """A block for each equation that is differentiated; bare activations share one."""
    sections = [(source, list(parts)) for source, parts in groupby(lines, key=lambda line: line[2])]
    body: list[str] = []
    for bare, run in groupby(sections, key=lambda section: _is_bare(section[0])):
        for block in [list(run)] if bare else [[section] for section in run]:
            assignments = [line for _, parts in block for line in parts]
            body += ["", *_comment([source for source, _ in block], _feeds(assignments))]
            body += [text for name, expression, _ in assignments for text in _assigned(name, expression)]
    return body[1:]


def _is_bare(source: sympy.Eq) -> bool:
    """Whether the equation is one application to names: i = sigmoid(z_i)."""
    return isinstance(source.rhs, Elementwise) and not any(argument.args for argument in source.rhs.args)


FEEDS = {"_next": "the next step", "_later": "a later stage"}


def _feeds(lines: list[Equation]) -> list[str]:
    """Why an adjoint comes from outside too: "c also feeds the next step"."""
    adjoints = ((name, expression) for name, expression, _ in lines if name.role == "adjoint")
    added = [(name, v.name) for name, expression in adjoints for v in sorted(expression.free_symbols, key=str)]
    return [
        f"{name.name.removeprefix('d_')} also feeds {where}"
        for name, v in added
        for suffix, where in FEEDS.items()
        if v == name.name + suffix
    ]


def _comment(sources: list[sympy.Eq], remarks: Iterable[str] = ()) -> list[str]:
    said = [*(f"{source.lhs} = {equation(source.rhs)}" for source in sources), *remarks]
    return wrap(",  ".join(said), WIDTH - len(INDENT), initial_indent="# ", subsequent_indent="# ")


def _assigned(name: Vector, expression: Expr) -> Iterator[str]:
    """`name = expression`, a long sum with a term a line."""
    line = f"{name} = {code(expression)}"
    if len(line) <= WIDTH - len(INDENT) or not expression.is_Add:
        yield line
        return
    yield f"{name} = ("
    for place, term in enumerate(terms(expression)):
        sign = "" if place == 0 else "- " if fraction(term).sign < 0 else "+ "
        yield INDENT + (sign + code(abs_term(term), TERM) if sign else code(term))
    yield ")"
