"""What conditions ask of samples, as far as it can be asked while they are drawn."""

from __future__ import annotations

import ast
import re
import types
from collections.abc import Iterator
from dataclasses import dataclass

from .. import ir
from ..facts import Facts
from ..source import MISSING
from .making import assigned, value_of

TESTS = "x.startswith(y), x in y, x == y and re.fullmatch(y, x)"
"""What can be asked."""


@dataclass(frozen=True)
class Asked:
    """One thing that a condition asks of a sample.

    Attributes:
        sample, condition: the effects.
        test: ``startswith``, ``in``, ``equals`` or ``fullmatch``.
        operand: what the value is compared with: a value of the program, or an expression without any.
        early: the statement that computes the operand before the sample is drawn, if the program does so afterwards.
        first: whether nothing else of the condition is looked at before.
        between: the nodes between the two, if they stand in one region.
        before: the values that are known where the sample stands.
        facts: about the program.
    """

    sample: ir.Effect
    condition: ir.Effect
    test: str
    operand: ir.Value | ast.expr
    early: ir.Py | None
    first: bool
    between: tuple[ir.Node, ...] | None
    before: frozenset[ir.Value]
    facts: Facts


@dataclass(frozen=True)
class NotAsked:
    """A part of a condition that looks at a sample, and asks what no sampler can be held to.

    Attributes:
        sample, condition: the effects.
        reason: in words.
    """

    sample: ir.Effect
    condition: ir.Effect
    reason: str


Place = tuple[tuple[ir.Node, ...], int, frozenset[ir.Value]]
"""The nodes of a region, a place among them, and the values that are known there."""
Test = tuple[str, ast.expr, ast.expr]
"""A test, the expression of the value that is tested, and that of the operand."""


def asked(program: ir.Program, facts: Facts) -> Iterator[Asked | NotAsked]:
    """Everything that conditions ask of samples."""
    places = dict(_places(program.body, frozenset(program.body.params)))
    for node in places:
        if not isinstance(node, ir.Effect) or node.site.kind != "condition":
            continue
        found = facts.expression(dict(node.args)["holds"])
        for number, part in enumerate(_parts(found[1]) if found else ()):
            yield from _of_part(node, (found[0], part), not number, places, facts)  # type: ignore[index]


def _of_part(
    condition: ir.Effect, found: tuple[ir.Py, ast.expr], first: bool, places: dict[ir.Node, Place], facts: Facts
) -> Iterator[Asked | NotAsked]:
    node, code = found
    candidates: list[Asked] = []
    for test, subject, operand in _tests(node, code, facts):
        sample = _sample(node, subject, facts)
        if sample is not None and sample in places:
            nodes, start, before = places[sample]
            same = places[condition][0] is nodes
            between = nodes[start + 1 : places[condition][1]] if same else None
            known, early = _operand(node, operand, before, facts)
            candidates.append(Asked(sample, condition, test, known, early, first, between, before, facts))
    if candidates:
        # Of ``x == y`` for two samples, that which is drawn later.
        yield next((each for each in candidates if not unknown(each)), candidates[0])
        return
    names = [n for n in ast.walk(code) if isinstance(n, ast.Name)]
    for sample in dict.fromkeys(s for name in names if (s := _sample(node, name, facts)) in places and s is not None):
        yield NotAsked(sample, condition, _declined(node, code, facts))


def unknown(asked: Asked) -> list[ir.Value]:
    """The values that what the sample is compared with needs, and that are not known before it is drawn."""
    operand = asked.operand
    needed = asked.early.uses if asked.early is not None else (operand,) if isinstance(operand, ir.Value) else ()
    return [value for value in needed if value not in asked.before or value.maybe_unbound]


def _places(region: ir.Region, known: frozenset[ir.Value]) -> Iterator[tuple[ir.Node, Place]]:
    """Every effect with its place."""
    for place, node in enumerate(region.nodes):
        if isinstance(node, ir.Effect) and not isinstance(node, ir.Each):
            yield node, (region.nodes, place, known)
        inside = known | {node.counter} if isinstance(node, ir.Loop) and node.counter is not None else known
        for inner in node.regions:
            yield from _places(inner, inside | frozenset(inner.params))
        known |= frozenset(node.defines)


# --- tests ------------------------------------------------------------------------------------------------------------


def _parts(code: ast.expr) -> list[ast.expr]:
    """What all has to be true for an expression to be true."""
    if isinstance(code, ast.BoolOp) and isinstance(code.op, ast.And):
        return [part for value in code.values for part in _parts(value)]
    return [code]


