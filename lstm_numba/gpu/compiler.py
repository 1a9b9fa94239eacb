"""Generated functions -> kernels: Numba to PTX, NVIDIA's linker to one architecture's machine code, kept on disk.

No device is needed for any of it.  The PTX is that of the oldest architecture: nothing in it is newer, and the machine
code of every device is made from it.
"""

import ast
import hashlib
import inspect
import re
import textwrap
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from types import FunctionType, ModuleType, SimpleNamespace
from typing import Any

import numpy as np

from lstm_numba.cpu.cache import folder, read_whole, write_whole
from lstm_numba.gpu.plan import Method
from lstm_numba.gpu.unavailable import require
from lstm_numba.types import Types

Architecture = tuple[int, int]

INTEGERS = ("now", "steps", "since", "batch", "marked", "parts", "tile", "stage", "span", "scratch", "count")
PLACES = ("at_", "hold_", "turned_")
OTHER_ARRAYS = {"lengths": "int64", "periods": "int64", "resets": "uint8"}
STORED_ARRAYS = ("low_", "seq_", "out_", "d_out_", "weights_", "operand_")
LOCK = threading.RLock()
LEAST, HOPPER = (8, 0), (9, 0)
THREADS = 256  # of a block that has no reason for another number
REGISTERS = 65536  # of a multiprocessor, and of a block


@dataclass(frozen=True)
class Binary:
    """One kernel as machine code.

    Attributes:
        code: a cubin; entry: the kernel's name in it; log: what the linker says of registers and memory.
    """

    code: bytes
    entry: str
    log: str

    @property
    def registers(self) -> int:
        return int(self._number(r"[uU]sed (\d+) registers"))

    @property
    def spilled(self) -> int:
        """Bytes that registers did not hold."""
        return int(self._number(r"(\d+) bytes spill stores")) + int(self._number(r"(\d+) bytes spill loads"))

    @property
    def stack(self) -> int:
        return int(self._number(r"(\d+) bytes stack frame"))

    def _number(self, pattern: str) -> str:
        found = re.search(pattern, self.log)
        return found.group(1) if found else "0"


# --- Types of arguments, from their names


def argument_type(name: str, kinds: Types) -> Any:
    """The type of a kernel's argument: a 64-bit integer, an address, or `dot_stop`, a number of the arithmetic."""
    from lstm_numba.gpu.scalars import ARITHMETIC, STORED

    types, name = require("numba.cuda").types, name.removeprefix("dot_")
    if name == "stop":
        return ARITHMETIC[kinds.arithmetic.name]
    if name in INTEGERS or name[0].isupper() or name.startswith(PLACES):
        return types.int64
    if name in OTHER_ARRAYS:
        return types.CPointer(getattr(types, OTHER_ARRAYS[name]))
    stored = name.startswith(STORED_ARRAYS)
    return types.CPointer(STORED[kinds.stored.name] if stored else ARITHMETIC[kinds.arithmetic.name])


# --- Meanings of names


class _Numbers(ast.NodeTransformer):
    """Integers of a formula as names; an exponent stays an integer."""

    def __init__(self) -> None:
        self.found: dict[str, int] = {}

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        node.left = self.visit(node.left)
        if not isinstance(node.op, ast.Pow):
            node.right = self.visit(node.right)
        return node

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        if not isinstance(node.value, int):
            return node
        name = f"number_{node.value}"
        self.found[name] = node.value
        return ast.copy_location(ast.Name(name, ast.Load()), node)


def in_type(function: FunctionType, number: Any, meanings: dict[str, Any]) -> FunctionType:
    """A step function whose integers are numbers of this type: Numba would widen 1 - float32 to float64."""
    tree, numbers = ast.parse(textwrap.dedent(inspect.getsource(function))), _Numbers()
    tree = ast.fix_missing_locations(numbers.visit(tree))
    names = {**meanings, **{name: number(value) for name, value in numbers.found.items()}}
    exec(compile(tree, function.__code__.co_filename, "exec"), names)  # noqa: S102  (a function of a generated module)
    return names[function.__name__]


def meanings_of(module: ModuleType, kinds: Types, words: dict[str, Any]) -> dict[str, Any]:
    """Words, functions and step functions of a generated module, compiled where they are called."""
    from lstm_numba.gpu.scalars import ARITHMETIC, functions, inlined

    elementary = functions(ARITHMETIC[kinds.arithmetic.name])
    steps = {name: value for name, value in vars(module).items() if name == "step" or name.startswith("step_")}
    typed = {name: inlined(in_type(step, kinds.arithmetic.type, elementary)) for name, step in steps.items()}
    return {**words, **elementary, **typed}


# --- One thread's work -> a kernel over rows and units


KERNEL = """
def {name}({arguments}):
    place = grid(1)
    if place < batch * {space}:
        row, unit = place // {space}, place % {space}
        {work}
"""


