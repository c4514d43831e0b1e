"""Which names a piece of Python reads and binds, by Python's own scoping rules."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

Comprehension = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
Function = (ast.FunctionDef, ast.AsyncFunctionDef)
Scope = (*Function, ast.Lambda, ast.ClassDef)
_MATCHING = (ast.MatchAs, ast.MatchStar, ast.MatchMapping)


_parts: dict[type, tuple[str, ...]] = {ast.Name: (), ast.Constant: ()}
"""For each kind of node, the fields that may hold parts worth a look."""


def children(node: ast.AST) -> list[ast.AST]:
    """The parts of ``node`` in order, but for operators and contexts: ``ast.iter_child_nodes``, faster."""
    kind = type(node)
    fields = _parts.get(kind)
    if fields is None:
        fields = _parts[kind] = tuple(f for f in kind._fields if f not in ("ctx", "op", "ops"))
    found: list[ast.AST] = []
    for field in fields:
        part = getattr(node, field, None)
        if type(part) is list:
            found += [p for p in part if isinstance(p, ast.AST)]
        elif isinstance(part, ast.AST):
            found.append(part)
    return found


def every(node: ast.AST) -> list[ast.AST]:
    """``node`` and all below it, but for operators and contexts."""
    found = [node]
    for inner in found:
        found += children(inner)
    return found


def own_nodes(nodes: Iterable[ast.AST]) -> Iterator[ast.AST]:
    """``nodes`` and what is below them in the same scope: not inside nested functions, lambdas and classes."""
    todo = list(nodes)[::-1]
    while todo:
        node = todo.pop()
        yield node
        below = list(evaluated_outside(node)) if isinstance(node, Scope) else children(node)
        below.reverse()
        todo += below


def evaluated_outside(node: ast.AST) -> Iterator[ast.AST]:
    """The parts of a nested scope that the enclosing scope evaluates: defaults, decorators, base classes."""
    if isinstance(node, (*Function, ast.Lambda)):
        yield from node.args.defaults
        yield from (d for d in node.args.kw_defaults if d is not None)
    if isinstance(node, (*Function, ast.ClassDef)):
        yield from node.decorator_list
    if isinstance(node, ast.ClassDef):
        yield from node.bases
        yield from (k.value for k in node.keywords)


def bound_names(nodes: Iterable[ast.AST]) -> set[str]:
    """The variables of this scope that ``nodes`` assign, delete, import, or define."""
    found: set[str] = set()
    todo = list(nodes)
    while todo:
        node = todo.pop()
        if isinstance(node, ast.Name):
            if not isinstance(node.ctx, ast.Load):
                found.add(node.id)
        elif isinstance(node, Comprehension):
            # A comprehension's targets are its own; only walrus assignments reach the enclosing scope.
            found.update(inner.target.id for inner in every(node) if isinstance(inner, ast.NamedExpr))
        else:
            if isinstance(node, (*Function, ast.ClassDef, ast.ExceptHandler, *_MATCHING)):
                name = node.rest if isinstance(node, ast.MatchMapping) else node.name
                found.update([name] if name else [])
            elif isinstance(node, (ast.Import, ast.ImportFrom)):
                found.update((a.asname or a.name.split(".")[0]) for a in node.names)
            todo += evaluated_outside(node) if isinstance(node, Scope) else children(node)
    return found


def deleted_names(nodes: Iterable[ast.AST]) -> set[str]:
    """The variables of this scope that ``nodes`` may unbind: by ``del``, and at the end of ``except … as name``."""
    found: set[str] = set()
    for node in own_nodes(nodes):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Del):
            found.add(node.id)
        elif isinstance(node, ast.ExceptHandler) and node.name:
            found.add(node.name)
    return found


def skippable_names(node: ast.AST, skipped: bool = False) -> set[str]:
    """The targets of walrus assignments that evaluating ``node`` may leave out, e.g. ``y`` in ``x and (y := 1)``."""
    if isinstance(node, ast.NamedExpr):
        return skippable_names(node.value, skipped) | ({node.target.id} if skipped else set())
    always: list[ast.AST]
    sometimes: list[ast.AST] = []
    if isinstance(node, ast.BoolOp):
        always, sometimes = [node.values[0]], list(node.values[1:])
    elif isinstance(node, ast.IfExp):
        always, sometimes = [node.test], [node.body, node.orelse]
    elif isinstance(node, ast.Compare):
        always, sometimes = [node.left, node.comparators[0]], list(node.comparators[1:])
    elif isinstance(node, ast.Assert):
        always, sometimes = [node.test], [node.msg] if node.msg else []
    elif isinstance(node, Comprehension):
        always = [node.generators[0].iter]
        sometimes = [c for c in children(node) if not isinstance(c, ast.comprehension)]
        for i, generator in enumerate(node.generators):
            sometimes += [*generator.ifs, *([generator.iter] if i else [])]
    elif isinstance(node, Scope):
        always = list(evaluated_outside(node))
    else:
        always = children(node)
    found: set[str] = set()
    for child in always:
        found |= skippable_names(child, skipped)
    for child in sometimes:
        found |= skippable_names(child, True)
    return found


def parameters(args: ast.arguments) -> list[str]:
    """The names of a function's parameters, in the order in which Python lists them."""
    found = [*args.posonlyargs, *args.args]
    if args.vararg:
        found.append(args.vararg)
    found += args.kwonlyargs
    if args.kwarg:
        found.append(args.kwarg)
    return [a.arg for a in found]


