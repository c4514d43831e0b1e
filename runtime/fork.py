"""Copying a suspended run: share what can't change, copy each mutable container once, keep aliases."""

from __future__ import annotations

import functools
import operator
import sys
import types
from typing import Any

from ..compiler.support import Cursor
from . import copying
from .copying import HANDLERS, OUTSIDE, SHARED, CannotFork, CopyAgain, Memo, fork
from .fork_functions import fork_builtin, fork_cached, fork_class, fork_function, fork_method
from .fork_objects import fork_object
from .outside import Outside
from .shared import MARKED

__all__ = ["CannotFork", "CopyAgain", "Memo", "copies", "fork", "fork_values", "own"]

HANDLERS.update(
    {
        type: fork_class,
        list: copying.fork_list,
        tuple: copying.fork_tuple,
        dict: copying.fork_dict,
        set: copying.fork_set,
        frozenset: copying.fork_frozenset,
        Cursor: copying.fork_cursor,
        types.FunctionType: fork_function,
        types.MethodType: fork_method,
        types.BuiltinMethodType: fork_builtin,
        types.MethodWrapperType: fork_builtin,
        type(functools.cache(len)): fork_cached,
        object: fork_object,
    }
)


def fork_values(values: tuple[Any, ...], memo: Memo) -> tuple[Any, ...]:
    """A copy of a run's live values.

    Args:
        values: the live values of one block.
        memo: ``id`` of an original → its copy; one for all values of a run, so that aliases stay aliases.

    Returns:
        ``values`` itself if nothing in it can change.

    Raises:
        CannotFork: a value can't be copied, a generator for one.
    """
    if SHARED.issuperset(map(type, values)):
        return values
    try:
        return tuple(
            [
                v if type(v) in SHARED or (type(v) is tuple and SHARED.issuperset(map(type, v))) else fork(v, memo)
                for v in values
            ]
        )
    except RecursionError as error:
        raise CannotFork(
            "a run holds data that is nested too deeply to be copied, hundreds of lists, tuples or objects inside each "
            "other, so the run can't be continued in two ways. Keep it flat, for example all of it in one list; or let "
            "runs share what they only read: see ppl.shared()."
        ) from error


def copies(values: tuple[Any, ...], outside: Outside | None = None) -> tuple[Any, ...]:
    """A copy of values that belong to nothing else; see :func:`fork_values`.

    Args:
        values: what is copied.
        outside: the objects that all runs of their program share, by ``id``.
    """
    try:
        return fork_values(values, {OUTSIDE: outside} if outside else {})
    except CopyAgain:
        return copies(values, outside)


def own(value: Any, outside: Outside | None = None) -> Any:
    """A value that a run may change: what a distribution or a function gave it may be in others' hands too.

    What counts as equal by content (it has no hash) is copied; an object with an identity stays what it is.

    Args:
        value: what it is given.
        outside: the objects that all runs of its program share, by ``id``: what is copied may hold some.
    """
    if type(value) in SHARED:
        return value
    if type(value) is tuple:
        if SHARED.issuperset(map(type, value)):
            return value
        mine = tuple([own(v, outside) for v in value])
        return value if all(map(operator.is_, value, mine)) else mine
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(value, torch.Tensor):
        return (
            value if id(value) in MARKED else value.clone()
        )  # not what else lies in its storage: it may be a row of a batch
    if type(value).__hash__ is None:
        try:
            return copies((value,), outside)[0]
        except CannotFork:
            return value
    return value
