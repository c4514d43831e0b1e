"""Small pieces of Python syntax that the code generator puts together."""

from __future__ import annotations

import ast
import copy
from collections.abc import Sequence
from typing import Any, TypeVar

from .errors import Span

T = TypeVar("T", bound=ast.AST)


def outer(name: str) -> str:
    """What generated code calls the variable ``name`` of an enclosing function."""
    return f"·outer·{name}"


_LOAD = ast.Load()
_LEAVES = (ast.Name, ast.Constant)


def load(name: str) -> ast.Name:
    """``name``, read."""
    return ast.Name(name, _LOAD)


def assign(name: str, value: ast.expr) -> ast.stmt:
    """``name = value``."""
    return ast.Assign([ast.Name(name, ast.Store())], value)


def unbind(name: str) -> list[ast.stmt]:
    """Make ``name`` a local variable that is not bound, whatever it was."""
    return [assign(name, ast.Constant(None)), delete(name)]


def delete(name: str) -> ast.stmt:
    """``del name``."""
    return ast.Delete([ast.Name(name, ast.Del())])


def call(name: str, *args: ast.expr) -> ast.Call:
    """``name(*args)``."""
    return ast.Call(load(name), list(args), [])


def pack(*values: ast.expr) -> ast.expr:
    """A tuple display."""
    return ast.Tuple(list(values), _LOAD)


def increment(name: str) -> ast.expr:
    """``name + 1``."""
    return ast.BinOp(load(name), ast.Add(), ast.Constant(1))


def is_mark(name: str, mark: str) -> ast.expr:
    """``name is mark``."""
    return ast.Compare(load(name), [ast.Is()], [load(mark)])


def block_or_pass(body: list[ast.stmt]) -> list[ast.stmt]:
    """A body that is not empty."""
    return body or [ast.Pass()]


def function(name: str, arguments: ast.arguments | Sequence[str], body: Sequence[ast.stmt]) -> ast.FunctionDef:
    """A function definition."""
    if not isinstance(arguments, ast.arguments):
        arguments = ast.arguments([], [ast.arg(n) for n in arguments], None, [], [], None, [])
    new: Any = ast.FunctionDef(name, arguments, list(body), [])
    if "type_params" in ast.FunctionDef._fields:
        new.type_params = []
    return new


def bare(signature: ast.arguments) -> ast.arguments:
    """A signature without annotations, its defaults stood in for (the linker sets the real ones)."""
    new = copy.deepcopy(signature)
    for argument in ast.walk(new):
        if isinstance(argument, ast.arg):
            argument.annotation = None
    new.defaults = [ast.Constant(None) for _ in new.defaults]
    new.kw_defaults = [None if d is None else ast.Constant(None) for d in new.kw_defaults]
    return new


def position(node: T, span: Span) -> T:
    """Put ``node`` and what is new below it at ``span``. A statement that has its place is not new in any part."""
    place = {"lineno": span.line, "col_offset": span.column}
    place |= {"end_lineno": span.end_line, "end_col_offset": span.end_column}
    todo: list[ast.AST] = [node]
    for inner in todo:  # which grows on the way
        own = inner.__dict__
        if "lineno" not in own:
            if type(inner) in _LEAVES:
                own.update(place)
                continue
            parts = list(own.values())
            if "lineno" in inner._attributes:
                own.update(place)
        elif isinstance(inner, ast.stmt):
            continue
        else:
            parts = list(own.values())
        for part in parts:
            if type(part) is list:
                todo += [p for p in part if isinstance(p, ast.AST)]
            elif isinstance(part, ast.AST) and part is not _LOAD:
                todo.append(part)
    return node
