"""Classes and caches that a program defines, and that hold what each copy of a run should have of its own.

A copy of a run gets copies of its data, but a class stays one class, and a cache one cache. So neither may hold a list
that a run may change, nor may a run assign a class's attributes. What can be told from the text is refused here; the
rest is when a run is copied (``fork``).
"""

from __future__ import annotations

import ast
import collections
import functools
from collections.abc import Iterator, Mapping, Sequence

from .builder import Builder
from .indirect import Indirect
from .scan import Function, Scope, bound_names, captured_names, own_nodes, parameters

_KINDS = (list, dict, set, bytearray, collections.deque)
_DISPLAYS: dict[type[ast.expr], str] = {
    **dict.fromkeys((ast.List, ast.ListComp), "list"),
    **dict.fromkeys((ast.Dict, ast.DictComp), "dict"),
    **dict.fromkeys((ast.Set, ast.SetComp), "set"),
}
_CACHES = (functools.cache, functools.lru_cache)


def refuse_class_state(program: Builder) -> None:
    """Refuse classes and cached functions in a program that hold something mutable, if an effect may come after them.

    Raises:
        CompileError: there is one.
    """
    held = _assigned(program, program.own_nodes)
    classes = [n for n in program.own_nodes if isinstance(n, ast.ClassDef) and _effect_follows(program, n)]
    for definition in classes:
        _refuse_class(program, definition, held)
    if classes:
        _refuse_changes(program, {definition.name for definition in classes})
    for node in program.own_nodes:
        if isinstance(node, ast.FunctionDef) and _is_cached(program, node) and _effect_follows(program, node):
            for name in sorted(captured_names(node) & held.keys() & program.bound):
                program.refuse(
                    node,
                    f"{node.name!r} is cached and captures the variable {name!r}, a {held[name]}: a copy of the run "
                    f"has a {held[name]} of its own, but the cache stays one",
                    "Leave out the cache: a plain function is copied with the run.",
                )


def _refuse_class(program: Builder, node: ast.ClassDef, held: dict[str, str]) -> None:
    methods = [inner for inner in own_nodes(node.body) if isinstance(inner, Scope)]
    for name in sorted({name for method in methods for name in captured_names(method)} & held.keys() & program.bound):
        program.refuse(
            node,
            f"the class {node.name!r} captures the variable {name!r}, a {held[name]}: a copy of the run has a "
            f"{held[name]} of its own, but the class stays one",
            f"Give its objects the {held[name]} in __init__, or use a function, which is copied with the run.",
        )
    for name, kind in _assigned(program, own_nodes(node.body)).items():
        if not name.startswith("__"):
            program.refuse(
                node,
                f"the class {node.name!r} holds the {kind} {name!r}: a copy of the run has data of its own, but the "
                "class stays one",
                f"Make {name!r} an attribute of its objects, in __init__. If nothing changes it, move the class out of "
                "the program, or use a tuple.",
            )


def _assigned(program: Builder, nodes: Iterator[ast.AST] | tuple[ast.AST, ...]) -> dict[str, str]:
    """The names that are assigned a new list, dictionary or set, and which of these."""
    found = {}
    for node in nodes:
        if isinstance(node, (ast.Assign, ast.AnnAssign)):
            kind = _kind(program, node.value)
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found.update({t.id: kind for t in targets if isinstance(t, ast.Name) and kind is not None})
    return found


def _kind(program: Builder, value: ast.expr | None) -> str | None:
    if isinstance(value, ast.Call):
        made = program.resolver.resolve(value.func)
        return made.__name__ if isinstance(made, type) and issubclass(made, _KINDS) else None
    return _DISPLAYS.get(type(value))  # type: ignore[arg-type]


