"""Constraint pushing: what a condition will ask of a sample is asked while it is drawn."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from .. import ir, rewrite
from ..facts import Facts
from ..intrinsics import ask
from ..kinds import Touch
from .base import Condition, Info, Level, Pass, Remark
from .making import computed, value_of


@dataclass(frozen=True)
class Asked:
    """One thing that a condition asks of a sample.

    Attributes:
        sample, condition: the effects.
        test: ``startswith``, ``in``, ``equals`` or ``fullmatch``.
        operand: what the value is compared with: a value of the program, or an expression without any.
        between: the nodes between the two, if they stand in one region.
        before: the values that are known where the sample stands.
        facts: about the program.
    """

    sample: ir.Effect
    condition: ir.Effect
    test: str
    operand: ir.Value | ast.expr
    between: tuple[ir.Node, ...] | None
    before: frozenset[ir.Value]
    facts: Facts


# --- side-conditions --------------------------------------------------------------------------------------------------


def asked_of_every_run(asked: Asked) -> str | None:
    """Whoever draws the value and goes on comes to the condition: both stand in one region, with no exit between."""
    if asked.between is None:
        return "the condition is not asked of every run that draws it"
    leaving = next((node for node in asked.between if asked.facts.leaves(node)), None)
    return None if leaving is None else f"control may leave at line {leaving.span.line} before the condition"


def operand_known(asked: Asked) -> str | None:
    """What the value is compared with is known before it is drawn, and nothing else is random in the test."""
    if isinstance(asked.operand, ir.Value) and (asked.operand not in asked.before or asked.operand.maybe_unbound):
        return "what it is compared with is not known before it is drawn"
    return None


def operand_unchanged(asked: Asked) -> str | None:
    """What the value is compared with, and the value itself, are then what they are now."""
    facts, operand = asked.facts, asked.operand
    literal = not isinstance(operand, ir.Value) and not any(isinstance(n, ast.Name) for n in ast.walk(operand))
    fixed = literal or operand in facts.atoms
    if fixed and asked.sample.result in facts.atoms:
        return None
    changing = next((node for node in asked.between or () if facts.touch(node) is Touch.WRITE), None)
    return None if changing is None else f"line {changing.span.line} may change what the condition looks at"


def drawn_from_its_own(asked: Asked) -> str | None:
    """The sample has no proposal: its author would have said where it is best drawn from."""
    return "it has a proposal of its own" if any(word == "proposal" for word, _ in asked.sample.args) else None


def pattern_followed(asked: Asked) -> str | None:
    """Whether a text matches can be told while it is written. Other samples are drawn from a list that is sifted."""
    operand, made = asked.operand, asked.facts.constructor(dict(asked.sample.args)["distribution"])
    if asked.test != "fullmatch" or not isinstance(operand, ast.Constant) or not isinstance(operand.value, str):
        return None
    written = made is not None and made.family.removeprefix("helper.") in ("model.text", "model.line", "model.token")
    reason: str | None = ask("·unfollowed", operand.value) if written else None
    return reason


CONDITIONS: tuple[Condition, ...] = (
    asked_of_every_run,
    operand_known,
    operand_unchanged,
    drawn_from_its_own,
    pattern_followed,
)


# --- the pass ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class PushConstraints(Pass):
    """Draw samples from what the conditions that follow allow.

    ``x.startswith(y)``, ``x in y``, ``x == y`` and ``re.fullmatch(y, x)`` restrict the sampler, and the weight gets
    exactly the mass that they leave: of a finite distribution all of it at once, of a text the product of the masses
    left at each token.

    Law: PROPER. The condition stays where it is, and the restricted sampler is but a proposal; so the measure over
    traces is the same, whatever is fixed or intervened on. The draws and the variance of the weights are not.
    """

    name = "push"
    level = Level.PROPER

    conditions: tuple[Condition, ...] = CONDITIONS

    def run(self, program: ir.Program, info: Info) -> tuple[ir.Program, list[Remark]]:
        remarks: list[Remark] = []
        pushed: dict[ir.Node, list[Asked]] = {}
        for asked in _asked(program, info.facts):
            reason = self.failing(asked)
            name = asked.sample.site.pattern
            if reason is not None:
                remarks.append(self.missed(asked.condition.span, f"not asked while {name!r} is drawn: {reason}"))
                continue
            pushed.setdefault(asked.sample, []).append(asked)
            line = asked.condition.span.line
            remarks.append(self.applied(asked.sample.span, f"{name!r} is drawn from what line {line} allows"))
        body = rewrite.map_nodes(
            program.body, lambda node: self._drawn(node, pushed[node]) if node in pushed else [node]
        )
        return rewrite.with_body(program, body), remarks

    def _drawn(self, node: ir.Node, asked: Sequence[Asked]) -> list[ir.Node]:
        assert isinstance(node, ir.Effect)
        tests = tuple((a.test, a.operand) for a in asked)
        prior = dict(node.args)["distribution"]
        sampler = computed("·proposal", "·restricted", prior, tests, at=node.span, by=self.name)
        args = (*(arg for arg in node.args if arg[0] != "proposal"), ("proposal", value_of(sampler)))
        return [sampler, rewrite.marked(replace(node, args=args), self.name)]


# --- what conditions ask ----------------------------------------------------------------------------------------------


def _asked(program: ir.Program, facts: Facts) -> Iterator[Asked]:
    """Everything that conditions ask of samples."""
    places = dict(_places(program.body, frozenset(program.body.params)))
    for node, (nodes, place, _) in places.items():
        if not isinstance(node, ir.Effect) or isinstance(node, ir.Each) or node.site.kind != "condition":
            continue
        found = facts.expression(dict(node.args)["holds"])
        for test, value, operand in _tests(*found, facts) if found else ():
            sample = facts.definer.get(value)
            if not isinstance(sample, ir.Effect) or sample.site.kind != "sample" or sample not in places:
                continue
            there, start, before = places[sample]
            between = tuple(nodes[start + 1 : place]) if there is nodes else None
            yield Asked(sample, node, test, operand, between, before, facts)


Place = tuple[tuple[ir.Node, ...], int, frozenset[ir.Value]]
"""The nodes of a region, a place among them, and the values that are known there."""


def _places(region: ir.Region, known: frozenset[ir.Value]) -> Iterator[tuple[ir.Node, Place]]:
    """Every effect with its place."""
    for place, node in enumerate(region.nodes):
        if isinstance(node, ir.Effect) and not isinstance(node, ir.Each):
            yield node, (region.nodes, place, known)
        inside = known | {node.counter} if isinstance(node, ir.Loop) and node.counter is not None else known
        for inner in node.regions:
            yield from _places(inner, inside | frozenset(inner.params))
        known |= frozenset(node.defines)


def _tests(node: ir.Py, code: ast.expr, facts: Facts) -> Iterator[tuple[str, ir.Value, ir.Value | ast.expr]]:
    """What an expression implies if it is true: test, the value that is tested, and the operand."""
    if isinstance(code, ast.BoolOp) and isinstance(code.op, ast.And):
        for part in code.values:
            yield from _tests(node, part, facts)
        return
    found = _simple_test(node, code, facts)
    if found is None:
        return
    test, subject, operand = found
    value, known = _value(node, subject, facts), _operand(node, operand, facts)
    if value is not None and known is not None:
        yield test, value, known


def _simple_test(node: ir.Py, code: ast.expr, facts: Facts) -> tuple[str, ast.expr, ast.expr] | None:
    """Test, subject and operand of ``x.startswith(y)``, ``x in y``, ``x == y``, ``re.fullmatch(y, x)``."""
    if isinstance(code, ast.Compare) and len(code.ops) == 1:
        left, right = code.left, code.comparators[0]
        if isinstance(code.ops[0], ast.In):
            return "in", left, right
        if isinstance(code.ops[0], ast.Eq):
            swapped = isinstance(left, ast.Constant)
            return ("equals", right, left) if swapped else ("equals", left, right)
        if isinstance(code.ops[0], ast.IsNot) and isinstance(right, ast.Constant) and right.value is None:
            return _simple_test(node, left, facts) if isinstance(left, ast.Call) else None
    if isinstance(code, ast.Call) and not code.keywords:
        if isinstance(code.func, ast.Attribute) and code.func.attr == "startswith" and len(code.args) == 1:
            return "startswith", code.func.value, code.args[0]
        if len(code.args) == 2 and facts.names.resolve(code.func, dict(node.reads).__contains__) is re.fullmatch:
            return "fullmatch", code.args[1], code.args[0]
    return None


def _value(node: ir.Py, code: ast.expr, facts: Facts) -> ir.Value | None:
    """The value that an expression is, other names for it seen through."""
    value = dict(node.reads).get(code.id) if isinstance(code, ast.Name) else None
    found = None if value is None else facts.definer.get(value)
    if isinstance(found, ir.Py) and isinstance(found.code, ast.Assign) and isinstance(found.code.value, ast.Name):
        return _value(found, found.code.value, facts) or value
    return value


def _operand(node: ir.Py, code: ast.expr, facts: Facts) -> ir.Value | ast.expr | None:
    """An operand that can be told elsewhere: a variable, or an expression of constants and names from outside."""
    reads = dict(node.reads)
    if isinstance(code, ast.Name) and code.id in reads:
        found = facts.expression(reads[code.id])
        return found[1] if found is not None and _constant(found[1]) else _value(node, code, facts)
    simple = all(isinstance(part, _PLAIN) and getattr(part, "id", None) not in reads for part in ast.walk(code))
    return code if simple else None


def _constant(code: ast.expr) -> bool:
    return isinstance(code, ast.Constant | ast.Tuple) and all(isinstance(part, _LITERAL) for part in ast.walk(code))


_LITERAL = (ast.Constant, ast.Tuple, ast.expr_context)
_PLAIN = (*_LITERAL, ast.List, ast.Set, ast.Name)
