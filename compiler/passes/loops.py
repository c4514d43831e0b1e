"""Batching across a loop: ``[sample(judge(x)) for x in xs]`` asks for all its samples at once.

A loop whose rounds are independent is split around an effect. The first loop does what comes before it, and collects
the operands, a row for each round; then one request is made for all rows (``ir.Each``); the second loop does the rest
with the answers. Addresses stay as they are: the row's number is what the loop's counter was.
"""

from __future__ import annotations

from dataclasses import dataclass

from .. import ir, rewrite
from ..containers import may_swap, outward
from ..facts import EVIDENCE, Facts
from ..failing import total
from ..kinds import conflict
from .base import Condition, Info, Level, Pass, Remark
from .batch import called_program, instead_of, needed_by, waits
from .loop_split import Split, split_loop
from .moving import described, effects_of, guards


def one_path(split: Split) -> str | None:
    """Every round comes to the effect and to its own end: nothing leaves the loop, and it has no ``else``."""
    orelse = split.loop.orelse
    if orelse.nodes or not isinstance(orelse.end, ir.Yield) or orelse.end.values != orelse.params:
        return "the loop has an else"
    if not isinstance(split.loop.body.end, ir.Continue):
        return "a round may leave the loop"
    leaving = [node for node in split.loop.body.nodes if split.facts.leaves(node)]
    return f"line {leaving[0].span.line} may leave the loop or the round" if leaving else None


def rounds_independent(split: Split) -> str | None:
    """Before the effect, no round uses what an earlier round computed after it."""
    late = split.late_params
    used = {value for node in (*split.before, split.effect) for value in (*node.uses, *_inner_uses(node))}
    found = [value for value in late if value in used]
    return f"a round needs {found[0].name!r} of the round before" if found else None


def rounds_apart(split: Split) -> str | None:
    """What comes after the effect changes no object that an earlier part of a later round looks at, nor the other way
    round. A list that the loop only appends to is looked at by nobody."""
    facts, behind = split.facts, (split.effect, *split.after)
    iterating = facts.steering(split.loop)
    apart = all(may_swap(node, behind, facts) for node in (*split.before, split.effect))
    if apart and not any(conflict(iterating, outward(facts, node)[0]) for node in behind):
        return None
    return "one round may change an object that the next looks at"


def rounds_fail_no_earlier(split: Split) -> str | None:
    """What may raise an exception in a later round does not come to run where an earlier one had ruled the run out."""
    if not any(guards(node, split.facts) for node in (split.effect, *split.after)):
        return None
    unsafe = [node for node in (*split.before, split.effect) if not total(split.facts, node)]
    return f"a round may rule the run out, and line {unsafe[0].span.line} might then fail" if unsafe else None


def rounds_weighed(split: Split) -> str | None:
    """No evidence, hint or nested program in a round after an effect that is none: runs are weighed between rounds."""
    kinds = {effect.site.kind for node in split.after for effect in effects_of(node)}
    stops = kinds & ({"twist", "barrier", "program"} | (set() if split.effect.site.kind in EVIDENCE else {*EVIDENCE}))
    return f"the {sorted(stops)[0]} in each round weighs the run before the next" if stops else None


def rows_complete(split: Split) -> str | None:
    """The operands and what the rest needs are bound in every round, and the effect's name is not computed."""
    if split.effect.site.dynamic:
        return "its name is computed"
    loose = [value for value in (*split.operands, *split.saved) if value.maybe_unbound]
    return f"{loose[0].name!r} may be unbound in some round" if loose else None


CONDITIONS: tuple[Condition, ...] = (
    one_path,
    rounds_independent,
    rounds_apart,
    rounds_fail_no_earlier,
    rounds_weighed,
    rows_complete,
)


@dataclass(frozen=True)
class BatchLoops(Pass):
    """Split ``for`` loops and comprehensions of independent rounds around model calls and batched functions.

    Law: JOINT. As for ``batch``: independent draws may be made in any order, and every one keeps its address.
    """

    name = "loops"
    level = Level.JOINT
    default = True

    conditions: tuple[Condition, ...] = CONDITIONS

    def run(self, program: ir.Program, info: Info) -> tuple[ir.Program, list[Remark]]:
        remarks: list[Remark] = []
        facts, tried = info.facts, set[int]()
        while True:
            found = self._next(program.body, facts, tried, remarks)
            if found is None:
                return program, remarks
            body = _replaced(program.body, found.loop, self.split(found))
            body = rewrite.substitute_region(body, dict.fromkeys(found.unneeded, ir.UNDEFINED))
            program = rewrite.with_body(program, body)
            facts = facts.renewed(program)

    def split(self, found: Split) -> list[ir.Node]:
        """What stands in the loop's place."""
        return split_loop(found, self.name)

    def _next(self, region: ir.Region, facts: Facts, tried: set[int], remarks: list[Remark]) -> Split | None:
        """A loop that can be split, inner ones first."""
        for node in region.nodes:
            for inner in node.regions:
                deeper = self._next(inner, facts, tried, remarks)
                if deeper is not None:
                    return deeper
            if isinstance(node, ir.Loop) and not node.provenance:
                self._note_others(node, facts, tried, remarks)
            if not isinstance(node, ir.For):
                continue
            for place, effect in enumerate(node.body.nodes):
                if not isinstance(effect, ir.Effect) or id(effect.site) in tried or not waits(effect, facts):
                    continue
                tried.add(id(effect.site))
                split = Split(node, place, region, facts)
                reason = self.failing(split)
                if reason is None:
                    text = f"{described(effect)} is asked for at once in all rounds of the loop"
                    remarks.append(self.applied(effect.span, text))
                    return split
                text = f"{described(effect)} is asked for round by round: {reason}"
                remarks.append(self.missed(effect.span, text))
        return None

    def _note_others(self, loop: ir.Loop, facts: Facts, tried: set[int], remarks: list[Remark]) -> None:
        """Say why effects are left where they are that no rewrite of this pass is about."""

        def note(effect: ir.Effect, reason: str) -> None:
            if id(effect.site) not in tried:
                tried.add(id(effect.site))
                remarks.append(self.missed(effect.span, f"{described(effect)} is asked for round by round: {reason}"))

        for node in loop.body.nodes:
            if isinstance(node, ir.If):
                # Its addresses count the rounds, not the rows.
                for effect in filter(lambda effect: waits(effect, facts), effects_of(node)):
                    note(effect, "only some rounds come to it")
            elif isinstance(node, ir.Effect):
                name = called_program(node, facts)
                if name is not None and needed_by(node, loop.body).isdisjoint(loop.body.params[1:]):
                    note(node, instead_of(name))
                elif isinstance(loop, ir.While) and waits(node, facts):
                    note(node, "how often a while loop goes round is not known before; a for loop could be split")


def _replaced(region: ir.Region, old: ir.Node, new: list[ir.Node]) -> ir.Region:
    return rewrite.map_nodes(region, lambda node: new if node is old else [node])


def _inner_uses(node: ir.Node) -> set[ir.Value]:
    return {value for region in node.regions for value in rewrite.used_values(region)}
