"""From a function object to its syntax tree, and from a name in it to the object it stands for."""

from __future__ import annotations

import ast
import builtins
import inspect
import itertools
import tokenize
import types
from collections.abc import Callable, Iterator
from typing import Any

from .errors import CompileError, Span
from .requests import EffectSpec
from .syntax import outer

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
    if hasattr(fn, "__wrapped__"):
        inner = getattr(inspect.unwrap(fn), "__code__", fn.__code__)
        raise CompileError(
            f"{fn.__name__!r} is wrapped by another decorator, and a wrapper can't be compiled",
            "Put @program directly above def, or write the wrapper as a @program of its own.",
            Span(inner.co_filename, inner.co_firstlineno),
        )
    try:
        node = _definition(fn)
    except (OSError, TypeError):
        raise CompileError(
            f"the source of {fn.__name__!r} can't be found, so it can't be compiled",
            "Put it in a file or a notebook cell: Python keeps no source of what is typed at its plain prompt.",
            first,
        ) from None
    except SyntaxError:
        raise CompileError(
            f"the source of {fn.__name__!r} can't be told from what stands around it, so it can't be compiled",
            "Write it with def, on lines of its own. If its file was changed after the import, import it anew.",
            first,
        ) from None
    span = Span.of(node, file)
    if isinstance(node, ast.Lambda) or fn.__name__ == "<lambda>":
        raise CompileError(
            "a lambda can't be a program: it has no name and no room for statements",
            "Write a function with def and put @program above.",
            span,
        )
    if isinstance(node, ast.AsyncFunctionDef):
        raise CompileError(
            "a program can't be a coroutine: the runtime itself stops it and goes on with it",
            "Write plain def: model calls are already batched across particles without await.",
            span,
        )
    return node, file


