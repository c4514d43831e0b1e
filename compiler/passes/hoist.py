"""Observe hoisting: evidence is weighed as soon as it is known."""

from __future__ import annotations

from dataclasses import dataclass

from .. import ir, rewrite
from ..facts import EVIDENCE
from .base import Condition, Info, Level, Pass, Remark
from .moving import MOVING, climb, described, effects_of, raised

WORK = ("sample", "call", "program")
"""What is worth weighing a run before: random choices and calls, which cost, and may be of a run that is to die."""


@dataclass(frozen=True)
class HoistEvidence(Pass):
    """Move ``observe``, ``factor`` and ``condition`` up past samples and calls that they do not depend on.

    Law: JOINT. The measure is a product, and its factors commute; intermediate targets move, so that SMC can drop a run
    before more is spent on it. A ``sample`` never moves past another, so every draw has the same past.
    """

    name = "hoist"
    level = Level.JOINT
    default = True

    conditions: tuple[Condition, ...] = MOVING

    def run(self, program: ir.Program, info: Info) -> tuple[ir.Program, list[Remark]]:
        remarks: list[Remark] = []
        body = rewrite.map_regions(program.body, lambda region: self._region(region, info, remarks))
        return rewrite.with_body(program, body), remarks

    def _region(self, region: ir.Region, info: Info, remarks: list[Remark]) -> ir.Region:
        nodes = list(region.nodes)
        for node in region.nodes:
            if isinstance(node, ir.Effect) and node.site.kind in EVIDENCE:
                nodes = self._hoisted(nodes, node, info, remarks)
        return rewrite.with_nodes(region, nodes)

    def _hoisted(self, nodes: list[ir.Node], effect: ir.Effect, info: Info, remarks: list[Remark]) -> list[ir.Node]:
        """``nodes`` with one piece of evidence moved up as far as it goes."""
        found = climb(nodes, nodes.index(effect), self.conditions, info.facts)
        saved = [node for node in found.crossed if _work(node)]
        if found.reason is not None and found.blocker is not None:
            above = nodes[: nodes.index(found.blocker) + 1]
            if any(_work(node) for node in above):
                line = found.blocker.span.line
                remarks.append(self.missed(effect.span, f"{described(effect)} stays below line {line}: {found.reason}"))
        if not saved:
            return nodes
        past = [described(e) for node in reversed(saved) for e in effects_of(node) if e.site.kind in WORK]
        remarks.append(self.applied(effect.span, f"moved {described(effect)} up past {_listed(past)}"))
        new = raised(nodes, found.moving, saved[-1])
        return [rewrite.marked(node, self.name) if node in found.moving else node for node in new]


def _work(node: ir.Node) -> bool:
    return any(effect.site.kind in WORK for effect in effects_of(node))


def _listed(words: list[str]) -> str:
    words = list(dict.fromkeys(words))
    return ", ".join(words[:3]) + (f" and {len(words) - 3} more" if len(words) > 3 else "")
