"""Generated code → function objects that share the user function's globals and closure."""

from __future__ import annotations

import types
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from . import ir, requests, support
from .codegen import Generated, generate
from .lower import Lowerer
from .requests import Block, Site
from .source import is_program
from .verify import verify

HELPERS: dict[str, Any] = {
    "·Sample": requests.Sample,
    "·Observe": requests.Observe,
    "·Factor": requests.Factor,
    "·Condition": requests.Condition,
    "·Twist": requests.Twist,
    "·Barrier": requests.Barrier,
    "·Call": requests.Call,
    "·Invoke": requests.Invoke,
    "·UNBOUND": support.UNBOUND,
    "·END": support.END,
    "·item": support.item,
    "·items": support.items,
    "·is_program": is_program,
    "·NameError": NameError,
}


@dataclass(frozen=True)
class Compiled:
    """A program ready to run.

    Attributes:
        name: the function's name.
        entry: takes the user's arguments and runs to the first effect (see ``requests``).
        ir: what it was generated from.
        sites: every effect's site, in source order.
    """

    name: str
    entry: Block
    ir: ir.Program
    sites: tuple[Site, ...] = field(default=())


# A nested @program is compiled once, however often the definition around it runs.
_cache: dict[types.CodeType, tuple[ir.Program, Generated, dict[str, types.CodeType]]] = {}


def compile_function(fn: Callable[..., Any]) -> Compiled:
    """Compile a function.

    Args:
        fn: a plain function whose source can be read.

    Raises:
        CompileError: it uses Python that can't be compiled; the error shows where and says what to write instead.
    """
    if not isinstance(fn, types.FunctionType):
        raise TypeError(f"@program takes a function written with def, not {type(fn).__name__}")
    known = _cache.get(fn.__code__)
    if known is None:
        program = Lowerer(fn).lower()
        verify(program)
        generated = generate(program, list(HELPERS))
        known = _cache[fn.__code__] = (program, generated, _code_objects(generated, fn))
    program, generated, codes = known
    return Compiled(fn.__name__, _link(fn, generated, codes), program, program.sites)


def _code_objects(generated: Generated, fn: types.FunctionType) -> dict[str, types.CodeType]:
    """The code object of each block, as if it were a piece of ``fn``."""
    module = compile(generated.module, fn.__code__.co_filename, "exec", dont_inherit=True)
    factory = next(c for c in module.co_consts if isinstance(c, types.CodeType))
    found: dict[str, types.CodeType] = {}
    for code in factory.co_consts:
        if isinstance(code, types.CodeType):
            shown = {"co_name": fn.__name__}
            if hasattr(code, "co_qualname"):
                shown["co_qualname"] = fn.__qualname__
            found[code.co_name] = code.replace(**shown)  # type: ignore[arg-type]
    return found


def _link(fn: types.FunctionType, generated: Generated, codes: dict[str, types.CodeType]) -> Block:
    """Bind the blocks to ``fn``'s globals and closure, to their helpers and to each other."""
    cells = {name: types.CellType(value) for name, value in (*HELPERS.items(), *generated.sites.items())}
    cells.update(zip(fn.__code__.co_freevars, fn.__closure__ or (), strict=True))
    cells.update((name, types.CellType()) for name in generated.blocks)
    for name in generated.blocks:
        code = codes[name]
        closure = tuple(cells[free] for free in code.co_freevars)
        block = types.FunctionType(code, fn.__globals__, fn.__name__, None, closure)
        cells[name].cell_contents = block
    entry = cells[generated.blocks[0]].cell_contents
    entry.__defaults__, entry.__kwdefaults__ = fn.__defaults__, fn.__kwdefaults__
    return entry  # type: ignore[no-any-return]
