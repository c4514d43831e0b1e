"""Syntax tree → IR: statements that hold expressions but no statements."""

from __future__ import annotations

import ast
import copy

from .expressions import Expressions, index_value
from .scan import bound_names


class Assignments(Expressions):
    """Lowers assignments and the other simple statements."""

    def simple(self, node: ast.stmt) -> None:
        """Lower a simple statement."""
        if isinstance(node, ast.AnnAssign):
            if node.value is None:
                return
            node = ast.copy_location(ast.Assign([node.target], node.value), node)
        if not self.cuts(node):
            if not isinstance(node, ast.Expr) or not isinstance(node.value, ast.Constant):
                self.py(node)
        elif isinstance(node, ast.Assign):
            self._assign(node)
        elif isinstance(node, ast.AugAssign):
            self._augmented(node)
        elif isinstance(node, ast.Expr):
            value = self.expression(node.value)
            if not isinstance(value, (ast.Name, ast.Constant)):
                self.py(ast.copy_location(ast.Expr(value), node))
        elif isinstance(node, ast.Delete) and len(node.targets) > 1:
            for target in node.targets:
                self.simple(ast.copy_location(ast.Delete([target]), node))
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            self.refuse_in_definition(node)
        elif isinstance(node, ast.Assert) and node.msg is not None and self.cuts(node.msg):
            self.refuse(
                self.first_effect(node.msg, True) or node,
                "an effect can't stand in the message of an assertion, which is only computed if it fails",
                "Compute it first, in a statement of its own, and use its variable here.",
            )
        else:
            self.py(self.rebuild(node))

    def _assign(self, node: ast.Assign) -> None:
        target, value = node.targets[0], node.value
        hint = target.id if isinstance(target, ast.Name) else None
        hint = self.hints.get(hint, hint) if hint else None
        if len(node.targets) == 1 and isinstance(target, ast.Name):
            if isinstance(value, ast.Call) and self.call_kind(value) != "python":
                self.effect(value, hint, target.id)
                return
            self.py(ast.copy_location(ast.Assign([target], self.expression(value, hint)), node))
            return
        if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple) and len(target.elts) == len(value.elts):
            names = [t.id if isinstance(t, ast.Name) else None for t in target.elts]
            parts = self.sequence(value.elts, names)
            computed: ast.expr = ast.copy_location(ast.Tuple(parts, ast.Load()), value)
        else:
            computed = self.expression(value, hint)
        if len(node.targets) > 1 or self.cuts(target):
            # The value is computed before any target, and a target may hold an effect or rebind what it reads.
            computed = self.held(computed)
        for each in node.targets:
            self.py(ast.copy_location(ast.Assign([self._place(each)], copy.copy(computed)), node))

    def _place(self, target: ast.expr) -> ast.expr:
        """An assignment target with the effects in it done."""
        if not self.cuts(target):
            return target
        if isinstance(target, (ast.Subscript, ast.Attribute)):
            return self.rebuild(target)
        self.refuse(
            self.first_effect(target, True) or target,
            "an effect can't stand inside a nested assignment target: Python unpacks in one go",
            "Unpack into plain variables first, then assign to the item or attribute in a statement of its own.",
        )

    def _augmented(self, node: ast.AugAssign) -> None:
        """``a[i] += e`` reads ``a``, ``i`` and ``a[i]`` before it evaluates ``e``."""
        target = node.target
        if isinstance(target, ast.Name):
            present = ast.copy_location(ast.Name(target.id, ast.Load()), target)
            if target.id not in bound_names([node.value]):
                (old,) = self.current([target.id])
                if old.maybe_unbound:
                    self.py(ast.copy_location(ast.Expr(present), target))
                value = self.expression(node.value, target.id)
                self.py(ast.copy_location(ast.AugAssign(target, node.op, value), node))
                return
            place: ast.expr = target
        else:
            place = copy.copy(target)
            place.value = self.held(self.expression(target.value))
            if isinstance(place, ast.Subscript) and isinstance(target, ast.Subscript):
                place.slice = self.held(index_value(self.expression(target.slice)))
            present = copy.copy(place)  # type: ignore[assignment]
            present.ctx = ast.Load()
        held = self.held(present)
        value = self.expression(node.value, target.id if isinstance(target, ast.Name) else None)
        store = ast.copy_location(ast.Name(held.id, ast.Store()), target)
        self.py(ast.copy_location(ast.AugAssign(store, node.op, value), node))
        self.py(ast.copy_location(ast.Assign([place], held), node))
