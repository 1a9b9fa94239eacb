"""Cells that nobody thought of: equations drawn at random, within the laws of cells.

Several spaces and states, inputs that gates read, expressions under products, brackets of matrices, matrices and biases
used twice, sums read by several stages, stop() on operands and inside of expressions, kinks, quotients, states that
nothing reads.
"""

import re
from dataclasses import dataclass, field
from random import Random

SQUASHED = ("exp(-softplus({}))", "sqrt(1 + softplus({}))", "log(1 + softplus({}))")  # inside their domains


@dataclass
class Draft:
    """One text in the making: names with their spaces, declared or defined so far."""

    random: Random
    inputs: dict = field(default_factory=lambda: {"x": "N"})
    states: dict = field(default_factory=dict)
    parameters: dict = field(default_factory=dict)
    known: dict = field(default_factory=dict)

    def parameter(self, stem, *shape):
        same = [name for name, other in self.parameters.items() if other == shape]
        if same and self.random.randrange(3) == 0:
            return self.random.choice(same)
        name = f"{stem}{len(self.parameters)}"
        self.parameters[name] = shape
        return name

    def name(self, names):
        """One of the last three half of the time: cells are chains."""
        return self.random.choice(names[-3:] if self.random.randrange(2) else names)

    def product(self, space):
        vector = self.name(list(self.known))
        operand = f"stop({vector})" if self.random.randrange(10) == 0 else vector
        return f"{self.matrix(space, self.known[vector])} @ {operand}"

    def matrix(self, rows, columns):
        matrix = self.parameter("M", rows, columns)
        if self.random.randrange(8):
            return matrix
        return f"({matrix} - {self.random.randint(1, 3)} * {self.parameter('M', columns, rows)}.T)"

    def bracket(self, space):
        """A product with an expression in its place."""
        vector = self.name(list(self.known))
        inside = self.expression(self.known[vector], 1)
        return f"{self.matrix(space, self.known[vector])} @ ({vector} * {inside})"

    def affine(self, space):
        terms = [self.product(space) for _ in range(self.random.randint(1, 3))]
        terms += [self.parameter("b", space)] if self.random.randrange(2) else []
        return " + ".join(terms)

    def atom(self, space):
        names = [name for name, other in self.known.items() if other == space]
        choice = self.random.randrange(10)
        if names and choice < 6:
            return self.name(names)
        if choice < 7:
            return self.parameter("p", space)
        if choice < 8:
            return self.parameter("s", "1")
        return f"({self.affine(space)})"

    def expression(self, space, depth):
        if depth == 0:
            return self.atom(space)
        a, b, c, d = (self.expression(space, depth - 1) for _ in range(4))
        forms = (
            f"tanh({a})", f"sigmoid({a})", f"({a} + {b})", f"({a} - {b})", f"({a} * {b})", f"{a} / (1 + ({b})**2)",
            f"relu({a})", f"absolute({a})", f"stop({a})", f"maximum({a}, {b})", f"minimum({a}, {b})",
            f"where({a} > {b}, {c}, {d})", self.random.choice(SQUASHED).format(a), f"{a} * 2 / 3",
        )  # fmt: skip
        return self.random.choice(forms)

    def right_side(self, space):
        forms = (
            self.affine(space),
            f"tanh({self.affine(space)})",
            f"tanh({self.affine(space)} + {self.bracket(space)})",
            f"tanh({self.affine(space)}) * {self.atom(space)} + {self.atom(space)}",
            self.expression(space, self.random.randint(1, 2)),
        )
        return self.random.choice(forms)


def random_cell(random):
    """The text of one cell."""
    draft = Draft(random)
    spaces = ["H", *random.sample(["P", "Q", "N"], random.randint(0, 2))]
    draft.inputs |= {"y": random.choice(spaces)} if random.randrange(2) else {}
    draft.states = {"h": "H"} | {name: random.choice(spaces) for name in "cs"[: random.randint(0, 2)]}
    draft.known |= draft.inputs | {f"{name}_prev": space for name, space in draft.states.items()}
    defined = [(f"v{k}", random.choice(spaces)) for k in range(random.randint(0, 4))] + list(draft.states.items())
    random.shuffle(defined)
    lines = []
    for name, space in defined:
        lines.append((name, draft.right_side(space)))
        draft.known[name] = space
    read = set(re.findall(r"\w+", " ".join(right for _, right in lines)))
    for kind in ("inputs", "parameters"):
        setattr(draft, kind, {name: shape for name, shape in getattr(draft, kind).items() if name in read})
    # a value that nothing reads is a state
    draft.states |= {name: space for name, space in defined if name not in read}
    outputs = random.sample(sorted(draft.states), random.randint(1, len(draft.states)))
    return "\n".join(
        [*_declared(draft), f"outputs: {' '.join(outputs)}", *(f"{name} = {right}" for name, right in lines)]
    )


def _declared(draft):
    for what in ("inputs", "states", "parameters"):
        names = getattr(draft, what)
        if names:
            yield f"{what}: " + " ".join(f"{name}[{','.join(_shape(shape))}]" for name, shape in names.items())


def _shape(shape):
    return (shape,) if isinstance(shape, str) else shape
