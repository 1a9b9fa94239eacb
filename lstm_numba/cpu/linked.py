"""Functions that many kernels call: compiled once, and linked by name.

    forward of lstm        -+
    forward of peephole    -+->  lstm_numba.make_sums.4.4.0.5c8e...  ->  one entry of the cache
    forward_tangent of ... -+

Products are most of the code of a kernel, and too long to be inlined: the kernel holds their names only.  Whoever
compiles a kernel, or takes one from the cache, first sees to it that each name has an address; Numba keeps what has to
run before code is loaded (`reload_init`) with the code.
"""

import hashlib
from collections.abc import Callable
from copy import copy
from dataclasses import dataclass
from functools import cache
from typing import Any

import llvmlite.binding as llvm
from numba import njit, types
from numba.core.imputils import lower_builtin
from numba.core.typing.templates import AbstractTemplate, infer_global, signature

from lstm_numba.cpu.cache import keep

# Without a wrapper for C, which nobody calls.
OPTIONS = {"nogil": True, "error_model": "numpy", "no_cfunc_wrapper": True}


def compiled(function: Callable[..., Any], text: str) -> Callable[..., Any]:
    """Compile, or take from the cache; `text` is what the function depends on besides this package's source."""
    return keep(njit(**OPTIONS)(function), text)


@cache
def _dispatcher(make: Callable[..., Any], sizes: tuple[int, ...]):
    return compiled(make(*sizes), f"{make.__name__} {sizes}")


@dataclass(frozen=True)
class Link:
    """What `make(*sizes)` returns, for arguments of given types; a call gives its name an address in this process."""

    make: Callable[..., Any]
    sizes: tuple[int, ...]
    arguments: tuple[types.Type, ...]

    @property
    def name(self) -> str:
        digest = hashlib.sha256(repr(self.arguments).encode()).hexdigest()[:16]
        return ".".join(["lstm_numba", self.make.__name__, *map(str, self.sizes), digest])

    def __call__(self):
        """Return what Numba knows of the compiled function."""
        dispatcher = _dispatcher(self.make, self.sizes)
        dispatcher.compile(self.arguments)
        found = dispatcher.overloads[self.arguments]
        llvm.add_symbol(self.name, found.library.get_pointer_to_function(found.fndesc.llvm_func_name))
        return found


@cache
def linked(make: Callable[..., Any], *sizes: int) -> Callable[..., None]:
    """What `make(*sizes)` returns, a function that returns nothing, for compiled code to call by name."""

    def call(*arguments):
        raise TypeError("a linked function is called by compiled code only")

    key = f"{make.__module__}.{make.__name__} {sizes}"

    @infer_global(call, typing_key=key)
    class Typing(AbstractTemplate):
        def generic(self, arguments, keywords):
            return signature(types.none, *map(types.unliteral, arguments))

    @lower_builtin(key, types.VarArg(types.Any))
    def build(context, builder, signature, arguments):
        link = Link(make, sizes, signature.args)
        called = copy(link().fndesc)
        called.mangled_name = link.name
        context.active_code_library._reload_init.add(link)
        return context.call_internal(builder, called, signature, arguments)

    return call
