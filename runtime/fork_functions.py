"""Copying functions, methods and classes."""

from __future__ import annotations

import types
from typing import Any

from ..compiler.link import made_in_program
from .copying import OUTSIDE, CannotFork, Memo, fork
from .local_classes import changing_attribute, defined_by_programs


def fork_function(value: types.FunctionType, memo: Memo) -> types.FunctionType:
    """A closure over something mutable gets cells of its own, and so do mutable defaults."""
    if not value.__closure__ and not value.__defaults__ and not value.__kwdefaults__:
        return value
    if id(value) in memo.get(OUTSIDE, ()):
        return value
    closure = value.__closure__ or ()
    cells = tuple(types.CellType() for _ in closure)
    new = types.FunctionType(value.__code__, value.__globals__, value.__name__, None, cells)
    memo[id(value)] = new  # first: a recursive function holds itself
    new.__defaults__ = None if value.__defaults__ is None else fork(value.__defaults__, memo)
    changed = new.__defaults__ is not value.__defaults__
    if value.__kwdefaults__:
        new.__kwdefaults__ = {k: fork(v, memo) for k, v in value.__kwdefaults__.items()}
        changed |= any(new.__kwdefaults__[k] is not v for k, v in value.__kwdefaults__.items())
    for cell, old in zip(cells, closure, strict=True):
        try:
            content = old.cell_contents
        except ValueError:
            continue
        cell.cell_contents = fork(content, memo)
        changed |= cell.cell_contents is not content and content is not value
    if not changed:
        memo[id(value)] = value
        return value
    return new


def fork_builtin(value: Any, memo: Memo) -> Any:
    """``xs.append``, held while its argument is drawn, belongs to the copy of ``xs``."""
    owner = value.__self__
    if owner is None or isinstance(owner, types.ModuleType):
        return value
    new = fork(owner, memo)
    return value if new is owner else getattr(new, value.__name__)


def fork_method(value: types.MethodType, memo: Memo) -> types.MethodType:
    return types.MethodType(value.__func__, fork(value.__self__, memo))


def fork_class(value: type, memo: Memo) -> type:
    """A class stays what it is. One that a program defined must hold nothing then that the run may change."""
    for kind in defined_by_programs(value):
        if id(kind) in memo:
            continue
        memo[id(kind)] = kind  # first: a method may hold its class
        name = changing_attribute(kind, lambda part: fork(part, memo) is part)
        if name is not None:
            raise CannotFork(
                f"the class {kind.__name__}, which the program defines, holds or captures something that may change, "
                f"in {name!r}. A copy of the run has data of its own, but the class stays one. Give it to the objects "
                "of the class in __init__, or move the class out of the program."
            )
    return value


def fork_cached(value: Any, memo: Memo) -> Any:
    """What ``functools.cache`` made of a function stays what it is; one that captures data can't be copied with it."""
    function = value.__wrapped__
    if isinstance(function, types.FunctionType) and made_in_program(function) and fork(function, memo) is not function:
        raise CannotFork(
            f"{function.__name__}() is cached, and captures something that may change. A copy of the run has data of "
            "its own, but the cache stays one. Leave out the cache: a plain function is copied with the run."
        )
    return value
