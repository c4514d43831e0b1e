"""The few objects that generated code refers to."""

from __future__ import annotations

import gc
import operator
import types
from collections.abc import Iterator
from typing import Any


class _Mark:
    """A value that no program can compute."""

    __slots__ = ("word",)

    def __init__(self, word: str) -> None:
        self.word = word

    def __repr__(self) -> str:
        return f"<{self.word}>"

    def __copy__(self) -> _Mark:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> _Mark:
        return self


UNBOUND = _Mark("unbound")
"""Stands for a variable that is not bound, while a program is suspended."""

END = _Mark("end")
"""What there is when an iterator has no more items."""

_SEQUENCES = frozenset({list, tuple, range, str, bytes})
_VIEWS: tuple[type, ...] = (type({}.keys()), type({}.values()), type({}.items()))


class Cursor:
    """A lazy iterator that a loop with effects runs over; copied with the particle."""

    __slots__ = ("iterator",)

    def __init__(self, iterator: Any) -> None:
        self.iterator = iterator

    def following(self, index: int) -> Iterator[Any]:
        """The items that are left."""
        while (found := next(self.iterator, END)) is not END:
            yield found


class Keyed:
    """A dictionary, one of its views, or a set. Python's own iterators over them lose touch when they are copied."""

    __slots__ = ("container", "keys", "view")

    def __init__(self, container: Any, view: type | None) -> None:
        self.container = container
        self.keys = tuple(container)
        self.view = view

    def following(self, index: int) -> Iterator[Any]:
        """The items from a place on, each read when the loop gets there."""
        container, keys = self.container, self.keys
        keyed = isinstance(container, dict)
        for place in range(index, len(keys) + 1):
            if len(container) != len(keys):
                raise RuntimeError(f"{'dictionary' if keyed else 'Set'} changed size during iteration")
            if place == len(keys):
                return
            key = keys[place]
            if keyed and key not in container:
                raise RuntimeError("dictionary keys changed during iteration")
            if self.view is _VIEWS[1]:
                yield container[key]
            else:
                yield (key, container[key]) if self.view is _VIEWS[2] else key


class Enumerated:
    """``enumerate``, in a loop with effects."""

    __slots__ = ("items", "start")

    def __init__(self, iterable: Any, start: int = 0) -> None:
        self.items = items(iterable)
        self.start = operator.index(start)

    def __iter__(self) -> Iterator[Any]:
        return self.following(0)

    def following(self, index: int) -> Iterator[Any]:
        """The items from a place on, with their numbers."""
        return enumerate(following(self.items, index), self.start + index)


class Zipped:
    """``zip``, in a loop with effects."""

    __slots__ = ("parts", "strict")

    def __init__(self, *iterables: Any, strict: bool = False) -> None:
        self.parts = tuple(items(i) for i in iterables)
        self.strict = strict

    def __iter__(self) -> Iterator[Any]:
        return self.following(0)

    def following(self, index: int) -> Iterator[Any]:
        """The items from a place on, together."""
        return zip(*[following(part, index) for part in self.parts], strict=self.strict)


def items(iterable: Any) -> Any:
    """What a loop with effects runs over: something that can be copied in the middle of the loop.

    Raises:
        TypeError: it is a generator, which Python can't copy.
    """
    kind = type(iterable)
    if kind in _SEQUENCES or kind in (Enumerated, Zipped):
        return iterable
    if kind in (dict, set, frozenset) or getattr(kind, "__iter__", None) in (dict.__iter__, set.__iter__):
        return Keyed(iterable, None)
    if kind in _VIEWS:
        (mapping,) = gc.get_referents(iterable)
        if type(mapping) is dict or type(mapping).__iter__ is dict.__iter__:
            return Keyed(mapping, kind)
    iterator = iter(iterable)
    if isinstance(iterator, (types.GeneratorType, types.CoroutineType)):
        raise TypeError(
            "a loop that holds an effect can't run over a generator, which Python can't copy. "
            "Make it a list first: for x in list(...)"
        )
    return Cursor(iterator)


def following(sequence: Any, index: int) -> Iterator[Any]:
    """The items of a loop from a place on. Like Python's own loop it sees a list that grows while it runs."""
    if type(sequence) in _SEQUENCES:
        iterator = iter(sequence)
        if index:
            iterator.__setstate__(index)
        return iterator
    return sequence.following(index)


def keywords(**given: Any) -> dict[str, Any]:
    """Keyword arguments as Python collects them: the same word twice is an error."""
    return given
