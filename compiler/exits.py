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
"""

from __future__ import annotations

import ast

from .scan import Scope

CODE, VALUE = "·exit", "·returned"
RETURN, BREAK, CONTINUE = 1, 2, 3


def _assign(name: str, value: ast.expr) -> ast.stmt:
    return ast.Assign(targets=[ast.Name(name, ast.Store())], value=value)


class _Rewrite(ast.NodeTransformer):
    """Replaces exits; ``found`` collects their codes."""

    def __init__(self) -> None:
        self.found: set[int] = set()
        self.loops = 0

    def visit(self, node: ast.AST) -> ast.AST | list[ast.stmt]:  # type: ignore[override]
        if isinstance(node, Scope):
            return node
        if isinstance(node, (ast.For, ast.While)):
            return self._loop(node)
        return super().visit(node)  # type: ignore[no-any-return]

    def _leave(self, node: ast.stmt, code: int, *more: ast.stmt) -> list[ast.stmt]:
        self.found.add(code)
        new = [*more, _assign(CODE, ast.Constant(code)), ast.Break()]
        return [ast.fix_missing_locations(ast.copy_location(s, node)) for s in new]

    def visit_Return(self, node: ast.Return) -> list[ast.stmt]:
        return self._leave(node, RETURN, _assign(VALUE, node.value or ast.Constant(None)))

    def visit_Break(self, node: ast.Break) -> ast.stmt | list[ast.stmt]:
        return node if self.loops else self._leave(node, BREAK)

    def visit_Continue(self, node: ast.Continue) -> ast.stmt | list[ast.stmt]:
        return node if self.loops else self._leave(node, CONTINUE)

    def _loop(self, node: ast.For | ast.While) -> list[ast.stmt]:
        before = set(self.found)
        self.found = set()
        self.loops += 1
        node.body = self._body(node.body)
        self.loops -= 1
        inside, self.found = self.found, self.found | before
        node.orelse = self._body(node.orelse)
        if not inside:
            return [node]
        # The rewritten exit only left this loop: go on leaving.
        go_on = ast.If(test=ast.Name(CODE, ast.Load()), body=[ast.Break()], orelse=[])
        return [node, ast.fix_missing_locations(ast.copy_location(go_on, node))]

    def _body(self, statements: list[ast.stmt]) -> list[ast.stmt]:
        out: list[ast.stmt] = []
        for statement in statements:
            new = self.visit(statement)
            out.extend(new if isinstance(new, list) else [new])  # type: ignore[list-item]
        return out


def record_exits(statement: ast.stmt) -> tuple[ast.stmt, set[int]]:
    """The statement with its exits recorded, and which kinds of exit it has; unchanged if it has none."""
    rewrite = _Rewrite()
    body = rewrite._body([statement])
    if not rewrite.found:
        return statement, set()
    once = ast.While(test=ast.Constant(True), body=[*body, ast.Break()], orelse=[])
    whole = ast.If(test=ast.Constant(True), body=[_assign(CODE, ast.Constant(0)), once], orelse=[])
    return ast.fix_missing_locations(ast.copy_location(whole, statement)), rewrite.found
