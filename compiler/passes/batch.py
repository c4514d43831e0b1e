"""Batching: independent model calls and batched functions of one run are asked for at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .. import ir, rewrite
from ..facts import EVIDENCE, Facts
from .base import Condition, Info, Level, Pass, Remark
from .moving import MOVING, Crossing, climb, described, effects_of, raised


def evidence_first(step: Crossing) -> str | None:
    """What costs a model call does not move up past evidence: a run that is to die should do so before."""
    if step.effect.site.kind in EVIDENCE or not any(e.site.kind in EVIDENCE for e in effects_of(step.node)):
        return None
    return "evidence there may end the run, which saves the call"


CONDITIONS: tuple[Condition, ...] = (*MOVING, evidence_first)


@dataclass(frozen=True)
class BatchCalls(Pass):
    """Ask for several samples, observations and calls as one request, where none depends on another.

    Law: JOINT. Independent draws may be made in any order, and draws are a function of their addresses. Every effect
    keeps its own operands and its own address; k round trips become one. Distributions that answer at once, without a
    model, are left alone.
    """

    name = "batch"
    level = Level.JOINT
    default = True

    conditions: tuple[Condition, ...] = CONDITIONS

    def run(self, program: ir.Program, info: Info) -> tuple[ir.Program, list[Remark]]:
        remarks: list[Remark] = []
        body = rewrite.map_regions(program.body, lambda region: self._region(region, info.facts, remarks))
        return rewrite.with_body(program, body), remarks

    def _region(self, region: ir.Region, facts: Facts, remarks: list[Remark]) -> ir.Region:
        nodes, place = list(region.nodes), 0
        while place < len(nodes):
            first = nodes[place]
            if isinstance(first, ir.Effect) and waits(first, facts):
                nodes, members = self._collect(nodes, first, facts, remarks)
                if len(members) > 1:
                    place = nodes.index(first)
                    nodes[place : place + len(members)] = [self.gathered(members)]
                    others = ", ".join(described(member) for member in members[1:])
                    remarks.append(self.applied(first.span, f"{described(first)} is asked for together with {others}"))
            place += 1
        return rewrite.with_nodes(region, nodes)

    def gathered(self, members: Sequence[ir.Effect]) -> ir.Node:
        """The request for all of them."""
        return ir.Gather(span=members[0].span, provenance=(self.name,), effects=tuple(members))

    def _collect(
        self, nodes: list[ir.Node], first: ir.Effect, facts: Facts, remarks: list[Remark]
    ) -> tuple[list[ir.Node], list[ir.Effect]]:
        """Move up to ``first`` what can be asked for with it: all nodes, and the effects that now stand in a row."""
        members = [first]
        for node in nodes[nodes.index(first) + 1 :]:
            if not isinstance(node, ir.Effect) or not waits(node, facts):
                continue
            found = climb(nodes, nodes.index(node), self.conditions, facts)
            if first in found.crossed:
                nodes = raised(nodes, found.moving[:-1], first)
                nodes.remove(node)
                nodes.insert(nodes.index(members[-1]) + 1, node)
                members.append(node)
            elif found.reason is not None and found.blocker is not None and found.blocker is not first:
                where = f"because of line {found.blocker.span.line}"
                what = f"{described(node)} is not asked for together with {described(first)}"
                remarks.append(self.missed(node.span, f"{what}, {where}: {found.reason}"))
                if node.site.kind not in EVIDENCE:
                    break  # what stops it stops those after it, as a rule, and one remark is enough
        return nodes, members


def waits(effect: ir.Effect, facts: Facts) -> bool:
    """Whether a run may have to wait for the answer, so that there is something to gain."""
    if isinstance(effect, ir.Each) or effect.site.kind not in ("sample", "observe", "call"):
        return False
    if effect.site.kind == "call":
        return True
    made = [facts.constructor(value) for word, value in effect.args if word in ("distribution", "proposal")]
    return any(found is None or not found.local for found in made)