def _tests(node: ir.Py, code: ast.expr, facts: Facts) -> list[Test]:
    """What an expression implies if it is true, each a way to see it."""
    if isinstance(code, ast.Compare) and len(code.ops) == 1:
        left, right = code.left, code.comparators[0]
        if isinstance(code.ops[0], ast.In):
            return [("in", left, right)]
        if isinstance(code.ops[0], ast.Eq):
            return [("equals", left, right), ("equals", right, left)]
        if isinstance(code.ops[0], ast.IsNot) and isinstance(right, ast.Constant) and right.value is None:
            return _tests(node, left, facts) if isinstance(left, ast.Call) else []
    if not isinstance(code, ast.Call) or code.keywords:
        return []
    called = facts.names.resolve(code.func, dict(node.reads).__contains__)
    if called is re.fullmatch and len(code.args) == 2:
        return [("fullmatch", code.args[1], code.args[0])]
    if called is bool and len(code.args) == 1:
        return _tests(node, code.args[0], facts)
    if isinstance(code.func, ast.Attribute) and len(code.args) == 1:
        if code.func.attr == "startswith":
            return [("startswith", code.func.value, code.args[0])]
        if code.func.attr == "fullmatch" and _is_pattern(node, code.func.value, facts):
            return [("fullmatch", code.args[0], code.func.value)]
    return []


def _is_pattern(node: ir.Py, code: ast.expr, facts: Facts) -> bool:
    """Whether an expression is a compiled pattern: one from outside, or made by ``re.compile`` in the program."""
    reads = dict(node.reads)
    if isinstance(facts.names.resolve(code, reads.__contains__), re.Pattern):
        return True
    if isinstance(code, ast.Name) and code.id in reads:
        found = facts.expression(reads[code.id])
        return found is not None and found[1] is not code and _is_pattern(*found, facts)
    called = facts.names.resolve(code.func, reads.__contains__) if isinstance(code, ast.Call) else None
    return called is re.compile


def _sample(node: ir.Py, code: ast.expr, facts: Facts) -> ir.Effect | None:
    """The sample whose value an expression is, other names for it seen through."""
    value = _value(node, code, facts)
    found = None if value is None else facts.definer.get(value)
    return found if isinstance(found, ir.Effect) and found.site.kind == "sample" else None


def _value(node: ir.Py, code: ast.expr, facts: Facts) -> ir.Value | None:
    """The value that an expression is, other names for it seen through."""
    value = dict(node.reads).get(code.id) if isinstance(code, ast.Name) else None
    found = None if value is None else facts.definer.get(value)
    if isinstance(found, ir.Py) and isinstance(found.code, ast.Assign) and isinstance(found.code.value, ast.Name):
        return _value(found, found.code.value, facts) or value
    return value


def _operand(
    node: ir.Py, code: ast.expr, before: frozenset[ir.Value], facts: Facts
) -> tuple[ir.Value | ast.expr, ir.Py | None]:
    """An operand as it can be told elsewhere, and the statement that computes it there, if it takes one.

    A variable that is known, an expression of constants and names from outside; for any other a new statement.
    """
    if isinstance(code, ast.Name) and code.id in dict(node.reads):
        value = _value(node, code, facts)
        assert value is not None
        found = facts.expression(value)
        if value in before or found is None:
            return (found[1] if found is not None and _constant(found[1]) else value), None
        node, code = found  # it is computed after the draw; it may be that it can be before
    reads = dict(node.reads)
    if all(_plain(part, reads, facts) for part in ast.walk(code)):
        return code, None
    names = {n.id for n in ast.walk(code) if isinstance(n, ast.Name)}
    early = assigned("·operand", code, {n: v for n, v in reads.items() if n in names}, at=node.span, by="push")
    return value_of(early), early


def _constant(code: ast.expr) -> bool:
    return isinstance(code, ast.Constant | ast.Tuple) and all(isinstance(part, _LITERAL) for part in ast.walk(code))


def _plain(part: ast.AST, reads: dict[str, ir.Value], facts: Facts) -> bool:
    if isinstance(part, ast.Attribute):
        return facts.names.resolve(part, reads.__contains__) is not MISSING
    return isinstance(part, _PLAIN) and getattr(part, "id", None) not in reads


_LITERAL = (ast.Constant, ast.Tuple, ast.expr_context)
_PLAIN = (*_LITERAL, ast.List, ast.Set, ast.Name)


# --- in words ---------------------------------------------------------------------------------------------------------


def _declined(node: ir.Py, code: ast.expr, facts: Facts) -> str:
    """Why a part of a condition can't be asked of a sampler, and what to write instead."""
    text = ast.unparse(code)
    shown = "that" if "·" in text else f"`{text if len(text) <= 40 else text[:37] + '...'}`"
    return f"{shown} is none of {TESTS}{_instead(node, code, facts)}"


def _instead(node: ir.Py, code: ast.expr, facts: Facts) -> str:
    op: ast.AST | None = getattr(code, "op", None) or next(iter(getattr(code, "ops", ())), None)
    if isinstance(op, ast.Not | ast.NotEq | ast.NotIn | ast.IsNot):
        return "; only what a value is to be can be asked, not what it is not to be"
    if isinstance(op, ast.Or):
        return "; for alternatives write x.startswith((…)), x in (…) or one pattern"
    if isinstance(code, ast.Call):
        called = facts.names.resolve(code.func, dict(node.reads).__contains__)
        if called is re.fullmatch or (isinstance(code.func, ast.Attribute) and code.func.attr == "fullmatch"):
            return "; write its flags into the pattern, as '(?s)…'"
        if called in (re.match, re.search) or isinstance(code.func, ast.Attribute):
            return "; a pattern for the whole of it may say the same"
        if isinstance(called, types.FunctionType):
            return ", and what a helper asks is not looked into"
    return ""
