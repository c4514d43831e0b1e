"""Generated code → function objects that share the user function's globals and closure."""

from __future__ import annotations
import __future__

import ast
import functools
import operator
import types
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any
from weakref import WeakKeyDictionary

from . import ir, requests, support
from .blocks import Generated
from .codegen import generate
from .lower import Lowerer
from .outside import warn_of_changes
from .requests import Block, Site
from .source import Answers, is_program, same_answers
from .syntax import outer
from .verify import DEBUG, verify

_FUTURES = functools.reduce(operator.or_, (getattr(__future__, f).compiler_flag for f in __future__.all_feature_names))

HELPERS: dict[str, Any] = {
    "·Sample": requests.Sample,
    "·Observe": requests.Observe,
    "·Factor": requests.Factor,
    "·Condition": requests.Condition,
    "·Twist": requests.Twist,
    "·Barrier": requests.Barrier,
    "·Call": requests.Call,
    "·Invoke": requests.Invoke,
    "·Gather": requests.Gather,
    "·each": requests.each,
    "·UNBOUND": support.UNBOUND,
    "·items": support.items,
    "·following": support.following,
    "·is_program": is_program,
    "·NameError": NameError,
    "·enumerate": support.Enumerated,
    "·zip": support.Zipped,
    "·keywords": support.keywords,
    "·slice": slice,
}


@dataclass(frozen=True)
class Compiled:
    """A program ready to run.

    Attributes:
        name: the function's name.
        ir: what its code is generated from.
        make: generates its code, see :attr:`entry`.
        sites: every effect's site, in source order.
        unresolved: called names that meant nothing yet. Calls of them work, but not inside ``try`` and ``with``, if
            they turn out to be programs; compile again when they have been defined.
    """

    name: str
    ir: ir.Program
    make: Callable[[], Block] = field(repr=False)
    sites: tuple[Site, ...] = field(default=())
    unresolved: frozenset[str] = field(default=frozenset())

    @functools.cached_property
    def entry(self) -> Block:
        """Takes the user's arguments and runs to the first effect (see ``requests``).

        The code is generated when it is first asked for: mostly what runs is other IR, that passes made of this.
        """
        return self.make()

    @property
    def source(self) -> str:
        """The generated Python, one function a block, for reading."""
        return ast.unparse(generate(self.ir, list(HELPERS)).module)


@dataclass(frozen=True)
class _Unit:
    """What functions with the same code share, as long as the names in them mean the same.

    No function is kept for it: what it captured, a model for one, may go when its program does.

    Attributes:
        program: what they were lowered to.
        answers: what the names in them mean.
        unresolved: called names that meant nothing yet.
    """

    program: ir.Program
    answers: Answers
    unresolved: frozenset[str]


# A nested @program is compiled once, however often the definition around it runs. Equal code may stand in two files.
_cache: dict[tuple[types.CodeType, str], _Unit] = {}
_CACHED = 1024
_made: WeakKeyDictionary[ir.Program, tuple[types.CodeType, Generated, dict[str, types.CodeType]]] = WeakKeyDictionary()
"""What was generated from IR, and the code of the function that it was linked in place of."""

_programs: set[tuple[str, str]] = set()
"""The modules and qualified names of all functions that were linked."""


def made_in_program(definition: type | types.FunctionType) -> bool:
    """Whether a class or a function was defined while a program ran, by the program itself."""
    module, path = definition.__module__, definition.__qualname__
    if "<locals>" not in path:
        return False
    around = path.split(".<locals>")[:-1]
    return any((module, ".<locals>".join(around[:n])) in _programs for n in range(1, len(around) + 1))


def forget() -> None:
    """Compile everything anew from here on."""
    _cache.clear()


