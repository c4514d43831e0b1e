"""Sets of strings that a program's conditions name: what text can be restricted to while it is written."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable

from .patterns import Matches, UnsupportedPattern
from .runtime.engines.constraint import Both, Constraint, State

__all__ = ["Both", "Constraint", "Matches", "OneOf", "StartsWith", "UnsupportedPattern"]

_DONE = True
"""The state of a string that has its beginning."""


class StartsWith(Constraint):
    """Strings that begin with one of the given ones: those for which ``x.startswith(prefixes)`` is true."""

    def __init__(self, prefixes: str | Iterable[str]) -> None:
        self.prefixes = (str(prefixes),) if isinstance(prefixes, str) else tuple(str(p) for p in prefixes)
        self.start: State = _DONE if "" in self.prefixes else ""

    def after(self, state: State, text: str) -> State | None:
        if state is _DONE:
            return _DONE
        seen = f"{state}{text}"
        if seen.startswith(self.prefixes):
            return _DONE
        return seen if any(prefix.startswith(seen) for prefix in self.prefixes) else None

    def accepts(self, state: State) -> bool:
        return state is _DONE

    def free(self, state: State) -> bool:
        return state is _DONE

    def __eq__(self, other: object) -> bool:
        return self.prefixes == other.prefixes if isinstance(other, StartsWith) else NotImplemented

    def __hash__(self) -> int:
        return hash((StartsWith, self.prefixes))

    def __repr__(self) -> str:
        return f"StartsWith({self.prefixes!r})"


class OneOf(Constraint):
    """The given strings and no others."""

    def __init__(self, strings: Iterable[str]) -> None:
        self.strings = tuple(sorted({str(s) for s in strings}))
        self.start: State = ""

    def after(self, state: State, text: str) -> State | None:
        seen = f"{state}{text}"
        at = bisect_left(self.strings, seen)
        return seen if at < len(self.strings) and self.strings[at].startswith(seen) else None

    def accepts(self, state: State) -> bool:
        at = bisect_left(self.strings, str(state))
        return at < len(self.strings) and self.strings[at] == state

    def __eq__(self, other: object) -> bool:
        return self.strings == other.strings if isinstance(other, OneOf) else NotImplemented

    def __hash__(self) -> int:
        return hash((OneOf, self.strings))

    def __repr__(self) -> str:
        return f"OneOf({list(self.strings)!r})"
