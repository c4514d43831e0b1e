"""What a program imports itself: names of its own, of which one can mostly tell before it runs what they stand for."""

from __future__ import annotations

import ast
import importlib.util
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from .source import MISSING


def imported(nodes: Iterable[ast.AST], params: Iterable[str], names: Mapping[str, Any]) -> dict[str, Any]:
    """What a function's own imports bind that nothing else in it binds: each name, and what it will stand for.

    Nothing is imported to find out: what is in modules that nobody has imported yet is left out.

    Args:
        nodes: the nodes of the function's own scope.
        params: the names of its parameters.
        names: its globals, which tell the package that it belongs to.
    """
    found: dict[str, Any] = {}
    times = Counter(params)
    for node in nodes:
        here = dict(_imports(node, names))
        found |= here
        times.update([*here] or _binds(node))
    return {name: value for name, value in found.items() if value is not MISSING and times[name] == 1}


def _imports(node: ast.AST, names: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The names that an import statement binds, and what to."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            first = alias.name.split(".")[0]
            yield alias.asname or first, sys.modules.get(alias.name if alias.asname else first, MISSING)
    elif isinstance(node, ast.ImportFrom):
        try:
            whole = importlib.util.resolve_name("." * node.level + (node.module or ""), names.get("__package__"))
        except ImportError:  # it belongs to no package
            whole = ""
        module = sys.modules.get(whole)
        for alias in node.names:
            below = sys.modules.get(f"{whole}.{alias.name}", MISSING)
            # Not getattr: a module may import what it is asked for.
            yield alias.asname or alias.name, vars(module).get(alias.name, below) if module is not None else MISSING


def _binds(node: ast.AST) -> list[str]:
    """The names that a node binds by itself, its parts left out."""
    if isinstance(node, ast.Name):
        return [] if isinstance(node.ctx, ast.Load) else [node.id]
    name = None if isinstance(node, ast.alias) else getattr(node, "name", getattr(node, "rest", None))
    return [name] if isinstance(name, str) else []
