"""Plain functions that a program calls and that do what only a program can: they would fail when they run.

Whoever a name stands for when the program is compiled is looked at, and the functions of its module that it calls in
turn. What can't be told now, such as a function that is handed around as a value, is told at run time.
"""

from __future__ import annotations

import ast
import functools
import inspect
import types
from collections.abc import Iterator
from dataclasses import dataclass

from .errors import CompileError, Span
from .requests import EffectSpec
from .scan import Comprehension, Function, bound_names, every, own_nodes, parameters
from .source import MISSING, Resolver, code_names, is_decorator, is_program, parse_lines


@dataclass(frozen=True)
class Helper:
    """Something that can be called and is no program.

    Attributes:
        function: the function that is called in the end.
        kind: what it is: ``function``, ``method``, ``lambda``, ``generator``, ``coroutine``, or what stands before it:
            ``wrapped`` by a decorator, ``partial``.
    """

    function: types.FunctionType
    kind: str

    @property
    def name(self) -> str:
        """The name in its definition."""
        return self.function.__code__.co_name

    @property
    def called(self) -> str:
        """How one speaks of calling it."""
        return "a lambda" if self.name == "<lambda>" else f"{self.name}()"

    def remedy(self, file: str) -> str:
        """What to write instead, read from ``file``."""
        code = self.function.__code__
        near = f"line {code.co_firstlineno}" + (f" of {code.co_filename}" if code.co_filename != file else "")
        return REMEDIES[self.kind].format(name=f"def {self.name}", near=f" ({near})")


@dataclass(frozen=True)
class Stopping:
    """A function that can't do what it does.

    Attributes:
        path: the functions that call each other, from the one that was asked about to the one with the effect.
        effect: what is called there, in words.
        span: where.
    """

    path: tuple[Helper, ...]
    effect: str
    span: Span

    def remedy(self, file: str) -> str:
        """What to write instead, for each of them, read from ``file``."""
        said: list[str] = []
        for helper in self.path:
            text = helper.remedy(file)
            both = "Put @program above "
            if said and text.startswith(both) and said[-1].startswith(both):
                said[-1] = f"{said[-1][:-1]} and above {text.removeprefix(both)}"
            else:
                said.append(text)
        return " ".join(said)


REMEDIES = {
    "function": "Put @program above {name}{near}.",
    "method": "Write {name}{near} as a function outside the class, with @program above; it can take the object as an "
    "argument.",
    "lambda": "Write the lambda{near} as a function with def, and put @program above.",
    "generator": "Write what {name}{near} does for one item as a function with @program above, and call it in a loop: "
    "a program can't be a generator.",
    "coroutine": "Write {name}{near} with plain def, and put @program above: model calls are batched without await.",
    "wrapped": "Put @program directly above {name}{near}, in the place of what wraps it.",
    "partial": "Put @program above {name}{near}, and call it with all of its arguments, not through partial().",
}
"""Kind of helper → how it can be written so that it may hold effects."""


def kind_of(code: types.CodeType, path: str) -> str:
    """What kind of helper a function is by itself; ``path``: its qualified name."""
    if code.co_name == "<lambda>":
        return "lambda"
    if code.co_flags & inspect.CO_COROUTINE:
        return "coroutine"
    if code.co_flags & (inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR):
        return "generator"
    around = path.split(".")[:-1]
    return "method" if around and around[-1] != "<locals>" else "function"


def helper(called: object) -> Helper | None:
    """What calling an object runs, if that is a plain function."""
    kind = ""
    for _ in range(10):  # wrappers may be wrapped
        if isinstance(called, (staticmethod, classmethod, types.MethodType)):
            called, kind = called.__func__, kind or "method"
        elif isinstance(called, functools.partial):
            called, kind = called.func, kind or "partial"
        elif is_program(called) or is_decorator(called) or hasattr(called, "__ppl_effect__"):
            return None
        elif callable(getattr(called, "__wrapped__", None)) and not isinstance(called, type):
            called, kind = called.__wrapped__, kind or "wrapped"  # type: ignore[attr-defined]
        elif isinstance(called, types.FunctionType):
            return Helper(called, kind or kind_of(called.__code__, called.__qualname__))
        elif isinstance(called, (type, types.BuiltinFunctionType, types.ModuleType)):
            return None
        else:
            called, kind = inspect.getattr_static(type(called), "__call__", None), kind or "method"
    return None


