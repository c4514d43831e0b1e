"""Classes and caches that a program defines, and that hold what each copy of a run should have of its own.

A copy of a run gets copies of its data, but a class stays one class, and a cache one cache. So neither may hold a list
that a run may change. What can be told from the text is refused here; the rest is when a run is copied (``fork``).
"""

from __future__ import annotations

import ast
import collections
import functools
from collections.abc import Iterator

from .builder import Builder
from .scan import Function, Scope, captured_names, own_nodes

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
    for node in program.own_nodes:
        if isinstance(node, ast.ClassDef) and _effect_follows(program, node):
            _refuse_class(program, node, held)
        elif isinstance(node, ast.FunctionDef) and _is_cached(program, node) and _effect_follows(program, node):
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
    for changed in _attributes_assigned(program, node):
        program.refuse(
            changed,
            f"{ast.unparse(changed)} belongs to the class {node.name!r}: a copy of the run has data of its own, but "
            "the class stays one",
            "Keep it in a variable, or make it an attribute of its objects, in __init__.",
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


def _attributes_assigned(program: Builder, node: ast.ClassDef) -> Iterator[ast.Attribute]:
    """Where an attribute of the class itself is assigned, in the program or in a method."""
    methods = [n for n in ast.walk(node) if isinstance(n, Function) and n.args.args]
    of_class = [n for n in methods if any(ast.unparse(d) == "classmethod" for d in n.decorator_list)]
    places = [({node.name}, [*program.own_nodes, *ast.walk(node)])]
    places += [({method.args.args[0].arg}, list(ast.walk(method))) for method in of_class]
    for names, nodes in places:
        for inner in nodes:
            changed = isinstance(inner, ast.Attribute) and not isinstance(inner.ctx, ast.Load)
            if changed and isinstance(inner.value, ast.Name) and inner.value.id in names:  # type: ignore[attr-defined]
                yield inner  # type: ignore[misc]


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
