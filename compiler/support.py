"""The few objects that generated code refers to."""

from __future__ import annotations

import gc
import itertools
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
"""What :func:`item` returns when a loop has no more items."""

_SEQUENCES = (list, tuple, range, str, bytes)
_VIEWS: tuple[type, ...] = (type({}.keys()), type({}.values()), type({}.items()))


class Cursor:
    """A lazy iterator that a loop with effects runs over; copied with the particle."""

    __slots__ = ("iterator",)

    def __init__(self, iterator: Any) -> None:
        self.iterator = iterator

    def at(self, index: int) -> Any:
        """The next item."""
        return next(self.iterator, END)


class Keyed:
    """A dictionary, one of its views, or a set. Python's own iterators over them lose touch when they are copied."""

    __slots__ = ("container", "keys", "view")

    def __init__(self, container: Any, view: type | None) -> None:
        self.container = container
        self.keys = tuple(container)
        self.view = view

    def at(self, index: int) -> Any:
        """The item at a place, read when the loop gets there."""
        if len(self.container) != len(self.keys):
            word = "dictionary" if isinstance(self.container, dict) else "Set"
            raise RuntimeError(f"{word} changed size during iteration")
        if index >= len(self.keys):
            return END
        key = self.keys[index]
        if isinstance(self.container, dict) and key not in self.container:
            raise RuntimeError("dictionary keys changed during iteration")
        if self.view is _VIEWS[1]:
            return self.container[key]
        return (key, self.container[key]) if self.view is _VIEWS[2] else key


class Enumerated:
    """``enumerate``, in a loop with effects."""

    __slots__ = ("items", "start")

    def __init__(self, iterable: Any, start: int = 0) -> None:
        self.items = items(iterable)
        self.start = operator.index(start)

    def __iter__(self) -> Iterator[Any]:
        return iterated(self)

    def at(self, index: int) -> Any:
        """The item at a place, with its number."""
        found = item(self.items, index)
        return END if found is END else (self.start + index, found)


class Zipped:
    """``zip``, in a loop with effects."""

    __slots__ = ("parts", "strict")

    def __init__(self, *iterables: Any, strict: bool = False) -> None:
        self.parts = tuple(items(i) for i in iterables)
        self.strict = strict

    def __iter__(self) -> Iterator[Any]:
        return iterated(self)

    def at(self, index: int) -> Any:
        """The items at a place, or ``END`` where the first of them ends."""
        row: list[Any] = []
        for part in self.parts:
            found = item(part, index)
            if found is END:
                if self.strict:
                    self._check(index, len(row))
                return END
            row.append(found)
        return tuple(row) if row else END

    def _check(self, index: int, short: int) -> None:
        if short:
            raise ValueError(f"zip() argument {short + 1} is shorter than argument{_up_to(short)}")
        for i, part in enumerate(self.parts[1:], 1):
            if item(part, index) is not END:
                raise ValueError(f"zip() argument {i + 1} is longer than argument{_up_to(i)}")


def _up_to(count: int) -> str:
    return " 1" if count == 1 else f"s 1-{count}"


def iterated(sequence: Enumerated | Zipped) -> Iterator[Any]:
    """The items one after the other, for a loop that turned out not to be cut."""
    for index in itertools.count():
        found = sequence.at(index)
        if found is END:
            return
        yield found


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


def item(sequence: Any, index: int) -> Any:
    """The next item of a loop, or ``END``. Like Python's own loop it sees a list that grows while it runs."""
    if type(sequence) in _SEQUENCES:
        return sequence[index] if index < len(sequence) else END
    return sequence.at(index)


def keywords(**given: Any) -> dict[str, Any]:
    """Keyword arguments as Python collects them: the same word twice is an error."""
    return given