def read_names(nodes: Iterable[ast.AST]) -> set[str]:
    """The names that ``nodes`` read from this scope, those captured by nested functions and comprehensions included."""
    return {name for node in nodes for name in _read(node)}


def _read(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Name):
        if isinstance(node.ctx, (ast.Load, ast.Del)):
            yield node.id
    elif isinstance(node, ast.AugAssign):
        if isinstance(node.target, ast.Name):
            yield node.target.id
        yield from _read(node.target)
        yield from _read(node.value)
    elif isinstance(node, Comprehension):
        own = bound_names(gen.target for gen in node.generators)
        yield from _read(node.generators[0].iter)
        inner: list[ast.AST] = [node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt]
        for i, gen in enumerate(node.generators):
            inner += [gen.target, *gen.ifs, *([gen.iter] if i else [])]
        yield from read_names(inner) - own
    elif isinstance(node, Scope):
        yield from captured_names(node)
        for part in evaluated_outside(node):
            yield from _read(part)
    else:
        for child in children(node):
            yield from _read(child)


def captured_names(node: ast.AST) -> set[str]:
    """The names that a nested function, lambda or class reads from the scopes around it."""
    if isinstance(node, ast.Lambda):
        return read_names([node.body]) - set(parameters(node.args))
    if isinstance(node, Function):
        declared = {n for s in own_nodes(node.body) if isinstance(s, (ast.Global, ast.Nonlocal)) for n in s.names}
        return (read_names(node.body) - set(parameters(node.args)) - (bound_names(node.body) - declared)) | declared
    if isinstance(node, ast.ClassDef):
        return read_names(node.body) - bound_names(node.body)
    raise TypeError(type(node).__name__)


_INTRICATE = (*Comprehension, *Scope, ast.ExceptHandler, ast.Import, ast.ImportFrom, ast.AugAssign)


@dataclass(frozen=True)
class Names:
    """What a statement does with the variables of its scope.

    Attributes:
        reads: see :func:`read_names`.
        binds: see :func:`bound_names`.
        deletes: see :func:`deleted_names`.
        skips: see :func:`skippable_names`.
        has_scope: there is a nested function, lambda or class in it.
        has_gaps: some part has no position in the source.
    """

    reads: set[str]
    binds: set[str]
    deletes: set[str]
    skips: set[str]
    has_scope: bool
    has_gaps: bool


def names(statement: ast.stmt) -> Names:
    """All of these at once. Most statements are simple, and one look at each part will do."""
    nodes = every(statement)
    kinds = {type(node) for node in nodes}
    gaps = not all(hasattr(node, "lineno") for node in nodes if "lineno" in node._attributes)
    skips = skippable_names(statement) if ast.NamedExpr in kinds else set()
    if not kinds.isdisjoint((*_INTRICATE, *_MATCHING)):
        reads, binds, deletes = read_names([statement]), bound_names([statement]), deleted_names([statement])
        return Names(reads, binds, deletes, skips, not kinds.isdisjoint(Scope), gaps)
    found: dict[type, set[str]] = {ast.Load: set(), ast.Store: set(), ast.Del: set()}
    for node in nodes:
        if type(node) is ast.Name:
            found[type(node.ctx)].add(node.id)
    deletes = found[ast.Del]
    return Names(found[ast.Load] | deletes, found[ast.Store] | deletes, deletes, skips, False, gaps)
