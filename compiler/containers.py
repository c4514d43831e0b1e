"""Containers that are being filled: changes that nobody else can see yet.

``c = []``, and then ``c.append(x)`` in a loop, is how comprehensions are lowered and how lists are often built. Until
something else uses ``c``, the only code to which those changes matter is other code that names ``c``.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable

from . import ir
from .facts import Facts, remembered
from .intrinsics import OWN, TOLD
from .kinds import Touch, conflict


def may_swap(node: ir.Node, others: Iterable[ir.Node], facts: Facts) -> bool:
    """Whether it makes no difference to any shared object if ``node`` runs before or after ``others``."""
    touch, filled = outward(facts, node)
    for other in others:
        there, theirs = outward(facts, other)
        if conflict(touch, there) or not filled.isdisjoint(_named(other)) or not theirs.isdisjoint(_named(node)):
            return False
    return True


@remembered
def outward(facts: Facts, node: ir.Node) -> tuple[Touch, set[ir.Value]]:
    """What a node may do to objects that others know of, and the containers that it fills besides."""
    if isinstance(node, ir.Py):
        container = filled_by(node, facts)
        if container is None:
            return facts.touch(node), set()
        parts = [facts.touches(node, part) for part in _added(node)]
        return max([*parts, *(facts.looked(node, part) for part in _hashed(node))], default=Touch.NONE), {container}
    if not node.regions:
        return facts.touch(node), set()
    inner = [outward(facts, each) for region in node.regions for each in region.nodes]
    return max([facts.steering(node), *(touch for touch, _ in inner)]), {
        value for _, values in inner for value in values
    }


def filled_by(node: ir.Py, facts: Facts) -> ir.Value | None:
    """The container that a statement adds to, if it was written out in the program and so far is only added to."""
    name = _receiver(node)
    container = None if name is None else dict(node.reads).get(name)
    if container is None or name == OWN:
        return container  # what an intrinsic made is held by nobody else
    made = facts.definer.get(container)
    found = facts.expression(container)
    if made is None or found is None or found[0] is not made or not isinstance(found[1], ast.List | ast.Dict | ast.Set):
        return None
    here = facts.place_in(node, made)
    for user in facts.users.get(container, []):
        if _receiver(user) is not None and dict(user.reads).get(_receiver(user) or "") is container:  # type: ignore[attr-defined]
            continue
        there = facts.place_in(user, made)
        if here is None or there is None or there <= here:
            return None
    return container


def _receiver(node: ir.Node) -> str | None:
    """The variable ``c`` of ``c.append(x)``, ``c.add(x)`` and ``c[k] = x``, unless it turns up elsewhere in them; and
    of what the passes' own sums are told."""
    code = node.code if isinstance(node, ir.Py) else None
    target: ast.expr | None = None
    if isinstance(code, ast.Assign) and (told := _told(code.value)) is not None:
        return told
    if isinstance(code, ast.Expr) and isinstance(code.value, ast.Call) and isinstance(code.value.func, ast.Attribute):
        if code.value.func.attr in ("append", "add"):
            target = code.value.func.value
    elif isinstance(code, ast.Assign) and len(code.targets) == 1 and isinstance(code.targets[0], ast.Subscript):
        target = code.targets[0].value
    if code is None or not isinstance(target, ast.Name):
        return None
    names = [part.id for part in ast.walk(code) if isinstance(part, ast.Name)]
    return target.id if names.count(target.id) == 1 else None


def _told(code: ast.expr) -> str | None:
    """The owner of ``·own.factor(x)``."""
    method = code.func if isinstance(code, ast.Call) else None
    if isinstance(method, ast.Attribute) and isinstance(method.value, ast.Name) and method.value.id == OWN:
        return OWN if method.attr in TOLD else None
    return None


def _added(node: ir.Py) -> list[ast.expr]:
    """What such a statement computes to add it."""
    if isinstance(node.code, ast.Assign) and isinstance(node.code.value, ast.Call) and _told(node.code.value):
        return list(node.code.value.args)
    if isinstance(node.code, ast.Assign) and isinstance(node.code.targets[0], ast.Subscript):
        return [node.code.targets[0].slice, node.code.value]
    call = node.code.value if isinstance(node.code, ast.Expr) else None
    return [*call.args, *(k.value for k in call.keywords)] if isinstance(call, ast.Call) else []


def _hashed(node: ir.Py) -> list[ast.expr]:
    """What the container may hash of that."""
    method = node.code.value.func if isinstance(node.code, ast.Expr) and isinstance(node.code.value, ast.Call) else None
    return [] if isinstance(method, ast.Attribute) and method.attr == "append" else _added(node)[:1]


def _named(node: ir.Node) -> set[ir.Value]:
    """Every value that a node, or anything in it, uses."""
    return {*node.uses, *(value for region in node.regions for inner in ir.walk(region) for value in inner.uses)}
