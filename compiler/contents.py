"""What is in the containers of a program: nothing strange, if every piece of its code puts nothing strange there.

To compute with a list asks its members, so it matters what those are. Which container holds what is not followed;
either all that the program ever puts into any container is of a known class, or its containers may hold anything.
"""

from __future__ import annotations

import ast

from .kinds import FIXED, KNOWN, Kind, Touch, member
from .purity import Purity
from .scan import Comprehension, Scope, children

_FILLING = {
    *("add", "append", "clear", "discard", "extend", "insert", "pop", "popitem", "remove", "reverse", "setdefault"),
    *("sort", "update"),
}
"""Methods of builtin containers that change them, and put nothing there but what they are given."""
_MADE = (Kind.BUILTIN, Kind.PAIRS, Kind.KNOWN)


def holds_plainly(judge: Purity, node: ast.AST) -> bool:
    """Whether evaluating ``node`` puts nothing strange into any container, if there is nothing strange in any before.

    Args:
        judge: believes that there is not.
        node: an expression or statement.
    """
    if isinstance(node, Scope):
        return False  # what it captures, others may change
    if isinstance(node, Comprehension):
        return _comprehension(judge, node)
    if isinstance(node, ast.Name | ast.Attribute):
        outside = None if not isinstance(node.ctx, ast.Load) else judge.names.kind(node, judge.local)
        if outside is Kind.BUILTIN:
            return judge.names.plain(node)
    if not all(holds_plainly(judge, part) for part in children(node)):
        return False
    if isinstance(node, ast.List | ast.Tuple | ast.Set):
        return _is_target(node) or all(_is_plain(judge, part) for part in node.elts)
    if isinstance(node, ast.Dict):
        return all(_is_plain(judge, part) for part in (*filter(None, node.keys), *node.values))
    if isinstance(node, ast.Call):
        return _call(judge, node)
    if isinstance(node, ast.For | ast.withitem):
        return all(isinstance(part, ast.Name | ast.Tuple | ast.List) for part in _targets(node))
    if isinstance(node, ast.Assign | ast.AugAssign | ast.AnnAssign) and node.value is not None:
        return _assignment(judge, node)
    return True


def _targets(node: ast.For | ast.withitem) -> list[ast.expr]:
    """What a loop or a ``with`` assigns to, and the parts of that."""
    found = [node.target] if isinstance(node, ast.For) else [node.optional_vars] if node.optional_vars else []
    for target in found:
        found += target.elts if isinstance(target, ast.Tuple | ast.List) else []
    return found


def _is_target(node: ast.List | ast.Tuple | ast.Set) -> bool:
    return not isinstance(node, ast.Set) and not isinstance(node.ctx, ast.Load)


def _is_plain(judge: Purity, node: ast.expr) -> bool:
    return (judge.member(node.value) if isinstance(node, ast.Starred) else judge.kind(node)) in KNOWN


def _comprehension(judge: Purity, node: ast.AST) -> bool:
    assert isinstance(node, Comprehension)
    scope = judge
    for generator in node.generators:
        if not holds_plainly(scope, generator.iter):
            return False
        if any(isinstance(part, ast.Subscript | ast.Attribute) for part in ast.walk(generator.target)):
            return False
        scope = scope.binding(generator.target, scope.member(generator.iter))
        if not all(holds_plainly(scope, test) for test in generator.ifs):
            return False
    made = [node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt]
    return all(holds_plainly(scope, part) and _is_plain(scope, part) for part in made)


def _call(judge: Purity, node: ast.Call) -> bool:
    given = [*node.args, *(keyword.value for keyword in node.keywords)]
    kinds = [judge.kind(part) for part in given if not isinstance(part, ast.GeneratorExp)]
    if any(isinstance(part, ast.Starred) for part in given):
        return False
    found = judge.callee(node)
    if found.fills is False:
        return True
    if found.touch is not Touch.WRITE or found.fills is None:
        return found.gives not in _MADE or all(member(kind, judge.members) is not Kind.OTHER for kind in kinds)
    if isinstance(node.func, ast.Attribute):
        owner = judge.kind(node.func.value)
        if owner in (Kind.BUILTIN, Kind.KNOWN):
            return node.func.attr in _FILLING and not node.keywords and set(kinds) <= KNOWN
    return set(kinds) <= FIXED  # so it has none of the program's containers to change


def _assignment(judge: Purity, node: ast.Assign | ast.AugAssign | ast.AnnAssign) -> bool:
    value = judge.kind(node.value) if node.value is not None else Kind.NEVER
    for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
        if isinstance(target, ast.Subscript):
            owner = judge.kind(target.value)
            if value not in (KNOWN if owner in (Kind.BUILTIN, Kind.KNOWN) else FIXED):
                return False
        elif isinstance(target, ast.Attribute):
            if value not in FIXED:
                return False
        elif isinstance(target, ast.Name):
            fills = isinstance(node, ast.AugAssign) and judge.kind(target) not in FIXED
            if fills and value not in (*KNOWN, Kind.PAIRS):
                return False
        elif any(isinstance(part, ast.Subscript | ast.Attribute | ast.Starred) for part in ast.walk(target)):
            return False
    return True
