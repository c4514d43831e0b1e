"""Lists, dictionaries and sets outside of a program that it changes: all of its runs share them.

Only what can be told from the text is found: a method that changes, an item that is assigned or deleted, of a name that
stands for such an object when the program is compiled.
"""

from __future__ import annotations

import ast
import collections
import types
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

from .classify import Classifier
from .errors import Span
from .names import dotted
from .scan import Comprehension, bound_names

KINDS = (list, dict, set, collections.deque, bytearray)
_CHANGING = {
    *(
        "append",
        "appendleft",
        "extend",
        "extendleft",
        "insert",
        "pop",
        "popleft",
        "remove",
        "reverse",
        "rotate",
        "sort",
    ),
    *("add", "clear", "discard", "popitem", "setdefault", "subtract", "update"),
    *("difference_update", "intersection_update", "symmetric_difference_update"),
}
"""The methods that change one of these."""


@dataclass(frozen=True)
class OutsideChange:
    """A change of something that outlives the run.

    Attributes:
        name: what is changed, as it is written there.
        kind: what it is, such as ``list``.
        code: the piece of Python that changes it.
        span: where.
    """

    name: str
    kind: str
    code: str
    span: Span

    def warning(self, program: str) -> str:
        """What, where, why, and what to write instead."""
        return (
            f"{program} changes {self.name}, a {self.kind} outside of it, by `{self.code}`. All runs of a program "
            "share such an object, and a run may be copied, repeated or dropped at any effect: they would no longer be "
            f"independent of each other. Keep the {self.kind} in a local variable and return it, or take it as an "
            "argument: of those each run has a copy of its own. What runs only read may stay outside; ppl.shared(...) "
            "makes sure that they do."
        )


def outside_changes(program: Classifier) -> Iterator[OutsideChange]:
    """The changes in a program's own code, nested functions left out; its tree must be as it was read."""
    nodes = program.own_nodes
    inner = bound_names(g.target for n in nodes if isinstance(n, Comprehension) for g in n.generators)
    for node in nodes:
        for target in _changed(node):
            path = dotted(target)
            if path is None or path[0] in program.locals | inner:
                continue
            found = program.resolver.follow(path)
            if isinstance(found, KINDS):
                yield OutsideChange(".".join(path), type(found).__name__, _shortened(node), program.span(node))


def warn_of_changes(program: Classifier, fn: types.FunctionType) -> None:
    """Warn of each, at its own line."""
    registry = fn.__globals__.setdefault("__warningregistry__", {})
    for change in outside_changes(program):
        text = change.warning(fn.__name__)
        warnings.warn_explicit(text, UserWarning, change.span.file, change.span.line, fn.__module__, registry)


def _changed(node: ast.AST) -> list[ast.expr]:
    """The expressions whose objects a piece of syntax changes itself."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _CHANGING:
        return [node.func.value]
    if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store | ast.Del):
        return [node.value]
    return []


def _shortened(node: ast.AST) -> str:
    text = ast.unparse(node)
    text += " = ..." if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store) else ""
    text = f"del {text}" if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Del) else text
    return text if len(text) <= 60 else text[:57] + "..."
