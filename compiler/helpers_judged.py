"""What plain helper functions do: each is judged by its own source, for what its arguments are."""

from __future__ import annotations

import ast
import types
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .errors import CompileError
from .kinds import FIXED, Kind, Touch, join, kind_of
from .scan import bound_names, own_nodes, parameters
from .source import parse_function

if TYPE_CHECKING:
    from .callees import Callee
    from .purity import Purity


def helper(judge: Purity, fn: types.FunctionType, node: ast.Call) -> Callee:
    """A plain function, judged by its own source for what its arguments are."""
    from .callees import UNKNOWN

    given = _given(judge, fn, node)
    key = (fn, tuple(given.values()), judge.members)
    judged: dict[Any, Callee] = judge.names.judged
    if key not in judged:
        judged[key] = UNKNOWN  # what it is for calls of itself
        judged[key] = _judged(judge, fn, given)
    return judged[key]


def _given(judge: Purity, fn: types.FunctionType, node: ast.Call) -> dict[str, Kind]:
    """What the parameters of a helper are."""
    code = fn.__code__
    count = code.co_argcount
    listed, alone = code.co_varnames[:count], code.co_varnames[count : count + code.co_kwonlyargcount]
    found = dict.fromkeys((*listed, *alone), Kind.OTHER)
    if any(isinstance(a, ast.Starred) for a in node.args) or any(k.arg is None for k in node.keywords):
        return found
    defaults = fn.__defaults__ or ()
    found.update((word, kind_of(value)) for word, value in zip(listed[count - len(defaults) :], defaults, strict=True))
    found.update((word, kind_of(value)) for word, value in (fn.__kwdefaults__ or {}).items())
    found.update((word, judge.kind(argument)) for word, argument in zip(listed, node.args, strict=False))
    found.update((k.arg, judge.kind(k.value)) for k in node.keywords if k.arg in found)
    return found


def _judged(judge: Purity, fn: types.FunctionType, given: dict[str, Kind]) -> Callee:
    from .callees import UNKNOWN, Callee
    from .contents import holds_plainly
    from .purity import Purity, walruses

    try:
        tree, _ = parse_function(fn)
    except (CompileError, TypeError, SyntaxError, OSError):
        return UNKNOWN
    statements = _statements(tree.body)
    if any(not isinstance(statement, _IN_HELPERS) for statement in statements):
        return UNKNOWN
    variables = {*parameters(tree.args), *bound_names(tree.body)}
    outside = Purity(judge.names.of(fn), variables.__contains__, members=judge.members)
    pairs = [pair for statement in statements for pair in (*_assignments(statement), *walruses(statement))]
    kinds = outside.bound(pairs, given)
    inside = Purity(
        outside.names, variables.__contains__, lambda name: kinds.get(name, Kind.OTHER), members=judge.members
    )
    touch = max((inside.touch(statement) for statement in tree.body), default=Touch.NONE)
    holds = all(holds_plainly(inside, statement) for statement in tree.body)
    returned: list[ast.expr] = [s.value or ast.Constant(None) for s in statements if isinstance(s, ast.Return)]
    if _goes_on(tree.body):
        returned.append(ast.Constant(None))
    gives = join(map(inside.kind, returned))
    made = [inside.callee(v) if isinstance(v, ast.Call) else UNKNOWN for v in returned]
    if len({each.family for each in made}) == 1 and made[0].family is not None:
        written = made[0].written if len(made) == 1 else None
        return Callee(touch, f"helper.{made[0].family.removeprefix('helper.')}", gives, written)
    return Callee(touch, gives=gives if holds or gives in FIXED else Kind.OTHER)


def _goes_on(body: Sequence[ast.stmt]) -> bool:
    """Whether control may come to the end of the statements."""
    last = body[-1]
    if isinstance(last, ast.If):
        return not last.orelse or _goes_on(last.body) or _goes_on(last.orelse)
    return not isinstance(last, ast.Return | ast.Raise)


def _assignments(statement: ast.stmt) -> list[tuple[str, ast.expr | None]]:
    """What a statement of a helper assigns, apart from those inside it; unknown things where it unpacks."""
    if isinstance(statement, ast.For):
        if isinstance(statement.target, ast.Name) and not isinstance(statement.iter, ast.Dict):
            # Any member will do; of what is written out as a dictionary an item is no key.
            return [(statement.target.id, ast.Subscript(statement.iter, ast.Constant(0), ast.Load()))]
        return [(name, None) for name in bound_names([statement.target])]
    if isinstance(statement, ast.Try):
        return [(handler.name, None) for handler in statement.handlers if handler.name is not None]
    if isinstance(statement, ast.AugAssign):
        if not isinstance(statement.target, ast.Name):
            return []
        before = ast.Name(statement.target.id, ast.Load())
        return [(before.id, ast.BinOp(before, statement.op, statement.value))]
    if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
        return [(statement.target.id, statement.value)] if statement.value is not None else []
    found: list[tuple[str, ast.expr | None]] = []
    for target in statement.targets if isinstance(statement, ast.Assign) else []:
        if isinstance(target, ast.Name):
            found.append((target.id, statement.value))  # type: ignore[attr-defined]
        else:
            found += [(name, None) for name in bound_names([target])]
    return found


_IN_HELPERS = (
    *(ast.Return, ast.Assign, ast.AnnAssign, ast.AugAssign, ast.If, ast.Pass, ast.Expr, ast.Assert, ast.Raise),
    *(ast.For, ast.While, ast.Break, ast.Continue, ast.Try),
)


def _statements(body: Sequence[ast.stmt]) -> list[ast.stmt]:
    """All statements of a function's body, those inside others as well."""
    return [inner for statement in body for inner in own_nodes([statement]) if isinstance(inner, ast.stmt)]
