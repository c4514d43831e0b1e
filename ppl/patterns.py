"""Regular expressions as constraints: an automaton that goes along with a text while it is written.

A pattern is read by Python's own parser of regular expressions, and becomes a nondeterministic automaton after Thompson
("Regular expression search algorithm", 1968). It is run by sets of states, so a character costs at most the length of
the pattern, and no pattern makes it slow. A full match does not depend on what is greedy and what lazy.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable
from functools import lru_cache
from importlib import import_module
from typing import Any

from .runtime.engines.constraint import Constraint, State

_sre: Any = import_module("re._parser" if sys.version_info >= (3, 11) else "sre_parse")

MAX_STATES = 20_000
"""The largest automaton; ``x{1000}{1000}`` has no business in a program."""

_FLAGS = re.UNICODE | re.DOTALL | re.VERBOSE | re.ASCII
Test = Callable[[str], bool]
Item = tuple[Any, Any]


class UnsupportedPattern(ValueError):
    """The pattern is more than a regular expression in the strict sense, or depends on what stands around."""


class Matches(Constraint):
    """Strings for which ``re.fullmatch(pattern, x)`` succeeds.

    Raises:
        UnsupportedPattern: the pattern looks around or back, is atomic or possessive, holds an anchor other than ``^``
            at its beginning and ``$`` at its end, ignores case, or is too long.
        re.error: it is no pattern.
    """

    def __init__(self, pattern: str) -> None:
        self.pattern = str(pattern)
        self._automaton = _automaton(self.pattern)
        self.start: State = self._automaton.closure((self._automaton.first,))

    def after(self, state: State, text: str) -> State | None:
        places: frozenset[int] = state
        for character in text:
            places = self._automaton.step(places, character)
            if not places:
                return None
        return places

    def accepts(self, state: State) -> bool:
        return _END in state

    def __eq__(self, other: object) -> bool:
        return self.pattern == other.pattern if isinstance(other, Matches) else NotImplemented

    def __hash__(self) -> int:
        return hash((Matches, self.pattern))

    def __repr__(self) -> str:
        return f"Matches({self.pattern!r})"


def written(pattern: str | re.Pattern[str]) -> str:
    """A pattern as text, the flags that it was compiled with at its beginning.

    Raises:
        UnsupportedPattern: it matches bytes, or has a flag that can't be followed.
    """
    if not isinstance(pattern, re.Pattern):
        return pattern
    if not isinstance(pattern.pattern, str):
        raise UnsupportedPattern(f"{pattern.pattern!r} matches bytes")
    if pattern.flags & ~_FLAGS:
        raise UnsupportedPattern(f"{pattern.pattern!r} has flags other than a, s, u and x")
    letters = {re.ASCII: "a", re.DOTALL: "s", re.VERBOSE: "x"}
    flags = "".join(letter for flag, letter in letters.items() if pattern.flags & flag)
    return f"(?{flags}){pattern.pattern}" if flags else pattern.pattern


def unfollowed(pattern: str | re.Pattern[str]) -> str | None:
    """Why a text can't be held to a pattern while it is written, in words; ``None`` if it can."""
    try:
        Matches(written(pattern))
    except UnsupportedPattern as error:
        return str(error)
    except re.error as error:
        return f"{pattern!r} is no pattern: {error}"
    return None


_END = 0
"""The state in which the whole pattern has matched."""


class _Automaton:
    """States are numbers; each either passes one character on, or branches without one. Built from the end.

    Attributes:
        first: where to begin.
    """

    def __init__(self) -> None:
        self.tests: list[Test | None] = [None]
        self.nexts: list[tuple[int, ...]] = [()]
        self.first = _END
        self._steps: dict[tuple[frozenset[int], str], frozenset[int]] = {}

    def add(self, test: Test | None, *nexts: int) -> int:
        """A new state: to ``nexts`` by a character for which ``test`` is true, or by none at all."""
        if len(self.tests) >= MAX_STATES:
            raise UnsupportedPattern(f"the pattern needs more than {MAX_STATES} states")
        self.tests.append(test)
        self.nexts.append(nexts)
        return len(self.tests) - 1

    def closure(self, places: Iterable[int]) -> frozenset[int]:
        """The states that read a character, or end, and that can be reached without one."""
        todo, seen = list(places), set(places)
        found = set()
        while todo:
            place = todo.pop()
            if place == _END or self.tests[place] is not None:
                found.add(place)
                continue
            new = [n for n in self.nexts[place] if n not in seen]
            seen.update(new)
            todo += new
        return frozenset(found)

    def step(self, places: frozenset[int], character: str) -> frozenset[int]:
        """The states after one more character."""
        key = (places, character)
        if key not in self._steps:
            reached: list[int] = []
            for place in places:
                test = self.tests[place]
                if test is not None and test(character):
                    reached += self.nexts[place]
            if len(self._steps) > 1 << 16:
                self._steps.clear()
            self._steps[key] = self.closure(reached)
        return self._steps[key]