def _refuse_changes(program: Builder, classes: set[str]) -> None:
    """Refuse that attributes of these classes are assigned, by whatever name."""
    names = {name: f"the class {name!r}" for name in classes}
    aliases = Indirect(program).aliases
    for _ in aliases:  # one may stand for another
        names |= {k: names[v.id] for k, v in aliases.items() if isinstance(v, ast.Name) and v.id in names}
    for changed, owner in _changes(program, program.tree.body, names):
        if isinstance(changed, ast.Call):
            does = f"{ast.unparse(changed.func)}({ast.unparse(changed.args[0])}, ...) changes"
        else:
            does = f"{ast.unparse(changed)} belongs to"
        program.refuse(
            changed,
            f"{does} {owner}: a copy of the run has data of its own, but the class stays one",
            "Keep it in a variable, or make it an attribute of its objects, in __init__.",
        )


def _changes(
    program: Builder, body: Sequence[ast.AST], names: Mapping[str, str], around: str | None = None
) -> Iterator[tuple[ast.expr, str]]:
    """Where, in a scope or in those within it, an attribute of a class is assigned, and in words of which class.

    Args:
        program: whose tree it is part of.
        body: what stands in the scope.
        names: the names that stand for classes there, and the classes in words.
        around: if it is the scope of a class that matters, that class in words.
    """
    for node in own_nodes(body):
        changed = _changed(program, node)
        owner = None if changed is None else _class(program, changed, names)
        if owner is not None:
            yield node, owner  # type: ignore[misc]
        if isinstance(node, ast.ClassDef):
            matters = node.name in names or around is not None
            yield from _changes(program, node.body, names, f"the class {node.name!r}" if matters else None)
        elif isinstance(node, (*Function, ast.Lambda)):
            inner = [node.body] if isinstance(node, ast.Lambda) else node.body
            own = bound_names(inner) | set(parameters(node.args))
            known = {name: owner for name, owner in names.items() if name not in own}
            if around is not None and isinstance(node, Function) and node.args.args and _takes_class(node):
                known[node.args.args[0].arg] = around
            yield from _changes(program, inner, known)


def _changed(program: Builder, node: ast.AST) -> ast.expr | None:
    """What gets another attribute by a piece of syntax."""
    if isinstance(node, ast.Attribute) and not isinstance(node.ctx, ast.Load):
        return node.value
    if isinstance(node, ast.Call) and node.args:
        setting = any(program.resolver.is_builtin(node.func, word) for word in ("setattr", "delattr"))
        return node.args[0] if setting else None
    return None


def _class(program: Builder, node: ast.expr, names: Mapping[str, str]) -> str | None:
    """The class that an expression stands for, in words, if it surely is one."""
    if isinstance(node, ast.Name):
        return names.get(node.id)
    of_object = isinstance(node, ast.Attribute) and node.attr == "__class__"
    of_object |= isinstance(node, ast.Call) and len(node.args) == 1 and program.resolver.is_builtin(node.func, "type")
    return "a class" if of_object else None


def _takes_class(method: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    return method.name == "__new__" or any(ast.unparse(d) == "classmethod" for d in method.decorator_list)


def _is_cached(program: Builder, node: ast.FunctionDef) -> bool:
    decorators = [d.func if isinstance(d, ast.Call) else d for d in node.decorator_list]
    return any(program.resolver.resolve(d) in _CACHES for d in decorators)


def _effect_follows(program: Builder, node: ast.stmt) -> bool:
    """Whether an effect may come after a definition: below it, or in a loop around both."""
    loops = [n for n in program.own_nodes if isinstance(n, (ast.For, ast.While)) and _inside(node, n)]
    calls = (n for n in program.own_nodes if isinstance(n, ast.Call) and program.call_kind(n) in ("effect", "program"))
    return any(call.lineno > node.lineno or any(_inside(call, loop) for loop in loops) for call in calls)


def _inside(node: ast.stmt | ast.expr, loop: ast.stmt) -> bool:
    return loop.lineno <= node.lineno <= (loop.end_lineno or loop.lineno)
