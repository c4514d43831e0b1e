"""From a function object to its syntax tree, and from a name in it to the object it stands for."""

from __future__ import annotations

import ast
import builtins
import inspect
import textwrap
import types
from collections.abc import Callable
from typing import Any

from .errors import CompileError, Span
from .requests import EffectSpec

MISSING = object()


def parse_function(fn: Callable[..., Any]) -> tuple[ast.FunctionDef, str]:
    """The definition of ``fn``, with the positions of its own file, and that file's name.

    Raises:
        CompileError: the source can't be had, or it is a lambda, a coroutine or a generator.
    """
    if not isinstance(fn, types.FunctionType):
        raise TypeError(f"@program takes a function written with def, not {type(fn).__name__}")
    file = fn.__code__.co_filename
    first = Span(file, fn.__code__.co_firstlineno)
    try:
        lines, start = inspect.getsourcelines(fn)
    except (OSError, TypeError):
        raise CompileError(
            f"the source of {fn.__name__!r} can't be found, so it can't be compiled",
            "Put the program in a file or a notebook cell: Python keeps no source of what is typed at its plain prompt.",
            first,
        ) from None
    source = "".join(lines)
    shift = start - 1
    if source[:1].isspace():  # nested definition: give its indentation a block to stand in
        source, shift = "if True:\n" + source, start - 2
    try:
        tree = ast.parse(source)
    except SyntaxError:
        tree = ast.parse(textwrap.dedent("".join(lines)))
        shift = start - 1
    ast.increment_lineno(tree, shift)
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            break
    else:
        raise TypeError(f"no function definition at {first}")
    span = Span.of(node, file)
    if isinstance(node, ast.Lambda) or fn.__name__ == "<lambda>":
        raise CompileError("a lambda can't be a program", "Write it with def.", span)
    if isinstance(node, ast.AsyncFunctionDef):
        raise CompileError(
            "a program can't be a coroutine",
            "Write plain def: model calls are already batched across particles without await.",
            span,
        )
    return node, file


class Resolver:
    """Looks names of a function up as Python would when it runs: closure, globals, builtins.

    Attributes:
        unresolved: called names that meant nothing yet; compile again when they may have been defined.
    """

    def __init__(self, fn: types.FunctionType, local_names: set[str]) -> None:
        self.fn = fn
        self.local_names = local_names
        self.unresolved: set[str] = set()
        self._cells = dict(zip(fn.__code__.co_freevars, fn.__closure__ or (), strict=True))

    def lookup(self, name: str) -> Any:
        """The object that a global or enclosing name stands for, or ``MISSING``."""
        if name in self._cells:
            try:
                return self._cells[name].cell_contents
            except ValueError:
                return MISSING
        if name in self.fn.__globals__:
            return self.fn.__globals__[name]
        return getattr(builtins, name, MISSING)

    def resolve(self, node: ast.expr) -> Any:
        """The object that an expression ``name`` or ``module.name`` stands for, or ``MISSING``."""
        if isinstance(node, ast.Name):
            return MISSING if node.id in self.local_names else self.lookup(node.id)
        if isinstance(node, ast.Attribute):
            base = self.resolve(node.value)
            if isinstance(base, types.ModuleType):
                return getattr(base, node.attr, MISSING)
        return MISSING

    def effect(self, node: ast.expr) -> EffectSpec | None:
        """The effect that ``node``, the function part of a call, stands for."""
        found = self.resolve(node)
        spec = None if found is MISSING else getattr(found, "__ppl_effect__", None)
        return spec if isinstance(spec, EffectSpec) else None

    def callee(self, node: ast.expr) -> str:
        """What calling ``node`` means: ``program``, ``python``, or ``unknown`` until it runs."""
        if isinstance(node, ast.Name):
            if node.id in self.local_names:
                return "unknown"
            found = self.lookup(node.id)
            if found is MISSING:
                self.unresolved.add(node.id)
                return "unknown"
        else:
            found = self.resolve(node)
            if found is MISSING:
                return "unknown" if self._is_variant(node) else "python"
        return "program" if is_program(found) else "python"

    def _is_variant(self, node: ast.expr) -> bool:
        """``solve.given(x=1)`` and ``solve.do(x=1)``: called, they are programs."""
        return (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in ("given", "do")
            and is_program(self.resolve(node.func.value))
        )


def is_program(value: Any) -> bool:
    """Whether calling ``value`` inside a program runs it inline."""
    return getattr(type(value), "__ppl_program__", False) is True
