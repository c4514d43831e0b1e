"""Python's syntax trees as source on as few lines as may be, whatever they hold."""

from __future__ import annotations

import ast
import copy
from typing import Any


def unparse(node: ast.AST) -> str:
    """``ast.unparse``, for what it can't write too: f-strings that need a backslash or a line of their own.

    Args:
        node: any tree; compiler's names such as ``·1`` are written as they are.
    """
    try:
        text = ast.unparse(node)
        # Some versions leave carriage returns and the like in formats as they are.
        if text.replace("\n", "").isprintable() and ("\n" not in text or not isinstance(node, ast.arguments)):
            return text
    except ValueError:  # an f-string can't be written with the quotes and backslashes that it holds
        pass
    return ast.unparse(ast.fix_missing_locations(_WithoutFormats().visit(copy.deepcopy(node))))


class _WithoutFormats(ast.NodeTransformer):
    """``f'a{x!r:>9}'`` becomes ``''.join(('a', '{!r:{}}'.format(x, ''.join(('>9',)))))``, which means the same."""

    def visit_JoinedStr(self, node: ast.JoinedStr) -> ast.expr:
        parts: list[ast.expr] = [self.visit(part) for part in node.values]
        return _call(ast.Constant(""), "join", ast.Tuple(parts, ast.Load()))

    def visit_FormattedValue(self, node: ast.FormattedValue) -> Any:
        conversion = f"!{chr(node.conversion)}" if node.conversion != -1 else ""
        value = self.visit(node.value)
        if node.format_spec is None:
            return _call(ast.Constant(f"{{{conversion}}}"), "format", value)
        return _call(ast.Constant(f"{{{conversion}:{{}}}}"), "format", value, self.visit(node.format_spec))


def _call(on: ast.expr, method: str, *args: ast.expr) -> ast.expr:
    return ast.Call(ast.Attribute(on, method, ast.Load()), list(args), [])
