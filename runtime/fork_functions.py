"""Copying functions, methods and classes."""

from __future__ import annotations

import dis
import sys
import types
from typing import Any

from ..compiler.link import made_in_program
from .copying import OUTSIDE, SHARED, CannotFork, CopyAgain, Memo, fork
from .local_classes import assigned_attribute, changing_attribute, defined_by_programs

_EMPTY = object()
"""In place of what a cell holds whose variable is not bound."""

_assigned: dict[int, tuple[types.CodeType, frozenset[str]]] = {}
"""``id`` of code → the code, and the captured variables that it assigns."""

_linked: dict[int, types.CodeType] = {}
"""``id`` → code of closures that were found to share a variable with one that assigns it."""

_CACHED = 4096


def fork_function(value: types.FunctionType, memo: Memo) -> types.FunctionType:
    """A copy of what a run may change of a function: what it captures, its defaults and its attributes.

    Closures over one variable share a cell, and so do their copies.

    Raises:
        CopyAgain: it assigns a variable that was taken for one that nobody assigns.
    """
    closure, attributes = value.__closure__ or (), value.__dict__
    if not closure and not attributes and not value.__defaults__ and not value.__kwdefaults__:
        return value
    if id(value) in memo.get(OUTSIDE, ()):
        return value
    # A cell has two places in the memo: its copy, and under its negative who knows it.
    code = value.__code__
    cells = [memo.get(id(cell)) or _new_cell(cell, memo) for cell in closure]
    new = types.FunctionType(code, value.__globals__, value.__name__, None, tuple(cells))
    memo[id(value)] = new  # first: a recursive function holds itself
    changed = bool(closure) and _assigns(code, closure, memo)
    if value.__defaults__:
        new.__defaults__ = fork(value.__defaults__, memo)
        changed |= new.__defaults__ is not value.__defaults__
    if value.__kwdefaults__:
        new.__kwdefaults__ = {k: fork(v, memo) for k, v in value.__kwdefaults__.items()}
        changed |= any(new.__kwdefaults__[k] is not v for k, v in value.__kwdefaults__.items())
    if attributes:
        new.__dict__ = {k: fork(v, memo) for k, v in attributes.items()}
        changed |= any(new.__dict__[k] is not v or not _is_dunder(k) for k, v in attributes.items())
    for cell, old in zip(cells, closure, strict=True):
        try:
            content = old.cell_contents
        except ValueError:  # its variable is not bound
            continue
        copied = _content(cell)
        if copied is _EMPTY:
            copied = cell.cell_contents = content if type(content) in SHARED else fork(content, memo)
        changed |= copied is not content and content is not value
    if changed:
        _tell(value, new)
        return new
    for cell, old in zip(cells, closure, strict=True):
        memo.setdefault(-id(old), []).append(code)
        if _content(cell) is new:
            cell.cell_contents = value
    memo[id(value)] = value
    return value


def _tell(value: types.FunctionType, new: types.FunctionType) -> None:
    """Let a copy of a function tell about itself what the function does."""
    new.__qualname__, new.__module__, new.__doc__ = value.__qualname__, value.__module__, value.__doc__
    if sys.version_info >= (3, 14):
        new.__annotate__ = value.__annotate__
    else:
        new.__annotations__ = value.__annotations__


def _new_cell(cell: types.CellType, memo: Memo) -> types.CellType:
    new = memo[id(cell)] = types.CellType()
    return new


def _content(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return _EMPTY


def _is_dunder(name: str) -> bool:
    """Whether an attribute of a function is none of the user's: ``functools.wraps`` leaves one, for instance."""
    return name.startswith("__") and name.endswith("__")


def _assigns(code: types.CodeType, closure: tuple[types.CellType, ...], memo: Memo) -> bool:
    """Whether a variable that a function captures may be assigned anew, by itself or by another that captures it.

    Who only reads it need not be copied as long as nobody assigns it, and may be met before the one that does.
    """
    assigned = assigned_by(code)
    for name, cell in zip(code.co_freevars, closure, strict=True) if assigned else ():
        if name in assigned:
            readers = memo.get(-id(cell))
            if readers:
                if len(_linked) > _CACHED:
                    _linked.clear()
                _linked.update((id(reader), reader) for reader in readers)
                raise CopyAgain
            memo[-id(cell)] = ()
    if assigned or id(code) in _linked:
        return True
    return any(memo.get(-id(cell)) == () for cell in closure)


def assigned_by(code: types.CodeType) -> frozenset[str]:
    """The captured variables that a function assigns or deletes, or a function inside of it does."""
    known = _assigned.get(id(code))
    if known is None:
        if len(_assigned) > _CACHED:
            _assigned.clear()
        names = {i.argval for i in dis.get_instructions(code) if i.opname in ("STORE_DEREF", "DELETE_DEREF")}
        for inner in code.co_consts:
            if isinstance(inner, types.CodeType):
                names |= assigned_by(inner)
        known = _assigned[id(code)] = code, frozenset(names.intersection(code.co_freevars))
    return known[1]


def fork_builtin(value: Any, memo: Memo) -> Any:
    """``xs.append``, held while its argument is drawn, belongs to the copy of ``xs``."""
    owner = value.__self__
    if owner is None or isinstance(owner, types.ModuleType):
        return value
    new = fork(owner, memo)
    return value if new is owner else getattr(new, value.__name__)


def fork_method(value: types.MethodType, memo: Memo) -> types.MethodType:
    function, owner = fork(value.__func__, memo), fork(value.__self__, memo)
    return value if function is value.__func__ and owner is value.__self__ else types.MethodType(function, owner)


def fork_class(value: type, memo: Memo) -> type:
    """A class stays what it is. One that a program defined must hold nothing then that the run may change."""
    for kind in defined_by_programs(value):
        if id(kind) in memo:
            continue
        memo[id(kind)] = kind  # first: a method may hold its class
        name = assigned_attribute(kind)
        if name is not None:
            raise CannotFork(
                f"the attribute {name!r} of the class {kind.__name__}, which the program defines, was assigned between "
                "two effects. A copy of the run has data of its own, but the class stays one. Keep it in a variable, "
                "or make it an attribute of its objects, in __init__."
            )
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