def effect_behind(called: object) -> str | None:
    """The effect that calling an object is, under whatever name."""
    while isinstance(called, functools.partial):
        called = called.func
    spec = getattr(called, "__ppl_effect__", None)
    return spec.kind if isinstance(spec, EffectSpec) else None


def member(owner: object, name: str) -> object:
    """An attribute as it stands, without running any code of the user's; ``MISSING`` if that can't be."""
    if isinstance(owner, types.ModuleType):
        return getattr(owner, name, MISSING)
    found = MISSING if owner is MISSING else inspect.getattr_static(owner, name, MISSING)
    return MISSING if isinstance(found, property) else found


def stopping(called: object) -> Stopping | None:
    """The effect in what is called, or in a function of its module that it calls, if there is one.

    Args:
        called: what a program calls, if it is a function, or calls one, at all.
    """
    found = helper(called)
    if found is None or not _reaches(found.function, set()):
        return None  # decided by names alone, without reading any source
    return _find(found, (found,))


def _find(asked: Helper, path: tuple[Helper, ...]) -> Stopping | None:
    function = asked.function
    try:
        calls = list(_calls(function))
    except (CompileError, SyntaxError, TypeError, OSError):
        return None  # its source can't be had
    for node, resolver in calls:
        effect, program = resolver.effect(node.func), resolver.callee(node.func) == "program"
        if effect is not None or program:
            kind = "the program " if effect is None else ""
            span = Span.of(node, function.__code__.co_filename)
            return Stopping(path, f"{kind}{ast.unparse(node.func)}()", span)
    for node, resolver in calls:
        called = helper(resolver.resolve(node.func))
        known = called is None or called in path
        if called is not None and not known and _same_module(called.function, function):
            deeper = _find(called, (*path, called))
            if deeper is not None:
                return deeper
    return None


def _calls(function: types.FunctionType) -> Iterator[tuple[ast.Call, Resolver]]:
    """The calls in a function's own code, and what resolves the names there."""
    for node in every(parse_lines(function)):
        found = isinstance(node, ast.Lambda) if function.__name__ == "<lambda>" else isinstance(node, Function)
        if found:
            break
    else:
        return
    body = [node.body] if isinstance(node, ast.Lambda) else node.body  # type: ignore[attr-defined]
    own = list(own_nodes(body))
    inner = bound_names(g.target for n in own if isinstance(n, Comprehension) for g in n.generators)
    local = bound_names(body) | inner | set(parameters(node.args))  # type: ignore[attr-defined]
    resolver = Resolver(function, local - set(function.__code__.co_freevars))
    yield from ((call, resolver) for call in own if isinstance(call, ast.Call))


def _reaches(function: types.FunctionType, seen: set[types.FunctionType]) -> bool:
    """Whether an effect or a program is mentioned in a function or in those of its module that it mentions."""
    seen.add(function)
    resolver = Resolver(function, set())
    names = {*code_names(function.__code__), *function.__code__.co_freevars}
    for name in names:
        found = resolver.lookup(name)
        inside = isinstance(found, types.ModuleType)
        for mentioned in [vars(found).get(other, MISSING) for other in names] if inside else [found]:
            if is_program(mentioned) or isinstance(getattr(mentioned, "__ppl_effect__", None), EffectSpec):
                return True
        deeper = helper(found) if _may_be_called(found) else None
        known = deeper is None or not _same_module(deeper.function, function) or deeper.function in seen
        if deeper is not None and not known and _reaches(deeper.function, seen):
            return True
    return False


def _may_be_called(found: object) -> bool:
    return isinstance(found, (types.FunctionType, functools.partial)) or hasattr(found, "__wrapped__")


def _same_module(found: types.FunctionType, function: types.FunctionType) -> bool:
    return found.__globals__ is function.__globals__