def unit_kernel(module: ModuleType, kinds: Types, name: str, space: str) -> tuple[Callable[..., None], tuple[str, ...]]:
    """A kernel with a thread for each unit of each row, and the names of its arguments."""
    from lstm_numba.gpu.integers import divided
    from lstm_numba.gpu.scalars import inlined, words

    meanings = meanings_of(module, kinds, words(kinds))
    called = {n: inlined(divided(getattr(module, n), meanings)) for n in of_unit(module, name)}
    text, names = unit_text(module, name, space)
    return from_text(text, f"{name}_kernel", **called, grid=require("numba.cuda").grid), names


def unit_text(module: ModuleType, name: str, space: str, nothing: str = "0") -> tuple[str, tuple[str, ...]]:
    """The text of the kernel, and the names of its arguments; `nothing` stands for sums that are in the slots."""
    names = unit_arguments(module, name, space)
    known = {"row", "unit", "read", *names}

    def argument(name: str) -> str:
        return name if name in known else nothing if name.startswith("sums_") else "0"

    def call(function: str) -> str:
        return f"{function}({', '.join(map(argument, signature(module, function)))})"

    work = call(name)
    for read in of_unit(module, name)[1:]:
        work = f"read = {call(read)}; {work}"
    return KERNEL.format(name=f"{name}_kernel", arguments=", ".join(names), space=space, work=work), names


def of_unit(module: ModuleType, name: str) -> list[str]:
    """The function of a unit and, where its loads stand apart, theirs."""
    return [n for n in (name, name.replace("unit_", "read_")) if hasattr(module, n)]


@cache
def signature(module: ModuleType, name: str) -> tuple[str, ...]:
    """Of a function of a generated module, in order."""
    return tuple(inspect.signature(getattr(module, name)).parameters)


@cache
def unit_arguments(module: ModuleType, name: str, space: str) -> tuple[str, ...]:
    """What the kernel of a unit takes: all but what it finds itself, and the sums that are in the slots."""
    found = ("sums_", "sum_", "apart_")
    names = [n for function in of_unit(module, name) for n in signature(module, function)]
    names = [n for n in names if n not in ("row", "unit", "read") and not n.startswith(found)]
    return tuple(dict.fromkeys([*names, space]))


def from_text(text: str, name: str, **names: Any) -> Callable[..., Any]:
    exec(compile(text, f"<{name}>", "exec"), names)  # noqa: S102  (our own text, from checked names)
    return names[name]


# --- Machine code


@contextmanager
def _without_device() -> Iterator[None]:
    """Numba asks the current device for what nested functions are compiled for; there need be none."""
    dispatcher: Any = require("numba.cuda.dispatcher")
    with LOCK, _older_numpy():
        found = dispatcher.get_current_device
        dispatcher.get_current_device = lambda: SimpleNamespace(compute_capability=LEAST)
        try:
            yield
        finally:
            dispatcher.get_current_device = found


@contextmanager
def _older_numpy() -> Iterator[None]:
    """numba-cuda 0.30 names `row_stack` when it first compiles, which NumPy 2.5 no longer has; no kernel calls it."""
    numpy: Any = np
    if hasattr(numpy, "row_stack"):
        yield
        return
    numpy.row_stack = numpy.vstack
    try:
        yield
    finally:
        del numpy.row_stack


def to_ptx(kernel: Callable[..., None], arguments: tuple[Any, ...]) -> str:
    """PTX of a kernel."""
    cuda = require("numba.cuda")
    with _without_device():
        text, _ = cuda.compile(kernel, cuda.types.void(*arguments), cc=LEAST, device=False, abi="numba", output="ptx")
    return text


def linked(ptx: str, architecture: Architecture, threads: int) -> Binary:
    """Machine code of PTX, for blocks of so many threads."""
    linker = require("cuda.bindings.nvjitlink")
    entry = re.search(r"\.visible \.entry (\w+)\(", ptx)
    assert entry is not None  # every kernel has one
    options = [
        "-arch=sm_" + "".join(map(str, architecture)),
        f"-maxrregcount={min(255, REGISTERS // threads)}",
        "-verbose",
        # where it would hold too much at once, and put registers aside
        *(["-Xptxas=--register-usage-level=0"] if architecture < HOPPER else []),
    ]
    handle = linker.create(len(options), options)
    try:
        text = ptx.encode()
        linker.add_data(handle, linker.InputType.PTX, text, len(text), "kernel.ptx")
        linker.complete(handle)
        code = bytearray(linker.get_linked_cubin_size(handle))
        linker.get_linked_cubin(handle, code)
        log = bytearray(linker.get_info_log_size(handle))
        linker.get_info_log(handle, log)
    finally:
        linker.destroy(handle)
    return Binary(bytes(code), entry.group(1), log.decode().rstrip("\0"))


