"""Exits out of native statements.

``try``, ``with`` and ``match`` blocks without effects stay native Python, but may hold ``return``, or ``break`` and
``continue`` of a loop around them. Those exits are recorded in a variable here, so that the statement itself always
falls through and the exit becomes ordinary structured control flow after it::

    try:                            code = 0
        n = int(line)               while True:
    except ValueError:                  try:
        continue                            n = int(line)
                                        except ValueError:
                                            code = CONTINUE; break
                                        break
                                    if code == CONTINUE: continue

An exit that is on its way can still be called off: by an exception in a ``finally``, or by another exit there. So
``finally`` blocks record their exits in a variable of their own, and handlers forget what was recorded before.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from typing import Any

from .scan import Scope

CODE, VALUE = "·exit", "·returned"
RETURN, BREAK, CONTINUE = 1, 2, 3


def is_internal(name: str) -> bool:
    """Whether a variable is one of those that record exits: always assigned before they are read."""
    return name.startswith((CODE, VALUE))


def record_exits(statement: ast.stmt) -> tuple[ast.stmt, set[int]]:
    """The statement with its exits recorded, and which kinds of exit it has; unchanged if it has none."""
    rewrite = _Rewrite(0)
    body = rewrite.body([statement])
    if not rewrite.found:
        return statement, set()
    whole = ast.If(test=ast.Constant(True), body=rewrite.recorded(body), orelse=[])
    return ast.fix_missing_locations(ast.copy_location(whole, statement)), rewrite.found


def leave(code: str, value: str, found: set[int]) -> list[ast.stmt]:
    """The statements that carry recorded exits out."""
    words: dict[int, ast.stmt] = {RETURN: ast.Return(ast.Name(value, ast.Load())), BREAK: ast.Break()}
    words[CONTINUE] = ast.Continue()
    return [
        ast.If(ast.Compare(ast.Name(code, ast.Load()), [ast.Eq()], [ast.Constant(kind)]), [words[kind]], [])
        for kind in sorted(found)
    ]


def _assign(name: str, value: ast.expr) -> ast.stmt:
    return ast.Assign(targets=[ast.Name(name, ast.Store())], value=value)


class _Rewrite(ast.NodeTransformer):
    """Replaces exits.

    Attributes:
        found: the kinds of exits that were recorded.
        loops: how many native loops are around.
        final: whether the exits being replaced come out of a ``finally`` block and so call off what was recorded.
    """

    def __init__(self, level: int) -> None:
        self.level = level
        self.code, self.value = (f"{name}{level or ''}" for name in (CODE, VALUE))
        self.found: set[int] = set()
        self.loops = 0
        self.final = False

    def recorded(self, body: list[ast.stmt]) -> list[ast.stmt]:
        """A rewritten body that falls through."""
        once = ast.While(test=ast.Constant(True), body=[*body, ast.Break()], orelse=[])
        return [self._forget(), once]

    def body(self, statements: Sequence[ast.stmt]) -> list[ast.stmt]:
        """A list of statements, rewritten."""
        out: list[ast.stmt] = []
        for statement in statements:
            new = self.visit(statement)
            out.extend(new if isinstance(new, list) else [new])  # type: ignore[list-item]
        return out

    def _forget(self) -> ast.stmt:
        return _assign(self.code, ast.Constant(0))

    def visit(self, node: ast.AST) -> ast.AST | list[ast.stmt]:
        if isinstance(node, Scope):
            return node
        if isinstance(node, (ast.For, ast.While)):
            return self._loop(node)
        if isinstance(node, ast.With):
            return self._with(node)
        if isinstance(node, ast.Try) or type(node).__name__ == "TryStar":
            return self._try(node)
        return super().visit(node)

    def _leave(self, node: ast.stmt, code: int, *more: ast.stmt) -> list[ast.stmt]:
        self.found.add(code)
        return _placed([*more, _assign(self.code, ast.Constant(code)), ast.Break()], node)

    def visit_Return(self, node: ast.Return) -> list[ast.stmt]:
        return self._leave(node, RETURN, _assign(self.value, node.value or ast.Constant(None)))

    def visit_Break(self, node: ast.Break) -> list[ast.stmt]:
        return self._native_exit(node) if self.loops else self._leave(node, BREAK)

    def visit_Continue(self, node: ast.Continue) -> list[ast.stmt]:
        return self._native_exit(node) if self.loops else self._leave(node, CONTINUE)

    def _native_exit(self, node: ast.stmt) -> list[ast.stmt]:
        return _placed([self._forget(), node], node) if self.final else [node]

    def _loop(self, node: ast.For | ast.While) -> list[ast.stmt]:
        before, self.found = self.found, set()
        self.loops += 1
        node.body = self.body(node.body)
        self.loops -= 1
        inside, self.found = self.found, self.found | before
        node.orelse = self.body(node.orelse)
        if not inside:
            return [node]
        # The rewritten exit only left this loop: go on leaving.
        return [node, *_placed([ast.If(ast.Name(self.code, ast.Load()), [ast.Break()], [])], node)]

    def _with(self, node: ast.With) -> list[ast.stmt]:
        before, self.found = self.found, set()
        node.body = self.body(node.body)
        inside, self.found = self.found, self.found | before
        # Falling out of it, perhaps because it has suppressed an exception, means that no exit is on its way.
        return [node, *_placed([self._forget()] if inside else [], node)]

    def _try(self, node: Any) -> ast.AST:
        before, self.found = self.found, set()
        node.body = self.body(node.body)
        inside = bool(self.found)
        self.found |= before
        for handler in node.handlers:
            new = self.body(handler.body)
            handler.body = [*_placed([self._forget()] if inside else [], handler.body[0]), *new]
        node.orelse = self.body(node.orelse)
        node.finalbody = self._finally(node.finalbody)
        return node

    def _finally(self, statements: list[ast.stmt]) -> list[ast.stmt]:
        inner = _Rewrite(self.level + 1)
        body = inner.body(statements)
        if not inner.found:
            return body
        outer, self.final = self.final, True
        exits = self.body(_placed(leave(inner.code, inner.value, inner.found), statements[0]))
        self.final = outer
        return _placed([*inner.recorded(body), *exits], statements[0])


def _placed(statements: list[ast.stmt], where: ast.AST) -> list[ast.stmt]:
    return [ast.fix_missing_locations(s if hasattr(s, "lineno") else ast.copy_location(s, where)) for s in statements]
