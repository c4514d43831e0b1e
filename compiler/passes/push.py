"""Constraint pushing: what a condition will ask of a sample is asked while it is drawn."""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from .. import ir, rewrite
from ..failing import total
from ..intrinsics import ask
from ..kinds import Touch
from .asked import Asked, NotAsked, asked, unknown
from .base import Condition, Info, Level, Pass, Remark, several
from .making import computed, value_of
from .moving import guards, shown_code

# --- side-conditions --------------------------------------------------------------------------------------------------


def asked_of_every_run(asked: Asked) -> str | None:
    """Whoever draws the value and goes on comes to the condition: both stand in one region, with no exit between."""
    if asked.between is None:
        return "the condition is not asked of every run that draws it"
    leaving = next((node for node in asked.between if asked.facts.leaves(node)), None)
    return None if leaving is None else f"control may leave at line {leaving.span.line} before the condition"


def operand_known(asked: Asked) -> str | None:
    """What the value is compared with is known before it is drawn, and nothing else is random in the test."""
    return "what it is compared with is not known before it is drawn" if unknown(asked) else None


def operand_repeatable(asked: Asked) -> str | None:
    """What the value is compared with can be computed once more, before the draw: that changes nothing."""
    if asked.early is None or asked.facts.touch(asked.early) <= Touch.READ:
        return None
    return f"to compute {shown_code(asked.facts, asked.early)} before it is drawn may change something"


def operand_fails_no_earlier(asked: Asked) -> str | None:
    """To compute the operand before the draw can't fail where evidence had ruled the run out by then."""
    if asked.early is None or total(asked.facts, asked.early):
        return None
    guard = next((node for node in asked.between or () if guards(node, asked.facts)), None)
    if guard is None and asked.first:
        return None
    where = asked.condition.span.line if guard is None else guard.span.line
    shown = shown_code(asked.facts, asked.early)
    return f"line {where} may rule the run out, and {shown} might then fail before"


def operand_unchanged(asked: Asked) -> str | None:
    """What the value is compared with, and the value itself, are then what they are now."""
    if _operand_fixed(asked) and asked.sample.result in asked.facts.atoms:
        return None
    changing = next((node for node in asked.between or () if asked.facts.touch(node) is Touch.WRITE), None)
    return None if changing is None else f"line {changing.span.line} may change what the condition looks at"


def _operand_fixed(asked: Asked) -> bool:
    """Whether nobody can change what the operand is."""
    facts, operand, early = asked.facts, asked.operand, asked.early
    if early is not None:
        assert isinstance(early.code, ast.Assign)
        called = {node.func for node in ast.walk(early.code.value) if isinstance(node, ast.Call)}
        names = [n for n in ast.walk(early.code.value) if isinstance(n, ast.Name) and n not in called]
        outside = any(name.id not in dict(early.reads) for name in names)
        return not outside and facts.touch(early) is Touch.NONE and facts.atoms.issuperset(early.uses)
    if isinstance(operand, ir.Value):
        return operand in facts.atoms
    return not any(isinstance(n, ast.Name) for n in ast.walk(operand))


def drawn_from_its_own(asked: Asked) -> str | None:
    """The sample has no proposal: its author would have said where it is best drawn from."""
    return "it has a proposal of its own" if any(word == "proposal" for word, _ in asked.sample.args) else None


def pattern_followed(asked: Asked) -> str | None:
    """Whether a text matches can be told while it is written. Other samples are drawn from a list that is sifted."""
    made = asked.facts.constructor(dict(asked.sample.args)["distribution"])
    written = made is not None and made.family.removeprefix("helper.") in ("model.text", "model.line", "model.token")
    pattern = _pattern(asked) if written and asked.test == "fullmatch" else None
    reason: str | None = None if pattern is None else ask("·unfollowed", pattern)
    return reason


def _pattern(asked: Asked) -> str | re.Pattern[str] | None:
    """The pattern that is written out, or stands for a name from outside."""
    operand = asked.operand
    if isinstance(operand, ir.Value):
        return None
    found = operand.value if isinstance(operand, ast.Constant) else asked.facts.names.resolve(operand, lambda _: False)
    return found if isinstance(found, str | re.Pattern) else None


CONDITIONS: tuple[Condition, ...] = (
    asked_of_every_run,
    operand_known,
    operand_repeatable,
    operand_fails_no_earlier,
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
        for each in asked(program, info.facts):
            reason = each.reason if isinstance(each, NotAsked) else self.failing(each)
            name = each.sample.site.pattern
            if reason is not None:
                remarks.append(self.missed(each.condition.span, f"not asked while {name!r} is drawn: {reason}"))
                continue
            assert isinstance(each, Asked)
            pushed.setdefault(each.sample, []).append(each)
            line = each.condition.span.line
            remarks.append(self.applied(each.sample.span, f"{name!r} is drawn from what line {line} allows"))
        body = rewrite.map_nodes(
            program.body, lambda node: self._drawn(node, pushed[node]) if node in pushed else [node]
        )
        return rewrite.with_body(program, body), remarks

    def bought(self, before: ir.Program, after: ir.Program) -> list[str]:
        held = sum(self.name in effect.provenance for effect in ir.effects(after.body))
        return [f"{several(held, 'draw')} from what is asked for, instead of runs that die of it"]

    def _drawn(self, node: ir.Node, tested: Sequence[Asked]) -> list[ir.Node]:
        assert isinstance(node, ir.Effect)
        tests = tuple((each.test, each.operand) for each in tested)
        early = [each.early for each in tested if each.early is not None]
        prior = dict(node.args)["distribution"]
        sampler = computed("·proposal", "·restricted", prior, tests, at=node.span, by=self.name)
        args = (*(arg for arg in node.args if arg[0] != "proposal"), ("proposal", value_of(sampler)))
        return [*early, sampler, rewrite.marked(replace(node, args=args), self.name)]
