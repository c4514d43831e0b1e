"""Distributions that are used as if they were values: a ``sample()`` that was forgotten must not go unnoticed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from .errors import short


class Undrawn:
    """What all distributions refuse. Python would take any object for true, and put its name into a text."""

    __slots__ = ()

    def __bool__(self) -> NoReturn:
        raise TypeError(f"{forgotten(self)}. By itself it is neither true nor false")

    def __format__(self, spec: str) -> NoReturn:
        raise TypeError(f"{forgotten(self)}. To show the distribution itself write {{d!r}}, or repr(d)")


class NoValue(Undrawn):
    """What those of this package, which nobody else's class is mixed with, refuse besides: to be numbers or texts."""

    __slots__ = ()

    if not TYPE_CHECKING:  # who checks types is told before anything runs

        def _refuse(self, *others: object) -> NoReturn:
            raise TypeError(forgotten(self))

        __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = _refuse
        __lt__ = __le__ = __gt__ = __ge__ = __contains__ = _refuse

        def __getattr__(self, name: str) -> Any:
            if hasattr(str, name) and not name.startswith("_") and not hasattr(type(self), name):
                raise AttributeError(f"{forgotten(self)}: x.{name}")
            return object.__getattribute__(self, name)  # with the error of its own, where a property has one


def forgotten(distribution: Any) -> str:
    """What is wrong where a distribution stands in place of a value, and what to write instead."""
    try:
        shown = short(distribution)
    except Exception:  # it may be half made
        shown = f"A {type(distribution).__name__}"
    return f"{shown} is a distribution, not a value that was drawn from it: write x = sample(...) first, and use x"
