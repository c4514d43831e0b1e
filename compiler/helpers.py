"""Plain functions that a program calls and that do what only a program can: they would fail when they run.

Whoever a name stands for when the program is compiled is looked at, and the functions of its module that it calls in
turn. What can't be told now, such as a function that is handed around as a value, is told at run time.
"""

from __future__ import annotations

import ast
import types
from dataclasses import dataclass

from .classify import Classifier
from .errors import CompileError, Span
from .requests import EffectSpec
from .scan import own_nodes
from .source import MISSING, Resolver, code_names, is_decorator, is_program


@dataclass(frozen=True)
class Stopping:
    """A function that can't do what it does.

    Attributes:
        path: the functions that call each other, from the one that was asked about to the one with the effect.
        effect: what is called there, in words.
        span: where.
    """

    path: tuple[types.FunctionType, ...]
    effect: str
    span: Span


def stopping(function: object) -> Stopping | None:
    """The effect in a plain function, or in one of its module that it calls, if there is one.

    Args:
        function: what a program calls, if it is a function at all.
    """
    if not isinstance(function, types.FunctionType) or is_decorator(function) or hasattr(function, "__ppl_effect__"):
        return None
    if not _reaches(function, set()):
        return None  # decided by names alone, without reading any source
    return _find(function, (function,))


def _find(function: types.FunctionType, path: tuple[types.FunctionType, ...]) -> Stopping | None:
    try:
        classifier = Classifier(function)
        found = next(filter(None, map(classifier.first_effect, classifier.tree.body)), None)
    except (CompileError, SyntaxError, TypeError, OSError):
        return None  # its source can't be had, or it is something else that is refused where it is compiled
    if found is not None:
        kind = "the program " if classifier.call_kind(found) == "program" else ""
        return Stopping(path, f"{kind}{ast.unparse(found.func)}()", classifier.span(found))
    for node in own_nodes(classifier.tree.body):
        if isinstance(node, ast.Call):
            called = classifier.resolver.resolve(node.func)
            if isinstance(called, types.FunctionType) and _same_module(called, function) and called not in path:
                deeper = _find(called, (*path, called))
                if deeper is not None:
                    return deeper
    return None


def _reaches(function: types.FunctionType, seen: set[types.FunctionType]) -> bool:
    """Whether an effect or a program is mentioned in a function or in those of its module that it mentions."""
    seen.add(function)
    resolver = Resolver(function, set())
    names = {*code_names(function.__code__), *function.__code__.co_freevars}
    for name in names:
        found = resolver.lookup(name)
        inside = isinstance(found, types.ModuleType)
        for member in [vars(found).get(other, MISSING) for other in names] if inside else [found]:
            if is_program(member) or isinstance(getattr(member, "__ppl_effect__", None), EffectSpec):
                return True
        deeper = isinstance(found, types.FunctionType) and _same_module(found, function) and found not in seen
        if deeper and _reaches(found, seen):
            return True
    return False


def _same_module(found: types.FunctionType, function: types.FunctionType) -> bool:
    return found.__globals__ is function.__globals__
