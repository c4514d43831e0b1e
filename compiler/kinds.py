"""What a value surely is, as far as it matters to who looks at it: whether that can change anything."""

from __future__ import annotations

import types
from collections.abc import Iterable
from enum import IntEnum
from typing import Any


class Touch(IntEnum):
    """What code may do to objects that others hold too."""

    NONE = 0
    READ = 1
    ITERATE = 2
    """It may use an iterator up: harmless to everything but other code that iterates."""
    WRITE = 3


def conflict(a: Touch, b: Touch) -> bool:
    """Whether the order of two pieces of code may matter because of shared objects."""
    low, high = min(a, b), max(a, b)
    return (high is Touch.WRITE and low is not Touch.NONE) or low is Touch.ITERATE


class Kind(IntEnum):
    """What a value surely is; of two, the join is what both surely are."""

    NEVER = 0
    """Nothing yet: the beginning of a fixed point."""
    NUMBER = 1
    """A number or truth value."""
    TEXT = 2
    ATOM = 3
    """A number, string, truth value or ``None``: nobody can change it."""
    ATOMS = 4
    """A tuple of atoms, a range, or the outcomes that a pass's own sum goes through."""
    BUILTIN = 5
    """A list, tuple, dictionary or set, of the builtin class itself: to look into it changes nothing."""
    PAIRS = 6
    """An iterator of tuples, or view of them: ``enumerate(xs)``, ``zip(xs, ys)``, ``d.items()``."""
    MODEL = 7
    CONTEXT = 8
    """A model's context."""
    TEXTS = 9
    """A distribution that a context's method made."""
    CHOICES = 10
    """A distribution over atoms."""
    TENSORS = 11
    """A distribution of torch's."""
    TENSOR = 12
    KNOWN = 13
    """One of these, but for ``PAIRS``; which, is not known."""
    OTHER = 14
    """Anything: to look at it runs code of its class, and that may change what it likes."""


ATOMIC = frozenset({Kind.NEVER, Kind.NUMBER, Kind.TEXT, Kind.ATOM})
FIXED = frozenset({*ATOMIC, Kind.ATOMS, Kind.MODEL, Kind.CONTEXT})
"""What nobody can change, nor anything in it."""
KNOWN = frozenset(Kind) - {Kind.PAIRS, Kind.OTHER}
"""What may be in a container that holds nothing strange."""
DRAWN = {Kind.TEXTS: Kind.TEXT, Kind.CHOICES: Kind.ATOM, Kind.TENSORS: Kind.TENSOR, Kind.NEVER: Kind.NEVER}
"""What a distribution gives."""


def join(kinds: Iterable[Kind]) -> Kind:
    """What all of them surely are."""
    found = Kind.NEVER
    for kind in kinds:
        if found is kind or kind is Kind.NEVER:
            continue
        if found is Kind.NEVER:
            found = kind
        elif found in ATOMIC and kind in ATOMIC:
            found = Kind.ATOM
        elif {found, kind} == {Kind.ATOMS, Kind.BUILTIN}:
            found = Kind.BUILTIN
        elif found in KNOWN and kind in KNOWN:
            found = Kind.KNOWN
        else:
            return Kind.OTHER
    return found


def kind_of(found: Any) -> Kind:
    """What an object is that a name from outside stands for."""
    kind = type(found)
    if kind in (bool, int, float):
        return Kind.NUMBER
    if kind is str:
        return Kind.TEXT
    if kind in (type(None), bytes, complex):
        return Kind.ATOM
    if kind is range or (kind is tuple and len(found) < 100 and all(kind_of(each) in ATOMIC for each in found)):
        return Kind.ATOMS
    if kind in (list, tuple, dict, set, frozenset, types.MappingProxyType):
        return Kind.BUILTIN
    pure = getattr(kind, "__ppl_pure__", ())
    return Kind.MODEL if "context" in pure else Kind.CONTEXT if "choice" in pure else Kind.OTHER


# --- what it touches to look at a value -------------------------------------------------------------------------------


def inside(kind: Kind) -> Touch:
    """To ask how it is built: its attributes, its items, its length, whether it is true."""
    if kind in FIXED:
        return Touch.NONE
    return Touch.WRITE if kind is Kind.OTHER else Touch.READ


def looked(kind: Kind, members: Kind = Kind.OTHER) -> Touch:
    """To format it, compare it, compute with it: what holds others asks them too.

    Args:
        kind: what is looked at.
        members: what is in builtin containers.
    """
    if kind in (Kind.BUILTIN, Kind.KNOWN) and members is Kind.OTHER:
        return Touch.WRITE
    return inside(kind)


def iterated(kind: Kind) -> Touch:
    """To go through it."""
    return Touch.ITERATE if kind is Kind.PAIRS else inside(kind)


def member(kind: Kind, members: Kind = Kind.OTHER) -> Kind:
    """What going through it gives, where ``members`` is what builtin containers hold."""
    if kind in (Kind.NEVER, Kind.TEXT, Kind.TENSOR):
        return kind
    if kind in (Kind.ATOM, Kind.ATOMS):
        return Kind.ATOM
    if kind in (Kind.NUMBER, Kind.MODEL, Kind.CONTEXT):
        return Kind.NEVER  # an error
    return {Kind.BUILTIN: members, Kind.KNOWN: members, Kind.PAIRS: Kind.BUILTIN}.get(kind, Kind.OTHER)


def plain(found: Any, budget: int = 1000) -> bool:
    """Whether a builtin container from outside, of no more than ``budget`` members, holds nothing strange."""
    todo = [found]
    for each in todo:
        kind = kind_of(each)
        if kind is Kind.OTHER or len(todo) > budget:
            return False
        if kind is Kind.BUILTIN:
            if len(each) > budget:
                return False
            todo += [*each, *each.values()] if hasattr(each, "values") else each
    return True