def compile_function(fn: Callable[..., Any]) -> Compiled:
    """Compile a function.

    Args:
        fn: a plain function whose source can be read.

    Raises:
        CompileError: it uses Python that can't be compiled; the error shows where and says what to write instead.
    """
    if not isinstance(fn, types.FunctionType):
        raise TypeError(f"@program takes a function written with def, not {type(fn).__name__}")
    key = (fn.__code__, fn.__code__.co_filename)
    unit = _cache.get(key)
    if unit is None or not same_answers(unit.answers, fn):
        if len(_cache) >= _CACHED:
            _cache.clear()
        lowerer = Lowerer(fn)
        warn_of_changes(lowerer, fn, nested=made_in_program(fn))
        program = lowerer.lower()
        if DEBUG:
            verify(program)
        resolver = lowerer.resolver
        unit = _cache[key] = _Unit(program, resolver.answers, frozenset(resolver.unresolved))
    return replace(link_ir(fn, unit.program), unresolved=unit.unresolved)


def link_ir(fn: Callable[..., Any], program: ir.Program) -> Compiled:
    """Make IR run in place of a function.

    Args:
        fn: the function that the IR was lowered from: it lends its globals, closure and defaults.
        program: verified IR, which passes may have changed.
    """
    assert isinstance(fn, types.FunctionType)
    _programs.add((fn.__module__, fn.__qualname__))
    return Compiled(fn.__name__, program, functools.partial(_linked, fn, program), program.sites)


def _linked(fn: types.FunctionType, program: ir.Program) -> Block:
    """The first block of IR that runs in place of a function."""
    found = _made.get(program)
    if found is None or found[0] is not fn.__code__:
        generated = generate(program, list(HELPERS))
        found = _made[program] = (fn.__code__, generated, _code_objects(generated, fn))
    return _link(fn, *found[1:])


def _code_objects(generated: Generated, fn: types.FunctionType) -> dict[str, types.CodeType]:
    """The code object of each block, as if it were a piece of ``fn``."""
    futures = fn.__code__.co_flags & _FUTURES
    module = compile(generated.module, fn.__code__.co_filename, "exec", futures, dont_inherit=True)
    factory = next(c for c in module.co_consts if isinstance(c, types.CodeType))
    found: dict[str, types.CodeType] = {}
    for code in factory.co_consts:
        if isinstance(code, types.CodeType):
            found[code.co_name] = _inside(code, factory.co_name, fn.__qualname__).replace(co_name=fn.__name__)
    return found


def _inside(code: types.CodeType, factory: str, name: str) -> types.CodeType:
    """``code`` with ``name`` for the factory and the block in its own qualified name and in those of functions in it.

    Equal functions of several blocks are one piece of code, with the name that it has in any of them.
    """

    def renamed(path: str) -> str:
        return "".join((name, *(f".<locals>.{part}" for part in path.split(".<locals>.")[2:])))

    def inside(constant: Any) -> Any:
        if isinstance(constant, types.CodeType):
            return _inside(constant, factory, name)
        if isinstance(constant, str) and constant.startswith(f"{factory}.<locals>."):  # Python 3.10 keeps names here
            return renamed(constant)
        return constant

    code = code.replace(co_consts=tuple(map(inside, code.co_consts)))
    if hasattr(code, "co_qualname"):
        code = code.replace(co_qualname=renamed(code.co_qualname))
    return code


def _link(fn: types.FunctionType, generated: Generated, codes: dict[str, types.CodeType]) -> Block:
    """Bind the blocks to ``fn``'s globals and closure, to their helpers and to each other."""
    cells = {name: types.CellType(value) for name, value in (*HELPERS.items(), *generated.sites.items())}
    for name, cell in zip(fn.__code__.co_freevars, fn.__closure__ or (), strict=True):
        cells[name] = cells[outer(name)] = cell
    cells.update((name, types.CellType()) for name in generated.blocks)
    for name in generated.blocks:
        code = codes[name]
        closure = tuple(cells[free] for free in code.co_freevars)
        block = types.FunctionType(code, fn.__globals__, fn.__name__, None, closure)
        cells[name].cell_contents = block
    entry = cells[generated.blocks[0]].cell_contents
    entry.__qualname__ = fn.__qualname__
    entry.__defaults__, entry.__kwdefaults__ = fn.__defaults__, fn.__kwdefaults__
    return entry