# --- On disk


@cache
def fingerprint() -> str:
    """Hash of this package's source and of the compiler's version."""
    here = Path(__file__).parent
    source = b"".join(path.name.encode() + path.read_bytes() for path in sorted(here.glob("*.py")))
    versions = (require("numba_cuda").__version__, require("cuda.bindings").__version__, np.__version__)
    return hashlib.sha256(source + repr(versions).encode()).hexdigest()


def kept(text: str, make: Callable[[], Binary]) -> Binary:
    """A kernel from the disk, or made and put there; `text` is what it depends on besides the fingerprint."""
    home = folder()
    if home is None:
        return make()
    path = home / f"cuda_{hashlib.sha256((fingerprint() + text).encode()).hexdigest()[:32]}.cubin"
    found = _read(path)
    if found is None:
        found = make()
        _write(path, found)
    return found


def _read(path: Path) -> Binary | None:
    """What was written, or None where it is missing or damaged."""
    try:
        entry, log, code = read_whole(path).split(b"\0", 2)
    except (OSError, ValueError):
        return None
    return Binary(code, entry.decode(), log.decode())


def _write(path: Path, binary: Binary) -> None:
    content = b"\0".join([binary.entry.encode(), binary.log.replace("\0", " ").encode(), binary.code])
    with suppress(OSError):  # a full disk: the kernel is in memory
        write_whole(path, content)


def unit_binary(module: ModuleType, kinds: Types, name: str, space: str, architecture: Architecture) -> Binary:
    """The kernel of one unit function."""
    text = f"{inspect.getsource(module)} {kinds} {name} {space} {architecture}"
    return kept(text, lambda: linked(unit_ptx(module, kinds, name, space), architecture, THREADS))


@lru_cache(maxsize=4)
def unit_ptx(module: ModuleType, kinds: Types, name: str, space: str) -> str:
    kernel, names = unit_kernel(module, kinds, name, space)
    return to_ptx(kernel, tuple(argument_type(n, kinds) for n in names))


# --- The whole time loop


def sweep_kernel(module: ModuleType, kinds: Types, name: str) -> tuple[Callable[..., None], tuple[str, ...]]:
    """A sweep of a generated module, and the names of its arguments."""
    from lstm_numba.gpu.blocks import block_words
    from lstm_numba.gpu.integers import divided
    from lstm_numba.gpu.scalars import inlined

    meanings = meanings_of(module, kinds, block_words(kinds))
    units = {n: inlined(divided(f, meanings)) for n, f in vars(module).items() if n.startswith(("read_", "unit_"))}
    return divided(getattr(module, name), {**meanings, **units}), signature(module, name)


def sweep_binary(module: ModuleType, kinds: Types, name: str, architecture: Architecture) -> Binary:
    """The kernel of one sweep."""
    text = f"{inspect.getsource(module)} {kinds} {name} {architecture}"
    return kept(text, lambda: linked(sweep_ptx(module, kinds, name), architecture, Method.of(kinds).threads))


@lru_cache(maxsize=4)
def sweep_ptx(module: ModuleType, kinds: Types, name: str) -> str:
    kernel, names = sweep_kernel(module, kinds, name)
    return to_ptx(kernel, tuple(argument_type(n, kinds) for n in names))


ROUND = """
def rounded(count, source, target):
    place = grid(1)
    if place < count:
        put_low(target, place, source[place])
"""


def rounding_binary(kinds: Types, architecture: Architecture) -> Binary:
    """The kernel that copies numbers of the arithmetic into the type of storage."""

    def make() -> Binary:
        from lstm_numba.gpu.scalars import words

        cuda = require("numba.cuda")
        kernel = from_text(ROUND, "rounded", grid=cuda.grid, put_low=words(kinds)["put_low"])
        arguments = (cuda.types.int64, argument_type("source", kinds), argument_type("low_", kinds))
        return linked(to_ptx(kernel, arguments), architecture, THREADS)

    return kept(f"{ROUND} {kinds} {architecture}", make)


EXCHANGES = """
def exchanges(count, parts, d_all_board):
    for now in range(count):
        exchange(d_all_board, now, parts)
"""


def exchange_binary(kinds: Types, architecture: Architecture) -> Binary:
    """A kernel whose blocks only wait for a number of each other: what a step cannot do without where they share the
    units."""
    threads = Method.of(kinds).threads
    return kept(f"{EXCHANGES} {kinds} {architecture}", lambda: linked(exchange_ptx(kinds), architecture, threads))


def exchange_ptx(kinds: Types) -> str:
    from lstm_numba.gpu.blocks import block_words

    kernel = from_text(EXCHANGES, "exchanges", exchange=block_words(kinds)["exchange"])
    return to_ptx(kernel, tuple(argument_type(name, kinds) for name in ("now", "parts", "d_all_board")))
