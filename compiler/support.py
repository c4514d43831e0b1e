"""The few objects that generated code refers to."""

from __future__ import annotations

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


class Cursor:
    """A lazy iterator that a loop with effects runs over; copied with the particle."""

    __slots__ = ("iterator",)

    def __init__(self, iterator: Any) -> None:
        self.iterator = iterator


def items(iterable: Any) -> Any:
    """What a loop with effects runs over: something that can be copied in the middle of the loop.

    Raises:
        TypeError: it is a generator, which Python can't copy.
    """
    if type(iterable) in _SEQUENCES:
        return iterable
    iterator = iter(iterable)
    if type(iterator).__name__ in ("generator", "coroutine"):
        raise TypeError(
            "a loop that holds an effect can't run over a generator, which Python can't copy. "
            "Make it a list first: for x in list(...)"
        )
    return Cursor(iterator)


def item(sequence: Any, index: int) -> Any:
    """The next item of a loop, or ``END``. Like Python's own loop it sees a list that grows while it runs."""
    if type(sequence) is Cursor:
        return next(sequence.iterator, END)
    return sequence[index] if index < len(sequence) else END
