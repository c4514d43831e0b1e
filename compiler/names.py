"""What the names in a program's Python stand for outside of it, looked up once, and whether that still holds."""

from __future__ import annotations

import ast
import types
from collections.abc import Callable
from typing import Any

from .kinds import FIXED, Kind, kind_of, plain
from .source import MISSING, Resolver


class Names:
    """The globals, closure and builtins of a function, as the passes see them.

    What was looked up is remembered: IR that was rewritten in the light of it is out of date once it has changed.

    Attributes:
        judged: what was found out about helper functions.
    """

    def __init__(self, fn: Callable[..., Any], judged: dict[Any, Any] | None = None) -> None:
        assert isinstance(fn, types.FunctionType)
        self.judged: dict[Any, Any] = {} if judged is None else judged
        self._resolver = Resolver(fn, set())
        self._seen: dict[tuple[str, ...], Any] = {}
        self._kinds: dict[tuple[str, ...], Kind | None] = {}
        self._plain: dict[tuple[str, ...], bool] = {}
        self._helpers: dict[Any, Names] = {}

    def of(self, helper: types.FunctionType) -> Names:
        """The outside names of a helper function that this one calls."""
        if helper not in self._helpers:
            self._helpers[helper] = Names(helper, self.judged)
        return self._helpers[helper]

    def resolve(self, node: ast.expr, local: Callable[[str], bool]) -> Any:
        """The object that ``name`` or ``module.name`` stands for, or ``MISSING``.

        Args:
            node: an expression.
            local: whether a name is a variable of the program, of which nothing is known here.
        """
        path = dotted(node)
        if path is None or local(path[0]):
            return MISSING
        if path not in self._seen:
            self._seen[path] = self._resolver.follow(path)
        return self._seen[path]

    def kind(self, node: ast.expr, local: Callable[[str], bool]) -> Kind | None:
        """What the object surely is that ``name`` or ``module.name`` stands for; ``None`` where that is not known.

        Only this is held to, not that it stays the same object: runs may have copies of their own.
        """
        path = dotted(node)
        if path is None or local(path[0]):
            return None
        if path not in self._kinds:
            self._kinds[path] = self._kind(self._resolver, path)
        return self._kinds[path]

    def plain(self, node: ast.expr) -> bool:
        """Whether a container that a name from outside stands for holds nothing strange."""
        path = dotted(node)
        if path is None:
            return False
        if path not in self._plain:
            self._plain[path] = plain(self._resolver.follow(path))
        return self._plain[path]

    @staticmethod
    def _kind(resolver: Resolver, path: tuple[str, ...]) -> Kind | None:
        found = resolver.follow(path)
        if found is MISSING:
            return None
        kind = kind_of(found)
        # A container of an enclosing function may be a run's own, and hold by then what it does not hold now.
        return kind if kind in FIXED or not resolver.encloses(path[0]) else Kind.OTHER

    def hold_for(self, fn: Callable[..., Any]) -> bool:
        """Whether in ``fn``, a function with the same code, every name still stands for what was made of it here."""
        assert isinstance(fn, types.FunctionType)
        resolver = Resolver(fn, set())
        mine = all(resolver.follow(path) is found for path, found in self._seen.items())
        mine = mine and all(self._kind(resolver, path) is kind for path, kind in self._kinds.items())
        mine = mine and all(plain(resolver.follow(path)) is found for path, found in self._plain.items())
        return mine and all(names.hold_for(helper) for helper, names in self._helpers.items())


def dotted(node: ast.expr) -> tuple[str, ...] | None:
    """``("a", "b")`` for the expression ``a.b``; ``None`` for what is no such path."""
    path: list[str] = []
    while isinstance(node, ast.Attribute):
        path.insert(0, node.attr)
        node = node.value
    return (node.id, *path) if isinstance(node, ast.Name) else None
