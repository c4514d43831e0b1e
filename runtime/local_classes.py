"""What a class holds that a run may change.

A class stays one class when a run is copied. That is as it should be for a class from outside; one that the program
itself defines must not hold or capture what each copy of the run should have of its own.
"""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Callable

from ..compiler.link import made_in_program

_BEFORE, _GONE = "__ppl_before__", object()


def changing_attribute(kind: type, stays: Callable[[object], bool]) -> str | None:
    """The first attribute of a class that holds, or captures, something that may change.

    Args:
        kind: a class, looked at without its bases.
        stays: whether a copy of the run would have the very same object.
    """
    for name, attribute in list(vars(kind).items()):
        if not _is_machinery(kind, name, attribute) and not all(map(stays, _parts(attribute))):
            return name
    return None


def assigned_attribute(kind: type) -> str | None:
    """An attribute of a class that is not what it was when this was first asked, or is new, or gone.

    Args:
        kind: a class, looked at without its bases and without what Python keeps in it.
    """
    now = {name: value for name, value in vars(kind).items() if not name[0] == name[-1] == "_"}
    before = vars(kind).get(_BEFORE)
    if before is None:
        # In the class itself: it lives as long, and so do the objects, whose places no others can take.
        type.__setattr__(kind, _BEFORE, now)
        return None
    names = (name for name in {**before, **now} if before.get(name, _GONE) is not now.get(name, _GONE))
    return next(names, None)


def defined_by_programs(kind: type) -> list[type]:
    """A class and its bases, as far as programs have defined them."""
    return [base for base in kind.__mro__ if made_in_program(base)] if made_in_program(kind) else []


def _is_machinery(kind: type, name: str, attribute: object) -> bool:
    """What Python itself keeps in a class, and what ``dataclass`` writes into it."""
    if name in ("_abc_impl", "_field_defaults", "_fields"):
        return True
    if not (name[0] == name[-1] == "_") or isinstance(attribute, (classmethod, staticmethod)):
        return False
    if not isinstance(attribute, types.FunctionType):
        return True
    generated = attribute.__code__.co_filename == "<string>"
    return generated or attribute.__globals__.get("__name__") != kind.__module__


def _parts(attribute: object) -> list[object]:
    """The functions in an attribute of a class, or its value."""
    if isinstance(attribute, (classmethod, staticmethod)):
        return [attribute.__func__]
    if isinstance(attribute, property):
        return [part for part in (attribute.fget, attribute.fset, attribute.fdel) if part is not None]
    if isinstance(attribute, functools.cached_property):
        return [attribute.func]
    return [] if inspect.isdatadescriptor(attribute) else [attribute]  # slots, and the fields of a named tuple
