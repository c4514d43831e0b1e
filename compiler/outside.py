"""What a program changes outside of it: lists, attributes of global objects, the global random generators.

Only what can be told from the text is found: a method that changes, an item or an attribute that is assigned or
deleted, of a name that stands for such an object when the program is compiled; and calls of what draws at random.
"""

from __future__ import annotations

import ast
import collections
import random
import sys
import types
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

from .classify import Classifier
from .errors import Span
from .helpers import member
from .names import dotted
from .scan import Comprehension, bound_names
from .source import MISSING

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

_MODULE, _CLASS = "a module", "a class"

_TORCH = {
    *("bernoulli", "multinomial", "normal", "poisson", "rand", "rand_like", "randint", "randint_like", "randn"),
    *("randn_like", "randperm", "manual_seed", "seed"),
}
"""The functions of torch that use its global generator if they are not given another."""


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


@dataclass(frozen=True)
class OutsideAttribute(OutsideChange):
    """An attribute of an object that outlives the run; ``kind``: the object's name, and what it is."""

    def warning(self, program: str) -> str:
        """What, where, why, and what to write instead."""
        copied = not self.kind.endswith((_MODULE, _CLASS))
        remedy = ", or take the object as an argument: of that each run has a copy of its own" if copied else ""
        return (
            f"{program} changes {self.name}, an attribute of {self.kind} outside of it, by `{self.code}`. All runs of "
            "a program share it, and a run may be copied, repeated or dropped at any effect: they would no longer be "
            f"independent of each other. Keep the value in a local variable and return it{remedy}."
        )


@dataclass(frozen=True)
class OutsideDraw(OutsideChange):
    """A draw from a generator that all runs share; ``kind``: whose it is."""

    def warning(self, program: str) -> str:
        """What, where, why, and what to write instead."""
        return (
            f"{program} uses {self.kind} random generator by `{self.code}`. What it draws there is no random variable: "
            "no method can weigh it or draw it again, a seed does not repeat it, and copies of a run share it. Write "
            "x = sample(...) of a distribution in ppl.dist or torch.distributions, or draw it before and take it as an "
            "argument."
        )


def outside_changes(program: Classifier, nested: bool = False) -> Iterator[OutsideChange]:
    """The changes in a program's own code, nested functions left out.

    Args:
        program: its tree must be as it was read.
        nested: another program defines it. Then what it captures is that program's, and a run has a copy of its own.
    """
    nodes = program.own_nodes
    inner = bound_names(g.target for n in nodes if isinstance(n, Comprehension) for g in n.generators)
    # All runs begin with the same captured objects, though a copy of a run gets copies of them.
    own = inner | (program.locals if nested else program.bound)

    def outside(node: ast.expr) -> tuple[str, object]:
        """The name of an outside object, as it is written, and the object, or ``MISSING``."""
        path = dotted(node)
        if path is None or path[0] in own:
            return "", MISSING
        found = program.resolver.lookup(path[0])
        for attribute in path[1:]:
            found = member(found, attribute)
        return ".".join(path), found

    for node in nodes:
        for target in _changed(node):
            name, found = outside(target)
            if isinstance(found, KINDS):
                yield OutsideChange(name, type(found).__name__, _shortened(node), program.span(node))
        if isinstance(node, ast.Attribute) and not isinstance(node.ctx, ast.Load):
            name, found = outside(node.value)
            if found is not MISSING:
                kind = f"{name}, {_described(found)}"
                yield OutsideAttribute(ast.unparse(node), kind, _shortened(node), program.span(node))
        if isinstance(node, ast.Call):
            whose = _generator(outside(node.func)[1], node)
            whose = whose or (
                _generator_object(outside(node.func.value)) if isinstance(node.func, ast.Attribute) else ""
            )
            if whose:
                yield OutsideDraw(ast.unparse(node.func), whose, _shortened(node), program.span(node))


def warn_of_changes(program: Classifier, fn: types.FunctionType, nested: bool) -> None:
    """Warn of each, at its own line; ``nested``: see :func:`outside_changes`."""
    registry = fn.__globals__.setdefault("__warningregistry__", {})
    for change in outside_changes(program, nested):
        text = change.warning(fn.__name__)
        warnings.warn_explicit(text, UserWarning, change.span.file, change.span.line, fn.__module__, registry)


def _changed(node: ast.AST) -> list[ast.expr]:
    """The expressions whose objects a piece of syntax changes itself."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _CHANGING:
        return [node.func.value]
    if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store | ast.Del):
        return [node.value]
    return []


def _described(found: object) -> str:
    if isinstance(found, types.ModuleType):
        return _MODULE
    return _CLASS if isinstance(found, type) else f"a {type(found).__name__}"


def _generator(called: object, node: ast.Call) -> str:
    """Whose global generator a function draws from, if it does."""
    owner = getattr(called, "__self__", None)
    if owner is not None and owner is getattr(random, "_inst", None):
        return "Python's global"
    numpy = sys.modules.get("numpy.random.mtrand")
    if numpy is not None and owner is not None and owner is getattr(numpy, "_rand", None):
        return "numpy's global"
    torch = sys.modules.get("torch")
    own = any(keyword.arg == "generator" for keyword in node.keywords)
    name = getattr(called, "__name__", "")
    if torch is not None and name in _TORCH and called is getattr(torch, name, None) and not own:
        return "torch's global"
    return ""


def _generator_object(named: tuple[str, object]) -> str:
    """The name of an outside object that is a generator of random numbers, followed by what it is here."""
    name, found = named
    kind = type(found)
    of_numpy = kind.__module__.startswith("numpy.random") and kind.__name__ in ("Generator", "RandomState")
    return f"{name}, an outside" if of_numpy or isinstance(found, random.Random) else ""


def _shortened(node: ast.AST) -> str:
    text = ast.unparse(node)
    if isinstance(node, (ast.Subscript, ast.Attribute)):
        text += " = ..." if isinstance(node.ctx, ast.Store) else ""
        text = f"del {text}" if isinstance(node.ctx, ast.Del) else text
    return text if len(text) <= 60 else text[:57] + "..."
