"""Exchanges the variables of a native statement for those that hold its values."""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterable
from typing import Any

from .scan import Comprehension, Function, Scope, bound_names, own_nodes, parameters

PINNING = (*Function, ast.ClassDef, ast.Import, ast.ImportFrom)
"""Statements that bind a name which is also visible otherwise: in ``__name__``, or as a module's path."""


def renamed(code: ast.stmt, reads: dict[str, str], writes: dict[str, str]) -> ast.stmt:
    """A copy of ``code`` with other variables.

    Args:
        code: a statement.
        reads: source name → variable, where it is read or deleted.
        writes: source name → variable, where it is assigned.
    """
    return Renamer(reads, writes).visit(copy.deepcopy(code))


def pinned_names(code: ast.stmt) -> set[str]:
    """The names that ``code`` binds and that should rather not be exchanged."""
    if isinstance(code, (ast.Assign, ast.AugAssign, ast.AnnAssign, ast.Expr, ast.Delete, ast.Assert)):
        return set()
    return {name for node in own_nodes([code]) if isinstance(node, PINNING) for name in bound_names([node])}


class Renamer(ast.NodeTransformer):
    """Renames variables of one scope throughout a tree, in place, minding nested scopes that rebind the same names."""

    def __init__(self, reads: dict[str, str], writes: dict[str, str]) -> None:
        self.reads = reads
        self.writes = writes

    def visit(self, node: ast.AST) -> Any:
        if isinstance(node, Scope):
            return self._scope(node)
        if isinstance(node, Comprehension):
            return self._comprehension(node)
        return super().visit(node)

    def visit_Name(self, node: ast.Name) -> ast.AST:
        table = self.writes if isinstance(node.ctx, ast.Store) else self.reads
        return ast.copy_location(ast.Name(table.get(node.id, node.id), node.ctx), node)

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> ast.AST:
        node.name = node.name and self.writes.get(node.name, node.name)
        return self.generic_visit(node)

    def visit_MatchAs(self, node: ast.MatchAs) -> ast.AST:
        node.name = node.name and self.writes.get(node.name, node.name)
        return self.generic_visit(node)

    def visit_MatchStar(self, node: ast.MatchStar) -> ast.AST:
        node.name = node.name and self.writes.get(node.name, node.name)
        return node

    def visit_MatchMapping(self, node: ast.MatchMapping) -> ast.AST:
        node.rest = node.rest and self.writes.get(node.rest, node.rest)
        return self.generic_visit(node)

    def visit_alias(self, node: ast.alias) -> ast.AST:
        name = node.asname or node.name
        if self.writes.get(name, name) != name:
            node.asname = self.writes[name]
        return node

    def _without(self, hidden: Iterable[str]) -> Renamer:
        names = set(hidden)
        return Renamer(
            {a: b for a, b in self.reads.items() if a not in names},
            {a: b for a, b in self.writes.items() if a not in names},
        )

    def _scope(self, node: Any) -> ast.AST:
        """What a nested function evaluates outside is renamed as usual, the rest where it captures."""
        if not isinstance(node, ast.Lambda):
            node.name = self.writes.get(node.name, node.name)
            node.decorator_list = [self.visit(d) for d in node.decorator_list]
        body = [node.body] if isinstance(node, ast.Lambda) else node.body
        own = bound_names(body)
        if isinstance(node, ast.ClassDef):
            node.bases = [self.visit(b) for b in node.bases]
            node.keywords = [self.visit(k) for k in node.keywords]
        else:
            own |= set(parameters(node.args))
            node.args.defaults = [self.visit(d) for d in node.args.defaults]
            node.args.kw_defaults = [d and self.visit(d) for d in node.args.kw_defaults]
        inner = self._without(own)
        new = [inner.visit(s) for s in body]
        node.body = new[0] if isinstance(node, ast.Lambda) else new
        return node

    def _comprehension(self, node: Any) -> ast.AST:
        inner = self._without(bound_names(g.target for g in node.generators))
        first = self.visit(node.generators[0].iter)
        node.generators[0].iter = ast.Constant(None)
        inner.generic_visit(node)
        node.generators[0].iter = first
        return node
