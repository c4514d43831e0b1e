"""Data that all particles share: what a program only reads need not be copied for each of them."""

from __future__ import annotations

import weakref
from typing import Any, NoReturn, TypeVar, cast

T = TypeVar("T")

MARKED: dict[int, weakref.ref[Any]] = {}
"""``id`` → an object that was marked as shared and is still alive."""


def shared(value: T) -> T:
    """Mark a value as one that no run changes, so that all particles share it: a large table, a tensor, a document.

    Otherwise each particle gets a copy of what it may change: of a mutable argument at its start, and of what its
    variables hold whenever it is duplicated. What the value holds is shared with it::

        posterior = infer(solve, shared(table), method="smc", n=1000)

    Args:
        value: a list or a dict, of which a copy comes back that refuses to be changed; or a tensor, an array, or
            another object that can be weakly referenced, which comes back itself: that nobody changes it is your
            promise. To declare it for all objects of a class write ``__ppl_immutable__ = True`` in the class.

    Raises:
        TypeError: it is of another kind.
    """
    if type(value) is list:
        return cast(T, SharedList(cast(list[Any], value)))
    if type(value) is dict:
        return cast(T, SharedDict(cast(dict[Any, Any], value)))
    if isinstance(value, (SharedList, SharedDict)) or _is_plain(value):
        return value
    identity = id(value)
    try:
        MARKED[identity] = weakref.ref(value, lambda _: MARKED.pop(identity, None))
    except TypeError:
        raise TypeError(
            f"shared() can't mark a {type(value).__name__}: Python has no weak references to it; mark the list, dict, "
            "tensor or object that it holds, or write __ppl_immutable__ = True in its class"
        ) from None
    return value


def _is_plain(value: Any) -> bool:
    """Numbers, strings and their like are shared in any case."""
    return isinstance(value, (int, float, complex, str, bytes, range, type(None)))


def _refuse(self: Any, *_: Any, **__: Any) -> NoReturn:
    word = "list" if isinstance(self, list) else "dict"
    raise TypeError(f"a {word} that was marked by shared() can't be changed; change a copy of it")


class SharedList(list[Any]):
    """A list that all particles share."""

    __ppl_immutable__ = True
    append = extend = insert = pop = remove = clear = sort = reverse = _refuse
    __setitem__ = __delitem__ = __iadd__ = __imul__ = _refuse

    def __reduce__(self) -> tuple[Any, ...]:
        return shared, (list(self),)


class SharedDict(dict[Any, Any]):
    """A dict that all particles share."""

    __ppl_immutable__ = True
    clear = pop = popitem = setdefault = update = _refuse
    __setitem__ = __delitem__ = __ior__ = _refuse

    def __reduce__(self) -> tuple[Any, ...]:
        return shared, (dict(self),)
