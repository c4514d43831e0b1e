"""How one value of a run is copied: by its kind, and each once, so that aliases stay aliases.

``fork.py`` says which kind is copied how.
"""

from __future__ import annotations

import enum
import operator
import re
import types
import weakref
from collections.abc import Callable
from typing import Any

from ..compiler.support import Cursor
from .shared import MARKED

Memo = dict[int, Any]
"""``id`` of an original → its copy; and what is outside of the program, under :data:`OUTSIDE`."""

SHARED: set[type] = {  # grows by the types that turn out to be such
    *(int, float, complex, str, bytes, bool, range, slice, type(None), type(...), type(NotImplemented)),
    *(types.ModuleType, types.CodeType, property, weakref.ref, re.Pattern, re.Match),
    object,  # a bare one holds nothing, and is made to be told from all others
}
"""Types of values that can't change: copies of a run share them."""

OUTSIDE = 0
"""Where a memo keeps the objects outside of the program (see ``outside.py``): no object has this ``id``."""

HANDLERS: dict[type, Callable[[Any, Memo], Any]] = {}
"""How values of a type are copied; under ``object``: all others."""


class CannotFork(TypeError):
    """A run holds a value that Python can't copy, so it can't be continued in two ways."""


class CopyAgain(Exception):
    """What was copied so far is to be thrown away: it turned out that more must be copied, as it now will be."""


def fork(value: Any, memo: Memo) -> Any:
    """A copy of one value; see :func:`~ppl.runtime.fork.fork_values`."""
    kind = type(value)
    if kind in SHARED:
        return value
    known = memo.get(id(value))
    if known is not None:
        return known
    if id(value) in MARKED:
        return value
    handler = HANDLERS.get(kind) or getattr(kind, "__ppl_fork__", None)
    if handler is not None:
        return handler(value, memo)
    if issubclass(kind, enum.Enum):  # its members are what they are by being the only ones
        SHARED.add(kind)
        return value
    return HANDLERS[object](value, memo)


# Containers of nothing but shared values, which most are, are copied in one go.


def fork_list(value: list[Any], memo: Memo) -> list[Any]:
    """A list with copies of its items."""
    new = memo[id(value)] = value.copy()
    if not SHARED.issuperset(map(type, value)):
        new[:] = [v if type(v) in SHARED else fork(v, memo) for v in value]
    return new


def fork_tuple(value: tuple[Any, ...], memo: Memo) -> tuple[Any, ...]:
    """A tuple with copies of its items; itself if they stay what they are."""
    if SHARED.issuperset(map(type, value)):
        return value
    new = tuple([v if type(v) in SHARED else fork(v, memo) for v in value])
    if all(map(operator.is_, value, new)):
        return value
    memo[id(value)] = new
    return new


def fork_dict(value: dict[Any, Any], memo: Memo) -> dict[Any, Any]:
    """A dict with copies of its keys and values."""
    new = memo[id(value)] = value.copy()
    for key, item in value.items():
        if type(key) not in SHARED:
            break
        if type(item) not in SHARED:
            new[key] = fork(item, memo)
    else:
        return new
    new.clear()  # a key may be another object in the copy
    for key, item in value.items():
        new[fork(key, memo)] = fork(item, memo)
    return new


def fork_set(value: set[Any], memo: Memo) -> set[Any]:
    """A set with copies of its members."""
    if SHARED.issuperset(map(type, value)):
        new = memo[id(value)] = value.copy()
        return new
    new = memo[id(value)] = set()  # first: a member may hold the set
    new.update([fork(v, memo) for v in value])
    return new


def fork_frozenset(value: frozenset[Any], memo: Memo) -> frozenset[Any]:
    """A frozen set with copies of its members; itself if they stay what they are."""
    if SHARED.issuperset(map(type, value)):
        return value
    new = frozenset([fork(v, memo) for v in value])
    memo[id(value)] = new = value if all(map(operator.is_, value, new)) else new
    return new


def fork_cursor(value: Cursor, memo: Memo) -> Cursor:
    """The place of a loop, in the copy of what it runs over."""
    new = memo[id(value)] = Cursor(fork(value.iterator, memo))
    return new
