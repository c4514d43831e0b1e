"""Where a choice stands in a program's text: what it is assigned to, and how often the loops around it have turned.

Part of the oracle in ``denotation.py``. Each function is rewritten so that its loops count and its calls are told
their place; nothing else changes. A call ``f(x)`` becomes ``__placed(f, __Place("y", (__loop0,)))(x)``.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable
from dataclasses import dataclass
from typing import cast

KINDS = ("sample", "observe", "factor", "condition", "twist", "barrier", "call")


@dataclass(frozen=True)
class Place:
    """A place in a run.

    Attributes:
        name: of the variable that is assigned there, else of what is called.
        turns: the counters of the loops around it, the outermost first.
    """

    name: str
    turns: tuple[int, ...]

    def address(self, name: str | None) -> str:
        """What a choice here is called, without the ordinal that tells it from others of the same name."""
        return self.name + "".join(f"[{turn}]" for turn in self.turns) if name is None else name


def placed(tree: ast.Module) -> ast.Module:
    """A module in which calls know their place."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            _Places().function(node)
    return ast.fix_missing_locations(tree)


class _Places(ast.NodeTransformer):
    """Rewrites one function."""

    def __init__(self) -> None:
        self.loops: list[str] = []
        self.count = 0
        self.hint: str | None = None

    def function(self, node: ast.FunctionDef) -> None:
        node.body = self.statements(node.body)

    def statements(self, nodes: Iterable[ast.stmt]) -> list[ast.stmt]:
        found: list[ast.stmt] = []
        for node in nodes:
            new = self.visit(node)
            found += new if isinstance(new, list) else [cast(ast.stmt, new)]
        return found

    def hinted(self, node: ast.expr, hint: str | None) -> ast.expr:
        """An expression whose value is assigned to ``hint``, as it stands or from a branch or an element."""
        self.hint = hint
        return cast(ast.expr, self.visit(node))

    def visit(self, node: ast.AST) -> ast.AST | list[ast.stmt]:
        # The hint is for the node that it was set for; what that passes on, it sets anew.
        hint, self.hint = self.hint, None
        method = getattr(self, f"place_{type(node).__name__}", None)
        if method is None:
            return self.generic_visit(node)
        new: ast.AST | list[ast.stmt] = method(node, hint)
        return new

    # --- what assigns, and what passes on what is assigned to ---

    def place_Assign(self, node: ast.Assign, _: str | None) -> ast.Assign:
        (target,) = node.targets
        node.value = self.hinted(node.value, target.id if isinstance(target, ast.Name) else None)
        return node

    def place_AugAssign(self, node: ast.AugAssign, _: str | None) -> ast.AugAssign:
        node.value = self.hinted(node.value, node.target.id if isinstance(node.target, ast.Name) else None)
        return node

    def place_NamedExpr(self, node: ast.NamedExpr, _: str | None) -> ast.NamedExpr:
        node.value = self.hinted(node.value, node.target.id)
        return node

    def place_IfExp(self, node: ast.IfExp, hint: str | None) -> ast.IfExp:
        node.test = self.hinted(node.test, None)
        node.body, node.orelse = self.hinted(node.body, hint), self.hinted(node.orelse, hint)
        return node

    def place_BoolOp(self, node: ast.BoolOp, hint: str | None) -> ast.BoolOp:
        node.values = [self.hinted(value, hint) for value in node.values]
        return node

    def place_Call(self, node: ast.Call, hint: str | None) -> ast.Call:
        callee = ast.unparse(node.func)
        node.args = [self.hinted(arg, None) for arg in node.args]
        keywords = []
        name = hint or callee
        for keyword in node.keywords:
            if callee in KINDS and keyword.arg == "name" and isinstance(keyword.value, ast.Constant):
                name = str(keyword.value.value)
            else:
                keywords.append(ast.keyword(keyword.arg, self.hinted(keyword.value, None)))
        node.keywords = keywords
        turns = ast.Tuple([ast.Name(loop, ast.Load()) for loop in self.loops], ast.Load())
        place = ast.Call(ast.Name("__Place", ast.Load()), [ast.Constant(name), turns], [])
        node.func = ast.Call(ast.Name("__placed", ast.Load()), [self.hinted(node.func, None), place], [])
        return node

    # --- loops ---

    def place_For(self, node: ast.For, _: str | None) -> list[ast.stmt]:
        node.iter = self.hinted(node.iter, None)
        return self.loop(node)

    def place_While(self, node: ast.While, _: str | None) -> list[ast.stmt]:
        return self.loop(node)  # what its test calls is taken to be no choice

    def loop(self, node: ast.For | ast.While) -> list[ast.stmt]:
        counter = self.fresh()
        self.loops.append(counter)
        node.body = [*ast.parse(f"{counter} += 1").body, *self.statements(node.body)]
        self.loops.pop()
        node.orelse = self.statements(node.orelse)
        return [*ast.parse(f"{counter} = -1").body, node]

    def place_ListComp(self, node: ast.ListComp, hint: str | None) -> ast.ListComp:
        loops = len(self.loops)
        for each in node.generators:
            each.iter = self.hinted(each.iter, None)
            counter = self.fresh()
            each.target = ast.Tuple([ast.Name(counter, ast.Store()), each.target], ast.Store())
            each.iter = ast.Call(ast.Name("enumerate", ast.Load()), [each.iter], [])
            self.loops.append(counter)
            each.ifs = [self.hinted(test, None) for test in each.ifs]
        node.elt = self.hinted(node.elt, hint)
        del self.loops[loops:]
        return node

    def fresh(self) -> str:
        self.count += 1
        return f"__loop{self.count}"
