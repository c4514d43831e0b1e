"""The Python inside the IR's text. It is parsed and looked at, never evaluated.

The compiler's own names begin with a middle dot, ``·1``, so that no user can write them; so Python's parser can't read
them either. They are given a beginning that it can read, and lose it again in the tree.
"""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterator

from .errors import Span
from .scan import Scope, evaluated_outside, every

MAX_DEPTH = 200
"""How deeply Python may be nested: expressions, and statements that hold statements."""

_LEAVING = (ast.Return, ast.Yield, ast.YieldFrom, ast.Await, ast.AsyncFor, ast.AsyncWith, ast.Global, ast.Nonlocal)
_LEAVING_A_LOOP = (ast.Break, ast.Continue)


class SnippetError(Exception):
    """This is no Python that can stand in the text.

    Attributes:
        line, column: where in the snippet, both from 0.
    """

    def __init__(self, message: str, line: int = 0, column: int = 0) -> None:
        super().__init__(message)
        self.line = line
        self.column = column


def statement(text: str, span: Span) -> ast.stmt:
    """One statement.

    Args:
        text: its source.
        span: where all of it stands.

    Raises:
        SnippetError: it is no statement, or one that leaves the place where it stands, as ``return`` does.
    """
    body = _parsed(text, span).body
    if len(body) != 1:
        raise SnippetError(f"one statement stands here, not {len(body)}")
    for node in leaving(body[0]):
        word = type(node).__name__.lower()
        raise SnippetError(f"Python after | can't leave its place, and this holds {word!r}")
    return body[0]


def signature(text: str, span: Span) -> ast.arguments:
    """A function's parameters.

    Args:
        text: as between the parentheses of a definition.
        span: where all of it stands.

    Raises:
        SnippetError: they are no parameters.
    """
    try:
        module = _parsed(f"def f({text}): pass", span)
    except SnippetError as error:
        raise SnippetError(str(error), error.line, max(0, error.column - len("def f("))) from None
    definition = module.body[0]
    plain = len(module.body) == 1 and isinstance(definition, ast.FunctionDef) and definition.returns is None
    if not plain or not isinstance(definition.body[0], ast.Pass):  # type: ignore[attr-defined]
        raise SnippetError("these are no parameters of a function")
    return definition.args  # type: ignore[attr-defined]


def _parsed(text: str, span: Span) -> ast.Module:
    prefix = "dot_"
    while f"{prefix}·" in text:
        prefix = f"{prefix}_"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about escapes and comparisons that the user has been told of already
            module = ast.parse(text.replace("·", f"{prefix}·"))
    except SyntaxError as error:
        line = max(0, (error.lineno or 1) - 1)
        before = (error.text or "")[: max(0, (error.offset or 1) - 1)]
        raise SnippetError(error.msg, line, len(before) - len(prefix) * before.count(f"{prefix}·")) from None
    except (ValueError, RecursionError, MemoryError, OverflowError) as error:
        raise SnippetError(str(error) or "this is nested too deeply") from None
    for node, depth in _with_depth(module):
        if depth > MAX_DEPTH:
            raise SnippetError(f"this is nested more than {MAX_DEPTH} deep")
        _restore(node, f"{prefix}·")
        if "lineno" in node._attributes:
            node.lineno, node.col_offset = span.line, span.column  # type: ignore[attr-defined]
            node.end_lineno, node.end_col_offset = span.end_line, span.end_column  # type: ignore[attr-defined]
    return module


def _restore(node: ast.AST, dot: str) -> None:
    """Give the compiler's names in ``node`` back their own beginning."""
    for name, value in ast.iter_fields(node):
        if isinstance(value, str):
            setattr(node, name, value.replace(dot, "·"))
        elif isinstance(value, list) and value and isinstance(value[0], str):
            setattr(node, name, [word.replace(dot, "·") for word in value])


def _with_depth(node: ast.AST) -> Iterator[tuple[ast.AST, int]]:
    """``node`` and all below it, without recursion, and how deep each is."""
    todo = [(node, 0)]
    while todo:
        inner, depth = todo.pop()
        yield inner, depth
        todo += [(child, depth + 1) for child in ast.iter_child_nodes(inner)]


def leaving(node: ast.AST) -> list[ast.AST]:
    """What in a statement leaves it, goes on later, or assigns outside."""
    if {type(inner) for inner in every(node)}.isdisjoint((*_LEAVING, *_LEAVING_A_LOOP, ast.ImportFrom)):
        return []  # as good as always
    return list(_leaving(node))


def _leaving(node: ast.AST, looped: bool = False) -> Iterator[ast.AST]:
    star = isinstance(node, ast.ImportFrom) and (node.module == "__future__" or node.names[0].name == "*")
    if star or isinstance(node, _LEAVING) or (isinstance(node, _LEAVING_A_LOOP) and not looped):
        yield node
    body = set(map(id, node.body)) if isinstance(node, (ast.For, ast.While)) else set()
    for child in evaluated_outside(node) if isinstance(node, Scope) else ast.iter_child_nodes(node):
        yield from _leaving(child, looped or id(child) in body)
