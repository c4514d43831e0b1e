"""Which variables of a helper function always hold numbers, strings, truth values or ``None``, so that ``n += 1``
changes no object that anybody else has."""

from __future__ import annotations

import ast
from collections.abc import Callable, Collection

from .scan import own_nodes, parameters

IsAtom = Callable[[ast.expr, Collection[str]], bool]
"""Whether an expression is an atom, if the variables of these names are."""


def lasting_atoms(function: ast.FunctionDef, is_atom: IsAtom) -> frozenset[str]:
    """The largest set of variables each of which is only ever given atoms, where its members are.

    Args:
        function: the helper. A parameter may be anything.
        is_atom: judges expressions.
    """
    given: dict[str, list[ast.expr]] = {}
    plain: set[ast.AST] = set()
    for node in own_nodes(function.body):
        if isinstance(node, ast.Assign):
            pairs = [(target, node.value) for target in node.targets]
        elif isinstance(node, ast.AnnAssign | ast.AugAssign) and node.value is not None:
            pairs = [(node.target, node.value)]
        else:
            continue
        for target, value in pairs:
            if isinstance(target, ast.Name):
                given.setdefault(target.id, []).append(value)
                plain.add(target)
    # Whatever binds a name in another way may bind it to anything: loops, unpacking, walrus, except … as.
    others = set(parameters(function.args))
    for node in own_nodes(function.body):
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load) and node not in plain:
            others.add(node.id)
        elif isinstance(node, ast.ExceptHandler) and node.name is not None:
            others.add(node.name)
    found = set(given) - others
    while True:
        gone = {name for name in found if not all(is_atom(value, found) for value in given[name])}
        if not gone:
            return frozenset(found)
        found -= gone