def _definition(fn: types.FunctionType) -> ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda:
    """The first definition in the lines of ``fn``; see :func:`parse_lines`."""
    for node in ast.walk(parse_lines(fn)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            return node
    raise SyntaxError("no function is defined here")


_TRIES = 8


def parse_lines(fn: types.FunctionType) -> ast.Module:
    """The lines in which ``fn`` is defined, as a tree with the positions of its file.

    The definition is the shortest piece of the file that begins where it does, ends before a line that is not indented
    further, and can be parsed: a shorter one would break off inside a string or between brackets.

    Raises:
        SyntaxError: no piece can be parsed: the definition does not stand on lines of its own, or the file has changed.
    """
    lines, first = inspect.findsource(fn)
    indented = lines[first][:1].isspace()
    # A nested definition's indentation needs a block to stand in. Lines before it put it where it stands.
    before = "\n" * (first - 1) + "if True:\n" if indented else "\n" * first
    for end in itertools.islice(_ends(lines, first), _TRIES):
        try:
            return ast.parse(before + "".join(lines[first:end]))
        except SyntaxError:
            continue
    # A long string may have many such lines. To read the block word by word tells them apart, and takes longer.
    try:
        return ast.parse(before + "".join(inspect.getblock(lines[first:])))
    except tokenize.TokenError as error:
        raise SyntaxError(error.args[0]) from None


def _ends(lines: list[str], first: int) -> Iterator[int]:
    """Where a block that begins at line ``first`` may end."""
    margin = len(lines[first]) - len(lines[first].lstrip())
    for i in range(first + 1, len(lines)):
        text = lines[i].lstrip()
        if text and text[0] != "#" and len(lines[i]) - len(text) <= margin:
            yield i
    yield len(lines)


Answers = dict[tuple[str, ...], object]
"""A name, or a path of names, → what it means (:func:`meaning`)."""


class Resolver:
    """Looks names of a function up as Python would when it runs: closure, globals, builtins.

    Attributes:
        local_names: names that are the function's own variables; what they hold is not known before it runs.
        local_programs: those of them that can only hold a nested program.
        unresolved: called names that meant nothing yet.
        answers: each question that was put to it, and the answer. Another function object with the same code may be
            compiled to the same result if it gives the same answers.
    """

    def __init__(self, fn: types.FunctionType, local_names: set[str]) -> None:
        self.fn = fn
        self.local_names = local_names
        self.local_programs: set[str] = set()
        self.unresolved: set[str] = set()
        self.answers: Answers = {}
        self._cells = dict(zip(fn.__code__.co_freevars, fn.__closure__ or (), strict=True))

    @property
    def free_names(self) -> tuple[str, ...]:
        """The variables of enclosing functions that the function reads."""
        return tuple(sorted(self._cells))

    def encloses(self, name: str) -> bool:
        """Whether it is a variable of an enclosing function, also by what generated code calls it."""
        return name in self._cells or name.removeprefix(outer("")) in self._cells

    def lookup(self, name: str) -> Any:
        """The object that a global or enclosing name stands for, or ``MISSING``."""
        if self.encloses(name):
            try:
                return self._cells[name.removeprefix(outer(""))].cell_contents
            except ValueError:
                return MISSING
        if name in self.fn.__globals__:
            return self.fn.__globals__[name]
        return getattr(builtins, name, MISSING)

    def resolve(self, node: ast.expr) -> Any:
        """The object that an expression ``name`` or ``module.name`` stands for, or ``MISSING``."""
        path: list[str] = []
        while isinstance(node, ast.Attribute):
            path.insert(0, node.attr)
            node = node.value
        if not isinstance(node, ast.Name) or node.id in self.local_names:
            return MISSING
        question = (node.id, *path)
        found = self.follow(question)
        self.answers[question] = meaning(found)
        return found

    def follow(self, path: tuple[str, ...]) -> Any:
        """The object that a name, or an attribute of a module, stands for, or ``MISSING``."""
        found = self.lookup(path[0])
        for attribute in path[1:]:
            # Only modules: what an object's attribute is may change while the program runs.
            found = getattr(found, attribute, MISSING) if isinstance(found, types.ModuleType) else MISSING
        return found

    def is_builtin(self, node: ast.expr, word: str) -> bool:
        """Whether ``node`` is the name of a builtin and means it."""
        return isinstance(node, ast.Name) and node.id == word and self.resolve(node) is getattr(builtins, word)

    def effect(self, node: ast.expr) -> EffectSpec | None:
        """The effect that ``node``, the function part of a call, stands for."""
        found = self.resolve(node)
        spec = None if found is MISSING else getattr(found, "__ppl_effect__", None)
        return spec if isinstance(spec, EffectSpec) else None

    def callee(self, node: ast.expr) -> str:
        """What calling ``node`` means: ``program``, ``python``, or ``unknown`` until it runs."""
        if isinstance(node, ast.Name):
            if node.id.startswith("·") and (node.id[1:].isdigit() or node.id not in self.local_names):
                return "python"  # a temporary for the function of a call already found to be native, or a helper
            if node.id in self.local_names:
                return "program" if node.id in self.local_programs else "unknown"
            found = self.resolve(node)
            if found is MISSING:
                self.unresolved.add(node.id)
                # @program on a recursive function compiles it before its name is bound.
                return "program" if node.id == self.fn.__name__ else "unknown"
        elif isinstance(node, ast.Attribute):
            found = self.resolve(node)  # a method, or something in a module
        else:
            # What a call or an item of a list gives, such as solve.given(x=1).
            return "python" if isinstance(node, ast.Lambda) else "unknown"
        return "program" if is_program(found) else "python"

    def captured(self) -> dict[str, str]:
        """The variables of enclosing functions that a copy of a run needs a copy of, and what calling them means."""
        found = {}
        for name in self.free_names:
            kind = meaning(self.resolve(ast.Name(name, ast.Load())))
            if kind == "missing" and name == self.fn.__name__:
                kind = "program"
            if kind in ("missing", "program", "data"):
                found[name] = str(kind)
        return found


def same_answers(answers: Answers, fn: types.FunctionType) -> bool:
    """Whether the names of a function mean what they meant in another of the same code."""
    resolver = Resolver(fn, set())
    return all(meaning(resolver.follow(path)) == answer for path, answer in answers.items())


def code_names(code: types.CodeType) -> Iterator[str]:
    """The names of globals and of attributes in a piece of code and in what is defined in it, some more than once."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from code_names(constant)


def meaning(found: Any) -> object:
    """All that the compiler wants to know about an object that a name stands for."""
    if found is MISSING:
        return "missing"
    spec = getattr(found, "__ppl_effect__", None)
    if isinstance(spec, EffectSpec):
        return spec
    if is_program(found):
        return "program"
    if is_decorator(found):
        return "decorator"
    if any(found is b for b in (enumerate, zip, locals, vars, dir, eval, exec)):
        return found
    return "python" if _holds_nothing(found) else "data"


def _holds_nothing(found: Any) -> bool:
    """Whether an object has nothing that a run could change: a plain function, a class, a module."""
    if isinstance(found, types.FunctionType):
        return not (found.__closure__ or found.__defaults__ or found.__kwdefaults__ or found.__dict__)
    if isinstance(found, types.BuiltinFunctionType):  # which methods of lists, dicts and the like are too
        return found.__self__ is None or _holds_nothing(found.__self__)
    return isinstance(found, (type, types.ModuleType))


def is_decorator(value: Any) -> bool:
    """Whether ``value`` is ``@program``."""
    return getattr(value, "__ppl_decorator__", False) is True


def is_program(value: Any) -> bool:
    """Whether calling ``value`` inside a program runs it inline."""
    return getattr(type(value), "__ppl_program__", False) is True
