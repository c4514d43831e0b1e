"""Which names a piece of Python reads and binds, by Python's own scoping rules."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator

Comprehension = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
Function = (ast.FunctionDef, ast.AsyncFunctionDef)
Scope = (*Function, ast.Lambda, ast.ClassDef)


def own_nodes(nodes: Iterable[ast.AST]) -> Iterator[ast.AST]:
    """``nodes`` and what is below them in the same scope: not inside nested functions, lambdas and classes."""
    for node in nodes:
        yield node
        if isinstance(node, Scope):
            yield from own_nodes(evaluated_outside(node))
        else:
            yield from own_nodes(ast.iter_child_nodes(node))


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
    return {name for node in nodes for name in _bound(node)}


def _bound(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Name) and isinstance(node.ctx, (ast.Store, ast.Del)):
        yield node.id
    elif isinstance(node, (*Function, ast.ClassDef, ast.ExceptHandler)):
        yield from [node.name] if node.name else []
    elif isinstance(node, (ast.Import, ast.ImportFrom)):
        yield from ((a.asname or a.name.split(".")[0]) for a in node.names)
    elif isinstance(node, (ast.MatchAs, ast.MatchStar)) and node.name:
        yield node.name
    elif isinstance(node, ast.MatchMapping) and node.rest:
        yield node.rest
    if isinstance(node, Comprehension):
        # A comprehension's targets are its own; only walrus assignments reach the enclosing scope.
        for inner in ast.walk(node):
            if isinstance(inner, ast.NamedExpr):
                yield inner.target.id
    elif isinstance(node, Scope):
        for part in evaluated_outside(node):
            yield from _bound(part)
    else:
        for child in ast.iter_child_nodes(node):
            yield from _bound(child)


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
        sometimes = [c for c in ast.iter_child_nodes(node) if not isinstance(c, ast.comprehension)]
        for i, generator in enumerate(node.generators):
            sometimes += [*generator.ifs, *([generator.iter] if i else [])]
    elif isinstance(node, Scope):
        always = list(evaluated_outside(node))
    else:
        always = list(ast.iter_child_nodes(node))
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
        for child in ast.iter_child_nodes(node):
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