@lru_cache(maxsize=256)
def _automaton(pattern: str) -> _Automaton:
    parsed = _sre.parse(pattern)
    if parsed.state.flags & ~_FLAGS:
        raise UnsupportedPattern(f"{pattern!r} has flags other than a, s, u and x")
    items = list(parsed)
    if items and str(items[0][0]) == "AT" and str(items[0][1]) in ("AT_BEGINNING", "AT_BEGINNING_STRING"):
        items = items[1:]
    if items and str(items[-1][0]) == "AT" and str(items[-1][1]) in ("AT_END", "AT_END_STRING"):
        items = items[:-1]
    builder = _Builder(pattern)
    builder.automaton.first = builder.sequence(items, _END, parsed.state.flags)
    return builder.automaton


class _Builder:
    """Builds the automaton of a parsed pattern, each part in front of where it leads."""

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self.automaton = _Automaton()

    def sequence(self, items: Iterable[Item], then: int, flags: int) -> int:
        """The state from which ``items`` lead to ``then``."""
        for item in reversed(list(items)):
            then = self.item(item, then, flags)
        return then

    def item(self, item: Item, then: int, flags: int) -> int:
        """The state from which one part of the pattern leads to ``then``."""
        kind, value = str(item[0]), item[1]
        if kind in ("LITERAL", "NOT_LITERAL", "ANY", "IN"):
            return self.automaton.add(_test(item, flags), then)
        if kind == "SUBPATTERN":
            _, added, removed, inner = value
            if added & ~_FLAGS:
                raise UnsupportedPattern(f"{self.pattern!r} has flags other than a, s, u and x")
            return self.sequence(inner, then, (flags | added) & ~removed)
        if kind == "BRANCH":
            return self.automaton.add(None, *(self.sequence(branch, then, flags) for branch in value[1]))
        if kind in ("MAX_REPEAT", "MIN_REPEAT"):
            return self.repeat(value[0], value[1], value[2], then, flags)
        words = _UNSUPPORTED.get(kind, kind.lower().replace("_", " "))
        raise UnsupportedPattern(f"{self.pattern!r} holds {words}, which can't be followed while a text is written")

    def repeat(self, least: int, most: Any, items: Any, then: int, flags: int) -> int:
        """``items`` from ``least`` to ``most`` times."""
        if str(most) == "MAXREPEAT":
            again = self.automaton.add(None)
            self.automaton.nexts[again] = (self.sequence(items, again, flags), then)
            then = again
        else:
            after = then
            for _ in range(most - least):
                then = self.automaton.add(None, self.sequence(items, then, flags), after)
        for _ in range(least):
            then = self.sequence(items, then, flags)
        return then


def _test(item: Item, flags: int) -> Test:
    """Whether a character matches a part of a pattern that matches single characters."""
    kind, value = str(item[0]), item[1]
    if kind == "ANY":
        return (lambda c: True) if flags & re.DOTALL else (lambda c: c != "\n")
    if kind == "LITERAL":
        literal = chr(value)
        return lambda c: c == literal
    if kind == "NOT_LITERAL":
        literal = chr(value)
        return lambda c: c != literal
    if kind == "RANGE":
        low, high = map(chr, value)
        return lambda c: low <= c <= high
    if kind == "CATEGORY":
        matcher = re.compile(_CATEGORIES[str(value)], flags & re.ASCII)
        return lambda c: matcher.fullmatch(c) is not None
    negated = str(value[0][0]) == "NEGATE"
    tests = [_test(inner, flags) for inner in (value[1:] if negated else value)]
    return lambda c: any(test(c) for test in tests) is not negated


_UNSUPPORTED = {
    "ASSERT": "a look ahead or back",
    "ASSERT_NOT": "a look ahead or back",
    "AT": "an anchor that is not at its beginning or end",
    "ATOMIC_GROUP": "an atomic group",
    "GROUPREF": "a reference back to a group",
    "GROUPREF_EXISTS": "a question whether a group matched",
    "POSSESSIVE_REPEAT": "a possessive repetition",
}
_CATEGORIES = {
    "CATEGORY_DIGIT": r"\d",
    "CATEGORY_NOT_DIGIT": r"\D",
    "CATEGORY_SPACE": r"\s",
    "CATEGORY_NOT_SPACE": r"\S",
    "CATEGORY_WORD": r"\w",
    "CATEGORY_NOT_WORD": r"\W",
}
